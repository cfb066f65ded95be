package v1

import (
	"errors"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// SourceReport is where the Git server is told what became of a commit.
type SourceReport struct {
	// Provider is the server's API: github, gitlab, gitea (Forgejo, too), or generic for a webhook.
	Provider string `json:"provider"`
	// URL is the base of the API, such as https://git.example.com/api/v1, or the webhook. Default: derived from git.url.
	URL string `json:"url,omitempty"`
	// TokenFile is a file on each machine that can lead, with an access token that may set the status of commits.
	TokenFile string `json:"tokenFile,omitempty"`
	// SecretFile is a file on each machine that can lead, with the secret that the reports to a webhook are signed with, as GitHub
	// signs its webhooks.
	SecretFile string `json:"secretFile,omitempty"`
	// CAFile has the certificates of the server's authority, if that is not a public one.
	CAFile string `json:"caFile,omitempty"`
}

// The values of SourceReport.Provider.
const (
	ProviderGitHub  = "github"
	ProviderGitLab  = "gitlab"
	ProviderGitea   = "gitea"
	ProviderGeneric = "generic"
)

// providers are all of them.
var providers = []string{ProviderGitHub, ProviderGitLab, ProviderGitea, ProviderGeneric}

// The states of a commit, as Git servers call them.
const (
	CommitPending = "pending" // it is being applied, or its apps are not ready yet
	CommitSuccess = "success" // it is applied, and its apps were ready
	CommitFailure = "failure" // it is refused, or the roll-out of one of its apps was taken back
)

// CommitReport is what a Git server is told of a commit.
type CommitReport struct {
	Commit string `json:"commit"`
	// State is pending, success or failure.
	State string `json:"state"`
	// Description says why.
	Description string `json:"description,omitempty"`
	// Time is when the server took it.
	Time time.Time `json:"time,omitzero"`
}

// Reported: the Git server was told what became of the newest commit. False: it could not be told, and is tried again.
const Reported = "Reported"

// ReportTarget is the base of the server's API and the repository's name there, such as team/prod; for a webhook, its URL.
func (s *SourceSpec) ReportTarget() (base, project string, err error) {
	r := s.Report
	if r.Provider == ProviderGeneric {
		return r.URL, "", nil
	}
	scheme, host, file := gitLocation(s.Git.URL)
	base = strings.TrimSuffix(r.URL, "/")
	if host == "" && base == "" {
		return "", "", errors.New("missing: git.url does not name the server: write the base of its API, such as https://git.example.com/api/v1")
	}
	parts := strings.Split(strings.TrimSuffix(strings.Trim(file, "/"), ".git"), "/")
	below := 0
	if r.Provider != ProviderGitLab { // an owner and a repository; a server below a directory has that before them
		below = max(0, len(parts)-2)
	} else if u, err := url.Parse(base); err == nil && base != "" {
		prefix := strings.Split(strings.Trim(strings.TrimSuffix(u.Path, "/api/v4"), "/"), "/")
		if len(prefix) < len(parts) && slices.Equal(prefix, parts[:len(prefix)]) {
			below = len(prefix)
		}
	}
	if len(parts)-below < 2 || slices.Contains(parts, "") || slices.Contains(parts, "..") {
		return "", "", errors.New("git.url does not end in the owner and the name of a repository, such as team/prod, as servers with such an API have them")
	}
	if base == "" {
		base = defaultAPI(r.Provider, scheme+"://"+host, path.Join(parts[:below]...))
	}
	return base, strings.Join(parts[below:], "/"), nil
}

// defaultAPI is the base of a server's API.
func defaultAPI(provider, server, below string) string {
	if server == "https://github.com" {
		return "https://api.github.com"
	}
	version := map[string]string{ProviderGitHub: "api/v3", ProviderGitLab: "api/v4", ProviderGitea: "api/v1"}[provider]
	return server + "/" + path.Join(below, version)
}

// gitLocation is the server of a Git URL, as its web pages are reached, and the path there. Without a server, host is empty.
func gitLocation(text string) (scheme, host, file string) {
	if m := scpLike.FindStringSubmatch(text); m != nil && !strings.Contains(text, "://") {
		return "https", m[2], m[3]
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", "", ""
	}
	switch u.Scheme {
	case "https", "http":
		return u.Scheme, u.Host, u.Path
	case "ssh":
		return "https", u.Hostname(), u.Path // the port is ssh's
	}
	return "", "", u.Path
}

// report checks where to report to.
func (v *validator) report(s *SourceSpec) {
	r := s.Report
	if !slices.Contains(providers, r.Provider) {
		v.add("spec.report.provider", "%s is not one of %s", quoteShort(r.Provider), strings.Join(providers, ", "))
		return
	}
	for _, f := range []struct{ field, file string }{{"tokenFile", r.TokenFile}, {"secretFile", r.SecretFile}, {"caFile", r.CAFile}} {
		if f.file != "" && !isPath(f.file) {
			v.add("spec.report."+f.field, notPath)
		}
	}
	generic := r.Provider == ProviderGeneric
	switch {
	case generic && r.URL == "":
		v.add("spec.report.url", "missing: write the address that takes the reports, such as https://ci.example.com/deployed")
	case r.URL != "":
		if why := reportURLProblem(r.URL, generic); why != "" {
			v.add("spec.report.url", "%s", why)
		}
	}
	switch {
	case generic:
		return
	case r.TokenFile == "":
		v.add("spec.report.tokenFile", "missing: write the name of a file on the machines, with a token that may set the status of commits")
	case r.SecretFile != "":
		v.add("spec.report.secretFile", "is for provider: generic: remove it, a token is enough here")
	}
	if _, _, err := s.ReportTarget(); err != nil {
		v.add("spec.report.url", "%v", err)
	}
}

// reportURLProblem says what is wrong with a URL that tokens are sent to, without repeating what may be a secret; "" if nothing is.
func reportURLProblem(text string, query bool) string {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Host == "", strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "is not a URL: write one such as https://git.example.com/api/v1"
	case u.User != nil:
		return "has credentials, which everyone can read who sees the source: remove them, and set report.tokenFile"
	case u.Fragment != "" || u.RawQuery != "" && !query:
		return "has a query or a fragment: write the base of the API, such as https://git.example.com/api/v1"
	case u.Scheme == "https":
		return ""
	case u.Scheme == "http":
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && a.IsLoopback() {
			return ""
		}
		return "http:// is not encrypted, and is accepted for loopback addresses only: write https://"
	}
	return shorten(u.Scheme, 20) + ":// is not accepted: write https://"
}
