package node_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/node"
	fakeruntime "github.com/fleet-starter/fleet/internal/container/fake"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/systemd"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// world is a node on a model of systemd and a model of etcd.
type world struct {
	t       *rapid.T
	store   *memstore.Store
	conn    *memstore.Conn
	systemd *watchedManager
	layout  layout.Layout

	placed map[string]v1.Placement
	// wishes counts, by unit, the requests; texts the changes of its text.
	wishes, texts map[string]int
	stop          func()
	registry      *fakeruntime.Registry
	images        *fakeruntime.Runtime
}

// watchedManager checks calls to systemd, and loses some when told to.
type watchedManager struct {
	*fake.Manager
	mu              sync.Mutex
	away            bool
	calls           []string
	starts, restart map[string]int
	wrong           []string
}

var errLost = fmt.Errorf("lost: %w", systemd.ErrDisconnected)

func (m *watchedManager) note(op string, count map[string]int, unit string, err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, op+" "+unit)
	if err == nil && count != nil {
		count[unit]++
	}
	return err
}

func (m *watchedManager) fault(op, _ string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away && op != "list" {
		return errLost
	}
	return nil
}

func (m *watchedManager) Start(ctx context.Context, name string) error {
	if target := targetOf(name); target != "" {
		states, err := m.States(ctx, []string{target})
		if err == nil && states[0].LoadState == "loaded" {
			m.mu.Lock()
			if states[0].ActiveState != "active" {
				m.wrong = append(m.wrong, fmt.Sprintf("%s was started while %s was %s", name, target, states[0].ActiveState))
			}
			m.mu.Unlock()
		}
	}
	return m.note("start", m.starts, name, m.Manager.Start(ctx, name))
}

func (m *watchedManager) Restart(ctx context.Context, name string) error {
	return m.note("restart", m.restart, name, m.Manager.Restart(ctx, name))
}

func (m *watchedManager) Stop(ctx context.Context, name string) error {
	return m.note("stop", nil, name, m.Manager.Stop(ctx, name))
}

func (m *watchedManager) Reload(ctx context.Context) error {
	return m.note("reload", nil, "", m.Manager.Reload(ctx))
}

func (m *watchedManager) Link(ctx context.Context, paths ...string) error {
	return m.note("link", nil, "", m.Manager.Link(ctx, paths...))
}

// Close leaves the model as it is: the next node connects to it again.
func (m *watchedManager) Close() {}

var unitNames = []string{"app@1.service", "app@2.service", "fails.service", "once.service", "plain.service", "side@1.service", "side@2.service"}

func targetOf(name string) string {
	if rest, ok := strings.CutPrefix(name, "side@"); ok {
		return "app@" + rest
	}
	return ""
}

// textOf is a version of a unit's text.
func textOf(name string, version int) string {
	stays := fmt.Sprintf("[Service]\nExecStart=/bin/stays %d\nRestart=always\nRestartSec=1s\n", version)
	switch {
	case name == "side@1.service": // its target wants it, so that only the condition keeps it from running while it is to be loaded
		return fmt.Sprintf("[Unit]\nBindsTo=app@%%i.service\nAfter=app@%%i.service\nConditionPathExists=!%s/%%n\n[Service]\nExecStart=%s/announcer %d\nRestart=always\n",
			v1.HeldDir, v1.BinDir, version)
	case targetOf(name) != "":
		return "[Unit]\nBindsTo=app@%i.service\nAfter=app@%i.service\n" + stays
	case name == "app@1.service":
		return "[Unit]\nWants=side@%i.service\n" + stays // app@2 has a sidekick that nothing wants
	case name == "fails.service":
		return fmt.Sprintf("[Service]\nExecStart=/bin/false %d\n", version)
	case name == "once.service":
		return fmt.Sprintf("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true %d\n", version)
	}
	if name == "plain.service" {
		return fmt.Sprintf("%s[X-Fleet]\nImage=reg/plain:%d\n", stays, version)
	}
	return stays
}

