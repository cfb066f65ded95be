package v1

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParseUnit: refusals say where, and accepted units survive a round trip.
func FuzzParseUnit(f *testing.F) {
	f.Add([]byte("apiVersion: fleet/v1\nkind: Unit\nmetadata: {name: a.service}\nspec: {contents: \"[Service]\\nExecStart=/bin/true\\n\"}\n"))
	f.Add([]byte(`{"apiVersion":"fleet/v1","kind":"Unit","metadata":{"name":"a@.service"},"spec":{"contents":"x","desiredState":"inactive"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		unit, err := ParseUnit(data)
		if err != nil {
			checkErrors(t, err)
			return
		}
		text, err := json.Marshal(unit)
		require.NoError(t, err)
		again, err := ParseUnit(text)
		require.NoError(t, err, "%s", text)
		require.Equal(t, unit, again)
		require.NotContains(t, unit.Metadata.Name, "/")
	})
}

// FuzzParseManifests: parsing documents together gives the same as parsing them one by one, and drops none.
func FuzzParseManifests(f *testing.F) {
	f.Add([]byte("---\n# nothing\n---\napiVersion: fleet/v1\nkind: App\nmetadata: {name: a}\nspec: {exec: {command: [/bin/true]}}\n--- # next\nkind: Unit\n"))
	f.Add([]byte("a: |\n  ---\n\r\n---\r\n{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := ParseManifests(data)
		if err != nil {
			checkErrors(t, err)
		}
		for _, o := range objects {
			require.Positive(t, o.Line)
			require.True(t, (o.App == nil) != (o.Unit == nil))
			one, err := ParseManifests(o.Raw)
			require.NoError(t, err)
			require.Len(t, one, 1)
			require.Equal(t, o.Name(), one[0].Name())
		}
	})
}

// checkErrors checks that every error is one line and that their number is bounded.
func checkErrors(t *testing.T, err error) {
	var errs ManifestErrors
	require.ErrorAs(t, err, &errs)
	require.NotEmpty(t, errs)
	for _, e := range errs {
		require.NotEmpty(t, e.Message)
		require.NotContains(t, e.Message, "\x00")
	}
	require.LessOrEqual(t, len(Summary(err)), 2100)
	require.LessOrEqual(t, strings.Count(Summary(err), "\n"), 10)
}
