package v1_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

func TestParseCPU(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1000, "0.5": 500, "1.25": 1250, "0.001": 1, "500m": 500, "1500m": 1500, "64": 64000,
	} {
		got, err := v1.ParseCPU(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "m", "-1", "1.", ".5", "0.0001", "0.5m", "1e3", "1 ", "9223372036854775807", "NaN", "0x1"} {
		_, err := v1.ParseCPU(text)
		require.ErrorContains(t, err, "is not an amount of CPU", text)
	}
}

func TestParseMemory(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1024": 1024, "1K": 1 << 10, "1Ki": 1 << 10, "256M": 256 << 20, "1.5G": 3 << 29, "0.5Ti": 1 << 39,
	} {
		got, err := v1.ParseMemory(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "M", "-1M", "1MM", "1iM", "1k", "1MB", "0.5", "9223372036854775807T", "1i", "1Kii"} {
		_, err := v1.ParseMemory(text)
		require.ErrorContains(t, err, "is not an amount of memory", text)
	}
	rapid.Check(t, func(t *rapid.T) {
		bytes := rapid.Int64Range(0, math.MaxInt64>>11).Draw(t, "bytes")
		again, err := v1.ParseMemory(v1.FormatMemory(bytes))
		require.NoError(t, err)
		require.Equal(t, bytes, again)
	})
}

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

// FuzzParseApp: no text brings the reader down, and what it accepts is stable: written and read again it is the same,
// and nothing in it could end a line of a unit file.
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
