package node

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/atomicfile"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/systemd"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// odd returns a node that does not run, over a model of systemd.
func odd(t *testing.T, prepare func(layout.Layout), o fake.Options) *Node {
	t.Helper()
	dir := t.TempDir()
	l := layout.Layout{State: dir + "/state", Runtime: dir + "/run", Units: dir + "/run/units", Shared: dir + "/run"}
	require.NoError(t, l.Make())
	prepare(l)
	manager := fake.New(o)
	t.Cleanup(manager.Close)
	n, err := New(Options{Machine: "m", Keys: keyspace.New(""), Store: memstore.New(memstore.Options{}), Systemd: manager, Layout: l, Log: logr.Discard()})
	require.NoError(t, err)
	t.Cleanup(func() { // shuts down the queue
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		require.NoError(t, n.loop.Run(ended))
	})
	return n
}

func TestOddRecords(t *testing.T) {
	for _, text := range []string{"null", "", "{", "[]", `{"a.service": 1}`, "{}", `{"a.service": null}`} {
		t.Run(text, func(t *testing.T) {
			n := odd(t, func(l layout.Layout) {
				require.NoError(t, os.WriteFile(l.Launched(), []byte(text), 0o644))
				require.NoError(t, os.WriteFile(l.Placements(), []byte(text), 0o644))
			}, fake.Options{})
			_, _, err := n.apply(t.Context(), Decision{Actions: []Action{{Kind: Note, Unit: "a.service", Record: Record{Loaded: "h"}}}})
			require.NoError(t, err)
			again, err := loadRecords(n.Layout.Launched(), logr.Discard())
			require.NoError(t, err)
			require.Equal(t, "h", again.units["a.service"].Loaded)
			require.NoError(t, n.disk.save(map[string]v1.Placement{"a.service": {Hash: "h"}}))
			require.Equal(t, "h", loadCopy(n.Layout, logr.Discard()).placements["a.service"].Hash)
		})
	}
}

func TestOtherFilesAreHarmless(t *testing.T) {
	n := odd(t, func(l layout.Layout) {
		require.NoError(t, os.Mkdir(filepath.Join(l.Units, "dir.service"), 0o755))
		require.NoError(t, os.Symlink("/nowhere", filepath.Join(l.Units, "link.service")))
		require.NoError(t, os.WriteFile(filepath.Join(l.Units, "a.service"), []byte("x"), 0o644))
		require.NoError(t, os.WriteFile(l.Launched(), []byte("{}"), 0o644))
	}, fake.Options{})
	in, err := n.observe(t.Context())
	require.NoError(t, err)
	require.Len(t, in.Files, 3)
	require.Len(t, in.Files["a.service"], 64)
	in.FromStore = true
	_, _, err = n.apply(t.Context(), Plan(in))
	require.NoError(t, err)
	left, err := os.ReadDir(n.Layout.Units)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestNoAnswerIsNoRefusal(t *testing.T) {
	n := odd(t, func(layout.Layout) {}, fake.Options{Fault: func(op, _ string) error {
		if op == "start" {
			return context.DeadlineExceeded
		}
		return nil
	}})
	start := Action{Kind: Start, Unit: "a.service", Record: Record{Loaded: "h", Launched: "h"}}
	_, _, err := n.apply(t.Context(), Decision{Actions: []Action{start}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, n.records.units["a.service"].Pending, "it is looked at again whether it was started")
	require.Empty(t, n.records.units["a.service"].Message)

	n = odd(t, func(layout.Layout) {}, fake.Options{Fault: func(op, _ string) error {
		if op == "start" {
			return systemd.ErrRefused
		}
		return nil
	}})
	_, _, err = n.apply(t.Context(), Decision{Actions: []Action{start}})
	require.NoError(t, err)
	require.False(t, n.records.units["a.service"].Pending)
	require.Equal(t, "systemd: start a.service: refused by systemd", n.records.units["a.service"].Message)
}

// Leftovers of earlier versions under invalid names are removed, and placements with such names are reported: neither affects
// other units.
func TestNamesThatNoUnitCanHave(t *testing.T) {
	const text = "[Service]\nExecStart=/bin/stays\n"
	hash := unitfile.Hash(text)
	left := []string{"zzdata@vol1.mount", "a@1.slice", "a.snapshot", "b@.service"}
	n := odd(t, func(l layout.Layout) {
		records := map[string]Record{}
		for _, name := range left {
			require.NoError(t, os.WriteFile(l.Unit(name), []byte(text), 0o644))
			records[name] = Record{Loaded: hash, Launched: hash, Pending: true}
		}
		data, err := json.Marshal(records)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(l.Launched(), data, 0o644))
	}, fake.Options{})
	n.synced.Store(true)
	n.texts.known[hash], _ = newText(text)
	n.states.put("zzdata@vol1.mount", v1.UnitState{ActiveState: "inactive"})
	in := func() Input {
		in, err := n.observe(t.Context())
		require.NoError(t, err)
		in.Placements = map[string]v1.Placement{"good.service": launch(hash), "a.snapshot": launch(hash), "c@2.slice": load(hash)}
		in.Refused = refused(in)
		in.Texts, in.Relations = n.texts.of(t.Context(), in.Placements)
		return in
	}
	for range 3 {
		_, _, err := n.apply(t.Context(), Plan(in()))
		require.NoError(t, err)
	}
	entries, err := os.ReadDir(n.Layout.Units)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, "good.service", entries[0].Name())
	states, err := n.Systemd.States(t.Context(), []string{"good.service"})
	require.NoError(t, err)
	require.Equal(t, "start", states[0].Job)
	require.Len(t, n.records.units, 1)
	reported := n.states.view()
	require.NotContains(t, reported, "zzdata@vol1.mount")
	require.Contains(t, reported["a.snapshot"].Message, "systemd has no snapshot units")
	require.Contains(t, reported["c@2.slice"].Message, "units of type slice have no instances")
	require.Equal(t, v1.Loaded, reported["c@2.slice"].DesiredState)
	again := Plan(in())
	require.Empty(t, again.Actions, "once")
}

