package keyspace

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzDecode puts arbitrary values below every row: a value survives a round trip, or is rejected with a reason. None panics.
func FuzzDecode(f *testing.F) {
	for _, value := range []string{
		`{"metadata":{"owner":"web"},"spec":{"hash":"h","desiredState":"launched"}}`, "spec:\n  desiredState: loaded\n",
		`{"number":1,"spec":{"replicas":2}}`, `{"revision":7,"digest":"x"}`, `{"cordoned":true,"metadata":{"a":null}}`, "", "null", "[]", "{", `{}{}`,
		"a: &a [x,x]\nb: &b [*a,*a]\n", "\x00", `{"activeState":"active","since":"2026-01-01T00:00:00Z"}`, `{"conditions":[{"type":"Ready"}]}`,
	} {
		f.Add("a/b", []byte(value))
	}
	k := New("")
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		decode(t, k.Apps(), name, value)
		decode(t, k.Units(), name, value)
		decode(t, k.UnitFiles(), name, value)
		decode(t, k.Revisions(), name, value)
		decode(t, k.Machines(), name, value)
		decode(t, k.MachineConfigs(), name, value)
		decode(t, k.Overrides(), name, value)
		decode(t, k.Rollouts(), name, value)
		decode(t, k.Placements(), name, value)
		decode(t, k.Preparations(), name, value)
		decode(t, k.Unplaced(), name, value)
		decode(t, k.States(), name, value)
		decode(t, k.Status(), name, value)
		decode(t, k.Routes(), name, value)
		decode(t, k.Routers(), name, value)
		decode(t, k.Events(), name, value)
		decode(t, k.Leaders(), name, value)
		decode(t, Endpoints("/services/web"), name, value)
		if first, second, ok := Split(name); ok {
			require.Equal(t, name, Join(first, second))
		}
		if app, number, ok := ParseRevisionName(name); ok {
			require.Equal(t, name, RevisionName(app, number))
		}
	})
}

func decode[T any](t *testing.T, c Collection[T], name string, value []byte) {
	if back, ok := c.Name(c.Key(name)); ok {
		require.Equal(t, name, back)
	}
	decoded, err := c.Decode(value)
	if err != nil {
		require.NotEmpty(t, err.Error())
		return
	}
	text, err := c.Encode(decoded)
	require.NoError(t, err)
	if len(text) == 0 {
		return
	}
	again, err := c.Decode(text)
	require.NoError(t, err, "%s", text)
	once, err := c.Encode(again)
	require.NoError(t, err)
	require.Equal(t, string(text), string(once))
}
