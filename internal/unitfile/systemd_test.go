package unitfile

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// loaded is what systemd itself makes of a unit file.
type loaded struct {
	refused     bool
	description string
	commands    [][]string // $ not yet expanded
}

// loadWithSystemd has systemd-analyze load service unit files and dump what it read.
func loadWithSystemd(t *testing.T, texts []string) []loaded {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd is not installed")
	}
	dir := t.TempDir()
	args := []string{"--user", "verify", "--man=no"}
	for i, text := range texts {
		path := filepath.Join(dir, fmt.Sprintf("t%d.service", i))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		args = append(args, path)
	}
	cmd := exec.Command(analyze, args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir, "XDG_RUNTIME_DIR="+t.TempDir(), "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_COLOR=0")
	var dump, log strings.Builder
	cmd.Stdout, cmd.Stderr = &dump, &log
	_ = cmd.Run() // it fails when one of the units does; dump and log tell which

	results := make([]loaded, len(texts))
	seen := 0
	var current *loaded
	unit := regexp.MustCompile(`^\t-> Unit (?:t(\d+)\.service|.*):$`)
	failed := regexp.MustCompile(`^Unit t(\d+)\.service (?:failed to load properly|has a bad unit file setting)`)
	number := func(s string) *loaded { i, _ := strconv.Atoi(s); return &results[i] }
	for line := range strings.SplitSeq(log.String(), "\n") {
		if m := failed.FindStringSubmatch(line); m != nil {
			number(m[1]).refused = true
			seen++
		}
	}
	for line := range strings.SplitSeq(dump.String(), "\n") {
		if m := unit.FindStringSubmatch(line); m != nil {
			current = nil
			if m[1] != "" {
				current = number(m[1])
				seen++
			}
		} else if current == nil {
			continue
		} else if d, ok := strings.CutPrefix(line, "\t\tDescription: "); ok {
			current.description = d
		} else if c, ok := strings.CutPrefix(line, "\t\t\tCommand Line: "); ok {
			current.commands = append(current.commands, undump(t, c))
		}
	}
	require.Equal(t, len(texts), seen, "%s", log.String())
	return results
}

// undump takes apart a command line as systemd prints it: for a shell, words in double quotes where needed.
func undump(t *testing.T, line string) (words []string) {
	word, quoted, any := "", false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			quoted, any = !quoted, true
		case c == ' ' && !quoted:
			words, word, any = append(words, word), "", false
		case c == '\\' && quoted:
			i++
			if line[i] >= '0' && line[i] <= '7' {
				v, err := strconv.ParseUint(line[i:i+3], 8, 8)
				require.NoError(t, err)
				word, i = word+string([]byte{byte(v)}), i+2
			} else if j := strings.IndexByte("abfnrtv", line[i]); j >= 0 {
				word += "\a\b\f\n\r\t\v"[j : j+1]
			} else {
				word += line[i : i+1]
			}
		default:
			word, any = word+string([]byte{c}), true
		}
	}
	if any {
		words = append(words, word)
	}
	return words
}

// TestSystemdReadsFilesAlike compares Parse with the real thing on tricky and on random files: the same ones are
// refused, and the others say the same.
func TestSystemdReadsFilesAlike(t *testing.T) {
	bodies := []string{
		"[Unit]\nDescription=a\\\n   b\\\n# c\\\n  ;d\n\tc\\\\\n\nDescription\n",
		"[Unit]\nDescription=a\\ \n", "[Unit]\nDescription=a\\", "[Unit]\rDescription=a\r\n", "[Unit]\nDescription=a\\\n\r\nb\n",
		"[Unit]\nDescription=\xff\n", "[Unit]\nDescription=\ufdd0\n", "[Unit]\nDescription=\ufdef\U0001fffe\n", "[Unit]\nDescription=\uffff\n", "[Unit]\nDescription=\ufdcf\ufffd\ufdf0\n", "# \uffff\n", "# \xff\n", "[Unit]\n\ufeffDescription=a\n\ufeffDescription=b\n", "[Unit\n", "[Un\"it]\n", "[]\nDescription=a\n",
		"[Unit]\nDescription=" + strings.Repeat("x", maxLine-1-len("Description=")) + "\n",
		"[Unit]\n#" + strings.Repeat("x", maxLine-1) + "\n",
		"[Unit]\nDescription=\\\n" + strings.Repeat("x", maxLine-len("Description= ")) + "\n",
		"[Unit]\nDescription=x\\\n" + strings.Repeat("x", maxLine-len("Description= ")) + "\n",
	}
	piece := rapid.SampledFrom([]string{"[Unit]\n", "[Unit]", "[X-Fleet]\n", "[", "]", "Description=", "\nDescription = ", "=", "\n", "\r\n", "\r",
		"\\", "\\\n", "\\\n", "\\\\\n", "# c\n", ";c\\\n", " ", "\t", "\ufeff", "x", "y", "é", "\xff", "\x01", "\"", "'", "\n"})
	random := rapid.Map(rapid.SliceOfN(piece, 1, 15), func(p []string) string { return "[Unit]\nDescription=" + strings.Join(p, "") })
	for i := range 150 {
		bodies = append(bodies, random.Example(i))
	}
	var texts []string
	for _, b := range bodies {
		texts = append(texts, "[Service]\nType=oneshot\nExecStart=/bin/true\n"+b)
	}
	refused := 0
	for i, got := range loadWithSystemd(t, texts) {
		f, err := Parse(texts[i])
		require.Equal(t, got.refused, err != nil, "%q: %v", excerpt(bodies[i]), err)
		if err != nil {
			refused++
			continue
		}
		want, _ := f.Value("Unit", "Description")
		if want == "" {
			want = fmt.Sprintf("t%d.service", i)
		}
		require.True(t, want == got.description, "%s: we read %s, systemd %s", excerpt(bodies[i]), excerpt(want), excerpt(got.description))
	}
	require.Less(t, refused, len(bodies)/2)
}

