package main

import (
	"context"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

var update = flag.Bool("update", false, "write the counts to baseline.json")

// tolerance is how far a count may deviate from the baseline, up or down: improvements belong in the baseline, too.
const tolerance = 0.2

func TestCountsAreThoseOfTheBaseline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, err := counts(ctx, t.TempDir())
	require.NoError(t, err)
	if *update {
		data, err := json.MarshalIndent(got, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile("baseline.json", append(data, '\n'), 0o644))
	}
	data, err := os.ReadFile("baseline.json")
	require.NoError(t, err)
	want := map[string]float64{}
	require.NoError(t, json.Unmarshal(data, &want))
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)), "run go test ./test/bench -update")
	for name, value := range want {
		require.InDelta(t, value, got[name], value*tolerance, "%s: if that is as it should be, run go test ./test/bench -update", name)
	}
}

func TestAStoreCountsWhatGoesThrough(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reached := newGoal(keys.Placements().Prefix(), 2, nil)
	s := count(memstore.New(memstore.Options{}), keys.Root(), reached.note)
	batches := s.Watch(ctx, keys.Root(), 1)
	put := func(key string) {
		_, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: key, Value: []byte("12345")}}})
		require.NoError(t, err)
	}
	put("/fleet/placements/m/a")
	put("/fleet/placements/m/a")
	require.Len(t, reached.seen, 1, "one key twice is one placement")
	put("/fleet/placements/m/b")
	_, err := reached.wait(ctx)
	require.NoError(t, err)
	put("/fleet/units/a")
	put("/elsewhere")
	_, err = s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: "/fleet/x", Value: []byte("1"), If: store.Unchanged(1)}}})
	require.Error(t, err)
	for n := 0; n < 4; {
		n += len((<-batches).Events)
	}
	got := s.traffic()
	require.Equal(t, map[string]int64{"placements": 3, "units": 1, "other": 1}, got.Puts)
	require.Equal(t, map[string]int64{"placements": 3, "units": 1}, got.Events)
	require.EqualValues(t, 3*(21+5), got.PutBytes["placements"])
	require.EqualValues(t, 6, got.Commits)
	for range 2 {
		require.EqualValues(t, 2*3, got.plus(got).Puts["placements"], "a sum leaves what it is made of as it was")
	}
}

func TestNumbersHaveAsManyDigitsAsMeanSomething(t *testing.T) {
	for value, want := range map[float64]string{0: "0", 3: "3", 1.234: "1.23", 12.34: "12.3", 123456.7: "123457"} {
		require.Equal(t, want, number(value))
	}
}
