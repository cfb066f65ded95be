package node

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
)

// TestFilesThatWereHereBefore: only where fleetd has never been are they taken for the original's.
func TestFilesThatWereHereBefore(t *testing.T) {
	file := func(l layout.Layout) {
		require.NoError(t, os.WriteFile(l.Unit("a.service"), []byte("x"), 0o644))
	}
	for _, c := range []struct {
		name   string
		before func(l layout.Layout) string // a file that fleetd wrote
		found  bool
	}{
		{"new", func(layout.Layout) string { return "" }, true},
		{"fleetd was here since boot", layout.Layout.Launched, false},
		{"fleetd was here before the boot", layout.Layout.Placements, false},
	} {
		n := odd(t, func(l layout.Layout) {
			file(l)
			if name := c.before(l); name != "" {
				require.NoError(t, os.WriteFile(name, []byte("{}"), 0o644))
			}
		}, fake.Options{})
		require.Equal(t, c.found, n.records.units["a.service"].Found, c.name)
	}
}

// TestFoundUnits: what is planned for a unit that was on the machine before fleetd.
func TestFoundUnits(t *testing.T) {
	const unit = "a.service"
	running := SystemdUnit{LoadState: "loaded", ActiveState: "active", SubState: "running", InvocationID: "i1"}
	for _, c := range []struct {
		name    string
		in      Input
		want    []Kind
		record  Record
		message string
	}{
		{"no placement", Input{}, []Kind{WriteState, Tell}, Record{Found: true}, foundHere},
		{"no placement, and it does not run", Input{Units: map[string]SystemdUnit{unit: {LoadState: "loaded", ActiveState: "inactive"}}}, []Kind{WriteState, Tell}, Record{Found: true}, foundHere},
		{"told already", Input{States: map[string]v1.UnitState{unit: {LoadState: "loaded", ActiveState: "active", SubState: "running", InvocationID: "i1", Message: foundHere}}},
			nil, Record{Found: true}, ""},
		{"given up", Input{GivenUp: map[string]bool{unit: true}}, []Kind{Stop}, Record{Stopped: true}, ""},
		{"removed by hand", Input{Files: map[string]string{}, Units: map[string]SystemdUnit{unit: {}}}, []Kind{Forget}, Record{}, ""},
		{"placed, the same file", Input{Placements: map[string]v1.Placement{unit: launch("A")}}, []Kind{Link, Note, Tell}, Record{Loaded: "A", Launched: "A"}, ""},
		{"placed, another file", Input{Placements: map[string]v1.Placement{unit: launch("B")}}, []Kind{WriteFile, Link, Reload, Restart, Tell},
			Record{Loaded: "B", Launched: "B", Previous: "A", Invocation: "i1"}, ""},
		{"placed, to be loaded: it is not stopped", Input{Placements: map[string]v1.Placement{unit: load("A")}}, []Kind{Link, Tell}, Record{Loaded: "A", Stopped: true}, ""},
		{"placed, and it does not run", Input{Placements: map[string]v1.Placement{unit: launch("A")}, Units: map[string]SystemdUnit{unit: {LoadState: "loaded", ActiveState: "inactive"}}},
			[]Kind{Link, Start}, Record{Loaded: "A", Launched: "A"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := c.in
			in.FromStore, in.NoPulls, in.Records = true, true, map[string]Record{unit: {Found: true}}
			in.Texts = map[string]Text{"A": {FileHash: "A"}, "B": {FileHash: "B"}}
			if in.Files == nil {
				in.Files = map[string]string{unit: "A"}
			}
			if in.Units == nil {
				in.Units = map[string]SystemdUnit{unit: running}
			}
			var kinds []Kind
			record := in.Records[unit]
			for _, a := range Plan(in).Actions {
				kinds = append(kinds, a.Kind)
				switch a.Kind {
				case Forget:
					record = Record{}
				case Link, Note, Start, Restart, Stop:
					record = a.Record
				case WriteState:
					require.Equal(t, c.message, a.State.Message)
				}
			}
			require.Equal(t, c.want, kinds)
			require.Equal(t, c.record, record)
		})
	}
}

// TestFoundUnitsAreGivenUp when their place is elsewhere, or nowhere any more.
func TestFoundUnitsAreGivenUp(t *testing.T) {
	const unit = "a.service"
	active := v1.UnitState{ActiveState: "active", DesiredState: v1.Launched}
	for _, c := range []struct {
		name  string
		text  string
		after func(t *testing.T, n *Node)
		want  bool
	}{
		{"no unit of this name", "", func(*testing.T, *Node) {}, false},
		{"stored, and not placed yet", "", func(t *testing.T, n *Node) { put(t, n.Store, n.Keys.Units(), unit, v1.Unit{}) }, false},
		{"active elsewhere", "", func(t *testing.T, n *Node) {
			put(t, n.Store, n.Keys.Units(), unit, v1.Unit{})
			put(t, n.Store, n.Keys.Placements(), "other/"+unit, launch("A"))
			put(t, n.Store, n.Keys.States(), "other/"+unit, active)
		}, true},
		{"a global unit, which is also elsewhere", "[X-Fleet]\nGlobal=true\n", func(t *testing.T, n *Node) {
			put(t, n.Store, n.Keys.Units(), unit, v1.Unit{})
			put(t, n.Store, n.Keys.Placements(), "other/"+unit, launch("A"))
			put(t, n.Store, n.Keys.States(), "other/"+unit, active)
		}, false},
		{"deleted", "", func(t *testing.T, n *Node) {
			put(t, n.Store, n.Keys.Units(), unit, v1.Unit{})
			time.Sleep(time.Second)
			_, err := n.Store.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: n.Keys.Units().Key(unit)}}})
			require.NoError(t, err)
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := odd(t, func(l layout.Layout) { require.NoError(t, os.WriteFile(l.Unit(unit), []byte(c.text), 0o644)) }, fake.Options{})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); n.found.run(ctx) }()
				require.Empty(t, n.found.of([]string{unit}))
				c.after(t, n)
				time.Sleep(time.Minute)
				require.Equal(t, c.want, n.found.of([]string{unit})[unit])
				require.Empty(t, n.found.of(nil), "it has a placement")
				cancel()
				<-done
			})
		})
	}
}