// TestSystemdReadsLiftedFiles: with Lifted systemd sees the options that it would ignore.
func TestSystemdReadsLiftedFiles(t *testing.T) {
	text := "# seed\nDescription=a\\\nb\n\n[Service]\nExecStart=/bin/true\n"
	f, err := Parse(text)
	require.NoError(t, err)
	got := loadWithSystemd(t, []string{text, f.Lifted()})
	require.Equal(t, "t0.service", got[0].description)
	require.Equal(t, "a b", got[1].description)
}

// TestSystemdSplitsCommandsAlike does the same for SplitCommands, and proves Quote.
func TestSystemdSplitsCommandsAlike(t *testing.T) {
	lines := []string{`x"y"z '' "" a\x41b a\qb \u20ac \101 \s \\ $$FOO %% ; /bin/echo two \; z`, `"unbal`, `tail\ `, `'a\q\n' \ud800 z`,
		`a\x00b \000 \400 \U00110000 z`, `";" ;x x; "a" ;`, `"a\q" "unbal\q`, `"tail\\`, `a\xffb`, `\\\q "\\q" \é`,
		`-c "do x '${COREOS_PRIVATE_IPV4}:3000\' --ttl 60"`}
	for _, args := range [][]string{{""}, {"a b", "it's", `"`, `\`, "%n %%", "a\nb\t\r", "\x01\x7f\xff", "é😀", ";", "#", "|", "\u2028", "\ufdd0\uffff\U0010ffff"}} {
		lines = append(lines, Quote(args...))
	}
	piece := rapid.SampledFrom([]string{"a", "b", " ", " ", "\t", "\"", "\"", "'", "\\", "\\", "n", "x41", "u20ac", "U0001F600", "101", "0", "q",
		"s", "%%", "$", "{", "}", " \\; ", "x;", ";x", " ; /bin/echo ", "é", "="})
	random := rapid.Map(rapid.SliceOfN(piece, 1, 12), func(p []string) string { return strings.TrimRight(strings.Join(p, ""), " \t\\") })
	for i := range 150 {
		lines = append(lines, random.Example(i))
	}
	bytes := rapid.Map(rapid.SliceOfN(rapid.ByteRange(1, 255), 0, 12), func(b []byte) string { return string(b) })
	for i := range 50 {
		lines = append(lines, Quote(rapid.SliceOfN(bytes, 1, 4).Example(i)...))
	}
	var texts []string
	for _, l := range lines {
		texts = append(texts, "[Service]\nType=oneshot\nExecStart=/bin/echo "+l+"\nExecStart=/bin/echo last\n")
	}
	refused := 0
	for i, got := range loadWithSystemd(t, texts) {
		f, err := Parse(texts[i])
		require.NoError(t, err)
		want, err := SplitCommands(f.Values("Service", "ExecStart")[0])
		require.Equal(t, got.refused, err != nil, "%q: %v", lines[i], err)
		if err != nil {
			refused++
			continue
		}
		for _, command := range got.commands {
			for j := range command {
				command[j] = undollar(command[j])
			}
		}
		require.Equal(t, append(want, []string{"/bin/echo", "last"}), got.commands, "%q", lines[i])
	}
	require.Less(t, refused, len(lines)/2)
}
