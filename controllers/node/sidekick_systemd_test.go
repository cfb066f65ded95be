package node_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/systemd"
)

// witness is a real manager that looks, at each call for a sidekick, at the unit that it binds to.
type witness struct {
	systemd.Manager
	t       *testing.T
	bindsTo map[string]string // target, by sidekick

	mu    sync.Mutex
	calls []string
}

func (w *witness) note(call string, units ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, strings.TrimSpace(call+" "+strings.Join(units, " ")))
}

func (w *witness) take() (calls []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls, w.calls = w.calls, nil
	return calls
}

// target returns the state of a sidekick's target, and fails the test if systemd does not know it.
func (w *witness) target(ctx context.Context, call, side string) systemd.UnitState {
	target := w.bindsTo[side]
	if target == "" {
		return systemd.UnitState{}
	}
	states, err := w.Manager.States(ctx, []string{target})
	if err != nil {
		w.t.Errorf("%s %s: %v", call, side, err)
		return systemd.UnitState{}
	}
	if states[0].LoadState != "loaded" {
		w.t.Errorf("%s %s: %s, which it binds to, is %s", call, side, target, states[0].LoadState)
	}
	return states[0]
}

func (w *witness) Link(ctx context.Context, paths ...string) error {
	err := w.Manager.Link(ctx, paths...)
	for _, path := range paths {
		w.note("link", filepath.Base(path))
		w.target(ctx, "link", filepath.Base(path))
	}
	return err
}

func (w *witness) Start(ctx context.Context, name string) error {
	w.note("start", name)
	if target := w.target(ctx, "start", name); target.Name != "" && target.ActiveState != "active" {
		w.t.Errorf("start %s: %s, which it binds to, is %s: it would be started, too", name, target.Name, target.ActiveState)
	}
	return w.Manager.Start(ctx, name)
}

func (w *witness) Restart(ctx context.Context, name string) error {
	w.note("restart", name)
	w.target(ctx, "restart", name)
	return w.Manager.Restart(ctx, name)
}

// Unlink checks that the unit of no sidekick that still runs is taken away.
func (w *witness) Unlink(ctx context.Context, names ...string) error {
	w.note("unlink", slices.Sorted(slices.Values(names))...)
	for side, target := range w.bindsTo {
		if !slices.Contains(names, target) {
			continue
		}
		states, err := w.Manager.States(ctx, []string{side})
		if err != nil || states[0].ActiveState == "active" || states[0].ActiveState == "activating" {
			w.t.Errorf("unlink %s: %s, which binds to it, is %s, %v", target, side, states[0].ActiveState, err)
		}
	}
	return w.Manager.Unlink(ctx, names...)
}

// An app and its sidekick are linked together without a daemon-reload, changed together in one, and started, stopped and removed in
// the order of their dependencies: systemd never has a sidekick whose BindsTo= names a unit that it does not know. The sidekicks' names
// sort before and after their apps'.
func TestSidekickAndTargetAreOneChange(t *testing.T) {
	l := newLab(t)
	pairs := map[string]string{"a-side@1.service": "b-app@1.service", "d-side@1.service": "c-app@1.service"}
	w := &witness{t: t, bindsTo: pairs}
	l.wrap = func(m systemd.Manager) systemd.Manager {
		w.Manager = m
		return w
	}
	l.begin()
	texts := func(version string) (app, side map[string]string) {
		app, side = map[string]string{}, map[string]string{}
		for s, a := range pairs {
			template := strings.Replace(a, "@1", "@%i", 1)
			app[a] = l.file(sleeper + "Environment=V=" + version + a + "\n")
			side[s] = l.file("[Unit]\nBindsTo=" + template + "\nAfter=" + template + "\n" + sleeper + "Environment=V=" + version + s + "\n")
		}
		return app, side
	}
	all := func(version string) []string {
		app, side := texts(version)
		var units []string
		for _, hashes := range []map[string]string{side, app} {
			for unit := range hashes {
				units = append(units, unit)
			}
		}
		slices.Sort(units)
		batch := make([]v1.Placement, len(units))
		for i, unit := range units {
			hash := app[unit]
			if hash == "" {
				hash = side[unit]
			}
			batch[i] = v1.Placement{Hash: hash, DesiredState: v1.Launched}
		}
		l.placeAll(units, batch)
		for i, unit := range units {
			l.await(unit, "active with this file", func(s *v1.UnitState) bool { return s != nil && s.ActiveState == "active" && s.Hash == batch[i].Hash })
		}
		return units
	}
	before := l.manager.Reloads()
	units := all("1")
	require.Zero(t, l.manager.Reloads()-before, "new units need no daemon-reload")
	calls := w.take()
	require.Equal(t, []string{"link a-side@1.service", "link b-app@1.service", "link c-app@1.service", "link d-side@1.service"}, calls[:4], "in one call")
	require.ElementsMatch(t, []string{"start b-app@1.service", "start c-app@1.service"}, calls[4:6])
	require.ElementsMatch(t, []string{"start a-side@1.service", "start d-side@1.service"}, calls[6:])

	before = l.manager.Reloads()
	all("2")
	require.EqualValues(t, 1, l.manager.Reloads()-before, "changed files are read in one daemon-reload")
	// systemd restarts what binds to them. A pass that sees a sidekick between its stop and its start asks for that, too.
	calls = slices.DeleteFunc(w.take(), func(call string) bool { return call == "start a-side@1.service" || call == "start d-side@1.service" })
	require.ElementsMatch(t, []string{"restart b-app@1.service", "restart c-app@1.service"}, calls)

	before = l.manager.Reloads()
	l.placeAll(units, make([]v1.Placement, len(units)))
	for _, unit := range units {
		l.awaitGone(unit)
	}
	calls = w.take() // more than one if a stop takes longer than another; each is checked by the witness
	var unlinked []string
	for _, call := range calls {
		require.Contains(t, call, "unlink ")
		unlinked = append(unlinked, strings.Fields(call)[1:]...)
	}
	require.ElementsMatch(t, units, unlinked)
	require.LessOrEqual(t, l.manager.Reloads()-before, int64(len(calls)))
	for _, unit := range units {
		require.Contains(t, l.systemctl("show", "-p", "LoadState", unit), "not-found")
	}
}

// A sidekick that reaches a machine before its app, as when the two are written one by one, runs once the app does.
func TestSidekickBeforeItsTarget(t *testing.T) {
	l := newLab(t)
	l.begin()
	side := l.file("[Unit]\nBindsTo=app.service\nAfter=app.service\n" + sleeper)
	l.place("side.service", side, v1.Launched)
	l.await("side.service", "a reason", func(s *v1.UnitState) bool { return s != nil && strings.Contains(s.Message, "app.service") })
	l.place("app.service", l.file(sleeper), v1.Launched)
	l.awaitActive("app.service")
	l.awaitActive("side.service")
}
