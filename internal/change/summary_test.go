package change

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

var update = flag.Bool("update", false, "write the golden summaries anew")

// TestSummaries: each file has a manifest before (missing for the first revision) and after, and the line that says what changed.
func TestSummaries(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			require.NoError(t, err)
			var before, after *v1.AppSpec
			want := -1
			for i, f := range archive.Files {
				switch f.Name {
				case "before":
					before = parse(t, f.Data)
				case "after":
					after = parse(t, f.Data)
				case "summary":
					want = i
				}
			}
			got := Summary(before, after) + "\n"
			if *update {
				archive.Files[want].Data = []byte(got)
				require.NoError(t, os.WriteFile(path, txtar.Format(archive), 0o644))
			}
			require.Equal(t, string(archive.Files[want].Data), got)
		})
	}
}

// parse reads a spec without its indentation.
func parse(t require.TestingT, spec []byte) *v1.AppSpec {
	text := "apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n"
	for line := range strings.Lines(string(spec)) {
		text += "  " + line
	}
	app, err := v1.ParseApp([]byte(text))
	require.NoError(t, err)
	return &app.Spec
}

// TestSummarySaysWhetherSpecsDiffer: it is one line, not longer than some fields need, and "no field" only for equal specs.
func TestSummarySaysWhetherSpecsDiffer(t *testing.T) {
	spec := func(t *rapid.T, name string) *v1.AppSpec {
		text := fmt.Sprintf("exec: {command: [/bin/sleep, %q]}\nreplicas: %d\nenv:\n", rapid.StringMatching(`[a-z]{1,3}`).Draw(t, name+"command"),
			rapid.IntRange(0, 3).Draw(t, name+"replicas"))
		for key, value := range rapid.MapOfN(rapid.StringMatching(`[A-C]`), rapid.StringMatching("[a-b \\n]{0,80}"), 1, 4).Draw(t, name+"env") {
			text += fmt.Sprintf("  %s: %q\n", key, value)
		}
		return parse(t, []byte(text))
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := spec(t, "a"), spec(t, "b")
		got := Summary(a, b)
		require.Equal(t, v1.SameSpec(a, b), got == "no field")
		require.NotContains(t, got, "\n")
		require.LessOrEqual(t, len(got), maxFields*(2*maxValue+30)+20)
	})
}

func TestFiles(t *testing.T) {
	files := Files([]Text{{"app/a", "x"}, {"a@.service", "same"}, {"gone", "y"}}, []Text{{"a@.service", "same"}, {"app/a", "z"}, {"new", "n"}, {"none", ""}})
	require.Equal(t, "[{app/a x z} {gone y } {new  n}]", fmt.Sprint(files))
	require.Empty(t, Files([]Text{{"app/a", "x"}}, []Text{{"app/a", "x"}}))
}
