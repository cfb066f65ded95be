package v1

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// scpLike is ssh's short form, user@host:path.
var scpLike = regexp.MustCompile(`^([A-Za-z0-9._-]+@)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):([^/:][^:]*|/[^/].*)$`)

// CheckGitURL returns why a URL is not one that git is run with; nil if it is. local allows file:// and http://.
//
// git runs programs for some URLs (ext::, and options where a host begins with a dash), so that only a few forms are accepted. No
// error repeats what may be a credential.
func CheckGitURL(text string, local bool) error {
	const forms = "write https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH"
	switch {
	case text == "":
		return fmt.Errorf("no URL: %s", forms)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }):
		return fmt.Errorf("the URL %s has a space, a backslash or a control character: %s", quoteShort(text), forms)
	}
	if !strings.Contains(text, "://") {
		if m := scpLike.FindStringSubmatch(text); m != nil && !strings.HasPrefix(m[1], "-") && !strings.HasPrefix(m[2], "-") && !strings.HasPrefix(m[3], "-") {
			return nil
		}
		return fmt.Errorf("the URL %s is not one that fleet fetches from: %s", quoteShort(text), forms)
	}
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("the URL cannot be read: %s", forms) // the error of Parse has the URL, which may have a password
	}
	_, password := u.User.Password()
	host := u.Hostname()
	switch {
	case password, u.Scheme == "https" && u.User != nil:
		return errors.New("the URL has credentials, which everyone can read who sees the source: remove them, and set auth.tokenFile")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("the URL has a query or a fragment: remove it; branch, tag and path are fields of their own")
	case u.Scheme == "file" && local && host == "" && strings.HasPrefix(u.Path, "/"):
		return nil
	case u.Scheme == "file":
		return fmt.Errorf("file:// is for repositories of the local cluster: %s", forms)
	case u.Scheme != "https" && u.Scheme != "ssh" && (u.Scheme != "http" || !local):
		return fmt.Errorf("%s:// is not accepted: %s", shorten(u.Scheme, 20), forms)
	case host == "" || strings.HasPrefix(host, "-") || strings.HasPrefix(u.User.Username(), "-") || strings.HasPrefix(u.Path, "/-"):
		return fmt.Errorf("the URL %s has no host, or a part that begins with a dash: %s", quoteShort(u.Redacted()), forms)
	}
	return nil
}
