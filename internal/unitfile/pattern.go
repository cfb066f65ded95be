package unitfile

import (
	"errors"
	"fmt"
	"strings"
)

// pattern is a value with its specifiers parsed, so that resolving it for a name takes at most one allocation.
type pattern struct {
	parts []part
	named bool // has a specifier that depends on the name
	fixed string
}

// part is a literal, or the specifier spec (n, N, p or i).
type part struct {
	literal string
	spec    byte
}

// parsePattern finds the specifiers. An unknown one is an error and stays in the pattern as text.
func parsePattern(s string) (pattern, error) {
	var p pattern
	var err error
	var literal strings.Builder
	for {
		before, after, found := strings.Cut(s, "%")
		literal.WriteString(before)
		if !found {
			break
		}
		if after == "" {
			err = errors.New("a single % at the end: write %%")
			literal.WriteByte('%')
			break
		}
		switch c := after[0]; c {
		case 'n', 'N', 'p', 'i':
			p.parts = append(p.parts, part{literal: literal.String()}, part{spec: c})
			p.named = true
			literal.Reset()
		case '%':
			literal.WriteByte('%')
		default:
			err = fmt.Errorf("unknown specifier %q: fleet knows %%n, %%N, %%p, %%i and %%%%", "%"+firstRune(after))
			literal.WriteString("%" + after[:1])
		}
		s = after[1:]
	}
	if !p.named {
		p.fixed = literal.String()
		return p, err
	}
	p.parts = append(p.parts, part{literal: literal.String()})
	return p, err
}

func firstRune(s string) string {
	for i := range s {
		if i > 0 {
			return s[:i]
		}
	}
	return s
}

// expand resolves the pattern. In a glob, specifiers expand to literal text: backslashes are escaped.
func (p pattern) expand(n Name, glob bool) string {
	if !p.named {
		return p.fixed
	}
	var b strings.Builder
	size := 0
	for _, part := range p.parts {
		size += len(part.value(n))
	}
	b.Grow(size)
	for _, part := range p.parts {
		v := part.value(n)
		if glob && part.spec != 0 && strings.IndexByte(v, '\\') >= 0 {
			v = strings.ReplaceAll(v, `\`, `\\`)
		}
		b.WriteString(v)
	}
	return b.String()
}

func (p part) value(n Name) string {
	switch p.spec {
	case 'n':
		return n.Full
	case 'N':
		return n.WithoutType()
	case 'p':
		return n.Prefix
	case 'i':
		return n.Instance
	}
	return p.literal
}
