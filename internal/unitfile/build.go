package unitfile

import (
	"errors"
	"fmt"
	"strings"
)

// New returns an empty file for Add.
func New() *File { return &File{lifted: -1} }

// FromOptions builds a file from options in their order, as in the fleet v1 API. The error says which option is refused and
// why; see Add.
func FromOptions(options []Option) (*File, error) {
	f := New()
	var text strings.Builder
	line := 1
	for i, o := range options {
		assignment, value, err := encode(o.Section, o.Name, o.Value)
		if err != nil {
			return nil, fmt.Errorf("option %d: %w", i+1, err)
		}
		head := f.headerFor(o.Section, text.Len() > 0)
		text.WriteString(head)
		text.WriteString(assignment)
		line += strings.Count(head, "\n")
		f.options = append(f.options, Option{Section: o.Section, Name: o.Name, Value: value, Line: line})
		line += strings.Count(assignment, "\n")
		f.section, f.inside = o.Section, true
	}
	f.text = text.String()
	return f, nil
}

// Add appends an assignment, preceded by a section header if the section changes. The text parses back as exactly this
// option. Add refuses what cannot be written that way and leaves the file unchanged: line breaks and NUL bytes, invalid
// UTF-8, white space around name or value, names that would read as a comment or a section header, overlong lines. Quote
// turns arguments with line breaks into a value that can be written.
// header, overlong lines. Quote turns arguments with line breaks into a value that can be written.
//
// One exception serves clients of the original fleet, whose values keep the line breaks of continuations: if all lines of a
// value but the last end in an unescaped backslash, it is written as is, and reads back joined.
func (f *File) Add(section, name, value string) error {
	assignment, joined, err := encode(section, name, value)
	if err != nil {
		return err
	}
	text := f.text
	if text != "" && text[len(text)-1] != '\n' && text[len(text)-1] != '\r' {
		text += "\n"
	}
	if f.dangling { // an empty line ends a continuation; two, because the first may belong to a preceding CR
		text += "\n\n"
	}
	text += f.headerFor(section, text != "")
	f.options = append(f.options, Option{Section: section, Name: name, Value: joined, Line: countLines(text) + 1})
	f.text = text + assignment
	f.section, f.inside, f.dangling = section, true, false
	return nil
}

// headerFor returns the section header to write before an option of the section, "" for none.
func (f *File) headerFor(section string, separate bool) string {
	switch {
	case f.inside && f.section == section:
		return ""
	case separate:
		return "\n[" + section + "]\n"
	default:
		return "[" + section + "]\n"
	}
}

// encode returns the lines of an assignment and the value that they parse back to.
func encode(section, name, value string) (assignment, joined string, err error) {
	switch {
	case section == "":
		return "", "", fmt.Errorf("option %s without a section: use, for example, %s", excerpt(name), SectionUnit)
	case !validText(section) || !safeSection(section) || strings.ContainsRune(section, 0):
		return "", "", fmt.Errorf("section %s: quotes, backslashes, control characters and invalid UTF-8 are not allowed", excerpt(section))
	}
	if err := checkName(name); err != nil {
		return "", "", fmt.Errorf("section [%s], option %s: %w", section, excerpt(name), err)
	}
	joined, err = checkValue(value)
	if err != nil {
		return "", "", fmt.Errorf("section [%s], option %s, value %s: %w", section, excerpt(name), excerpt(value), err)
	}
	assignment = name + "=" + value
	if oddBackslashes(assignment) {
		assignment += " " // trailing white space is dropped, and keeps the backslash from continuing the line
	}
	assignment += "\n"
	if err := readBack("["+section+"]\n"+assignment, Option{section, name, joined, 2}); err != nil {
		return "", "", fmt.Errorf("section [%s], option %s, value %s: %w", section, excerpt(name), excerpt(value), err)
	}
	return assignment, joined, nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case !validText(name):
		return errors.New("the name is not valid UTF-8")
	case strings.ContainsAny(name, "=\n\r\x00"):
		return errors.New("the name contains a '=', a line break or a NUL byte")
	case trim(name) != name:
		return errors.New("the name has white space around it")
	case strings.IndexByte(comments+"[", name[0]) >= 0:
		return fmt.Errorf("the name begins with %q: it would read as a comment or a section header", name[0])
	}
	return nil
}

// checkValue returns the value as it will be read back.
func checkValue(value string) (joined string, err error) {
	switch {
	case !validText(value):
		return "", errors.New("it is not valid UTF-8")
	case strings.ContainsAny(value, "\r\x00"):
		return "", errors.New("it contains a carriage return or a NUL byte")
	case trim(value) != value:
		return "", errors.New("systemd would drop the white space around it: quote it")
	case !strings.Contains(value, "\n"):
		return value, nil
	}
	lines := strings.Split(value, "\n")
	for i, l := range lines[:len(lines)-1] {
		if !oddBackslashes(l) {
			return "", fmt.Errorf("it contains a line break (after line %d) without a backslash before it", i+1)
		}
		lines[i] = l[:len(l)-1] + " "
	}
	return trim(strings.Join(lines, "")), nil
}

// readBack checks that a text parses to exactly the wanted option.
func readBack(text string, want Option) error {
	f, err := Parse(text)
	switch {
	case err != nil:
		return err
	case len(f.options) != 1 || len(f.warnings) != 0 || f.options[0] != want:
		return errors.New("it would not read back unchanged: comment lines, empty lines and byte order marks cannot be continued")
	}
	return nil
}

func countLines(text string) int {
	n := 0
	for rest := 0; rest < len(text); n++ {
		_, rest = cutLine(text, rest)
	}
	return n
}
