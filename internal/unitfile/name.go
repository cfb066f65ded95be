package unitfile

import (
	"fmt"
	"slices"
	"strings"
)

// maxName is the longest unit name in bytes: systemd's, and that of a file's name. The original fleet took one more.
const maxName = 255

// unitTypes are the suffixes that fleet takes; templateTypes those of them whose templates it takes.
var (
	unitTypes = []string{"automount", "busname", "device", "mount", "path", "scope", "service", "slice", "snapshot",
		"socket", "swap", "target", "timer"}
	templateTypes = []string{"path", "service", "socket", "target", "timer"}
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

// ParseName takes a unit name apart. It accepts what fleet accepts: at most 255 characters of [A-Za-z0-9:-_.\@], one of
// 13 types, a prefix that is not empty, templates only of type path, service, socket, target and timer.
func ParseName(s string) (Name, error) {
	bad := func(format string, args ...any) (Name, error) {
		return Name{}, fmt.Errorf("unit name %s: %s", excerpt(s), fmt.Sprintf(format, args...))
	}
	if s == "" {
		return bad("it is empty")
	}
	if len(s) > maxName {
		return bad("%d characters, at most %d are allowed", len(s), maxName)
	}
	for i := range len(s) {
		if !nameBytes[s[i]] {
			return bad("character %d is not one of A-Z a-z 0-9 : - _ . \\ @", i+1)
		}
	}
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 {
		return bad("no type, add one such as .service")
	}
	n := Name{Full: s, Prefix: s[:dot], Type: s[dot+1:]}
	if !slices.Contains(unitTypes, n.Type) {
		return bad("unknown type %q, use one of %s", n.Type, strings.Join(unitTypes, ", "))
	}
	at := strings.IndexByte(n.Prefix, '@')
	if at >= 0 {
		n.Prefix, n.Instance = s[:at], s[at+1:dot]
		n.Template = n.Instance == ""
	}
	if n.Prefix == "" {
		return bad("nothing before its '@' or type")
	}
	if n.Template && !slices.Contains(templateTypes, n.Type) {
		return bad("templates of type %s are not supported, only of %s", n.Type, strings.Join(templateTypes, ", "))
	}
	return n, nil
}

// String is the full name.
func (n Name) String() string { return n.Full }

// TemplateName is the name of the template that an instance is made from (example-app@.service); a template's is its
// own. Units without '@' have none: "".
func (n Name) TemplateName() string {
	if n.Instance == "" && !n.Template {
		return ""
	}
	return n.Prefix + "@." + n.Type
}

// WithoutType is the full name without its type: what %N stands for.
func (n Name) WithoutType() string { return n.Full[:max(0, len(n.Full)-len(n.Type)-1)] }

// Expand resolves fleet's specifiers: %n the full name, %N the same without its type, %p the prefix, %i the instance, %%
// a percent sign. Any other one is left as it stands.
func (n Name) Expand(s string) string {
	p, _ := parsePattern(s)
	return p.expand(n, false)
}

// nameBytes tells which bytes may be in a unit name.
var nameBytes = func() (allowed [256]bool) {
	for _, c := range []byte(`ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\@`) {
		allowed[c] = true
	}
	return allowed
}()
