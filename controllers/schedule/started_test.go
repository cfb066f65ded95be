package schedule

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// racing writes something right before the first move.
type racing struct {
	store.Interface
	before func()
}

func (r *racing) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	moves := func(op store.Op) bool { return strings.Contains(op.Key, "/placements/") && op.Value == nil }
	if first := r.before; first != nil && slices.ContainsFunc(txn.Ops, moves) {
		r.before = nil
		first()
	}
	return r.Interface.Commit(ctx, txn)
}

// TestStartedWhileItIsMoved: a unit that is started right before it is moved, which the plan did not know, stays until the next machine
// has its image. One that is still down moves at once.
func TestStartedWhileItIsMoved(t *testing.T) {
	for _, starts := range []bool{true, false} {
		t.Run(fmt.Sprintf("starts %t", starts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testMoved(t, starts) })
		})
	}
}

func testMoved(t *testing.T, starts bool) {
	const unit = "a.service"
	s := &racing{Interface: memstore.New(memstore.Options{})}
	b := start(t, s)
	b.machine("m1", "a")
	time.Sleep(time.Minute / 2)
	b.unit(unit, "[Service]\nExecStart=/bin/true\n[X-Fleet]\nImage=docker web\n")
	time.Sleep(time.Second)
	state := func(machine string, state v1.UnitState) {
		value, err := b.keys.States().Encode(state)
		require.NoError(t, err)
		b.put(b.keys.States().Key(machine+"/"+unit), string(value))
	}
	there := func(key string) bool {
		_, is, _, err := b.store.Get(b.ctx, key)
		require.NoError(t, err)
		return is
	}
	state("m1", v1.UnitState{ActiveState: "inactive"})
	b.machine("m2", "a")
	require.True(t, there(b.keys.Placements().Key("m1/"+unit)))
	if starts {
		s.before = func() { state("m1", v1.UnitState{ActiveState: "active", SubState: "running"}) }
	}
	config, err := b.keys.MachineConfigs().Encode(v1.MachineConfig{Drain: true})
	require.NoError(t, err)
	b.put(b.keys.MachineConfigs().Key("m1"), string(config))
	time.Sleep(time.Second)
	require.Equal(t, starts, there(b.keys.Placements().Key("m1/"+unit)))
	require.Equal(t, !starts, there(b.keys.Placements().Key("m2/"+unit)))
	require.Equal(t, starts, there(b.keys.Preparations().Key("m2/"+unit)), "m2 is asked to pull its image")
}
