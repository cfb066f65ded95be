package v1

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// minInterval is the shortest spec.interval of a source, maxInterval the longest.
const (
	minInterval = Duration(5 * time.Second)
	maxInterval = Duration(24 * time.Hour)
)

var (
	// gitName is what branches and tags may be called here: git-check-ref-format(1) allows more.
	gitName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/@+=#-]{0,199}$`)
	gitCommit  = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	sshSigner  = regexp.MustCompile(`^[!-~]+( [!-~]+)* (ssh-[a-z0-9-]+|ecdsa-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( [ -~]*)?$`)
	gitDotDots = []string{"..", "//", "@{", ".lock/"}
)

// Validate returns all errors in a Source after Default, by field path.
func (s *Source) Validate() ManifestErrors {
	v := &validator{app: s.Metadata.Name}
	v.metadata(&s.Metadata)
	v.name("metadata.name", s.Metadata.Name)
	v.git(&s.Spec.Git)
	if s.Spec.Interval < minInterval || s.Spec.Interval > maxInterval {
		v.add("spec.interval", "%s is out of range: write a duration from %s to %s", s.Spec.Interval, minInterval, maxInterval)
	}
	if a := s.Spec.Auth; a != nil {
		v.auth(a, s.Spec.Git.URL)
	}
	if s.Spec.Verify != nil {
		if len(s.Spec.Verify.SSHSigners) == 0 {
			v.add("spec.verify.sshSigners", "missing: list who may sign, such as ada@example.com ssh-ed25519 AAAA..., or remove verify")
		}
		for i, line := range s.Spec.Verify.SSHSigners {
			if !sshSigner.MatchString(line) {
				v.add(at("spec.verify.sshSigners", i), "%s is not a line of an allowed signers file: write one such as ada@example.com ssh-ed25519 AAAA...", quoteShort(line))
			}
		}
	}
	if w := s.Spec.Webhook; w != nil && !isPath(w.SecretFile) {
		v.add("spec.webhook.secretFile", notPath)
	}
	if s.Spec.Report != nil {
		v.report(&s.Spec)
	}
	v.previews(&s.Spec)
	for i, name := range s.Spec.DependsOn {
		switch field := at("spec.dependsOn", i); {
		case !IsLabel(name):
			v.add(field, "%s is not the name of a source", quoteShort(name))
		case name == s.Metadata.Name:
			v.add(field, "a source cannot wait for itself: remove it")
		case slices.Index(s.Spec.DependsOn, name) < i:
			v.add(field, "%s is already in the list: remove one", name)
		}
	}
	return v.errs
}

func (v *validator) git(g *GitSource) {
	if err := CheckGitURL(g.URL, true); err != nil {
		v.add("spec.git.url", "%v", err)
	}
	given := 0
	for _, r := range []struct{ field, name string }{{"branch", g.Branch}, {"tag", g.Tag}} {
		if r.name == "" {
			continue
		}
		given++
		if !IsBranch(r.name) {
			v.add("spec.git."+r.field, "%s is not a valid name of a branch or tag: write it without refs/", quoteShort(r.name))
		}
	}
	if g.Commit != "" {
		given++
		if !gitCommit.MatchString(g.Commit) {
			v.add("spec.git.commit", "%s is not a full hash: write 40 hexadecimal digits", quoteShort(g.Commit))
		}
	}
	if g.Semver != "" {
		given++
		if _, err := ParseVersionRange(g.Semver); err != nil {
			v.add("spec.git.semver", "%v", err)
		}
	}
	if given > 1 {
		v.add("spec.git", "has more than one of branch, tag, semver and commit: write one")
	}
	clean := path.Clean("/" + g.Path)
	switch {
	case g.Path == "" || g.Path == ".":
	case strings.HasPrefix(g.Path, "/") || strings.ContainsFunc(g.Path, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(g.Path) > 1000:
		v.add("spec.git.path", "%s is not a path in the repository: write one such as clusters/prod", quoteShort(g.Path))
	case slices.Contains(strings.Split(g.Path, "/"), "..") || clean == "/.git" || strings.HasPrefix(clean, "/.git/"):
		v.add("spec.git.path", "%s leads out of the repository: write a path below it, without ..", quoteShort(g.Path))
	}
}

// notPath does not repeat the value, which may be a secret.
const notPath = "is not the absolute path of a file: write the name of a file on the machines, never the secret itself"

func isPath(file string) bool {
	return strings.HasPrefix(file, "/") && len(file) <= 1000 && !strings.ContainsFunc(file, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// auth checks that the files fit the URL, and that no credential was written where a file's name belongs.
func (v *validator) auth(a *GitAuth, url string) {
	overSSH := strings.HasPrefix(url, "ssh://") || !strings.Contains(url, "://")
	for _, f := range []struct {
		field, file string
		ssh         bool
	}{{"sshKeyFile", a.SSHKeyFile, true}, {"knownHostsFile", a.KnownHostsFile, true}, {"tokenFile", a.TokenFile, false}, {"caFile", a.CAFile, false}} {
		field := "spec.auth." + f.field
		switch {
		case f.file == "":
		case !isPath(f.file):
			v.add(field, notPath)
		case f.ssh != overSSH:
			v.add(field, "is of no use to this URL: remove it, or use a URL of the other kind")
		}
	}
	if overSSH && a.SSHKeyFile != "" && a.KnownHostsFile == "" {
		v.add("spec.auth.knownHostsFile", "missing: without it no server is trusted: ssh-keyscan HOST writes it, compare its keys with those that the server's operator names")
	}
}
