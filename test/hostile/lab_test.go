package hostile

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/node"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/daemon"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

const (
	machine = "m1"
	within  = 30 * time.Second
	// flood is how many log lines are too many.
	flood = 20_000
)

var keys = keyspace.New("")

// lab is a cluster of one machine, with two apps besides the input: the bystander, which must not be affected, and the
// canary, which is changed to see that the cluster still works.
type lab struct {
	t       *testing.T
	store   store.Interface
	api     *api.Server
	systemd *fake.Manager

	mu     sync.Mutex
	log    strings.Builder // of all programs, at full verbosity
	public []string        // the lines at default verbosity
	errors int             // number of logged errors
	lines  int
	stop   func()

	changes int // of the canary
}

// start runs a cluster over s until the test ends.
func start(t *testing.T, s store.Interface) *lab {
	t.Helper()
	l := &lab{t: t, store: s}
	log := funcr.New(l.write, funcr.Options{Verbosity: 1})
	dir, err := os.MkdirTemp("", "hostile") // not t.TempDir(), which fails for test names that are too long for an error message
	require.NoError(t, err)
	run := filepath.Join(dir, "run")
	recorder := events.New(s, keys, events.Options{Source: "hostile", Machine: machine, Ignored: 100_000, Buffer: 100_000, Log: log})
	l.api = api.New(api.Options{Store: s, Keys: keys, MachineID: machine, Log: log})
	l.systemd = fake.New(fake.Options{Now: time.Now()})
	lease, err := s.Grant(t.Context(), 24*time.Hour)
	require.NoError(t, err)
	_, err = s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: keys.Machines().Key(machine), Value: []byte(`{"spec":{"address":"10.0.0.1"}}`), Lease: lease}}})
	require.NoError(t, err)
	n, err := node.New(node.Options{Machine: machine, Keys: keys, Store: s, Systemd: l.systemd, Log: log, Ignored: recorder.WithSource("node").Ignored,
		Layout: layout.Layout{State: filepath.Join(dir, "state"), Runtime: run, Units: filepath.Join(run, "units"), Shared: run}})
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	var running sync.WaitGroup
	running.Go(func() { _ = recorder.Run(ctx) })
	running.Go(func() { _ = n.Run(ctx) })
	running.Go(func() { l.drive(ctx) })
	running.Go(func() {
		_ = daemon.Campaign(ctx, machine, 5*time.Second, daemon.ElectedFor{Store: s, Keys: keys, Log: log, Events: recorder, Repositories: emptyRepository{}}, func(*daemon.Term) {})
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		l.systemd.Close()
		require.NoError(t, os.RemoveAll(dir))
		if t.Failed() && testing.Verbose() {
			t.Log(l.log.String())
		}
	})
	l.raw("/services/web/bystander/bystander@1", "10.0.0.1:3000")
	l.apply(app("bystander", "replicas: 1", "ports: [{port: 3000}]", "announce: {}"))
	l.await("the bystander is ready", func() string { return l.notReady("bystander") })
	l.raw(keys.Sources().Key("bystander"), sourceManifest("bystander", "https://example.com/a.git"))
	l.await("the bystander's source is applied", func() string {
		for key, kv := range l.list(keys.SourceStatus().Key("bystander")) {
			if status, err := keys.SourceStatus().Decode(kv.Value); err == nil && key == keys.SourceStatus().Key("bystander") {
				if c := v1.FindCondition(status.Conditions, v1.Ready); c != nil && c.Status == v1.ConditionTrue {
					return ""
				}
			}
		}
		return "not applied"
	})
	return l
}

// write writes to the log of all programs.
func (l *lab) write(prefix, args string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(&l.log, prefix, args)
	if !strings.HasPrefix(args, `"level"=1`) {
		l.public = append(l.public, prefix+" "+args)
	}
	if l.lines++; l.lines == flood { // otherwise the model's time would never advance
		l.stop()
	}
	if strings.Contains(args, `"error"=`) && !strings.Contains(args, `"reason"="Stopping"`) {
		l.errors++
	}
}

// drive advances systemd's time.
func (l *lab) drive(ctx context.Context) {
	tick, idle := 20*time.Millisecond, 0
	for store.Sleep(ctx, tick) {
		idle++
		for l.systemd.Step() {
			tick, idle = 20*time.Millisecond, 0
		}
		l.systemd.Advance(tick)
		if idle == 100 { // at rest: otherwise this loop would take half of the tests' time
			tick = time.Second
		}
	}
}

// raw writes a key like etcdctl.
func (l *lab) raw(key, value string) int64 {
	l.t.Helper()
	revision, err := l.try(key, value)
	require.NoError(l.t, err)
	return revision
}

func (l *lab) try(key, value string) (int64, error) {
	return l.store.Commit(l.t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte(value)}}})
}

func (l *lab) delete(key string) {
	l.t.Helper()
	_, err := l.store.Commit(l.t.Context(), store.Txn{Ops: []store.Op{{Key: key}}})
	require.NoError(l.t, err)
}

