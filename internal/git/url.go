package git

import (
	"net/url"
	"regexp"
	"strings"
)

// scpLike is ssh's short form, user@host:path.
var scpLike = regexp.MustCompile(`^([A-Za-z0-9._-]+@)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):([^/:][^:]*|/[^/].*)$`)

// CheckURL returns why a URL is not one that git is run with; nil if it is. local allows file://.
//
// git runs programs for some URLs (ext::, and options where a host begins with a dash), so that only a few forms are accepted.
func CheckURL(text string, local bool) error {
	_, err := (&Git{Options: Options{Local: local}}).checkURL(text)
	return err
}

func (g *Git) checkURL(text string) (string, error) {
	const forms = "write https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH"
	switch {
	case text == "":
		return "", fail(InvalidURL, "no URL: %s", forms)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }):
		return "", fail(InvalidURL, "the URL %q has a space, a backslash or a control character: %s", Printable(text, 80), forms)
	}
	if !strings.Contains(text, "://") {
		if m := scpLike.FindStringSubmatch(text); m != nil && !strings.HasPrefix(m[1], "-") && !strings.HasPrefix(m[2], "-") && !strings.HasPrefix(m[3], "-") {
			return text, nil
		}
		return "", fail(InvalidURL, "the URL %q is not one that fleet fetches from: %s", Printable(text, 80), forms)
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", fail(InvalidURL, "the URL cannot be read: %s", forms) // the error of Parse has the URL, which may have a password
	}
	_, password := u.User.Password()
	host := u.Hostname()
	switch {
	case password, u.Scheme == "https" && u.User != nil:
		return "", fail(InvalidURL, "the URL has credentials, which everyone can read who sees the source: remove them, and set auth.tokenFile")
	case u.RawQuery != "" || u.Fragment != "":
		return "", fail(InvalidURL, "the URL has a query or a fragment: remove it; branch, tag and path are fields of their own")
	case u.Scheme == "file" && g.Local && host == "" && strings.HasPrefix(u.Path, "/"):
		return text, nil
	case u.Scheme == "file":
		return "", fail(InvalidURL, "file:// is for repositories of the local cluster: %s", forms)
	case u.Scheme != "https" && u.Scheme != "ssh" && (u.Scheme != "http" || !g.Local):
		return "", fail(InvalidURL, "%s:// is not accepted: %s", Printable(u.Scheme, 20), forms)
	case host == "" || strings.HasPrefix(host, "-") || strings.HasPrefix(u.User.Username(), "-") || strings.HasPrefix(u.Path, "/-"):
		return "", fail(InvalidURL, "the URL %q has no host, or a part that begins with a dash: %s", Printable(u.Redacted(), 80), forms)
	}
	return text, nil
}
