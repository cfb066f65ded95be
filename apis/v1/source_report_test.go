package v1

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReportTarget: where the API of a repository's server is, if the source does not say.
func TestReportTarget(t *testing.T) {
	for _, c := range []struct{ provider, git, url, base, project string }{
		{"github", "https://github.com/team/prod.git", "", "https://api.github.com", "team/prod"},
		{"github", "git@github.com:team/prod.git", "", "https://api.github.com", "team/prod"},
		{"github", "ssh://git@github.example.com:2222/team/prod", "", "https://github.example.com/api/v3", "team/prod"},
		{"gitlab", "https://gitlab.com/group/sub/prod.git", "", "https://gitlab.com/api/v4", "group/sub/prod"},
		{"gitlab", "https://example.com:8443/gitlab/group/prod.git", "https://example.com:8443/gitlab/api/v4/", "https://example.com:8443/gitlab/api/v4", "group/prod"},
		{"gitea", "https://example.com:3000/team/prod.git", "", "https://example.com:3000/api/v1", "team/prod"},
		{"gitea", "https://example.com/git/team/prod.git", "", "https://example.com/git/api/v1", "team/prod"},
		{"gitea", "ssh://git@example.com:2222/team/prod.git", "https://code.example.com/api/v1", "https://code.example.com/api/v1", "team/prod"},
		{"gitea", "file:///srv/team/prod.git", "http://127.0.0.1:3000/api/v1", "http://127.0.0.1:3000/api/v1", "team/prod"},
		{"generic", "file:///srv/prod.git", "https://ci.example.com/x?y=z", "https://ci.example.com/x?y=z", ""},
	} {
		spec := SourceSpec{Git: GitSource{URL: c.git}, Report: &SourceReport{Provider: c.provider, URL: c.url, TokenFile: "/t"}}
		base, project, err := spec.ReportTarget()
		require.NoError(t, err, c)
		require.Equal(t, []string{c.base, c.project}, []string{base, project}, c)
		v := &validator{}
		v.report(&spec)
		require.Empty(t, v.errs, c)
	}
}

// TestReportRefused: what spec.report is refused for; no message repeats what may be a secret.
func TestReportRefused(t *testing.T) {
	const head = "apiVersion: fleet/v1\nkind: Source\nmetadata: {name: prod}\nspec:\n  git: {url: https://github.com/team/prod.git}\n"
	for text, says := range map[string]string{
		"  report: {}\n":                                                                               `line 6: spec.report.provider: "" is not one of github, gitlab, gitea, generic`,
		"  report: {provider: bitbucket}\n":                                                            `line 6: spec.report.provider: "bitbucket" is not one of`,
		"  report: {provider: github}\n":                                                               "line 6: spec.report.tokenFile: missing",
		"  report: {provider: generic}\n":                                                              "line 6: spec.report.url: missing",
		"  report: {provider: github, tokenFile: geheim}\n":                                            "line 6: spec.report.tokenFile: is not the absolute path of a file",
		"  report: {provider: github, tokenFile: /t, secretFile: /s}\n":                                "line 6: spec.report.secretFile: is for provider: generic",
		"  report: {provider: github, tokenFile: /t, url: http://example.com}\n":                       "line 6: spec.report.url: http:// is not encrypted",
		"  report: {provider: github, tokenFile: /t, url: 'https://ada:geheim@example.com'}\n":         "line 6: spec.report.url: has credentials",
		"  report: {provider: gitea, tokenFile: /t, url: 'https://example.com/api/v1?token=geheim'}\n": "line 6: spec.report.url: has a query",
		"  report: {provider: generic, url: 'ftp://example.com/geheim'}\n":                             "line 6: spec.report.url: ftp:// is not accepted",
		"  report: {provider: generic, url: example.com}\n":                                            "line 6: spec.report.url: is not a URL",
		"  report: {provider: generic, url: 'https://example.com/a b'}\n":                              "line 6: spec.report.url: is not a URL",
	} {
		_, err := ParseSource("prod", []byte(head+text))
		require.ErrorContains(t, err, says, text)
		require.NotContains(t, err.Error(), "geheim", text)
	}
	_, err := ParseSource("prod", []byte("apiVersion: fleet/v1\nkind: Source\nmetadata: {name: prod}\nspec:\n  git: {url: file:///prod.git}\n  report: {provider: github, tokenFile: /t}\n"))
	require.ErrorContains(t, err, "line 6: spec.report.url: missing: git.url does not name the server")
	_, err = ParseSource("prod", []byte("apiVersion: fleet/v1\nkind: Source\nmetadata: {name: prod}\nspec:\n  git: {url: https://example.com/prod.git}\n  report: {provider: gitea, tokenFile: /t}\n"))
	require.ErrorContains(t, err, "line 6: spec.report.url: git.url does not end in the owner and the name")
}
