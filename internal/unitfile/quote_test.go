package unitfile

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestQuote(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"a", "z", "A", "Z", "0", "9", "-_./:=,@+^~"}, "a z A Z 0 9 -_./:=,@+^~"},
		{[]string{"`", "{", "[", "/", "@"}, "\"`\" \"{\" \"[\" / @"},
		{[]string{"/bin/true"}, "/bin/true"},
		{[]string{"azAZ09", "a`", "a{", "@A", "A[", "0:", "/0"}, "azAZ09 \"a`\" \"a{\" @A \"A[\" 0: /0"},
		{[]string{"a", "", "b c"}, `a "" "b c"`},
		{[]string{`it's`, `"x"`, `a\b`}, `"it's" "\"x\"" "a\\b"`},
		{[]string{"100%", "$HOME", "${A}", "$"}, `100%% "$$HOME" "$${A}" "$$"`},
		{[]string{"a\nb\tc\rd", "\x01\x7f", "\xff", "é\u2028"}, `"a\nb\tc\rd" "\x01\x7f" "\xff" "é` + "\u2028" + `"`},
		{[]string{"x", ";", `\;`, "#", "a\\"}, `x ";" "\\;" "#" "a\\"`},
	} {
		require.Equal(t, tc.want, Quote(tc.args...))
	}
}

func TestSplitCommand(t *testing.T) {
	for _, tc := range []struct {
		line string
		want []string
	}{
		{"", nil},
		{" \t ", nil},
		{"a  b\tc ", []string{"a", "b", "c"}},
		{`x"y"z '' ""`, []string{"xyz", "", ""}},
		{`a 'b "c"' "d 'e'"`, []string{"a", `b "c"`, `d 'e'`}},
		{`a\x41b \u20ac \101 \U0001F600 \s\t\\\"\'`, []string{"aAb", "€", "A", "😀", " \t\\\"'"}},
		{`a\qb "\q" \x00 \000 \400 \U00110000 \xZZ \x4 \é \U00000000 \UZZZZZZZZ \U0000d800`, []string{`a\qb`, `\q`, `\x00`, `\000`, `\400`, `\U00110000`, `\xZZ`, `\x4`, `\é`, `\U00000000`, `\UZZZZZZZZ`, `\U0000d800`}},
		{`\ud800 \udfff \ue000 \xff`, []string{"\xed\xa0\x80", "\xed\xbf\xbf", "\ue000", "\xff"}},
		{`\; a`, []string{`\;`, "a"}},
		{`tail\`, []string{`tail\`}},
		{`a\ b`, []string{`a\ b`}},
		{`100%% %i %%i a%`, []string{"100%", "%i", "%i", "a%"}},
		{`$$ $$A ${B} x$${B} $C$$ a$C $ x$`, []string{"$", "$A", "${B}", "x${B}", "$C$$", "a$C", "$", "x$"}},
		{`x${A$$B}$$ x${A$$`, []string{"x${A$$B}$", "x${A$$"}},
		{`a \; ";" \\; ;b c;`, []string{"a", ";", ";", `\;`, ";b", "c;"}},
		{`a ; `, []string{"a"}},
		{`";" a`, []string{"a"}},
		{`-@/bin/sh x`, []string{"-@/bin/sh", "x"}},
		{`/bin/sh -c "do x '${COREOS_PRIVATE_IPV4}:3000\' --ttl 60"`, []string{"/bin/sh", "-c", "do x '${COREOS_PRIVATE_IPV4}:3000' --ttl 60"}},
	} {
		got, err := SplitCommand(tc.line)
		require.NoError(t, err)
		require.Equal(t, tc.want, got, "%s", tc.line)
	}
	for line, want := range map[string]string{
		`a "b`:    `command line "a \"b": missing closing quote: close it, or write it as \" or \'`,
		`a 'b\'`:  `command line "a 'b\\'": missing closing quote: close it, or write it as \" or \'`,
		`a "b\`:   `command line "a \"b\\": missing closing quote: close it, or write it as \" or \'`,
		"/a ; /b": "several commands in one line: write one option for each",
	} {
		_, err := SplitCommand(line)
		require.EqualError(t, err, want)
	}
	commands, err := SplitCommands(`; a b ; ; c \; ;`)
	require.NoError(t, err)
	require.Equal(t, [][]string{{"a", "b"}, {"c", ";"}}, commands)
}

// TestSplitCommandUndoesQuote also puts the line into a unit file: nothing is lost there either.
func TestSplitCommandUndoesQuote(t *testing.T) {
	hostile := rapid.StringOfN(rapid.SampledFrom([]rune("ab \t\n\r\\\"'$%{};#=-é\u2028\ufeff\x01\x7f")), 0, 12, -1)
	bytes := rapid.Map(rapid.SliceOfN(rapid.ByteRange(1, 255), 0, 12), func(b []byte) string { return string(b) })
	arg := rapid.OneOf(hostile, bytes, rapid.Map(rapid.String(), func(s string) string { return strings.ReplaceAll(s, "\x00", "") }))
	rapid.Check(t, func(t *rapid.T) {
		args := append([]string{"/bin/x"}, rapid.SliceOfN(arg, 0, 5).Draw(t, "args")...)
		line := Quote(args...)
		got, err := SplitCommand(line)
		require.NoError(t, err)
		require.Equal(t, args, got)

		f := New()
		require.NoError(t, f.Add("Service", "ExecStart", line))
		parsed, err := Parse(f.String())
		require.NoError(t, err)
		require.Equal(t, []string{line}, parsed.Values("Service", "ExecStart"))
	})
}

func FuzzSplitCommand(f *testing.F) {
	f.Add(`/bin/sh -c "while true; do x '${COREOS_PRIVATE_IPV4}:3000\' --ttl 60;done"`)
	f.Add(`a \; "\x41\u20ac" 'b' %% $$ ; c ${D$$`)
	f.Fuzz(func(t *testing.T, line string) {
		commands, err := SplitCommands(line)
		if err != nil {
			return
		}
		for _, args := range commands {
			require.NotEmpty(t, args)
			if strings.Contains(strings.Join(args, ""), "\x00") {
				continue
			}
			again, err := SplitCommand(Quote(args...))
			require.NoError(t, err)
			require.Equal(t, args, again)
		}
	})
}
