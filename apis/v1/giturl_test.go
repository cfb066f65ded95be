package v1

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGitURLs: git runs a program for some URLs, and takes some hosts for options.
func TestGitURLs(t *testing.T) {
	for _, url := range []string{"https://example.com/a.git", "https://example.com:8443/a/b", "ssh://git@example.com/a.git", "ssh://git@example.com:2222/~/a",
		"git@example.com:team/a.git", "example.com:a", "git@[::1]:a.git"} {
		require.NoError(t, CheckGitURL(url, false), url)
	}
	for url, says := range map[string]string{
		"":                                   "no URL",
		"ext::sh -c touch% /tmp/x":           "a space",
		"ext::sh":                            "not one that fleet fetches from",
		"ext::touch":                         "not one that fleet fetches from",
		"--upload-pack=touch":                "not one that fleet fetches from",
		"-oProxyCommand=x:y":                 "not one that fleet fetches from",
		"git@-oProxyCommand=x:y":             "not one that fleet fetches from",
		"ssh://-oProxyCommand=touch/x":       "begins with a dash",
		"ssh://-l@example.com/x":             "begins with a dash",
		"ssh://git@example.com/--upload":     "begins with a dash",
		"git@example.com:-x":                 "not one that fleet fetches from",
		"https://example.com/a\nb":           "control character",
		"https://ada:geheim@example.com/a":   "credentials",
		"https://geheim@example.com/a":       "credentials",
		"ssh://git:geheim@example.com/a":     "credentials",
		"https://example.com/a?token=geheim": "query",
		"file:///etc":                        "file://",
		"http://example.com/a":               "http:// is not accepted",
		"git://example.com/a":                "git:// is not accepted",
		"fd::17":                             "not one that fleet fetches from",
		"/etc":                               "not one that fleet fetches from",
		"https:///a":                         "no host",
		"https://exa%mple.com/":              "cannot be read",
	} {
		err := CheckGitURL(url, false)
		require.Error(t, err, url)
		require.Contains(t, err.Error(), says, url)
		require.NotContains(t, err.Error(), "geheim")
	}
	require.NoError(t, CheckGitURL("file:///srv/a.git", true))
	require.Error(t, CheckGitURL("file://host/srv/a.git", true))
}

func FuzzGitURL(f *testing.F) {
	for _, url := range []string{"https://example.com/a.git", "git@example.com:a", "ext::sh", "--x", "ssh://git@h/p"} {
		f.Add(url)
	}
	f.Fuzz(func(t *testing.T, url string) {
		if CheckGitURL(url, false) != nil {
			return
		}
		require.False(t, strings.HasPrefix(url, "-"))
		require.NotContains(t, url, "::"+"\x00")
		require.NotRegexp(t, `^[a-zA-Z0-9]+::`, url, "a remote helper")
		require.NotContains(t, url, "\n")
	})
}
