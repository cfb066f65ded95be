package v1_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

func TestParseAppUnitUndoesTheNames(t *testing.T) {
	for _, app := range []string{"a", "example-app", "a-discovery"} {
		for _, n := range []int32{0, 1, 42, 100_000} {
			got, sidekick, ok := v1.ParseAppUnit(app, v1.AppUnit(app, n))
			require.Equal(t, []any{n, false, true}, []any{got, sidekick, ok})
			got, sidekick, ok = v1.ParseAppUnit(app, v1.SidekickUnit(app, n))
			require.Equal(t, []any{n, true, true}, []any{got, sidekick, ok})
		}
		for _, name := range []string{app, app + "@.service", app + "@0.service", app + "@01.service", app + "@1.timer", app + "x@1.service", app + "@1a.service"} {
			_, _, ok := v1.ParseAppUnit(app, name)
			require.False(t, ok, name)
		}
	}
	require.Equal(t, "example-app/example-app@1", v1.EndpointName("example-app", 1))
}

// FuzzParseApp: no input panics the parser, and an accepted App survives a round trip and contains nothing that could
// end a line of a unit file.
func FuzzParseApp(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/errors.txtar")
	require.NoError(f, err)
	for _, file := range archive.Files {
		f.Add(file.Data)
	}
	f.Add([]byte(full))
	f.Add([]byte(unitManifest))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := v1.ParseManifests(data); err != nil {
			require.NotEmpty(t, err.Error())
		}
		app, err := v1.ParseApp(data)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.Empty(t, app.Validate())
		written, err := yaml.Marshal(app)
		require.NoError(t, err)
		again, err := v1.ParseApp(written)
		require.NoError(t, err)
		rewritten, err := yaml.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(written), string(rewritten))
	})
}
