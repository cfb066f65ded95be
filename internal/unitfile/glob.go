package unitfile

import (
	"fmt"
	"path"
	"strings"
)

// Glob is a Conflicts or Replaces glob (Go's path.Match on unit names), classified so that an index can be queried instead of
// matching every unit.
type Glob struct {
	Pattern string

	// Prefix is the beginning of every matching name; "" if unknown.
	Prefix string
	// Exact reports whether Prefix is the only name that matches.
	Exact bool
	// Template, such as example-app@.service for example-app@*.service, means that exactly this template and its instances
	// match; else "".
	Template string

	suffix  string // of Prefix + any characters but '/' + suffix
	oneStar bool
}

// ParseGlob classifies a glob. It returns an error if path.Match would.
func ParseGlob(pattern string) (Glob, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return Glob{}, fmt.Errorf("glob %s is invalid: close every '[' and do not end with '\\'", excerpt(pattern))
	}
	g := Glob{Pattern: pattern}
	prefix, rest := literal(pattern)
	g.Prefix, g.Exact = prefix, rest == ""
	if star, ok := strings.CutPrefix(rest, "*"); ok {
		suffix, tail := literal(star)
		g.oneStar, g.suffix = tail == "", suffix
	}
	if base, ok := strings.CutSuffix(g.Prefix, "@"); ok && g.oneStar && !strings.Contains(base, "@") {
		if n, err := ParseName(g.Prefix + g.suffix); err == nil && n.Template {
			g.Template = n.Full
		}
	}
	return g, nil
}

// Match reports whether the glob names the unit. It is path.Match, faster for the usual shapes.
func (g Glob) Match(name string) bool {
	switch {
	case !strings.HasPrefix(name, g.Prefix):
		return false
	case g.Exact:
		return len(name) == len(g.Prefix)
	case g.oneStar:
		middle, ok := strings.CutSuffix(name[len(g.Prefix):], g.suffix)
		return ok && strings.IndexByte(middle, '/') < 0
	}
	ok, _ := path.Match(g.Pattern, name)
	return ok
}

// literal cuts off a valid glob's beginning up to its first special character, with escapes resolved.
func literal(pattern string) (text, rest string) {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '*', '?', '[':
			return b.String(), pattern[i:]
		case '\\':
			i++
		}
		b.WriteByte(pattern[i])
	}
	return b.String(), ""
}
