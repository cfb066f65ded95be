package node

import (
	"context"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/systemd"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
)

// TestRecordsThatActionsLeave: the record of a unit after an action has succeeded.
func TestRecordsThatActionsLeave(t *testing.T) {
	const name = "a.service"
	for _, tt := range []struct {
		what      string
		placement v1.Placement
		file      string
		record    Record
		unit      SystemdUnit
		kind      Kind
		reason    string
		want      Record
	}{
		{"a changed file: what runs is what ran before", launch("B"), "A", Record{Loaded: "A", Launched: "A"}, unit("active", "i1"),
			Note, FileChanged, Record{Loaded: "B", Launched: "A", Previous: "A", Invocation: "i1"}},
		{"changed once more before it was restarted: it still runs with the first", launch("C"), "B",
			Record{Loaded: "B", Launched: "B", Previous: "A", Invocation: "i1", Message: "refused"}, unit("active", "i1"),
			Note, FileChanged, Record{Loaded: "C", Launched: "B", Previous: "A", Invocation: "i1"}},
		{"restarted with it", launch("B"), "A", Record{Loaded: "A", Launched: "A", Message: "x"}, unit("active", "i1"),
			Restart, FileChanged, Record{Loaded: "B", Launched: "B", Previous: "A", Invocation: "i1"}},
		{"stopped: nothing of its last start matters any more", load("A"), "A",
			Record{Loaded: "A", Launched: "A", Pending: true, JobResult: "failed", Failing: true, Message: "x"}, unit("active", "i1"),
			Stop, SetLoaded, Record{Loaded: "A", Stopped: true}},
		{"is down already", v1.Placement{Hash: "A", DesiredState: v1.Loaded, RequestedAt: "2"}, "A",
			Record{Loaded: "A", Launched: "A", JobResult: "failed", Failing: true}, unit("inactive", ""),
			Note, SetLoaded, Record{Loaded: "A", Stopped: true, RequestedAt: "2"}},
		{"started", ask("A", "3"), "A", Record{Loaded: "A", Stopped: true, Message: "x"}, unit("inactive", "i0"),
			Start, NotLaunched, Record{Loaded: "A", Launched: "A", Invocation: "i0", RequestedAt: "3"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			in := Input{FromStore: true, Now: t0, Placements: map[string]v1.Placement{name: tt.placement}, Files: map[string]string{name: tt.file},
				Records: map[string]Record{name: tt.record}, Units: map[string]SystemdUnit{name: tt.unit}}
			completeTexts(&in)
			var got []Record
			for _, a := range Plan(in).Actions {
				if a.Kind == tt.kind && a.Reason == tt.reason {
					got = append(got, a.Record)
				}
			}
			require.Equal(t, []Record{tt.want}, got)
		})
	}
}

// TestReloadThatIsDue: it is done, even if no file changed.
func TestReloadThatIsDue(t *testing.T) {
	require.Equal(t, "reload FileChanged\n", transcript(Plan(Input{FromStore: true, Now: t0, ReloadDue: true})))
	require.Empty(t, transcript(Plan(Input{FromStore: true, Now: t0})))
}

// TestRecordAloneIsForgotten: the record of a unit without placement and file.
func TestRecordAloneIsForgotten(t *testing.T) {
	in := Input{FromStore: true, Now: t0, Records: map[string]Record{"a.service": {Loaded: "A"}}}
	require.Equal(t, "unlink a.service NotPlaced\nforget a.service NotPlaced\n", transcript(Plan(in)))
}

// TestReloadIsDueUntilItIsDone: systemd may not have read what was written.
func TestReloadIsDueUntilItIsDone(t *testing.T) {
	refuses := true
	n := odd(t, func(layout.Layout) {}, fake.Options{Fault: func(op, _ string) error {
		if op == "reload" && refuses {
			return systemd.ErrRefused
		}
		return nil
	}})
	reload := Decision{Actions: []Action{{Kind: Reload, Reason: FileChanged, Units: []string{"a.service"}}}}
	for _, due := range []bool{true, false} {
		refuses = due
		_, refused, err := n.apply(t.Context(), reload)
		require.NoError(t, err)
		require.Equal(t, due, refused != nil)
		in, err := n.observe(t.Context())
		require.NoError(t, err)
		require.Equal(t, due, in.ReloadDue)
	}
}

// TestStatesOfTheStoreAreLearntOnce, and known is called then.
func TestStatesOfTheStoreAreLearntOnce(t *testing.T) {
	s, keys, known := memstore.New(memstore.Options{}), keyspace.New(""), 0
	put(t, s, keys.States(), "m1/a.service", v1.UnitState{ActiveState: "active"})
	w := newStateWriter(Options{Store: s, Keys: keys, Machine: "m1", Log: logr.Discard()}, func() { known++ })
	require.Empty(t, w.view())
	for range 3 {
		_, err := w.flush(context.Background())
		require.NoError(t, err)
		require.Equal(t, 1, known)
	}
	require.Equal(t, map[string]v1.UnitState{"a.service": {ActiveState: "active"}}, w.view())
	w.reload()
	_, err := w.flush(context.Background())
	require.NoError(t, err)
	require.Equal(t, 2, known)
}

// TestRecordsAreSavedWhereTheyChanged: the disk is only written to if something changed.
func TestRecordsAreSavedWhereTheyChanged(t *testing.T) {
	n := odd(t, func(layout.Layout) {}, fake.Options{})
	n.records.units["a.service"] = Record{Loaded: "h"}
	require.NoError(t, n.records.save())
	require.NoError(t, os.Remove(n.Layout.Launched()))
	require.NoError(t, n.records.save())
	_, err := os.Stat(n.Layout.Launched())
	require.ErrorIs(t, err, os.ErrNotExist)
	n.records.units["a.service"] = Record{Loaded: "h2"}
	require.NoError(t, n.records.save())
	again, err := loadRecords(n.Layout.Launched(), logr.Discard())
	require.NoError(t, err)
	require.Equal(t, "h2", again.units["a.service"].Loaded)
}
