package schedule

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// asksFor waits until these, and no others, are the preparations that machines are asked for, and returns the last one.
func (b *bench) asksFor(want ...string) (next v1.Next) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	look := func() (names []string, revision int64) {
		page, err := b.store.List(b.ctx, b.keys.Preparations().Prefix(), store.ListOptions{})
		require.NoError(b.t, err)
		for _, kv := range page.KVs {
			name, _ := b.keys.Preparations().Name(kv.Key)
			names = append(names, name)
			next, _ = b.keys.Preparations().Decode(kv.Value)
		}
		return names, page.Revision
	}
	names, revision := look()
	changes := b.store.Watch(ctx, b.keys.Root(), revision)
	for len(names) != len(want) || len(want) == 1 && names[0] != want[0] {
		if _, ok := <-changes; !ok {
			require.Equal(b.t, want, names)
		}
		names, _ = look()
	}
	return next
}

func (b *bench) report(machine, unit string, state v1.UnitState) {
	value, err := json.Marshal(state)
	require.NoError(b.t, err)
	b.put(b.keys.States().Key(keyspace.Join(machine, unit)), string(value))
}

// A machine is asked to prepare a move, answers, gets the unit, and is asked no more. What has no business there is deleted.
func TestMovesArePrepared(t *testing.T) {
	eachStore(t, func(b *bench) {
		b.put(b.keys.Preparations().Key("m2/unknown.service"), "{")
		b.machine("m1", "a")
		b.unit("box.service", "[Service]\nExecStart=/bin/box\n[X-Fleet]\nImage=localhost:5000/box:1\n")
		b.await("m1/box.service launched")
		b.asksFor()
		b.report("m1", "box.service", v1.UnitState{ActiveState: "active", DesiredState: v1.Launched})
		b.machine("m2", "a")
		b.put(b.keys.MachineConfigs().Key("m1"), `{"drain": true}`)
		next := b.asksFor("m2/box.service")
		require.WithinDuration(t, time.Now(), next.Since, 30*time.Second)
		prepared := v1.Prepared{Preparation: next.Preparation, State: v1.PreparedFailed, Message: "no such image"}
		b.report("m2", "box.service", v1.UnitState{ActiveState: "inactive", Prepared: prepared})
		b.unit("other.service", "[Service]\nExecStart=/bin/other\n") // when it is placed, the answer has been seen
		b.await("m1/box.service launched", "m2/other.service launched")
		b.asksFor("m2/box.service")
		prepared.State, prepared.Message = v1.PreparedReady, ""
		b.report("m2", "box.service", v1.UnitState{ActiveState: "inactive", Prepared: prepared})
		b.await("m2/box.service launched", "m2/other.service launched")
		b.asksFor()
	})
}