// A unit for which systemd reports no state keeps its last one, with the reason; one whose name systemd rejects is not
// started.
func TestUnitsWithoutAState(t *testing.T) {
	last := v1.UnitState{LoadState: "loaded", ActiveState: "active", Hash: "A", InvocationID: "i1", DesiredState: v1.Launched}
	told := last
	told.Message = "no answer"
	run := Record{Loaded: "A", Launched: "A"}
	in := Input{Now: t0, FromStore: true, Files: map[string]string{"a.service": "A", "b.service": "A", "c.service": "A"},
		Texts:      map[string]Text{"A": {FileHash: "A"}, "B": {FileHash: "B"}},
		Placements: map[string]v1.Placement{"a.service": launch("B"), "c.service": launch("A")},
		Records:    map[string]Record{"a.service": run, "b.service": run, "c.service": {Loaded: "A"}},
		States:     map[string]v1.UnitState{"a.service": last, "b.service": last},
		Units:      map[string]SystemdUnit{"a.service": {Err: "no answer"}, "b.service": {Err: "no answer"}, "c.service": {Err: "no unit", NoUnit: true}}}
	plan := Plan(in)
	require.Equal(t, time.Second, plan.After)
	require.Equal(t, []Action{
		{Kind: WriteState, Unit: "a.service", State: told, Reason: StateChanged},
		{Kind: WriteState, Unit: "b.service", State: told, Reason: StateChanged},
		{Kind: WriteState, Unit: "c.service", Reason: StateChanged, State: v1.UnitState{LoadState: "not-found", ActiveState: "inactive", SubState: "dead",
			Hash: "A", DesiredState: v1.Launched, Message: "no unit"}},
	}, plan.Actions)
	// Without a placement the invalid name is forgotten.
	delete(in.Placements, "c.service")
	require.Contains(t, transcript(Plan(in)), "unlink c.service NotPlaced\nremoveFile c.service NotPlaced\nforget c.service NotPlaced\n")
}