func newWorld(t *rapid.T, dir string) *world {
	s := memstore.New(memstore.Options{})
	w := &world{t: t, store: s, conn: s.Connect(), registry: new(fakeruntime.Registry), placed: map[string]v1.Placement{}, wishes: map[string]int{}, texts: map[string]int{},
		layout: layout.Layout{State: dir + "/state", Runtime: dir + "/run", Units: dir + "/run/units", Shared: dir + "/run"}}
	w.registry.Push("reg/plain:1", "reg/plain:2")
	w.images = &fakeruntime.Runtime{Registry: w.registry}
	w.systemd = &watchedManager{starts: map[string]int{}, restart: map[string]int{}}
	w.systemd.Manager = fake.New(fake.Options{Fault: w.systemd.fault, ReadFile: func(path string) ([]byte, error) {
		return os.ReadFile(strings.Replace(path, "%t/fleet", w.layout.Shared, 1))
	}})
	return w
}

func (w *world) begin() {
	n, err := node.New(node.Options{Machine: me, Keys: keys, Store: w.conn, Systemd: w.systemd, Layout: w.layout, Log: logr.Discard(),
		HoldFor: time.Second, Puller: w.images})
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	w.stop = func() {
		cancel()
		require.NoError(w.t, <-done)
	}
}

func (w *world) put(name string, p v1.Placement) {
	if p.Hash != w.placed[name].Hash {
		w.texts[name]++
	}
	w.wishes[name]++
	w.placed[name] = p
	value, err := keys.PlacementsOf(me).Encode(p)
	require.NoError(w.t, err)
	w.commit(store.Op{Key: keys.PlacementsOf(me).Key(name), Value: value})
}

func (w *world) take(name string) {
	delete(w.placed, name)
	w.wishes[name]++
	w.commit(store.Op{Key: keys.PlacementsOf(me).Key(name)})
}

func (w *world) commit(op store.Op) {
	_, err := w.store.Commit(context.Background(), store.Txn{Ops: []store.Op{op}})
	require.NoError(w.t, err)
}

// step does one random thing.
func (w *world) step() {
	name := rapid.SampledFrom(unitNames).Draw(w.t, "unit")
	p, placed := w.placed[name]
	switch what := rapid.SampledFrom([]string{"place", "place", "text", "desired", "take", "ask", "kill", "restart", "etcd", "systemd", "registry", "next", "time"}).Draw(w.t, "what"); {
	case what == "place" && !placed || what == "text":
		version := rapid.IntRange(1, 2).Draw(w.t, "version")
		if !placed {
			p.DesiredState = v1.Launched
		}
		p.Hash = unitfile.Hash(textOf(name, version))
		w.put(name, p)
	case what == "desired" && placed:
		p.DesiredState = rapid.SampledFrom([]v1.DesiredState{v1.Loaded, v1.Launched}).Draw(w.t, "desired")
		w.put(name, p)
	case what == "ask" && placed:
		p.RequestedAt = fmt.Sprint(w.wishes[name])
		w.put(name, p)
	case what == "take" && placed:
		w.take(name)
	case what == "kill":
		_ = w.systemd.Kill(name) // it may not be running
	case what == "restart":
		w.stop() // equivalent to a kill: a node does nothing when it ends
		w.begin()
	case what == "etcd":
		w.conn.SetDown(rapid.Bool().Draw(w.t, "down"))
	case what == "registry":
		w.registry.Break("", rapid.SampledFrom([]fakeruntime.Fault{fakeruntime.None, fakeruntime.Away, fakeruntime.Hangs}).Draw(w.t, "registry"))
	case what == "next" && placed:
		p.Next = v1.Preparation{}
		if version := rapid.IntRange(0, 2).Draw(w.t, "version"); version > 0 {
			p.Next = v1.Preparation{Hash: unitfile.Hash(textOf(name, version)), RequestedAt: p.RequestedAt}
		}
		w.put(name, p)
	case what == "systemd":
		w.systemd.setAway(rapid.Bool().Draw(w.t, "away"))
	case what == "time":
		w.pass(time.Duration(rapid.IntRange(1, 3000).Draw(w.t, "ms")) * time.Millisecond)
	}
}

func (m *watchedManager) setAway(away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = away
}

// pass lets time pass, also for systemd.
func (w *world) pass(d time.Duration) {
	tick := 10 * time.Millisecond
	if d > 10*time.Second {
		tick = 250 * time.Millisecond
	}
	for ; d > 0; d -= tick {
		synctest.Wait()
		w.systemd.Advance(tick)
		time.Sleep(tick)
	}
	synctest.Wait()
}

