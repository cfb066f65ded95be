// Package unitfile parses, builds and hashes systemd unit files and understands their [X-Fleet] section.
//
// The parser follows systemd 252 (systemd.unit(5), systemd.syntax(7)) and keeps every byte: Parse(x).String() == x. The
// package is pure and imports only the standard library.
package unitfile

import (
	"fmt"
	"slices"
	"strings"
)

// SectionUnit is the section that options before any section header belong to.
const SectionUnit = "Unit"

// Option is one logical assignment: continuation lines are joined, white space around name and value is removed. An empty
// assignment ("After=") is an Option with Value "". Line is the 1-based line where the assignment begins; it is 0 for options
// that do not come from a text.
type Option struct {
	Section string
	Name    string
	Value   string
	Line    int
}

// Warning is something that systemd tolerates, or reads differently.
type Warning struct {
	Line int // 1-based
	Msg  string
}

// String returns "line N: message".
func (w Warning) String() string { return fmt.Sprintf("line %d: %s", w.Line, w.Msg) }

// ParseError is the first place where systemd would refuse to load the file.
type ParseError struct {
	Line int // 1-based
	Msg  string
}

// Error returns "line N: message".
func (e *ParseError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Msg) }

// File is a unit file, with its exact text. A File may be shared by goroutines unless one of them adds to it.
type File struct {
	text     string
	options  []Option
	warnings []Warning
	section  string // the last section in the text
	inside   bool   // whether the text has a section header
	lifted   int    // offset of the first option before any section; -1 if there is none
	dangling bool   // whether the text ends inside a continuation
}

// String returns the exact text that was parsed or built.
func (f *File) String() string { return f.text }

// Warnings lists, in line order, what its author should know about the file.
func (f *File) Warnings() []Warning { return slices.Clone(f.warnings) }

// Options lists the assignments in file order. Options before any section are in [Unit].
func (f *File) Options() []Option { return slices.Clone(f.options) }

// Values returns the values of a list option in order; an empty assignment resets what came before (systemd.unit(5)).
func (f *File) Values(section, name string) []string {
	var values []string
	for _, o := range f.options {
		switch {
		case o.Name != name || o.Section != section:
		case o.Value == "":
			values = nil
		default:
			values = append(values, o.Value)
		}
	}
	return values
}

// Value returns the value of a single-valued option: the last assignment wins, even an empty one. The second result reports
// whether there was any.
func (f *File) Value(section, name string) (string, bool) {
	for _, o := range slices.Backward(f.options) {
		if o.Name == name && o.Section == section {
			return o.Value, true
		}
	}
	return "", false
}

// SameOptions reports whether two texts make the same assignments in the same order: they differ only in comments, white
// space, line breaks and sections without options. Unparsable texts are the same if their bytes are.
func SameOptions(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := Parse(a)
	y, errY := Parse(b)
	return errX == nil && errY == nil && slices.EqualFunc(x.options, y.options, func(o, p Option) bool {
		return o.Section == p.Section && o.Name == p.Name && o.Value == p.Value
	})
}

// Lifted returns the text to write for systemd: with a [Unit] header before options that precede any section, which systemd
// would ignore. Without such options it is the text itself.
func (f *File) Lifted() string {
	if f.lifted < 0 {
		return f.text
	}
	return f.text[:f.lifted] + "[" + SectionUnit + "]\n" + f.text[f.lifted:]
}

// trim removes white space as systemd does around names and values.
func trim(s string) string { return strings.Trim(s, whitespace) }
