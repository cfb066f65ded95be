package v1

import (
	"net/netip"
	"regexp"
	"strings"
)

// LabelPattern matches a lowercase label of a host name (RFC 1123 section 2.1, RFC 1035 section 2.3.4).
const LabelPattern = `^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`

var label = regexp.MustCompile(LabelPattern)

// IsLabel reports whether s is a lowercase host name label, as App names are.
func IsLabel(s string) bool { return label.MatchString(s) }

// IsHost reports whether s is a lowercase host name. A name whose last label is a number must be an IPv4 address:
// resolvers read 010.1 as one.
func IsHost(s string) bool {
	if len(s) > 253 {
		return false
	}
	last := ""
	for last = range strings.SplitSeq(s, ".") {
		if !IsLabel(last) {
			return false
		}
	}
	if strings.Trim(last, "0123456789") == "" {
		a, err := netip.ParseAddr(s)
		return err == nil && a.Is4()
	}
	return true
}

// IsRouteHost reports whether s is a host name, or one with * as its first label.
func IsRouteHost(s string) bool { return IsHost(strings.TrimPrefix(s, "*.")) }
