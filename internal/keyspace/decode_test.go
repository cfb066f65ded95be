package keyspace

import (
	"net/netip"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

func TestMachineAddresses(t *testing.T) {
	row := New("").MachineAddresses()
	for value, want := range map[string]v1.MachineAddress{
		`{"spec":{"address":"10.0.0.1","endpoint":"http://10.0.0.1:49153/"}}`:     {Address: netip.MustParseAddr("10.0.0.1"), APIPort: 49153},
		`{"spec":{"address":"::ffff:10.0.0.2","endpoint":"http://[fd00::1]:80"}}`: {Address: netip.MustParseAddr("10.0.0.2"), APIPort: 80},
		`{"spec":{"address":"fd00::1","endpoint":"unix:///run/fleet.sock"}}`:      {Address: netip.MustParseAddr("fd00::1")},
		`{"spec":{"address":"10.0.0.1"},"later":1}`:                               {Address: netip.MustParseAddr("10.0.0.1")},
	} {
		got, err := row.Decode([]byte(value))
		require.NoError(t, err, value)
		require.Equal(t, want, got, value)
	}
	for _, value := range []string{"", "{", `{}`, `{"spec":{"address":"m1.example.com"}}`, `{"spec":{"address":1}}`} {
		got, err := row.Decode([]byte(value))
		require.Error(t, err, value)
		require.Zero(t, got, value)
	}
	_, err := row.Encode(v1.MachineAddress{})
	require.ErrorContains(t, err, "write the whole machine")
}

// TestSlipsOfThePen: an unknown field is rejected in rows that people write, and ignored in fleetd's, where a newer version
// may have written it.
func TestSlipsOfThePen(t *testing.T) {
	k := New("")
	for _, value := range []string{`{"spec":{"hsah":"x"}}`, "spec: {hsah: x}", " \t\r\n{\"spec\":{\"hsah\":\"x\"}}"} {
		_, err := k.Units().Decode([]byte(value))
		require.ErrorContains(t, err, "hsah", "%q", value)
	}
	u, err := k.Units().Decode([]byte("spec: {hash: x}\n"))
	require.NoError(t, err)
	require.Equal(t, "x", u.Spec.Hash)
	_, err = k.MachineConfigs().Decode([]byte("cordonned: true"))
	require.ErrorContains(t, err, "cordonned")
	_, err = k.MachineConfigs().Decode([]byte(`{"cordon": true}`))
	require.EqualError(t, err, `json: unknown field "cordon"; the fields are cordoned, drain and metadata`)
	_, err = k.Overrides().Decode([]byte("desiredstate: loaded\nx: y\n"))
	require.ErrorContains(t, err, `"x"`)
	p, err := k.Placements().Decode([]byte(`{"hash":"x","later":[1]}`))
	require.NoError(t, err)
	require.Equal(t, v1.Placement{Hash: "x"}, p)
	_, err = k.Placements().Decode([]byte("hash: x"))
	require.Error(t, err, "fleetd writes JSON")
}

// TestRevisionOfAnOlderFleetd: unknown fields get their defaults; an unreadable revision gets none.
func TestRevisionOfAnOlderFleetd(t *testing.T) {
	r, err := New("").Revisions().Decode([]byte(`{"number":1,"spec":{"exec":{"command":["/bin/a"]},"announce":{}}}`))
	require.NoError(t, err)
	require.Equal(t, "/services/web", r.Spec.Announce.Prefix)
	r, err = New("").Revisions().Decode([]byte(`{"number":1,"spec":{"exec":`))
	require.Error(t, err)
	require.Zero(t, r)
}

func TestRevisionNames(t *testing.T) {
	app, n, ok := ParseRevisionName("web/0000000012")
	require.True(t, ok)
	require.Equal(t, []any{"web", int64(12)}, []any{app, n})
	for _, name := range []string{"web/12", "web/0000000000", "web/-000000001", "web/+000000001", "web/000000000x", "/0000000001", "web/", "web", "a/b/0000000001", ""} {
		_, _, ok := ParseRevisionName(name)
		require.False(t, ok, name)
	}
	for _, name := range []string{"", "a", "/", "a/", "/b", "a/b/c"} {
		_, _, ok := Split(name)
		require.False(t, ok, name)
	}
}

// TestTextsAreShared: most of 100,000 units have the same few texts, which are in memory once.
func TestTextsAreShared(t *testing.T) {
	k := New("")
	same := func(texts ...string) {
		t.Helper()
		require.NotEmpty(t, texts[0])
		for _, text := range texts[1:] {
			require.Equal(t, texts[0], text)
			require.Same(t, unsafe.StringData(texts[0]), unsafe.StringData(text))
		}
	}
	var units []v1.Unit
	var placements []v1.Placement
	var states []v1.UnitState
	for range 2 {
		u, err := k.Units().Decode([]byte(`{"metadata":{"owner":"web","ownerUID":"17"},"spec":{"hash":"0123","desiredState":"launched"}}`))
		require.NoError(t, err)
		p, err := k.Placements().Decode([]byte(`{"hash":"0123","desiredState":"launched"}`))
		require.NoError(t, err)
		s, err := k.States().Decode([]byte(`{"loadState":"loaded","activeState":"active","subState":"running","result":"success","hash":"0123","desiredState":"launched"}`))
		require.NoError(t, err)
		units, placements, states = append(units, u), append(placements, p), append(states, s)
	}
	a, b := units[0], units[1]
	same(a.Metadata.Owner, b.Metadata.Owner)
	same(a.Metadata.OwnerUID, b.Metadata.OwnerUID)
	same(a.Spec.Hash, b.Spec.Hash, placements[0].Hash, placements[1].Hash, states[0].Hash, states[1].Hash)
	same(string(a.Spec.DesiredState), string(b.Spec.DesiredState), string(placements[0].DesiredState), string(placements[1].DesiredState), string(states[0].DesiredState))
	same(states[0].LoadState, states[1].LoadState)
	same(states[0].ActiveState, states[1].ActiveState)
	same(states[0].SubState, states[1].SubState)
	same(states[0].Result, states[1].Result)
}
