package unitfile

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files")

// seedFiles are the unit files of the Docker Fleet Starter, byte for byte.
func seedFiles(t testing.TB) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, pattern := range []string{"testdata/seed/*.service", "testdata/seed/*/*.service"} {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, p := range paths {
			text, err := os.ReadFile(p)
			require.NoError(t, err)
			files[filepath.ToSlash(strings.TrimPrefix(p, "testdata/seed/"))] = string(text)
		}
	}
	require.Len(t, files, 5)
	return files
}

func TestSeedFilesGolden(t *testing.T) {
	for path, text := range seedFiles(t) {
		t.Run(path, func(t *testing.T) {
			f, err := Parse(text)
			require.NoError(t, err)
			require.Equal(t, text, f.String())

			var b strings.Builder
			for _, o := range f.Options() {
				fmt.Fprintf(&b, "%d [%s] %s=%s\n", o.Line, o.Section, o.Name, o.Value)
				if strings.HasPrefix(o.Name, "Exec") {
					args, err := SplitCommand(o.Value)
					require.NoError(t, err)
					fmt.Fprintf(&b, "  %q\n", args)
				}
			}
			for _, w := range f.Warnings() {
				fmt.Fprintf(&b, "warning: %s\n", w)
			}
			base := filepath.Base(path)
			n, err := ParseName(strings.Replace(base, "@.", "@1.", 1))
			require.NoError(t, err)
			fleet, problems := ParseFleet(f, n)
			require.Empty(t, problems)
			fmt.Fprintf(&b, "fleet:%s\nhash: %s\nfleet hash: %s\n", given(fleet), Hash(text), FleetHash(text))

			golden := "testdata/seed/" + path + ".golden"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(b.String()), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), b.String())
		})
	}
}

