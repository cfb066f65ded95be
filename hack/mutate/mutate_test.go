package main

import (
	"bytes"
	"context"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const small = "testdata/small/small.go"

// TestMutants lists the mutants of a package that has some of everything.
func TestMutants(t *testing.T) {
	list, err := mutantsOf(small)
	require.NoError(t, err)
	var names []string
	for _, m := range list {
		names = append(names, strings.TrimPrefix(m.name(), "small/small.go: "))
	}
	require.Equal(t, []string{
		"Larger: negates a > b",
		"Larger: >= instead of > in a > b",
		"Larger: the opposite of return true",
		"Larger: the opposite of return false",
		"Clamp: <= instead of < in n < least",
		"Clamp: empties case n < least",
		"Clamp: >= instead of > in n > most",
		"Clamp: empties case n > most",
		"Clamp: removes n = most",
		"Sum: - instead of + in a + b",
		`Join: removes joined += "-"`,
		"Join: - instead of + in joined + b",
		"Count: negates i >= n && n >= 0",
		"Count: || instead of && in i >= n && n >= 0",
		"Count: > instead of >= in i >= n",
		"Count: > instead of >= in n >= 0",
		"Count: removes count++",
		"Must: negates ok",
		`Must: removes panic("not ok")`,
		"Until: == instead of != in i != n",
		"Until: removes i++",
	}, names)
}

// TestNamesOfTwo: two mutants of the same text in a function have different names.
func TestNamesOfTwo(t *testing.T) {
	list := mutantsOfText(t, "package p\n\nfunc f(a, b int) bool {\n\treturn a == b || a == b\n}\n")
	var names []string
	for _, m := range list {
		names = append(names, m.what+m.name()[strings.Index(m.name(), m.what)+len(m.what):])
	}
	require.Equal(t, []string{"&& instead of || in a == b || a == b", "!= instead of == in a == b", "!= instead of == in a == b (2)"}, names)
}

func mutantsOfText(t *testing.T, text string) []*mutant {
	t.Helper()
	file := filepath.Join(t.TempDir(), "p.go")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	list, err := mutantsOf(file)
	require.NoError(t, err)
	for i, m := range list {
		m.id = i + 1
	}
	return list
}

// TestWithMutants: one program contains all mutants, including nested ones.
func TestWithMutants(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"a condition", "if a == b { f() }", "if (mutantOn(1) != ((mutantOn(2) != (a == b)))) { if !mutantOn(3) { f() } }"},
		{"an operator", "return a < b", "return (mutantOn(1) && (a <= b) || !mutantOn(1) && (a < b))"},
		{"a sum", "return a + b - 1", "return mutantDifference(1, mutantSum(2, a, b), 1)"},
		{"a value", "return true", "return mutantOn(1) != true"},
		{"a loop", "for i = 0; i < n; i++ { i += 2 }", "for i = 0; (mutantOn(1) && (i <= n) || !mutantOn(1) && (i < n)); i++ { if !mutantOn(2) { i += 2 } }"},
		{"an initial statement", "if x = f(); x { return }", "if x = f(); (mutantOn(1) != (x)) { return }"},
		{"a case", "switch x { case 1: x = 2; f() }", "switch x { case 1: if !mutantOn(1) { if !mutantOn(2) { x = 2 }; if !mutantOn(3) { f() } } }"},
		{"a channel", "select { case x = <-c: f() }", "select { case x = <-c: if !mutantOn(1) { f() } }"},
		{"logs", "log.Info(a + b); c.opts.Log.V(1).Info(a == b); metrics.Add(a - b); c.seen.Inc()", "log.Info(a + b); c.opts.Log.V(1).Info(a == b); metrics.Add(a - b); c.seen.Inc()"},
		{"what only logs", "if a == b { log.Info(x) }; switch { case a == b: log.Info(x) }", "if a == b { log.Info(x) }; switch { case (mutantOn(1) != (a == b)): log.Info(x) }"},
		{"a constant", "const n = 1 + 2", "const n = 1 + 2"},
		{"texts", `return a + "b"`, `return a + "b"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const head, tail = "package p\n\nfunc F() int {\n\t", "\n}\n"
			got := withMutants(head+tt.body+tail, mutantsOfText(t, head+tt.body+tail))
			require.Equal(t, head+tt.want+tail, got)
			_, err := parser.ParseFile(token.NewFileSet(), "p.go", got, 0)
			require.NoError(t, err)
		})
	}
}

// TestChoose: a seed always chooses the same mutants, different from another seed's, and as many as requested.
func TestChoose(t *testing.T) {
	names := func(o options) (names []string) {
		list, err := choose([]string{small}, o)
		require.NoError(t, err)
		for _, m := range list {
			names = append(names, m.name())
		}
		return names
	}
	require.Len(t, names(options{}), 21)
	first := names(options{most: 6, seed: 1})
	require.Len(t, first, 6)
	require.Equal(t, first, names(options{most: 6, seed: 1}))
	require.Subset(t, names(options{most: 7, seed: 1}), first, "more of them are these and others")
	require.NotEqual(t, first, names(options{most: 6, seed: 2}))
	only := names(options{only: "Clamp: "})
	require.Len(t, only, 5)
	require.Equal(t, []string{"small/small.go: Clamp: removes n = most"}, names(options{only: "^small/.*Clamp: removes"}))
	_, err := choose([]string{small}, options{only: "("})
	require.ErrorContains(t, err, "-run: ")
	require.False(t, slices.ContainsFunc(only, func(name string) bool { return !strings.Contains(name, "Clamp") }))
}

func TestListed(t *testing.T) {
	list, err := mutantsOf(small)
	require.NoError(t, err)
	const text = "# a comment\nsmall/small.go: Larger: negates a > b # because\nsmall/small.go: Sum: - instead of\n"
	require.True(t, listed(text, list[0]))
	require.False(t, listed(text, list[1]))
	require.False(t, listed(text, list[9]), "a part of a name is none")
	for line := range strings.Lines(equivalent) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			require.Contains(t, line, " # ", "each says why")
		}
	}
}

// TestTry runs the tool: killed, surviving, unreached, endless and uncompilable mutants.
func TestTry(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles a program")
	}
	var out bytes.Buffer
	o := options{limit: time.Second, verbose: true, least: 50}
	good, err := try(t.Context(), &out, "./testdata/small", o)
	require.NoError(t, err, out.String())
	require.True(t, good)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	slices.Sort(lines)
	const file = "small/small.go: "
	require.Equal(t, []string{
		"./testdata/small: 12 of 19 mutants killed (63 %), 0 of them by the simulation, 1 by time; 0 equivalent, 2 do not build",
		"SURVIVED, no test runs it: " + file + "Clamp: empties case n > most",
		"SURVIVED, no test runs it: " + file + "Clamp: removes n = most",
		"SURVIVED, no test runs it: " + file + "Must: negates ok",
		"SURVIVED: " + file + "Clamp: <= instead of < in n < least",
		"SURVIVED: " + file + "Clamp: >= instead of > in n > most",
		"SURVIVED: " + file + "Count: > instead of >= in n >= 0",
		"SURVIVED: " + file + "Sum: - instead of + in a + b",
		"killed: " + file + "Clamp: empties case n < least  TestSmall",
		"killed: " + file + "Count: > instead of >= in i >= n  TestCount",
		"killed: " + file + "Count: negates i >= n && n >= 0  TestCount",
		"killed: " + file + "Count: removes count++  TestCount",
		"killed: " + file + "Count: || instead of && in i >= n && n >= 0  TestCount",
		`killed: ` + file + `Join: removes joined += "-"  TestSmall`,
		"killed: " + file + "Larger: >= instead of > in a > b  TestSmall",
		"killed: " + file + "Larger: negates a > b  TestSmall",
		"killed: " + file + "Larger: the opposite of return false  TestSmall",
		"killed: " + file + "Larger: the opposite of return true  TestSmall",
		"killed: " + file + "Until: == instead of != in i != n  TestCount",
		"timed out: " + file + "Until: removes i++",
	}, lines)
	_, err = os.Stat("testdata/small/mutant_on.go")
	require.ErrorIs(t, err, os.ErrNotExist, "the checkout is not touched")

	good, err = try(t.Context(), &out, "./testdata/small", options{only: "Sum: ", least: 50})
	require.NoError(t, err)
	require.False(t, good, "less than that are killed")
	_, err = try(t.Context(), &out, "./testdata/none", o)
	require.Error(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = try(ended, &out, "./testdata/small", o)
	require.Error(t, err)
}

// TestTidy: files that failing properties leave in a package are removed, unless there were some before.
func TestTidy(t *testing.T) {
	for _, before := range []bool{false, true} {
		tr := trial{program: program{home: t.TempDir()}}
		left := filepath.Join(tr.home, "testdata", "rapid")
		if before {
			require.NoError(t, os.MkdirAll(left, 0o755))
		}
		end := tr.tidy()
		require.NoError(t, os.MkdirAll(filepath.Join(left, "TestX"), 0o755))
		end()
		_, err := os.Stat(filepath.Join(tr.home, "testdata"))
		require.Equal(t, before, err == nil)
	}
}

func TestQuickOf(t *testing.T) {
	const out = "=== RUN   TestA\n--- PASS: TestA (0.01s)\n    --- PASS: TestA/x (0.00s)\n--- PASS: TestB (4.20s)\n--- SKIP: TestC (0.00s)\nPASS\n"
	require.Equal(t, "^(TestA|TestC)$", quickOf([]byte(out)))
	require.Equal(t, "^(TestA)$", quickOf([]byte("--- PASS: TestA (0.01s)\n--- PASS: TestB (0.00s)\n    --- PASS: TestB/x (4.20s)\n    --- PASS: TestB/y_(1) (0.00s)\n")),
		"subtests run in parallel")
	require.Empty(t, quickOf([]byte("--- PASS: TestA (0.01s)\n")), "all are")
	require.Empty(t, quickOf([]byte("--- PASS: TestB (4.20s)\n")), "none is")
}

func TestSteps(t *testing.T) {
	require.Equal(t, [][]string{nil}, (&trial{}).steps(), "all tests")
	require.Equal(t, [][]string{nil}, (&trial{quickOnly: true}).steps(), "all are quick")
	tr := trial{quick: "^(TestA|TestB)$"}
	require.Equal(t, [][]string{{"-test.run=^(TestA|TestB)$"}, {"-test.skip=^(TestA|TestB)$"}}, tr.steps())
	tr.killers = []string{"TestB", "TestC"}
	require.Equal(t, [][]string{{"-test.run=^(TestB|TestC)$"}, {"-test.run=^(TestA|TestB)$"}, {"-test.skip=^(TestA|TestB)$"}}, tr.steps())
	tr.quickOnly, tr.killers = true, nil
	require.Equal(t, [][]string{{"-test.run=^(TestA|TestB)$"}}, tr.steps())
}

func TestFailedOf(t *testing.T) {
	require.Equal(t, "TestA", failedOf([]byte("    --- FAIL: TestA/x (0.00s)\n--- FAIL: TestA (0.01s)\n--- FAIL: TestB (0.01s)\n")))
	require.Empty(t, failedOf([]byte("panic: x\n")))
}