// request sends a request to the API and returns the answer.
func (l *lab) request(method, path, body string) (int, string) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	l.api.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// apply applies a valid manifest.
func (l *lab) apply(manifest string) {
	l.t.Helper()
	parsed, err := v1.ParseApp([]byte(manifest))
	require.NoError(l.t, err)
	code, answer := l.request("PUT", "/apis/fleet/v1/apps/"+parsed.Metadata.Name, manifest)
	require.Less(l.t, code, 300, answer)
}

// unit puts a unit with its file, without validation.
func (l *lab) unit(name, text string) {
	l.t.Helper()
	hash := unitfile.Hash(text)
	l.raw(keys.UnitFiles().Key(hash), text)
	quoted, err := json.Marshal(name)
	require.NoError(l.t, err)
	l.raw(keys.Units().Key(name), fmt.Sprintf(`{"metadata":{"name":%s},"spec":{"hash":%q,"desiredState":"launched"}}`, quoted, hash))
}

// list returns all keys below a prefix.
func (l *lab) list(prefix string) map[string]store.KV {
	l.t.Helper()
	found := map[string]store.KV{}
	_, err := store.ListAll(l.t.Context(), l.store, prefix, store.ListOptions{}, func(kv store.KV) error {
		found[kv.Key] = kv
		return nil
	})
	require.NoError(l.t, err)
	return found
}

// bystander is everything stored about the bystander, except events, and the state of its processes.
func (l *lab) bystander() map[string]string {
	all := map[string]string{}
	for _, prefix := range []string{keys.Root(), "/services/web/bystander/bystander@"} {
		for key, kv := range l.list(prefix) {
			own := strings.Contains(key, "/bystander") && !strings.Contains(key, "foreign") && !strings.HasPrefix(key, keys.Events().Prefix())
			if own {
				all[key] = fmt.Sprintf("%d %s", kv.ModRevision, kv.Value)
			}
		}
	}
	names := []string{"bystander@1.service", "bystander-discovery@1.service"}
	states, err := l.systemd.States(l.t.Context(), names)
	require.NoError(l.t, err)
	for _, s := range states {
		all[s.Name] = s.ActiveState + " " + s.InvocationID
	}
	return all
}

// await waits until wrong returns "".
func (l *lab) await(what string, wrong func() string) {
	l.t.Helper()
	require.Less(l.t, l.logLines(), flood, "it does the same without end")
	deadline := time.Now().Add(within)
	why := wrong()
	for ; why != ""; why = wrong() {
		if time.Now().After(deadline) {
			require.FailNow(l.t, what+": it is not so", "%s\n%s", why, l.tail())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (l *lab) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.log.String()
	return text[max(0, len(text)-8000):]
}

func (l *lab) status(app string) v1.AppStatus {
	l.t.Helper()
	kv, ok, _, err := l.store.Get(l.t.Context(), keys.Status().Key(app))
	require.NoError(l.t, err)
	if !ok {
		return v1.AppStatus{}
	}
	status, err := keys.Status().Decode(kv.Value)
	if err != nil {
		return v1.AppStatus{}
	}
	return status
}

func (l *lab) notReady(app string) string {
	kv, _, _, err := l.store.Get(l.t.Context(), keys.Apps().Key(app))
	require.NoError(l.t, err)
	status := l.status(app)
	text, _ := json.MarshalIndent(status, "", " ")
	for _, c := range status.Conditions {
		if c.Type == v1.Ready && c.Status == v1.ConditionTrue && status.ObservedRevision == kv.ModRevision {
			return ""
		}
	}
	return string(text)
}

// works changes the canary, and waits until the change is running.
func (l *lab) works() {
	l.t.Helper()
	l.changes++
	l.apply(app("canary", fmt.Sprintf("env: {CHANGE: %q}", fmt.Sprint(l.changes))))
	l.await("the canary follows its manifest", func() string { return l.notReady("canary") })
}

// said returns everything reported so far, one line each: events, conditions, reasons of unplaced units, states, and the log
// at default verbosity.
func (l *lab) said() map[string]bool {
	lines := map[string]bool{}
	for _, prefix := range []string{keys.Events().Prefix(), keys.Status().Prefix(), keys.Unplaced().Prefix(), keys.States().Prefix(), keys.SourceStatus().Prefix()} {
		for key, kv := range l.list(prefix) {
			lines[fmt.Sprintf("%s %s", key, kv.Value)] = true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.public {
		lines[line] = true
	}
	return lines
}

// says returns the line that was not there before and contains all of these texts; "" if there is none.
func (l *lab) says(before map[string]bool, texts ...string) string {
	return among(l.said(), before, texts)
}

// among is says for given lines.
func among(said, before map[string]bool, texts []string) string {
	for _, line := range slices.Sorted(maps.Keys(said)) {
		if !before[line] && !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			return line
		}
	}
	return ""
}

func (l *lab) panicked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.log.String(), "panic")
}

func (l *lab) logLines() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines
}

func (l *lab) logged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.errors
}

// heap is the memory in use by the whole process.
func heap() int64 {
	runtime.GC()
	runtime.GC() // the contents of a sync.Pool survive one collection
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// app is a manifest with these lines in its spec.
func app(name string, spec ...string) string {
	return fmt.Sprintf("apiVersion: fleet/v1\nkind: App\nmetadata: {name: %s}\nspec:\n  exec: {command: [/bin/sleep, infinity]}\n  %s\n",
		name, strings.Join(spec, "\n  "))
}
