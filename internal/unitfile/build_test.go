package unitfile

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestAdd(t *testing.T) {
	f := New()
	for _, o := range []Option{
		{"Unit", "Description", "An app", 0}, {"Unit", "After", "", 0}, {"Service", "ExecStart", "/bin/true", 0},
		{"Service", "Environment", `"A=b\`, 0}, {"X-Fleet", "Conflicts", "a@*.service", 0}, {"X-Fleet", "Ports", "1 \\\n 2", 0},
	} {
		require.NoError(t, f.Add(o.Section, o.Name, o.Value))
	}
	require.Equal(t, "[Unit]\nDescription=An app\nAfter=\n\n[Service]\nExecStart=/bin/true\nEnvironment=\"A=b\\ \n\n"+
		"[X-Fleet]\nConflicts=a@*.service\nPorts=1 \\\n 2\n", f.String())
	parsed, err := Parse(f.String())
	require.NoError(t, err)
	require.Equal(t, parsed.Options(), f.Options())
	require.Equal(t, []string{"1   2"}, f.Values("X-Fleet", "Ports"))

	all, err := FromOptions([]Option{{"Unit", "Description", "An app", 9}, {"Unit", "After", "", 9}, {"Service", "ExecStart", "/bin/true", 9},
		{"Service", "Environment", `"A=b\`, 9}, {"X-Fleet", "Conflicts", "a@*.service", 9}, {"X-Fleet", "Ports", "1 \\\n 2", 9}})
	require.NoError(t, err)
	require.Equal(t, f, all)
}

func TestAddToParsed(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "[S]\nA=1\n",
		"[S]\nB=2":            "[S]\nB=2\nA=1\n",
		"[S]\nB=2\n":          "[S]\nB=2\nA=1\n",
		"[S]\rB=2\r":          "[S]\rB=2\rA=1\n",
		"[S]\nB=2\\":          "[S]\nB=2\\\n\n\nA=1\n",
		"[S]\nB=2\\\r":        "[S]\nB=2\\\r\n\nA=1\n",
		"[S]\nB=2\\\n# c\\\n": "[S]\nB=2\\\n# c\\\n\n\nA=1\n",
		"[S]\nB=2\n# c\\":     "[S]\nB=2\n# c\\\nA=1\n",
		"[T]\nB=2\n":          "[T]\nB=2\n\n[S]\nA=1\n",
		"B=2\n":               "B=2\n\n[S]\nA=1\n",
		"[]\n":                "[]\n\n[S]\nA=1\n",
	} {
		f, err := Parse(text)
		require.NoError(t, err)
		require.NoError(t, f.Add("S", "A", "1"))
		require.Equal(t, want, f.String())
		parsed, err := Parse(want)
		require.NoError(t, err)
		require.Equal(t, parsed.Options(), f.Options(), "%q", text)
	}
}

func TestAddRefuses(t *testing.T) {
	for _, tc := range []struct{ section, name, value, want string }{
		{"", "A", "1", `option "A" without a section: use, for example, Unit`},
		{"S]\n[T", "A", "1", `section "S]\n[T": quotes, backslashes, control characters and invalid UTF-8 are not allowed`},
		{"S\xff", "A", "1", `section "S\xff": quotes, backslashes, control characters and invalid UTF-8 are not allowed`},
		{"S", "", "1", `section [S], option "": the name is empty`},
		{"S", "A\xff", "1", `section [S], option "A\xff": the name is not valid UTF-8`},
		{"S", "A\nB", "1", `section [S], option "A\nB": the name contains a '=', a line break or a NUL byte`},
		{"S", "A=1", "1", `section [S], option "A=1": the name contains a '=', a line break or a NUL byte`},
		{"S", "A ", "1", `section [S], option "A ": the name has white space around it`},
		{"S", "#A", "1", `section [S], option "#A": the name begins with '#': it would read as a comment or a section header`},
		{"S", ";A", "1", `section [S], option ";A": the name begins with ';': it would read as a comment or a section header`},
		{"S", "[A", "]", `section [S], option "[A": the name begins with '[': it would read as a comment or a section header`},
		{"S", "A", "1\nB=2", `section [S], option "A", value "1\nB=2": it contains a line break (after line 1) without a backslash before it`},
		{"S", "A", "1\\\\\nB=2", `section [S], option "A", value "1\\\\\nB=2": it contains a line break (after line 1) without a backslash before it`},
		{"S", "A", "1\rB=2", `section [S], option "A", value "1\rB=2": it contains a carriage return or a NUL byte`},
		{"S", "A", "1\x00B=2", `section [S], option "A", value "1\x00B=2": it contains a carriage return or a NUL byte`},
		{"S", "A", "1\xff", `section [S], option "A", value "1\xff": it is not valid UTF-8`},
		{"S", "A", " 1", `section [S], option "A", value " 1": systemd would drop the white space around it: quote it`},
		{"S", "A", "1\\\n\\\n#2", `section [S], option "A", value "1\\\n\\\n#2": it would not read back unchanged: comment lines, empty lines and byte order marks cannot be continued`},
		{"S", "A", "1\\\n#2\\\n3", `section [S], option "A", value "1\\\n#2\\\n3": it would not read back unchanged: comment lines, empty lines and byte order marks cannot be continued`},
		{"S", "\ufeffA", "1", `section [S], option "\ufeffA", value "1": it would not read back unchanged: comment lines, empty lines and byte order marks cannot be continued`},
		{"S", "\ufeff[A", "1", `section [S], option "\ufeff[A", value "1": line 2: section header "[A=1" does not end in ']'`},
		{`"S`, "A", "1", `section "\"S": quotes, backslashes, control characters and invalid UTF-8 are not allowed`},
		{"S", "\ufeff[A", "]", `section [S], option "\ufeff[A", value "]": it would not read back unchanged: comment lines, empty lines and byte order marks cannot be continued`},
	} {
		f := New()
		require.EqualError(t, f.Add(tc.section, tc.name, tc.value), tc.want)
		require.Equal(t, New(), f)
		_, err := FromOptions([]Option{{"S", "A", "1", 0}, {tc.section, tc.name, tc.value, 0}})
		require.EqualError(t, err, "option 2: "+tc.want)
	}
}

// TestNoOptionIsInjected: whatever is put in, a file that was built holds the options that were accepted, no other ones.
func TestNoOptionIsInjected(t *testing.T) {
	hostile := rapid.OneOf(unitText(), rapid.String(), rapid.SampledFrom([]string{"A", "S", "Unit", "1\\", "\\\n2"}))
	rapid.Check(t, func(t *rapid.T) {
		f := New()
		if start, err := Parse(unitText().Draw(t, "start")); err == nil && rapid.Bool().Draw(t, "on top") {
			f = start
		}
		want := f.Options()
		for range rapid.IntRange(1, 4).Draw(t, "options") {
			s, n, v := hostile.Draw(t, "section"), hostile.Draw(t, "name"), hostile.Draw(t, "value")
			if rapid.Bool().Draw(t, "only the value") {
				s, n = "S", "A"
			}
			before := f.String()
			if f.Add(s, n, v) != nil {
				require.Equal(t, before, f.String())
				continue
			}
			joined, err := checkValue(v)
			require.NoError(t, err)
			want = append(want, Option{Section: s, Name: n, Value: joined})
		}
		parsed, err := Parse(f.String())
		require.NoError(t, err)
		require.Equal(t, f.Options(), parsed.Options())
		require.Equal(t, withoutLines(want), withoutLines(parsed.Options()))
	})
}

func TestHashes(t *testing.T) {
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", Hash("abc"))
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", HashOf("abc", "named"), "the text that a unit has itself")
	require.Equal(t, "named", HashOf("", "named"))
	require.Equal(t, "9936816f25a659b2b12b116e85777205069365a9", FleetHash("[Unit]\nA=b\n"))
}