// A refused reload, such as for lack of space on /run, delays the units whose files changed, and is retried.
func TestReloadThatIsRefused(t *testing.T) {
	full := true
	n := odd(t, func(layout.Layout) {}, fake.Options{Fault: func(op, _ string) error {
		if op == "reload" && full {
			return systemd.ErrRefused
		}
		return nil
	}})
	old, fresh := "[Service]\nExecStart=/bin/stays 1\n", "[Service]\nExecStart=/bin/stays 2\n"
	n.synced.Store(true)
	place := func(placements map[string]v1.Placement) error {
		for _, text := range []string{old, fresh} {
			n.texts.known[unitfile.Hash(text)], _ = newText(text)
		}
		in, err := n.observe(t.Context())
		require.NoError(t, err)
		in.Placements = placements
		in.Texts, in.Relations = n.texts.of(t.Context(), placements)
		_, refused, err := n.apply(t.Context(), Plan(in))
		require.NoError(t, err)
		return refused
	}
	manager := n.Systemd.(*fake.Manager)
	one := map[string]v1.Placement{"changes.service": launch(unitfile.Hash(old))}
	require.NoError(t, place(one))
	manager.Advance(time.Second)
	two := map[string]v1.Placement{"changes.service": launch(unitfile.Hash(fresh)), "new.service": launch(unitfile.Hash(old))}
	require.ErrorIs(t, place(two), systemd.ErrRefused)
	manager.Advance(time.Second)
	require.Equal(t, unitfile.Hash(old), n.records.units["new.service"].Launched, "the other one was started")
	require.Equal(t, unitfile.Hash(old), n.records.units["changes.service"].Launched)
	require.Contains(t, n.records.units["changes.service"].Message, "refused by systemd")
	states, err := manager.States(t.Context(), []string{"changes.service", "new.service"})
	require.NoError(t, err)
	require.Equal(t, "active", states[1].ActiveState)
	before := states[0].InvocationID
	full = false
	require.NoError(t, place(two))
	manager.Advance(time.Second)
	states, err = manager.States(t.Context(), []string{"changes.service"})
	require.NoError(t, err)
	changes, err := manager.Inspect(t.Context(), "changes.service")
	require.NoError(t, err)
	require.False(t, changes.NeedReload)
	require.NotEqual(t, before, states[0].InvocationID)
	require.Equal(t, Record{Loaded: unitfile.Hash(fresh), Launched: unitfile.Hash(fresh), Previous: unitfile.Hash(old), Invocation: before}, n.records.units["changes.service"])
}

// A unit that is refused repeatedly does not keep others' placements from being saved: the next boot starts what is placed
// now. A full disk keeps no unit from starting.
func TestWhatIsRefusedKeepsNothingFromTheDisk(t *testing.T) {
	const text = "[Service]\nExecStart=/bin/stays\n"
	hash := unitfile.Hash(text)
	n := odd(t, func(layout.Layout) {}, fake.Options{Fault: func(op, unit string) error {
		if op == "stop" && unit == "bad.service" {
			return systemd.ErrRefused
		}
		return nil
	}})
	pass := func() error {
		_, err := n.Reconcile(t.Context(), struct{}{})
		n.Systemd.(*fake.Manager).Advance(time.Second)
		return err
	}
	run := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { run <- n.reflector.Run(ctx) }()
	defer func() { cancel(); <-run }()
	place := func(name string, p v1.Placement) {
		t.Helper()
		op := store.Op{Key: n.Keys.PlacementsOf("m").Key(name)}
		if p.Hash != "" {
			value, err := n.Keys.PlacementsOf("m").Encode(p)
			require.NoError(t, err)
			op.Value = value
		}
		revision, err := n.Store.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: n.Keys.UnitFiles().Key(hash), Value: []byte(text)}, op}})
		require.NoError(t, err)
		require.NoError(t, n.reflector.WaitForRevision(t.Context(), revision))
	}
	place("bad.service", launch(hash))
	for range 3 {
		require.NoError(t, pass())
	}
	place("bad.service", load(hash))
	place("good.service", launch(hash))
	for range 3 {
		require.ErrorIs(t, pass(), systemd.ErrRefused)
	}
	copied := loadCopy(n.Layout, logr.Discard()).placements
	require.Equal(t, map[string]v1.Placement{"bad.service": load(hash), "good.service": launch(hash)}, copied)
	require.Contains(t, n.records.units["bad.service"].Message, "refused")
	require.NoError(t, n.DiskError())

	require.NoError(t, os.RemoveAll(n.Layout.State))
	place("late.service", launch(hash))
	for range 3 {
		require.Error(t, pass())
	}
	require.Error(t, n.DiskError())
	states, err := n.Systemd.States(t.Context(), []string{"late.service"})
	require.NoError(t, err)
	require.Equal(t, "active", states[0].ActiveState)
}

