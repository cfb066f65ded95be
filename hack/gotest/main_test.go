package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const tests = `package x

import "testing"

func TestPasses(t *testing.T) { t.Log("not shown") }
func TestSkips(t *testing.T) { t.Skip("there is no such thing here") }
func TestParent(t *testing.T) {
	t.Run("skips", func(t *testing.T) { t.SkipNow() })
	t.Run("FAILS", func(t *testing.T) { t.Log("it is shown"); if FAILS { t.Error("what is wrong") } })
}
`

// gotest runs the tool over a small package and returns its output.
func gotest(t *testing.T, fails, strict bool, flags ...string) (string, int) {
	t.Helper()
	dir := t.TempDir()
	text := strings.NewReplacer("if FAILS {", map[bool]string{true: "if true {", false: "if false {"}[fails]).Replace(tests)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module x\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x_test.go"), []byte(text), 0o644))
	t.Chdir(dir)
	printed, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	before := os.Stdout
	os.Stdout = printed
	defer func() { os.Stdout = before }()
	code := run(append(flags, "--", "."), options{strict: strict})
	out, err := os.ReadFile(printed.Name())
	require.NoError(t, err)
	return regexp.MustCompile(`\d+\.\d+s`).ReplaceAllString(string(out), "0s"), code
}

const summary = "skipped tests: 2\n  x TestSkips: x_test.go:6: there is no such thing here\n  x TestParent/skips: no reason given\n"

func TestSkipsAreNamed(t *testing.T) {
	out, code := gotest(t, false, false, "-count=1")
	require.Equal(t, "ok  \tx\t0s\n"+summary, out)
	require.Zero(t, code)
	out, code = gotest(t, false, true, "-count=1")
	require.Equal(t, "ok  \tx\t0s\n"+summary, out)
	require.Equal(t, 1, code, "a machine that has to run every test")
}

func TestFailuresAreShown(t *testing.T) {
	out, code := gotest(t, true, false, "-count=1")
	require.Equal(t, "--- FAIL: TestParent (0s)\n    --- FAIL: TestParent/FAILS (0s)\n    x_test.go:9: it is shown\n    x_test.go:9: what is wrong\nFAIL\nFAIL\tx\t0s\n"+summary, out)
	require.Equal(t, 1, code)
}

const flaky = `package x

import (
	"os"
	"testing"
)

func TestPasses(t *testing.T) { note("passes") }
func TestSecond(t *testing.T) { if note("second") == 1 { FAIL } }

func note(name string) (nth int) {
	before, _ := os.ReadFile(name)
	os.WriteFile(name, append(before, '+'), 0o644)
	return len(before) + 1
}
`

func TestOnceMore(t *testing.T) {
	for _, tc := range []struct{ name, fail, passes, second string }{
		{"only what failed is run again", `t.Fatal("busy")`, "+", "++"},
		{"what came after a panic is run, too", `panic("busy")`, "++", "++"},
		{"what ended all is run again", `os.Exit(1)`, "++", "++"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			require.NoError(t, os.WriteFile("go.mod", []byte("module x\n"), 0o644))
			require.NoError(t, os.WriteFile("x_test.go", []byte(strings.ReplaceAll(flaky, "FAIL", tc.fail)), 0o644))
			require.NotZero(t, run([]string{"-count=1", "--", "."}, options{}))
			require.NoError(t, os.Remove("passes"))
			require.NoError(t, os.Remove("second"))
			require.Zero(t, run([]string{"-count=1", "--", "."}, options{again: true}))
			for name, want := range map[string]string{"passes": tc.passes, "second": tc.second} {
				got, err := os.ReadFile(name)
				require.NoError(t, err)
				require.Equal(t, want, string(got), name)
			}
		})
	}
	t.Run("what fails twice has failed", func(t *testing.T) {
		t.Chdir(t.TempDir())
		require.NoError(t, os.WriteFile("go.mod", []byte("module x\n"), 0o644))
		require.NoError(t, os.WriteFile("x_test.go", []byte("package x\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) { t.Fail() }\n"), 0o644))
		require.NotZero(t, run([]string{"-count=1", "--", "."}, options{again: true}))
	})
}

func TestNothingIsSkipped(t *testing.T) {
	out, code := gotest(t, false, true, "-count=1", "-run", "TestPasses")
	require.Equal(t, "ok  \tx\t0s\nno tests were skipped\n", out)
	require.Zero(t, code)
}

func TestWhatDoesNotBuild(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("go.mod", []byte("module x\n"), 0o644))
	require.NoError(t, os.WriteFile("x_test.go", []byte("package x\n\nvar x int = \"\"\n"), 0o644))
	require.NotZero(t, run([]string{"-count=1", "--", "."}, options{}))
	require.Equal(t, 2, run([]string{"-count=1"}, options{}))
}
