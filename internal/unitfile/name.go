package unitfile

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxName is the longest unit name in bytes: systemd's limit, and that of file names. The original fleet allowed one more.
const maxName = 255

var (
	// unitTypes are the types of units that come from files; templateTypes those of them that may be templates and their
	// instances (unit_type_may_template in systemd).
	unitTypes     = []string{"automount", "device", "mount", "path", "service", "slice", "socket", "swap", "target", "timer"}
	templateTypes = []string{"path", "service", "socket", "target", "timer"}
	// pathTypes are named after a path, see systemd-escape(1).
	pathTypes = []string{"automount", "mount", "swap"}
	// retiredTypes were accepted by the original fleet, and no current systemd runs them from a file.
	retiredTypes = map[string]string{
		"busname":  "systemd has no busname units since version 232",
		"snapshot": "systemd has no snapshot units since version 228",
		"scope":    "a scope has no unit file, systemd makes it for processes that run already",
	}
)

// Name is a unit name in its parts (systemd.unit(5)): example-app@1.service has the Prefix example-app, the Instance 1
// and the Type service.
type Name struct {
	Full     string
	Prefix   string // before the first '@', or all but the type
	Instance string // between the first '@' and the type, "" for templates and plain units
	Type     string // without the dot
	Template bool   // example-app@.service
}

// ParseName parses a unit name. It is the only rule for names, wherever they come from, and accepts no name that systemd
// refuses: a single one would make systemd refuse a whole call with other names. At most 255 characters of [A-Za-z0-9:-_.\@],
// a prefix that is not empty, a type that has unit files, templates and instances only of type path, service, socket, target
// and timer, a path for a mount, an automount and a swap, no empty parts in a slice.
func ParseName(s string) (Name, error) {
	n, err := parseName(s)
	if err != nil {
		return Name{}, fmt.Errorf("unit name %s: %w", excerpt(s), err)
	}
	return n, nil
}

func parseName(s string) (Name, error) {
	if s == "" {
		return Name{}, errors.New("it is empty")
	}
	if len(s) > maxName {
		return Name{}, fmt.Errorf("%d characters, at most %d are allowed", len(s), maxName)
	}
	for i := range len(s) {
		if !nameBytes[s[i]] {
			return Name{}, fmt.Errorf("character %d is not one of A-Z a-z 0-9 : - _ . \\ @", i+1)
		}
	}
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 {
		return Name{}, errors.New("no type, add one such as .service")
	}
	n := Name{Full: s, Prefix: s[:dot], Type: s[dot+1:]}
	at := strings.IndexByte(n.Prefix, '@')
	if at >= 0 {
		n.Prefix, n.Instance = s[:at], s[at+1:dot]
		n.Template = n.Instance == ""
	}
	if n.Prefix == "" {
		return Name{}, errors.New("nothing before its '@' or type")
	}
	return n, n.checkType(at >= 0)
}

// checkType checks a name against the rules of its type.
func (n Name) checkType(at bool) error {
	why, retired := retiredTypes[n.Type]
	switch {
	case retired:
		return fmt.Errorf("%s: use one of %s", why, strings.Join(unitTypes, ", "))
	case !slices.Contains(unitTypes, n.Type):
		return fmt.Errorf("unknown type %q, use one of %s", n.Type, strings.Join(unitTypes, ", "))
	case n.Template && !slices.Contains(templateTypes, n.Type):
		return fmt.Errorf("templates of type %s are not supported, only of %s", n.Type, strings.Join(templateTypes, ", "))
	case at && slices.Contains(pathTypes, n.Type):
		return fmt.Errorf(`units of type %s have no instances: write an '@' of the path as \x40`, n.Type)
	case at && !slices.Contains(templateTypes, n.Type):
		return fmt.Errorf("units of type %s have no instances: remove the '@'", n.Type)
	case slices.Contains(pathTypes, n.Type) && !isEscapedPath(n.Prefix):
		return fmt.Errorf("%s is not an escaped path: units of type %s are named after their path, such as srv-data.%s for /srv/data (systemd-escape --path)", excerpt(n.Prefix), n.Type, n.Type)
	case n.Type == "slice" && !isSlice(n.Prefix):
		return errors.New("a slice is named after the slices that it is in, with one '-' between them, such as web-api.slice")
	}
	return nil
}

// isSlice is systemd's slice_name_is_valid.
func isSlice(prefix string) bool {
	return prefix == "-" || !strings.HasPrefix(prefix, "-") && !strings.HasSuffix(prefix, "-") && !strings.Contains(prefix, "--")
}

// isEscapedPath is systemd's unit_name_path_unescape: '-' stands for '/', \xNN for a byte, and the path is normalized.
func isEscapedPath(prefix string) bool {
	if prefix == "-" {
		return true
	}
	path, ok := unescapePath(prefix)
	if !ok {
		return false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

func unescapePath(prefix string) (string, bool) {
	var path []byte
	for i := 0; i < len(prefix); i++ {
		switch c := prefix[i]; c {
		case '-':
			path = append(path, '/')
		case '\\':
			if len(prefix) < i+4 || prefix[i+1] != 'x' {
				return "", false
			}
			b, err := strconv.ParseUint(prefix[i+2:i+4], 16, 8)
			if err != nil || b == 0 {
				return "", false
			}
			path = append(path, byte(b))
			i += 3
		default:
			path = append(path, c)
		}
	}
	return string(path), true
}

// HasType reports whether a name ends with a unit type, including types without unit files.
func HasType(s string) bool {
	unitType := s[strings.LastIndexByte(s, '.')+1:]
	_, retired := retiredTypes[unitType]
	return len(unitType) < len(s) && (retired || slices.Contains(unitTypes, unitType))
}

// OnceValid reports whether earlier versions accepted a name that ParseName refuses: they may have left files for it.
func OnceValid(s string) bool {
	if _, err := ParseName(s); err == nil || !HasType(s) || len(s) > maxName || s[0] == '@' || s[0] == '.' && strings.Count(s, ".") == 1 {
		return false
	}
	return !slices.ContainsFunc([]byte(s), func(c byte) bool { return !nameBytes[c] })
}

// String returns the full name.
func (n Name) String() string { return n.Full }

// TemplateName is the name of the template that an instance is made from (example-app@.service); a template's is itself.
// Units without '@' have none: "".
func (n Name) TemplateName() string {
	if n.Instance == "" && !n.Template {
		return ""
	}
	return n.Prefix + "@." + n.Type
}

// WithoutType is the full name without its type, which %N stands for.
func (n Name) WithoutType() string { return n.Full[:max(0, len(n.Full)-len(n.Type)-1)] }

// Expand resolves fleet's specifiers: %n the full name, %N the same without its type, %p the prefix, %i the instance, %% a
// percent sign. Others are left as they are.
func (n Name) Expand(s string) string {
	p, _ := parsePattern(s)
	return p.expand(n, false)
}

// nameBytes are the bytes that may be in a unit name.
var nameBytes = func() (allowed [256]bool) {
	for _, c := range []byte(`ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\@`) {
		allowed[c] = true
	}
	return allowed
}()