// A refusal by systemd is reported and recorded, and later steps for the unit are skipped.
func TestARefusalIsNotForgotten(t *testing.T) {
	const text = "[Service]\nExecStart=/bin/stays\n"
	for _, tt := range []struct {
		op      string
		actions []Kind
	}{
		{"stop", []Kind{Stop, RemoveFile, Forget}},
		{"reset-failed", []Kind{ResetFailed, Unlink, RemoveFile, Forget}},
		{"unlink", []Kind{Stop, Unlink, RemoveFile, Forget}},
		{"link", []Kind{Link, RemoveFile, Forget}},
	} {
		t.Run(tt.op, func(t *testing.T) {
			n := odd(t, func(l layout.Layout) {
				require.NoError(t, os.WriteFile(l.Unit("bad.service"), []byte(text), 0o644))
			}, fake.Options{Fault: func(op, _ string) error {
				if op == tt.op {
					return systemd.ErrRefused
				}
				return nil
			}})
			n.records.units["bad.service"] = Record{Loaded: "h"}
			var plan Decision
			for _, kind := range tt.actions {
				plan.Actions = append(plan.Actions, Action{Kind: kind, Unit: "bad.service", Record: Record{Loaded: "h"}})
			}
			acted, refused, err := n.apply(t.Context(), plan)
			require.NoError(t, err)
			require.True(t, acted)
			require.ErrorIs(t, refused, systemd.ErrRefused)
			require.ErrorContains(t, refused, "bad.service")
			require.Contains(t, n.records.units["bad.service"].Message, "refused")
			_, err = os.Stat(n.Layout.Unit("bad.service"))
			require.NoError(t, err, "its file is there")
		})
	}
}

// TestFilesThatCannotBeWrittenAreNotReloaded: on a full disk systemd is not made to reload repeatedly, each time with a hint
// that triggers the next pass at once.
func TestFilesThatCannotBeWrittenAreNotReloaded(t *testing.T) {
	var reloads int
	n := odd(t, func(layout.Layout) {}, fake.Options{Fault: func(op, _ string) error {
		if op == "reload" {
			reloads++
		}
		return nil
	}})
	old, fresh := "[Service]\nExecStart=/bin/stays 1\n", "[Service]\nExecStart=/bin/stays 2\n"
	n.synced.Store(true)
	place := func(text string) error {
		known, err := newText(text)
		require.NoError(t, err)
		n.texts.known[unitfile.Hash(text)] = known
		in, err := n.observe(t.Context())
		require.NoError(t, err)
		in.Placements = map[string]v1.Placement{"changes.service": launch(unitfile.Hash(text))}
		in.Texts, in.Relations = n.texts.of(t.Context(), in.Placements)
		_, refused, err := n.apply(t.Context(), Plan(in))
		require.NoError(t, err)
		return refused
	}
	require.NoError(t, place(old))
	n.Systemd.(*fake.Manager).Advance(time.Second)
	atomicfile.Fault = func(name string) error {
		if strings.HasSuffix(name, "/changes.service") {
			return syscall.ENOSPC
		}
		return nil
	}
	t.Cleanup(func() { atomicfile.Fault = nil })
	require.ErrorIs(t, place(fresh), syscall.ENOSPC)
	require.Equal(t, 0, reloads)
	require.Contains(t, n.records.units["changes.service"].Message, "no space left on device")
	atomicfile.Fault = nil
	require.NoError(t, place(fresh))
	require.Equal(t, 1, reloads)
	require.Equal(t, unitfile.Hash(fresh), n.records.units["changes.service"].Launched)
}
