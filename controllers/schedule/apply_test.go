package schedule

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// machinesOf counts the transactions that each machine is in.
type machinesOf struct {
	store.Interface
	mu    sync.Mutex
	count map[string]int
}

func (m *machinesOf) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	m.mu.Lock()
	here := map[string]bool{}
	for _, op := range txn.Ops {
		here[strings.Split(op.Key, "/")[3]] = true
	}
	for machine := range here {
		m.count[machine]++
	}
	m.mu.Unlock()
	return m.Interface.Commit(ctx, txn)
}

func TestMachinesGetTheirUnitsAtOnce(t *testing.T) {
	s := &machinesOf{Interface: memstore.New(memstore.Options{}), count: map[string]int{}}
	c := &Controller{Options: Options{Env: cluster.Env{Store: s}}}
	const machines, each = 100, 20
	var groups []store.Group
	for unit := range each {
		for machine := range machines {
			groups = append(groups, store.Group{{Key: fmt.Sprintf("/fleet/placements/m%02d/%d.service", machine, unit), Value: []byte("{}"), If: store.Absent()}})
		}
	}
	_, err := s.Interface.Commit(t.Context(), store.Txn{Ops: []store.Op{groups[1234][0]}}) // another client was faster
	require.NoError(t, err)
	results := c.byMachine(t.Context(), groups)
	for i, r := range results {
		if i == 1234 {
			require.ErrorIs(t, r.Err, store.ErrConflict)
		} else {
			require.NoError(t, r.Err, i)
		}
	}
	shared := 0
	for machine, n := range s.count {
		if machine != "m34" && n > 1 { // the conflicting transaction is split
			shared++
		}
	}
	require.LessOrEqual(t, shared, machines*each/(store.MaxTxnOps-1)+6, "a machine is in more than one transaction only where one ends within it")
}

// TestConcurrentChangesAreKept: if a placement was changed or created after the decision, nothing is overwritten, and the
// unit is planned again.
func TestConcurrentChangesAreKept(t *testing.T) {
	keys := keyspace.New("")
	const theirs = `{"hash":"theirs"}`
	here, there := keys.Placements().Key("m1/a.service"), keys.Placements().Key("m2/a.service")
	machine := keys.Machines().Key("m1")
	for _, tt := range []struct {
		name    string
		action  Action
		changed string
	}{
		{"placed by another", Action{Kind: Place, Machine: "m1"}, here},
		{"changed before it is updated", Action{Kind: Update, Machine: "m1"}, here},
		{"changed before it is taken off", Action{Kind: Unplace, Machine: "m1"}, here},
		{"changed before it is moved", Action{Kind: Move, From: "m1", Machine: "m2"}, here},
		{"placed by another where it is moved to", Action{Kind: Move, From: "m1", Machine: "m2"}, there},
		{"back before it is moved off its machine", Action{Kind: Move, From: "m1", Machine: "m2", Reason: ReasonMachineGone}, machine},
		{"back before a global unit is taken off its machine", Action{Kind: Unplace, Machine: "m1", Reason: ReasonMachineGone}, machine},
		{"started before it is moved", Action{Kind: Move, From: "m1", Machine: "m2", IfDown: true}, keys.States().Key("m1/a.service")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := memstore.New(memstore.Options{})
			put := func(key, value string) int64 {
				op := store.Op{Key: key, Value: []byte(value)}
				if key == machine {
					op.Lease = lease(t, s)
				}
				revision, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{op}})
				require.NoError(t, err)
				return revision
			}
			tt.action.Unit = "a.service"
			if tt.action.Kind != Place {
				tt.action.Revision = put(here, `{"hash":"as it was"}`)
			}
			put(tt.changed, theirs)
			before := s.Revision()
			c := New(Options{Env: cluster.Env{Store: s, Cluster: cluster.New(s, keys, logr.Discard())}})
			defer func() { // shuts down the queue
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				_ = c.Run(ended)
			}()
			c.index.SetUnit(index.UnitSpec{Name: "a.service"})
			Commit(c.index, Plan(Input{Index: c.index}))
			require.True(t, c.index.Idle())
			_, failed, err := c.write(t.Context(), []Action{tt.action})
			require.ErrorIs(t, err, store.ErrConflict)
			require.Equal(t, []Action{tt.action}, failed)
			require.False(t, c.index.Idle(), "it is planned again")
			require.Equal(t, before, s.Revision(), "nothing was written")
		})
	}
	t.Run("a stray key", func(t *testing.T) {
		c := &Controller{Options: Options{Env: cluster.Env{Cluster: &cluster.Cluster{Keys: keys}}}}
		ops, err := c.ops(Action{Kind: DeleteStray, Unit: "nowhere", Revision: 7})
		require.NoError(t, err)
		require.Equal(t, []store.Op{{Key: "/fleet/placements/nowhere", If: store.Unchanged(7)}}, ops)
	})
}

