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
	source, err := filepath.Abs("../../apis")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(source, filepath.Join(top, "apis")))
	require.ErrorContains(t, run(top, true), "docs/reference/app.md is not what the types say")
	require.NoError(t, run(top, false))
	require.NoError(t, run(top, true))
}

// Every field that further speaks of exists, and has a description.
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
