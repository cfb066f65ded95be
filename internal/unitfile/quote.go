package unitfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Quote writes arguments as one command line for ExecStart= and similar options, so that systemd passes exactly these to the
// process: systemd.syntax(7) "Quoting", with '%' and '$' doubled against specifiers and variables (systemd.service(5)). The
// result never contains a line break. Two things cannot be expressed: a NUL byte, which no process can be given, and a first
// argument that begins with one of systemd's prefixes "@-:+!" or is ";".
func Quote(args ...string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		quoteArg(&b, a)
	}
	return b.String()
}

func quoteArg(b *strings.Builder, arg string) {
	bare := arg != ""
	for i := 0; bare && i < len(arg); i++ {
		bare = bareByte(arg[i])
	}
	if bare {
		b.WriteString(strings.ReplaceAll(arg, "%", "%%"))
		return
	}
	b.WriteByte('"')
	for i := 0; i < len(arg); {
		r, size := utf8.DecodeRuneInString(arg[i:])
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '%' || r == '$':
			b.WriteRune(r)
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < ' ' || r == 0x7f || r == utf8.RuneError && size == 1 || noncharacter(r):
			for _, c := range []byte(arg[i : i+size]) {
				fmt.Fprintf(b, `\x%02x`, c)
			}
		default:
			b.WriteString(arg[i : i+size])
		}
		i += size
	}
	b.WriteByte('"')
}

// bareByte reports whether a byte needs no quotes in a command line.
func bareByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-_./:=,@+%^~", c) >= 0
}

// SplitCommand splits the value of ExecStart= and similar options into the arguments that systemd passes to the process:
// quotes and escapes are resolved, "%%" and "$$" halved. Specifiers such as %i and variables such as ${HOME} are kept; so is
// a prefix of the first argument. An unknown escape keeps its backslash, as in systemd. Several commands in one line,
// separated by " ; ", are an error.
func SplitCommand(line string) ([]string, error) {
	commands, err := SplitCommands(line)
	switch {
	case err != nil:
		return nil, err
	case len(commands) > 1:
		return nil, errors.New("several commands in one line: write one option for each")
	case len(commands) == 0:
		return nil, nil
	}
	return commands[0], nil
}

// SplitCommands is SplitCommand for lines that may contain several commands.
func SplitCommands(line string) ([][]string, error) {
	var commands [][]string
	var args []string
	end := func() {
		if len(args) > 0 {
			commands = append(commands, args)
		}
		args = nil
	}
	for rest := line; ; {
		rest = strings.TrimLeft(rest, whitespace)
		if rest == "" {
			end()
			return commands, nil
		}
		token := rest[:wordEnd(rest)]
		if token == ";" {
			end()
			rest = rest[1:]
			continue
		}
		if token == `\;` && len(args) > 0 {
			args, rest = append(args, ";"), rest[2:]
			continue
		}
		word, after, err := cutWord(rest)
		if err != nil {
			return nil, fmt.Errorf("command line %s: %w", excerpt(line), err)
		}
		rest = after
		if word == ";" && len(args) == 0 {
			continue // systemd takes even a quoted one as a separator here
		}
		args = append(args, undollar(strings.ReplaceAll(word, "%%", "%")))
	}
}

// wordEnd is where white space or the end follows, ignoring quotes.
func wordEnd(s string) int {
	if i := strings.IndexAny(s, whitespace); i >= 0 {
		return i
	}
	return len(s)
}

var errUnbalanced = errors.New("missing closing quote: close it, or write it as \\\" or \\'")

// cutWord cuts the first word off s. Quotes may start anywhere in a word.
func cutWord(s string) (word, rest string, err error) {
	var b []byte
	quote := byte(0)
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\\':
			var n int
			b, n = unescape(b, s[i+1:])
			i += 1 + n
		case quote != 0 && c == quote:
			quote = 0
			i++
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
			i++
		case quote == 0 && strings.IndexByte(whitespace, c) >= 0:
			return string(b), s[i:], nil
		default:
			b = append(b, c)
			i++
		}
	}
	if quote != 0 {
		return "", "", errUnbalanced
	}
	return string(b), "", nil
}

// unescape resolves the escape that follows a backslash and returns its length. Anything that is not an escape stays, with
// its backslash.
func unescape(b []byte, s string) ([]byte, int) {
	if s == "" {
		return append(b, '\\'), 0
	}
	const plain, meaning = `abfnrtv\"'s`, "\a\b\f\n\r\t\v\\\"' "
	if i := strings.IndexByte(plain, s[0]); i >= 0 {
		return append(b, meaning[i]), 1
	}
	numeric := func(start, length, base int, limit uint64) (uint64, bool) {
		if len(s) < start+length {
			return 0, false
		}
		v, err := strconv.ParseUint(s[start:start+length], base, 32)
		return v, err == nil && v != 0 && v <= limit
	}
	switch s[0] {
	case 'x':
		if v, ok := numeric(1, 2, 16, 0xff); ok {
			return append(b, byte(v)), 3
		}
	case 'u':
		if v, ok := numeric(1, 4, 16, 0xffff); ok {
			return appendRune(b, rune(v)), 5
		}
	case 'U':
		if v, ok := numeric(1, 8, 16, utf8.MaxRune); ok && utf8.ValidRune(rune(v)) {
			return appendRune(b, rune(v)), 9
		}
	case '0', '1', '2', '3', '4', '5', '6', '7':
		if v, ok := numeric(0, 3, 8, 0xff); ok {
			return append(b, byte(v)), 3
		}
	}
	_, size := utf8.DecodeRuneInString(s)
	return append(append(b, '\\'), s[:size]...), size
}

// appendRune is utf8.AppendRune, but like systemd encodes surrogates as they are.
func appendRune(b []byte, r rune) []byte {
	if 0xd800 <= r && r <= 0xdfff {
		return append(b, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
	}
	return utf8.AppendRune(b, r)
}

// undollar halves "$$", as variable expansion does, and keeps the variables.
func undollar(word string) string {
	if strings.IndexByte(word, '$') < 0 {
		return word
	}
	if len(word) > 1 && word[0] == '$' && word[1] != '$' && word[1] != '{' {
		return word // the whole word is a variable
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(word, '$')
		if i < 0 || i+1 == len(word) {
			break
		}
		switch word[i+1] {
		case '$':
			b.WriteString(word[:i+1])
			word = word[i+2:]
			continue
		case '{':
			if end := strings.IndexByte(word[i:], '}'); end >= 0 {
				b.WriteString(word[:i+end+1])
				word = word[i+end+1:]
				continue
			}
			return b.String() + word
		}
		b.WriteString(word[:i+1])
		word = word[i+1:]
	}
	return b.String() + word
}