// check compares everything with what is placed.
func (w *world) check() {
	require.Empty(w.t, w.systemd.wrong)
	names := slices.Sorted(maps.Keys(w.placed))
	entries, err := os.ReadDir(w.layout.Units)
	require.NoError(w.t, err)
	var files []string
	for _, e := range entries {
		files = append(files, e.Name())
	}
	require.Equal(w.t, names, files, "the files are those of the placements")
	reported := w.reported()
	require.Equal(w.t, names, slices.Sorted(maps.Keys(reported)), "the states are those of the placements")
	states, err := w.systemd.States(context.Background(), unitNames)
	require.NoError(w.t, err)
	for _, s := range states {
		p, placed := w.placed[s.Name]
		up := s.ActiveState == "active"
		require.Equal(w.t, w.shouldRun(s.Name), up, "%s is %s, placement %+v", s.Name, s.ActiveState, p)
		if placed {
			r := reported[s.Name]
			if !up && r.Message != "" {
				r.RequestedAt = p.RequestedAt // it waits, and the message says for what: not acted on yet
			}
			require.Equal(w.t, []string{s.LoadState, s.ActiveState, s.InvocationID, p.Hash, p.RequestedAt, string(p.DesiredState)},
				[]string{r.LoadState, r.ActiveState, r.InvocationID, r.Hash, r.RequestedAt, string(r.DesiredState)}, s.Name)
			found, err := w.systemd.Inspect(context.Background(), s.Name)
			require.NoError(w.t, err)
			require.False(w.t, found.NeedReload, s.Name)
			require.Equal(w.t, p.Next, r.Prepared.Preparation, s.Name)
			require.Equal(w.t, p.Next != (v1.Preparation{}), r.Prepared.State == v1.PreparedReady, s.Name)
		}
		require.LessOrEqual(w.t, w.systemd.restart[s.Name], w.texts[s.Name], "%s was restarted more often than its text changed", s.Name)
	}
	require.LessOrEqual(w.t, w.systemd.starts["fails.service"], w.wishes["fails.service"], "no fight over what fails")
}

func (w *world) shouldRun(name string) bool {
	p, ok := w.placed[name]
	if !ok || p.DesiredState != v1.Launched || name == "fails.service" {
		return false
	}
	target := targetOf(name)
	return target == "" || w.shouldRun(target)
}

func (w *world) reported() map[string]v1.UnitState {
	reported := map[string]v1.UnitState{}
	page, err := w.store.List(context.Background(), keys.StatesOf(me).Prefix(), store.ListOptions{})
	require.NoError(w.t, err)
	for _, kv := range page.KVs {
		name, _ := keys.StatesOf(me).Name(kv.Key)
		state, err := keys.StatesOf(me).Decode(kv.Value)
		require.NoError(w.t, err)
		reported[name] = state
	}
	return reported
}

// noDeadline is a test without a deadline, which must not be read within synctest.
type noDeadline struct{ rapid.TB }

// Whatever happens in whatever order: when it is quiet, the machine is as it should be, and nothing more is done, not even by
// a new node.
func TestConverges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(noDeadline{t}, func(rt *rapid.T) {
			dir, err := os.MkdirTemp("", "node-")
			require.NoError(rt, err)
			defer os.RemoveAll(dir)
			w := newWorld(rt, dir)
			for _, name := range unitNames {
				for version := range 2 {
					text := textOf(name, version+1)
					w.commit(store.Op{Key: keys.UnitFiles().Key(unitfile.Hash(text)), Value: []byte(text)})
				}
			}
			w.begin()
			defer func() { w.stop() }()
			for range rapid.IntRange(1, 25).Draw(rt, "steps") {
				w.step()
				w.pass(time.Duration(rapid.SampledFrom([]int{0, 10, 50, 500}).Draw(rt, "pause")) * time.Millisecond)
			}
			w.conn.SetDown(false)
			w.systemd.setAway(false)
			w.registry.Break("", fakeruntime.None)
			w.pass(100 * time.Second) // a failed pull is tried again within a minute
			w.check()

			calls, revision := w.systemd.calls, w.store.Revision()
			w.pass(time.Minute)
			w.stop()
			w.begin()
			w.pass(time.Minute)
			w.check()
			require.Equal(rt, calls, w.systemd.calls, "nothing is asked of systemd")
			require.Equal(rt, revision, w.store.Revision(), "nothing is written to the store")
		})
	})
}
