package v1

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxUnitName = 255

	// maxText and maxCommand are the maximum size in bytes of one value and of one command line: systemd refuses lines
	// over 1 MiB.
	maxText    = 64 << 10
	maxCommand = 192 << 10
)

var (
	envName       = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	containerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	imageName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,510}$`)
	volumeOptions = regexp.MustCompile(`^[A-Za-z0-9=,_-]+$`)
	prefix        = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)
	urlPath       = regexp.MustCompile(`^/[!-~]*$`)
	sectionName   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)
	metadataText  = regexp.MustCompile(`^[A-Za-z0-9._/@:+-]+$`)
	hexDigest     = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// unitSpecifiers are the specifiers of systemd 252 (systemd.unit(5)).
const unitSpecifiers = "%aAbBCdDEfgGhHiIjJlLmMnNopPqsStTuUvVwWyY"

func at(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

// name checks an App's name, which becomes part of unit names, etcd keys, host names and nginx upstreams.
func (v *validator) name(field, name string) {
	switch {
	case name == "":
		v.add(field, "missing: set a name")
	case !IsLabel(name):
		v.add(field, "%s is not a valid name: use at most 63 lowercase letters, digits and -, beginning and ending with a letter or digit", quoteShort(name))
	}
}

func (v *validator) metadata(m *ObjectMeta) {
	v.keys("metadata.labels", m.Labels)
	v.keys("metadata.annotations", m.Annotations)
}

func (v *validator) keys(field string, texts map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		if !metadataText.MatchString(key) {
			v.add(keyed(field, key), "%s is not a valid key: use letters, digits and . _ / -", quoteShort(key))
		}
	}
}

// text refuses characters that could end a line of a unit file or be invisible in it.
func (v *validator) text(field, s string) bool {
	switch i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 }); {
	case !utf8.ValidString(s):
		v.add(field, "%s is not valid UTF-8", quoteShort(s))
	case i >= 0 && s[i] == '\n':
		v.add(field, "contains a line break: use one line (only spec.env and arguments may have several)")
	case i >= 0:
		v.add(field, "contains the control character %q: remove it", []rune(s[i:])[0])
	default:
		return true
	}
	return false
}

// value refuses what cannot be passed to a process. Line breaks and control characters are allowed: they get escaped.
func (v *validator) value(field, s string) bool {
	switch {
	case !utf8.ValidString(s):
		v.add(field, "%s is not valid UTF-8", quoteShort(s))
	case strings.Contains(s, "\x00"):
		v.add(field, "contains a NUL byte, which cannot be passed to a process: remove it")
	case len(s) > maxText:
		v.add(field, "the value is too long, %d bytes with a limit of %d: put it into a file", len(s), maxText)
	default:
		return true
	}
	return false
}

// noncharacter reports Unicode noncharacters. systemd drops variables that contain one (arguments may).
func noncharacter(r rune) bool { return r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe }

// specifiers checks one line in which systemd expands specifiers.
func (v *validator) specifiers(field, s string) bool {
	return v.text(field, s) && v.percents(field, s)
}

// percents checks that each % begins a systemd specifier.
func (v *validator) percents(field, s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if i+1 == len(s) || strings.IndexByte(unitSpecifiers, s[i+1]) < 0 {
			v.add(field, "%s has a %% that does not begin a systemd specifier: write %%%% for a literal %%", quoteShort(s))
			return false
		}
		i++
	}
	return true
}

// arguments checks the words of a command line in which systemd expands specifiers.
func (v *validator) arguments(field string, words []string) {
	for i, word := range words {
		if v.value(at(field, i), word) {
			v.percents(at(field, i), word)
		}
	}
}

// commandLine checks the size of what becomes one line of a unit file, where a byte can take up to four.
func (v *validator) commandLine(field string, size int) {
	if size > maxCommand {
		v.add(field, "the command line is too long, %d bytes with a limit of %d: move part of it into a file", size, maxCommand)
	}
}

func sizeOf(lists ...[]string) (n int) {
	for _, words := range lists {
		for _, word := range words {
			n += len(word) + len(` ""`)
		}
	}
	return n
}

// command checks a program's path and its arguments.
func (v *validator) command(field string, words []string) {
	if len(words) == 0 || words[0] == "" {
		v.add(field, "missing: set the program's absolute path and its arguments")
		return
	}
	v.arguments(field, words)
	v.commandLine(field, sizeOf(words))
	switch path := words[0]; {
	case !absoluteOrSpecifier(path):
		v.add(at(field, 0), "%s is not an absolute path: begin it with /, or a specifier such as %%t", quoteShort(path))
	case strings.HasSuffix(path, "/"):
		v.add(at(field, 0), "%s is a directory: use the path of a program", quoteShort(path))
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`"'\`, r) }):
		v.add(at(field, 0), "%s contains a quote, a backslash or a control character, which systemd refuses in a program's path: rename the program", quoteShort(path))
	}
}

func absoluteOrSpecifier(path string) bool {
	return strings.HasPrefix(path, "/") || strings.HasPrefix(path, "%") && !strings.HasPrefix(path, "%%")
}

func (v *validator) oneOf(field, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.add(field, "unknown value %s: use one of %s", quoteShort(value), strings.Join(allowed, ", "))
	}
}

func (v *validator) positive(field string, d Duration) {
	if d <= 0 {
		v.add(field, "%s is out of range: use a duration above 0, such as 5s", d)
	}
}

// expandForCheck replaces specifiers with plain characters, so that the form of the rest can be checked.
func expandForCheck(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+1 < len(s) {
			i++
			if s[i] != '%' {
				b.WriteByte('1')
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// IsPrefix reports whether a text is a directory of etcd that may hold endpoints: an absolute path without . and .., and without
// a slash at its end.
func IsPrefix(s string) bool { return prefix.MatchString(s) && path.Clean(s) == s }
