package keyspace

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Every state is decoded as by encoding/json, plain or not.
func TestStatesAreReadBack(t *testing.T) {
	states := New("").States()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.StringMatching(`[a-z-]{0,9}`), rapid.String())
		state := v1.UnitState{
			LoadState: word.Draw(t, "load"), ActiveState: word.Draw(t, "active"), SubState: word.Draw(t, "sub"), Result: word.Draw(t, "result"),
			Hash: word.Draw(t, "hash"), DesiredState: v1.DesiredState(word.Draw(t, "desired")), RequestedAt: word.Draw(t, "requested"),
			InvocationID: word.Draw(t, "invocation"), Message: word.Draw(t, "message"),
			JobResult: word.Draw(t, "job"), Restarts: rapid.Int().Draw(t, "restarts"), ExitCode: word.Draw(t, "code"),
			ExitStatus: rapid.OneOf(rapid.IntRange(0, 255), rapid.Int()).Draw(t, "status"), Output: word.Draw(t, "output"),
		}
		if rapid.Bool().Draw(t, "begun") {
			state.Since = time.UnixMicro(rapid.Int64Range(0, 1<<51).Draw(t, "since")).UTC()
		}
		value, err := states.Encode(state)
		require.NoError(t, err)
		read, err := states.Decode(value)
		require.NoError(t, err)
		want, err := decodeJSON[v1.UnitState](value)
		require.NoError(t, err)
		require.Equal(t, want, read)
	})
}

func TestPlainStatesNeedNoReflection(t *testing.T) {
	value, err := json.Marshal(v1.UnitState{LoadState: "loaded", ActiveState: "active", SubState: "running", Result: "success", Hash: "h",
		DesiredState: v1.Launched, RequestedAt: "2026-01-01T00:00:00Z", InvocationID: "i", Since: time.Unix(1e9, 1000).UTC(), Message: "m", JobResult: "timeout",
		Restarts: 1234, ExitCode: "exited", ExitStatus: 203, Output: "o"})
	require.NoError(t, err)
	var s v1.UnitState
	require.True(t, eachField(string(value), stateFields(&s)), "%s", value)
	want, err := decodeJSON[v1.UnitState](value)
	require.NoError(t, err)
	require.Equal(t, want, s)
	for value, plain := range map[string]bool{
		`{"restarts":0}`: true, `{"restarts":19}`: true, `{"restarts":999999999}`: true, `{"restarts":1000000000}`: false, `{"restarts":1`: false, `{"restarts":`: false,
		`{"hash":"a b~"}`: true, `{"hash":"a`: false, "{\"hash\":\"\x1f\"}": false, "{\"hash\":\"\x7f\"}": false, `{"hash":"\\"}`: false, `{"later":1}`: false,
	} {
		require.Equal(t, plain, eachField(value, stateFields(&s)), value)
	}
}

// FuzzState: what is decoded without encoding/json is the same as with it.
func FuzzState(f *testing.F) {
	for _, value := range []string{
		`{"loadState":"loaded","activeState":"active","subState":"running","since":"2026-01-01T00:00:00Z"}`, `{}`, `{"hash":"a","hash":"b"}`,
		`{"Hash":"a"}`, `{"hash":"a" }`, `{"hash":1}`, `{"hash":"\u0061"}`, `{"hash":"ä"}`, `{"hash":"a",}`, `{"hash":"a"}}`, `{"since":"now"}`,
		`{"since":"2026-01-01T00:00:00,5Z"}`, `{"since":"2026-01-01t00:00:00z"}`, `{"since":"2026-01-01T24:00:00Z"}`, `{"since":""}`, `{"hash":"` + "\x7f" + `"}`,
		`{"restarts":1,"exitStatus":0}`, `{"restarts":01}`, `{"restarts":-1}`, `{"restarts":1.0}`, `{"restarts":1e1}`, `{"restarts":99999999999999999999}`,
		`{"restarts":"1"}`, `{"restarts":1,}`, `{"exitStatus":}`, `{"message":1}`, `{"restarts":null}`,
		`{"restarts":1`, `{"restarts":9}`, `{"restarts":10}`, `{"restarts":1234567890}`, `{"hash":"a b"}`, `{"hash":"~"}`, `{"hash":"`, `{"hash`, `{"hash":"a\b"}`,
	} {
		f.Add([]byte(value))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		var s v1.UnitState
		if !eachField(string(value), stateFields(&s)) {
			return
		}
		want, err := decodeJSON[v1.UnitState](value)
		require.NoError(t, err)
		require.Equal(t, want, s)
	})
}
