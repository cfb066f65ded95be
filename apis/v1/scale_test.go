package v1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestScaleManifest: comments, order and style stay, byte for byte.
func TestScaleManifest(t *testing.T) {
	const head = "apiVersion: fleet/v1\nkind: App\nmetadata: {name: a}\n"
	for _, c := range []struct{ name, before, after string }{
		{"a number", "spec:\n  # how many\n  replicas: 1   # for now\n  exec: {command: [/bin/true]}\n", "spec:\n  # how many\n  replicas: 5   # for now\n  exec: {command: [/bin/true]}\n"},
		{"none", "spec:\n    # what\n    exec:\n        command: [/bin/true] # é\n", "spec:\n    # what\n    replicas: 5\n    exec:\n        command: [/bin/true] # é\n"},
		{"flow", "spec: {exec: {command: [/bin/true]}, replicas: 12}", "spec: {exec: {command: [/bin/true]}, replicas: 5}"},
		{"flow without", "spec: {exec: {command: [/bin/true]}}", "spec: {replicas: 5, exec: {command: [/bin/true]}}"},
		{"after characters of several bytes", "spec: {description: \"é…\", replicas: 2, exec: {command: [/bin/true]}}", "spec: {description: \"é…\", replicas: 5, exec: {command: [/bin/true]}}"},
		{"Windows", "spec:\r\n  replicas: 3\r\n  exec: {command: [/bin/true]}\r\n", "spec:\r\n  replicas: 5\r\n  exec: {command: [/bin/true]}\r\n"},
		{"a name elsewhere", "spec:\n  env: {replicas: \"7\"}\n  exec: {command: [/bin/true]}\n  replicas: 3\n", "spec:\n  env: {replicas: \"7\"}\n  exec: {command: [/bin/true]}\n  replicas: 5\n"},
	} {
		got, err := ScaleManifest("a", []byte(head+c.before), 5)
		require.NoError(t, err, c.name)
		require.Equal(t, head+c.after, string(got), c.name)
		again, err := ScaleManifest("a", got, 5)
		require.NoError(t, err, c.name)
		require.Equal(t, string(got), string(again), c.name)
	}
	json := `{"apiVersion": "fleet/v1", "kind": "App", "metadata": {"name": "a"}, "spec": {"exec": {"command": ["/bin/true"]}}}`
	got, err := ScaleManifest("a", []byte(json), 5)
	require.NoError(t, err)
	require.Equal(t, strings.Replace(json, `"spec": {`, `"spec": {"replicas": 5, `, 1), string(got))
}

func TestScaleIsRefused(t *testing.T) {
	const head = "apiVersion: fleet/v1\nkind: App\nmetadata: {name: a}\n"
	for _, c := range []struct {
		manifest string
		replicas int32
		want     string
	}{
		{head + "spec: {global: true, exec: {command: [/bin/true]}}", 5, "app/a is global: it runs one instance on each machine"},
		{head + "spec: {exec: {command: [/bin/true]}}", -1, "-1 instances: use a number from 0 to"},
		{head + "spec: {exec: {command: [/bin/true]}}", MaxReplicas + 1, "use a number from 0 to"},
		{head + "spec: {exec: {command: [/bin/true]}, replicas: many}", 5, "spec.replicas"},
		{"x: &s {exec: {command: [/bin/true]}}\n" + head + "spec: *s\n", 5, ""},
	} {
		_, err := ScaleManifest("a", []byte(c.manifest), c.replicas)
		require.ErrorContains(t, err, c.want)
	}
}

// TestScaleProperty: of any layout, only the number changes.
func TestScaleProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		indent := strings.Repeat(" ", rapid.IntRange(1, 8).Draw(t, "indent"))
		fields := rapid.Permutation([]string{"exec: {command: [/bin/true]} # x", "replicas: 1", "description: 'ä: replicas: 4'", "env: {A: \"1\"}"}).Draw(t, "fields")
		text := "# é\nkind: App\nspec:\n"
		for _, f := range fields {
			if rapid.Bool().Draw(t, "comment") {
				text += "    # replicas: 9\n\n"
			}
			text += indent + f + "\n"
		}
		text += "metadata: {name: a}\napiVersion: fleet/v1\n"
		n := rapid.Int32Range(0, 50).Draw(t, "replicas")
		got, err := ScaleManifest("a", []byte(text), n)
		require.NoError(t, err)
		require.Equal(t, strings.Replace(text, indent+"replicas: 1\n", fmt.Sprintf("%sreplicas: %d\n", indent, n), 1), string(got))
	})
}
