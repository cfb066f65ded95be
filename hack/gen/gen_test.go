package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	require.NoError(t, run("../..", true))
}

func TestStaleFilesAreFound(t *testing.T) {
	top := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(top, "docs/reference"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(top, "internal/cli"), 0o755)) // a file is written there
	for _, dir := range []string{"apis", "internal/api"} {
		source, err := filepath.Abs(filepath.Join("../..", dir))
		require.NoError(t, err)
		require.NoError(t, os.Symlink(source, filepath.Join(top, dir)))
	}
	require.ErrorContains(t, run(top, true), "docs/reference/app.md is not up to date")
	require.NoError(t, run(top, false))
	require.NoError(t, run(top, true))
}

// A reason without an explanation is an error, with its position.
func TestReasonsAreExplained(t *testing.T) {
	for _, c := range []struct{ name, source, want, wrong string }{
		{"beside it", "const ReasonFull = \"Full\" // the machine is full", "| `Full` | The machine is full. |", ""},
		{"above it", "// ReasonFull: the machine is full.\nconst ReasonFull = \"Full\"", "| `Full` | The machine is full. |", ""},
		{"by its type", "// Why is the reason.\ntype Why string\n\nconst Full Why = \"Full\" // etcd is full", "| `Full` | etcd is full. |", ""},
		{"by the comment above all", "// Why something is refused.\nconst (\n\tFull = \"Full\" // it is full\n)", "| `Full` | It is full. |", ""},
		{"another name of it", "const (\n\tReasonFull = reasonFull // it is full\n\treasonFull = \"Full\"\n)", "| `Full` | It is full. |", ""},
		{"with what events put before it", "const ReasonLate = \"Late\" // it was late\n\nfunc f(r R) { r.Record(k, n, t, \"Cache\"+w, m) }", "| `CacheLate` | It was late. |", ""},
		{"none", "const ReasonFull = \"Full\"", "", `plan.go:3:7: the reason "Full" has no explanation`},
		{"where it is used", "func f(r R) { r.Record(k, n, t, \"Full\", m) }", "", `plan.go:3:33: the reason "Full" is a literal`},
		{"in a value", "var e = Event{Reason: \"Full\"}", "", `plan.go:3:23: the reason "Full" is a literal`},
		{"no reason", "const full = \"Full\"", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "controllers/app")
			require.NoError(t, os.MkdirAll(dir, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "plan.go"), []byte("package app\n\n"+c.source+"\n"), 0o644))
			page, _, err := reasonsOf(top)
			if c.wrong != "" {
				require.ErrorContains(t, err, c.wrong)
				return
			}
			require.NoError(t, err)
			if c.want == "" {
				require.NotContains(t, string(page), "Full")
				return
			}
			require.Contains(t, string(page), c.want)
		})
	}
}

// A package whose reasons have no section on the page is an error.
func TestReasonsHaveASection(t *testing.T) {
	top := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(top, "internal/odd"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(top, "internal/odd/odd.go"), []byte("package odd\n\nconst ReasonOdd = \"Odd\" // it is odd\n"), 0o644))
	_, _, err := reasonsOf(top)
	require.ErrorContains(t, err, "reasons of internal/odd have no section")
}

// Every field in further exists, and has a description.
func TestSchemaKnowsAllFields(t *testing.T) {
	docs, err := readDocs("../../apis/v1")
	require.NoError(t, err)
	data, err := schemaOf(docs)
	require.NoError(t, err)
	var root object
	require.NoError(t, json.Unmarshal(data, &root))
	found := map[string]bool{}
	var visit func(node object, path string)
	visit = func(node object, path string) {
		found[path] = true
		if items, ok := node["items"].(object); ok {
			visit(items, path+"[]")
		}
		if items, ok := node["additionalProperties"].(object); ok {
			visit(items, path+"[]")
		}
		properties, _ := node["properties"].(object)
		for name, property := range properties {
			at := name
			if path != "" {
				at = path + "." + name
			}
			visit(property.(object), at)
		}
	}
	visit(root, "")
	for path := range further {
		require.True(t, found[path], "no field %s", path)
	}
	require.True(t, found["spec.unit[][]"])
}

// Advice is for reasons that exist.
func TestAdviceIsForReasons(t *testing.T) {
	_, list, err := reasonsOf("../..")
	require.NoError(t, err)
	require.NoError(t, checkAdvice(list))
	require.ErrorContains(t, checkAdvice(list[:1]), "has no reason")
}
