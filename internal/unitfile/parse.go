package unitfile

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	whitespace    = " \t\n\r"
	comments      = "#;"
	byteOrderMark = "\ufeff"

	// maxLine is systemd's LONG_LINE_MAX in bytes: a physical line stays below it, a joined one does not exceed it.
	maxLine = 1 << 20
)

// Parse parses a unit file like systemd 252. The error is a *ParseError: for a text that systemd would not load (broken
// section header, invalid UTF-8 outside comments, overlong line), or one with a NUL byte, which systemd would take for the
// end of a line. Everything else is accepted; Warnings lists what systemd would ignore.
func Parse(text string) (*File, error) {
	if i := strings.IndexByte(text, 0); i >= 0 {
		return nil, &ParseError{Line: lineAt(text, i), Msg: "NUL byte: a unit file is text, remove it"}
	}
	f := &File{text: text, lifted: -1}
	p := parser{File: f}
	if err := p.run(); err != nil {
		return nil, err
	}
	return f, nil
}

type parser struct {
	*File
	lines   int  // physical lines read
	bom     bool // the one byte order mark that systemd drops was seen
	ignored bool // inside a section that systemd ignores as a whole

	joining   bool
	joined    []byte // the continued lines read so far
	joinLine  int    // the line on which they began
	joinStart int    // and its offset
}

func (p *parser) run() error {
	for rest := 0; rest < len(p.text); {
		line, next := cutLine(p.text, rest)
		p.lines++
		if err := p.line(line, rest); err != nil {
			return err
		}
		rest = next
	}
	if p.joining { // a continuation at the end of the file still counts
		p.dangling = true
		return p.finishJoin()
	}
	return nil
}

// line takes one physical line: comments are dropped even inside a continuation; lines that end in an unescaped backslash
// wait for the next one.
func (p *parser) line(line string, start int) error {
	if len(line) >= maxLine {
		return p.fail(p.lines, "line of %d bytes: systemd reads less than %d, break it with backslashes or use several options", len(line), maxLine)
	}
	if s := strings.TrimLeft(line, whitespace); s != "" && strings.IndexByte(comments, s[0]) >= 0 {
		return nil
	}
	if !p.bom {
		line, p.bom = strings.CutPrefix(line, byteOrderMark)
	}
	more := oddBackslashes(line)
	if !more && !p.joining {
		return p.logical(line, p.lines, start)
	}
	if !p.joining {
		p.joining, p.joinLine, p.joinStart = true, p.lines, start
	}
	if len(p.joined)+len(line) > maxLine {
		return p.fail(p.joinLine, "continued line of more than %d bytes: systemd refuses it, use several options", maxLine)
	}
	p.joined = append(p.joined, line...)
	if more {
		p.joined[len(p.joined)-1] = ' '
		return nil
	}
	return p.finishJoin()
}

func (p *parser) finishJoin() error {
	line := string(p.joined)
	p.joined, p.joining = p.joined[:0], false
	return p.logical(line, p.joinLine, p.joinStart)
}

// logical takes a whole assignment or section header; start is its offset in the text.
func (p *parser) logical(l string, line, start int) error {
	l = trim(l)
	if l == "" {
		return nil
	}
	if !validText(l) {
		return p.fail(line, "not valid UTF-8: systemd refuses the whole file, convert it or write the byte as \\xNN")
	}
	if l[0] == '[' {
		return p.header(l, line)
	}
	name, value, found := strings.Cut(l, "=")
	switch {
	case p.ignored:
		return nil
	case !found:
		p.warn(line, "no '=' in %s: systemd ignores the line", excerpt(l))
		return nil
	case name == "":
		p.warn(line, "no option name before '=': systemd ignores the line")
		return nil
	}
	section := p.section
	if !p.inside {
		section = SectionUnit
		p.warn(line, "%s= before any section: read as part of [%s]; write [%s] above it", excerpt(trim(name)), SectionUnit, SectionUnit)
		if p.lifted < 0 {
			p.lifted = start
		}
	}
	p.options = append(p.options, Option{Section: section, Name: trim(name), Value: trim(value), Line: line})
	return nil
}

func (p *parser) header(l string, line int) error {
	if l[len(l)-1] != ']' {
		return p.fail(line, "section header %s does not end in ']'", excerpt(l))
	}
	name := l[1 : len(l)-1]
	if !safeSection(name) {
		return p.fail(line, "section header %s contains a quote, a backslash or a control character", excerpt(l))
	}
	if name == "" {
		p.warn(line, "section without a name: systemd ignores everything in it")
	}
	p.section, p.inside, p.ignored = name, true, name == ""
	return nil
}

func (p *parser) warn(line int, format string, args ...any) {
	p.warnings = append(p.warnings, Warning{Line: line, Msg: fmt.Sprintf(format, args...)})
}

func (p *parser) fail(line int, format string, args ...any) error {
	return &ParseError{Line: line, Msg: fmt.Sprintf(format, args...)}
}

// cutLine returns the line that begins at start and the start of the next one. Like systemd it ends a line at LF, at CR, and
// at one of each in either order.
func cutLine(text string, start int) (line string, next int) {
	i := strings.IndexAny(text[start:], "\n\r")
	if i < 0 {
		return text[start:], len(text)
	}
	end := start + i
	next = end + 1
	if next < len(text) && text[next] != text[end] && (text[next] == '\n' || text[next] == '\r') {
		next++
	}
	return text[start:end], next
}

// validText is systemd's utf8_is_valid, which also refuses noncharacters.
func validText(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, noncharacter) }

func noncharacter(r rune) bool { return r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe }

func lineAt(text string, offset int) int {
	n, rest := 1, 0
	for {
		if _, rest = cutLine(text, rest); rest > offset || rest == len(text) {
			return n
		}
		n++
	}
}

// oddBackslashes reports whether the last character is a backslash that is not itself escaped.
func oddBackslashes(s string) bool {
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1
}

// safeSection is systemd's string_is_safe: no control characters, quotes or backslashes.
func safeSection(name string) bool {
	return strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\'' || r == '\\' }) < 0
}

// excerpt quotes the beginning of a text for a message.
func excerpt(s string) string {
	const limit = 60
	if len(s) <= limit {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q...", strings.ToValidUTF8(s[:limit], ""))
}