// TestGoneMachine: units are moved off a machine that is gone, and off one whose presence no process maintains; those that move
// together check that once.
func TestGoneMachine(t *testing.T) {
	keys := keyspace.New("")
	s := memstore.New(memstore.Options{})
	_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: keys.Machines().Key("m1"), Value: []byte("{}")}}})
	require.NoError(t, err)
	var ops []store.Op
	var actions []Action
	for i, from := range []string{"m1", "m1", "m0", "m1"} {
		unit := fmt.Sprintf("%d.service", i)
		ops = append(ops, store.Op{Key: keys.Placements().Key(from + "/" + unit), Value: []byte("{}")})
		actions = append(actions, Action{Kind: Move, Unit: unit, From: from, Machine: "m2", Reason: ReasonMachineGone, Txn: i / 2})
	}
	revision, err := s.Commit(t.Context(), store.Txn{Ops: ops})
	require.NoError(t, err)
	for i := range actions {
		actions[i].Revision = revision
	}
	c := &Controller{Options: Options{Env: cluster.Env{Store: s, Cluster: &cluster.Cluster{Keys: keys}}}, index: NewIndex()}
	groups, _, err := c.groups(actions)
	require.NoError(t, err)
	require.Len(t, groups[0], 5)
	require.Len(t, groups[1], 6)
	require.Equal(t, keys.Placements().Key("m2/1.service"), last(groups[0]))
	for _, r := range c.byMachine(t.Context(), groups) {
		require.NoError(t, r.Err)
	}
	page, err := s.List(t.Context(), keys.Placements().Prefix()+"m2/", store.ListOptions{})
	require.NoError(t, err)
	require.Len(t, page.KVs, 4)
}

func lease(t *testing.T, s store.Interface) store.LeaseID {
	id, err := s.Grant(t.Context(), time.Hour)
	require.NoError(t, err)
	return id
}

// TestTheWorstErrorIsReturned: losing the leadership ends the controller, whatever else failed.
func TestTheWorstErrorIsReturned(t *testing.T) {
	conflict := store.Result{Err: fmt.Errorf("write /a: %w", store.ErrConflict)}
	fenced := store.Result{Err: fmt.Errorf("write /b: %w", store.ErrFenced)}
	written := store.Result{Revision: 9}
	for _, tt := range []struct {
		results []store.Result
		want    error
		text    string
	}{
		{[]store.Result{written, written}, nil, ""},
		{[]store.Result{written, conflict}, store.ErrConflict, "1 of 2 decisions were not written: write /a: "},
		{[]store.Result{conflict, written, fenced}, store.ErrFenced, "2 of 3 decisions were not written: write /b: "},
		{[]store.Result{fenced, conflict}, store.ErrFenced, "2 of 2 decisions were not written: write /b: "},
		{[]store.Result{conflict, fenced, conflict}, store.ErrFenced, "3 of 3 decisions were not written: write /b: "},
	} {
		err := brief(tt.results)
		require.ErrorIs(t, err, tt.want)
		if tt.want != nil {
			require.ErrorContains(t, err, tt.text)
		}
	}
}