func TestParse(t *testing.T) {
	long := strings.Repeat("x", maxLine-1-len("A="))
	for _, tc := range []struct {
		name, text string
		options    []Option
		warnings   []int // lines
	}{
		{"empty", "", nil, nil},
		{"no line end", "[S]\nA=b", []Option{{"S", "A", "b", 2}}, nil},
		{"white space", " [S] \n\t A \t=\t b  c \t\n", []Option{{"S", "A", "b  c", 2}}, nil},
		{"comments", "#A=1\n;B=2\n  # C=3\n[S]\nA=b # no comment\n", []Option{{"S", "A", "b # no comment", 5}}, nil},
		{"equals signs", "[S]\nA=b=c\n", []Option{{"S", "A", "b=c", 2}}, nil},
		{"repeated and empty", "[S]\nA=1\nA=\nA=2\n", []Option{{"S", "A", "1", 2}, {"S", "A", "", 3}, {"S", "A", "2", 4}}, nil},
		{"section again", "[S]\nA=1\n[T]\n[S]\nA=2\n", []Option{{"S", "A", "1", 2}, {"S", "A", "2", 5}}, nil},
		{"continued", "[S]\nA=1\\\n  2\\\n3\nB=4\n", []Option{{"S", "A", "1   2 3", 2}, {"S", "B", "4", 5}}, nil},
		{"comment in a continuation", "[S]\nA=1\\\n# x \\\n ;y\n2\n", []Option{{"S", "A", "1 2", 2}}, nil},
		{"empty line ends a continuation", "[S]\nA=1\\\n\nB=2\n", []Option{{"S", "A", "1", 2}, {"S", "B", "2", 4}}, nil},
		{"continued at the end", "[S]\nA=1\\", []Option{{"S", "A", "1", 2}}, nil},
		{"continued at the end of a line", "[S]\nA=1\\\n", []Option{{"S", "A", "1", 2}}, nil},
		{"escaped backslash continues nothing", "[S]\nA=1\\\\\nB=2\n", []Option{{"S", "A", `1\\`, 2}, {"S", "B", "2", 3}}, nil},
		{"three backslashes continue", "[S]\nA=1\\\\\\\n2\n", []Option{{"S", "A", `1\\ 2`, 2}}, nil},
		{"backslash and blank continue nothing", "[S]\nA=1\\ \nB=2\n", []Option{{"S", "A", `1\`, 2}, {"S", "B", "2", 3}}, nil},
		{"continued header", "[S\\\nT]\nA=1\n", []Option{{"S T", "A", "1", 3}}, nil},
		{"CRLF", "[S]\r\nA=1\\\r\n2\r\nB=3\r\n", []Option{{"S", "A", "1 2", 2}, {"S", "B", "3", 4}}, nil},
		{"CR", "[S]\rA=1\rB=2", []Option{{"S", "A", "1", 2}, {"S", "B", "2", 3}}, nil},
		{"LFCR and an empty line", "[S]\nA=1\\\n\r\nB=2\n", []Option{{"S", "A", "1", 2}, {"S", "B", "2", 4}}, nil},
		{"before any section", "A=1\n[S]\nA=2\n", []Option{{"Unit", "A", "1", 1}, {"S", "A", "2", 3}}, []int{1}},
		{"no equals sign", "[S]\nfoo\nA=1\n", []Option{{"S", "A", "1", 3}}, []int{2}},
		{"no name", "[S]\n=foo\n", nil, []int{2}},
		{"nameless section", "[]\nA=1\nfoo\n[S]\nA=2\n", []Option{{"S", "A", "2", 5}}, []int{1}},
		{"byte order mark", "\ufeff[S]\nA=1\n", []Option{{"S", "A", "1", 2}}, nil},
		{"byte order mark is dropped once", "[S]\n\ufeffA=1\n\ufeffB=2\n", []Option{{"S", "A", "1", 2}, {"S", "\ufeffB", "2", 3}}, nil},
		{"invalid UTF-8 in a comment", "# \xff\n[S]\nA=1\n", []Option{{"S", "A", "1", 3}}, nil},
		{"longest line", "[S]\nA=" + long + "\n", []Option{{"S", "A", long, 2}}, nil},
		{"longest joined line", "[S]\nA=\\\n" + long + "\n", []Option{{"S", "A", long, 2}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := Parse(tc.text)
			require.NoError(t, err)
			require.True(t, f.String() == tc.text)
			require.Equal(t, tc.options, f.Options())
			var lines []int
			for _, w := range f.Warnings() {
				lines = append(lines, w.Line)
			}
			require.Equal(t, tc.warnings, lines)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       ParseError
	}{
		{"NUL", "[S]\r\nA=1\x00B=2\n", ParseError{2, "NUL byte: a unit file is text, remove it"}},
		{"open header", "\n[S\nA=1\n", ParseError{2, `section header "[S" does not end in ']'`}},
		{"lone bracket", "[", ParseError{1, `section header "[" does not end in ']'`}},
		{"text after header", "[S] # x\n", ParseError{1, `section header "[S] # x" does not end in ']'`}},
		{"quote in header", "[S\"]\n", ParseError{1, `section header "[S\"]" contains a quote, a backslash or a control character`}},
		{"quote that begins a header", "['S]\n", ParseError{1, `section header "['S]" contains a quote, a backslash or a control character`}},
		{"first noncharacter", "[S]\nA=\ufdd0\n", ParseError{2, `not valid UTF-8: systemd refuses the whole file, convert it or write the byte as \xNN`}},
		{"last noncharacter of a row", "[S]\nA=\ufdef\n", ParseError{2, `not valid UTF-8: systemd refuses the whole file, convert it or write the byte as \xNN`}},
		{"excerpt of 60 bytes", "[" + strings.Repeat("x", 59), ParseError{1, `section header "[` + strings.Repeat("x", 59) + `" does not end in ']'`}},
		{"excerpt of more", "[" + strings.Repeat("x", 60), ParseError{1, `section header "[` + strings.Repeat("x", 59) + `"... does not end in ']'`}},
		{"invalid UTF-8", "[S]\nA=\xff\n", ParseError{2, `not valid UTF-8: systemd refuses the whole file, convert it or write the byte as \xNN`}},
		{"long line", "[S]\n#" + strings.Repeat("x", maxLine), ParseError{2,
			"line of 1048577 bytes: systemd reads less than 1048576, break it with backslashes or use several options"}},
		{"long joined line", "[S]\nA=1\\\n" + strings.Repeat("x", maxLine-3), ParseError{2,
			"continued line of more than 1048576 bytes: systemd refuses it, use several options"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := Parse(tc.text)
			require.Nil(t, f)
			var e *ParseError
			require.ErrorAs(t, err, &e)
			require.Equal(t, tc.want, *e)
			require.Equal(t, fmt.Sprintf("line %d: %s", e.Line, e.Msg), err.Error())
		})
	}
}

func TestValues(t *testing.T) {
	f, err := Parse("A=0\n[S]\nA=1\nA=2\nB=x\nA=\nA=3\n[T]\nA=4\n[S]\nA=5\nC=1\nC=\n")
	require.NoError(t, err)
	require.Equal(t, []string{"3", "5"}, f.Values("S", "A"))
	require.Equal(t, []string{"0"}, f.Values("Unit", "A"))
	require.Empty(t, f.Values("S", "C"))
	require.Empty(t, f.Values("S", "a"))

	for name, want := range map[string]string{"A": "5", "B": "x", "C": ""} {
		v, ok := f.Value("S", name)
		require.True(t, ok)
		require.Equal(t, want, v)
	}
	_, ok := f.Value("S", "D")
	require.False(t, ok)
}

func TestLifted(t *testing.T) {
	for text, want := range map[string]string{
		"# c\n\nA=\\\n1\nB=2\n[S]\nA=3\n": "# c\n\n[Unit]\nA=\\\n1\nB=2\n[S]\nA=3\n",
		"[Unit]\nA=1\n":                   "[Unit]\nA=1\n",
		"\ufeffA=1":                       "[Unit]\n\ufeffA=1",
		"":                                "",
	} {
		f, err := Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, f.Lifted())
	}
}

// unitText draws texts that are full of what a parser may trip over.
func unitText() *rapid.Generator[string] {
	piece := rapid.SampledFrom([]string{"[S]\n", "[Unit]", "[X-Fleet]\n", "[", "]", "A=", "B = ", "=", "\n", "\r\n", "\r", "\\", "\\\n",
		"\\\\\n", "# c\n", ";c\\\n", " ", "\t", "\ufeff", "x", "é", "\xff", "\x00", "\x01", "\"", "'", "Conflicts=", "Global=true\n"})
	return rapid.Map(rapid.SliceOfN(piece, 0, 30), func(p []string) string { return strings.Join(p, "") })
}

func TestParsePrintIsIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkParse(t, unitText().Draw(t, "text")) })
}

// checkParse holds for every text: it is refused with a line, or kept, and its options build a file that means the same.
func checkParse(t require.TestingT, text string) {
	lines := countLines(text)
	f, err := Parse(text)
	if err != nil {
		var e *ParseError
		require.ErrorAs(t, err, &e)
		require.True(t, 1 <= e.Line && e.Line <= lines, "line %d of %d", e.Line, lines)
		return
	}
	require.Equal(t, text, f.String())
	for _, o := range f.Options() {
		require.True(t, 1 <= o.Line && o.Line <= lines, "line %d of %d", o.Line, lines)
		require.False(t, strings.ContainsAny(o.Section+o.Name+o.Value, "\n\r\x00"))
	}

	lifted, err := Parse(f.Lifted())
	require.NoError(t, err)
	require.Equal(t, withoutLines(f.Options()), withoutLines(lifted.Options()))
	for _, w := range lifted.Warnings() {
		require.NotContains(t, w.Msg, "before any section")
	}

	built, err := FromOptions(f.Options())
	if err != nil { // only what a byte order mark at a later line hides cannot be written again
		require.Contains(t, text, byteOrderMark)
		return
	}
	again, err := Parse(built.String())
	require.NoError(t, err)
	require.Empty(t, again.Warnings())
	require.Equal(t, built.Options(), again.Options())
	require.Equal(t, withoutLines(f.Options()), withoutLines(again.Options()))
}

func withoutLines(options []Option) []Option {
	for i := range options {
		options[i].Line = 0
	}
	return options
}

func FuzzParse(f *testing.F) {
	for _, text := range seedFiles(f) {
		f.Add(text)
	}
	f.Add("A=1\\\n# c\n 2\r\n[S]\rB=\\\\\n")
	f.Fuzz(func(t *testing.T, text string) { checkParse(t, text) })
}

func BenchmarkParse(b *testing.B) {
	text := seedFiles(b)["example-app@.service"]
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSameOptions(t *testing.T) {
	const text = "[Unit]\nDescription=a\n[Service]\nExecStart=/a\nExecStart=/b\n"
	for other, want := range map[string]bool{
		text: true, "# c\n\n[Unit]\n Description = a\n[X]\n[Service]\nExecStart=/a\n[Service]\nExecStart=/b": true,
		"Description=a\n[Service]\nExecStart=/a\nExecStart=/b\n":         true,
		"[Unit]\nDescription=a\n[Service]\nExecStart=/b\nExecStart=/a\n": false,
		"[Unit]\nDescription=a\n[Service]\nExecStart=/a\n":               false,
		"[Unit]\nDescription=a\n[Unit]\nExecStart=/a\nExecStart=/b\n":    false,
		"": false, "[Unit": false,
	} {
		require.Equal(t, want, SameOptions(text, other), "%q", other)
		require.Equal(t, want, SameOptions(other, text), "%q", other)
	}
	require.True(t, SameOptions("[Unit", "[Unit"))
}

// given are the fields of a section that are set.
func given(f Fleet) (text string) {
	v := reflect.ValueOf(f)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			text += fmt.Sprintf(" %s=%v", v.Type().Field(i).Name, v.Field(i))
		}
	}
	return text
}
