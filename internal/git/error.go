package git

import (
	"errors"
	"fmt"
	"strings"
)

// Error is why a repository cannot be read.
type Error struct {
	// Reason is one of the constants.
	Reason string
	// Message says what is wrong and what to do, without credentials.
	Message string
}

func (e *Error) Error() string { return e.Message }

// The reasons of errors.
const (
	InvalidURL         = "InvalidURL"           // the URL is not one that git is run with
	HostKeyRefused     = "HostKeyRefused"       // the server's host key is unknown, or has changed
	AuthFailed         = "AuthenticationFailed" // the server does not accept the credentials, or they cannot be read
	RepositoryNotFound = "RepositoryNotFound"   // the server has no such repository, or does not show it
	Unreachable        = "Unreachable"          // the server cannot be reached, or its answer cannot be understood
	TimedOut           = "TimedOut"             // the server was too slow
	TooLarge           = "TooLarge"             // the repository, or a file of it, is larger than its limit
	ReferenceGone      = "ReferenceGone"        // the branch, tag or commit is not in the repository, or no tag is in the range of versions
	PathGone           = "PathGone"             // the path is not in the commit
	NotAFile           = "NotAFile"             // a manifest is a symbolic link
	NotBuilt           = "NotBuilt"             // the path has a kustomization, and the program that builds it is missing or cannot be started
	NotSigned          = "NotSigned"            // the commit has no signature of an allowed signer
	ReportRefused      = "ReportRefused"        // of Reported: the Git server does not take the report
	GitFailed          = "GitFailed"            // the git program failed or is missing
)

func fail(reason, format string, args ...any) error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// ReasonOf returns the reason of an error of this package; GitFailed for any other.
func ReasonOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return GitFailed
}

// told are texts of git, ssh and curl (LC_ALL=C) by what they mean, the first that matches counts.
var told = []struct{ text, reason, advice string }{
	{"REMOTE HOST IDENTIFICATION HAS CHANGED", HostKeyRefused, "the server's host key has changed: find out why, then replace it in auth.knownHostsFile"},
	{"Host key verification failed", HostKeyRefused, "the server's host key is not in auth.knownHostsFile: check it, then add it (ssh-keyscan HOST)"},
	{"No ED25519 host key is known", HostKeyRefused, "the server's host key is not in auth.knownHostsFile: check it, then add it (ssh-keyscan HOST)"},
	{"Permission denied", AuthFailed, "the server does not accept the key in auth.sshKeyFile"},
	{"Authentication failed", AuthFailed, "the server does not accept the token in auth.tokenFile"},
	{asksForName, AuthFailed, "the server asks for credentials: set auth.tokenFile"},
	{"returned error: 401", AuthFailed, "the server does not accept the token in auth.tokenFile"},
	{"returned error: 403", AuthFailed, "the server does not accept the token in auth.tokenFile"},
	{"not found", RepositoryNotFound, "the server has no such repository, or does not show it with these credentials"},
	{"returned error: 404", RepositoryNotFound, "the server has no such repository, or does not show it with these credentials"},
	{"does not appear to be a git repository", RepositoryNotFound, "the server has no such repository, or does not show it with these credentials"},
	{"couldn't find remote ref", ReferenceGone, "the branch or tag is not in the repository"},
	{"not our ref", ReferenceGone, "the commit is not in the repository"},
	{"unadvertised object", ReferenceGone, "the server gives no commit that is not the end of a branch or tag"},
	{"certificate", Unreachable, "the server's certificate is not accepted: set auth.caFile if its authority is your own"},
	{"too slow", TimedOut, "the server was too slow"},
}

// asksForName is what git says when it has no token, or the server does not accept the one that it has.
const asksForName = "could not read Username"

// explain turns what git wrote on stderr into an Error; token: it had one.
func explain(stderr string, token bool, failure error) error {
	line := lastLine(stderr)
	if token && strings.Contains(stderr, asksForName) {
		return fail(AuthFailed, "the server does not accept the token in auth.tokenFile: %s", line)
	}
	for _, t := range told {
		if strings.Contains(stderr, t.text) {
			return fail(t.reason, "%s: %s", t.advice, line)
		}
	}
	if line == "" {
		return fail(GitFailed, "git: %v", failure)
	}
	return fail(Unreachable, "git: %s", line)
}

// lastLine is the last line that says what failed.
func lastLine(stderr string) string {
	line := ""
	for text := range strings.Lines(stderr) {
		text = Printable(text, 200)
		switch {
		case strings.HasPrefix(text, "fatal: "), strings.HasPrefix(text, "error: "), strings.HasPrefix(text, "remote: "):
			line = text
		case line == "" && text != "":
			line = text
		}
		if strings.HasPrefix(text, "fatal: ") {
			return text
		}
	}
	return line
}

// Printable returns the first line of a text that others wrote, without control characters and at most so many bytes.
func Printable(text string, most int) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' || 0x80 <= r && r < 0xa0 || 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069 {
			return -1
		}
		return r
	}, text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most-3], "") + "..."
	}
	return text
}
