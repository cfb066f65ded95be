package unitfile

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// MatchesNames reports whether the glob can match any unit name.
func (g Glob) MatchesNames() bool {
	switch {
	case g.Exact:
		_, err := ParseName(g.Prefix)
		return err == nil
	case g.oneStar && HasType(g.suffix) && ofNameBytes(g.Prefix) && ofNameBytes(g.suffix):
		return true
	}
	p := scanGlob(g.Pattern)
	before := p.anything()
	return slices.ContainsFunc(unitTypes, func(unitType string) bool {
		at := before
		for _, c := range []byte("." + unitType) {
			at = p.step(at, func(allowed *[256]bool) bool { return allowed[c] })
		}
		return at[len(p)]
	})
}

// NoName says why a glob can match no unit.
func (g Glob) NoName() string {
	text := "matches no unit, because no unit can have such a name: "
	with, _ := ParseGlob(g.Pattern + ".service")
	switch {
	case strings.Contains(g.Pattern, ","):
		return excerpt(g.Pattern) + " " + text + "several are separated by white space, not by commas"
	case with.MatchesNames():
		return excerpt(g.Pattern) + " " + text + "write its type, too, such as " + with.Pattern
	}
	return excerpt(g.Pattern) + " " + text + "write one such as example-app@*.service"
}

func ofNameBytes(s string) bool {
	for i := range len(s) {
		if !nameBytes[s[i]] {
			return false
		}
	}
	return true
}

// globStep is one character of a name that a glob accepts, or with star any number of them.
type globStep struct {
	star    bool
	allowed [256]bool // the bytes of unit names that it accepts
}

type globSteps []globStep

// scanGlob parses a valid glob (path.Match).
func scanGlob(pattern string) (steps globSteps) {
	for len(pattern) > 0 {
		switch pattern[0] {
		case '*':
			steps, pattern = append(steps, globStep{star: true, allowed: nameBytes}), pattern[1:]
		case '?':
			steps, pattern = append(steps, globStep{allowed: nameBytes}), pattern[1:]
		case '[':
			var s globStep
			s.allowed, pattern = scanClass(pattern[1:])
			steps = append(steps, s)
		default:
			var s globStep
			var c rune
			c, pattern = scanCharacter(pattern)
			if c < utf8.RuneSelf {
				s.allowed[c] = nameBytes[c]
			}
			steps = append(steps, s)
		}
	}
	return steps
}

func scanCharacter(s string) (c rune, rest string) {
	s = strings.TrimPrefix(s, `\`)
	c, size := utf8.DecodeRuneInString(s)
	return c, s[size:]
}

// scanClass parses what follows a '['.
func scanClass(s string) (allowed [256]bool, rest string) {
	s, negated := strings.CutPrefix(s, "^")
	var in [256]bool
	for first := true; first || s[0] != ']'; first = false {
		var from, to rune
		from, s = scanCharacter(s)
		if to = from; s[0] == '-' {
			to, s = scanCharacter(s[1:])
		}
		for c := from; c <= to && c < utf8.RuneSelf; c++ {
			in[c] = true
		}
	}
	for c, ok := range nameBytes {
		allowed[c] = ok && in[c] != negated
	}
	return allowed, s[1:]
}

// step returns the positions in the glob that one character leads to, from any of those in at.
func (p globSteps) step(at []bool, takes func(allowed *[256]bool) bool) []bool {
	next := make([]bool, len(p)+1)
	for i := range p {
		if at[i] && takes(&p[i].allowed) {
			if p[i].star {
				next[i] = true
			} else {
				next[i+1] = true
			}
		}
	}
	return p.skip(next)
}

// skip adds the positions behind stars, which may match nothing.
func (p globSteps) skip(at []bool) []bool {
	for i := range p {
		at[i+1] = at[i+1] || at[i] && p[i].star
	}
	return at
}

// anything returns the positions that one or more characters of a unit name lead to.
func (p globSteps) anything() []bool {
	some := func(allowed *[256]bool) bool { return *allowed != [256]bool{} }
	start := make([]bool, len(p)+1)
	start[0] = true
	all := make([]bool, len(p)+1)
	for at := p.step(p.skip(start), some); ; at = p.step(at, some) {
		grown := false
		for i := range at {
			grown = grown || at[i] && !all[i]
			all[i] = all[i] || at[i]
		}
		if !grown {
			return all
		}
	}
}
