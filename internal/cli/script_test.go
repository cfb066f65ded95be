package cli_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/cli"
	"github.com/fleet-starter/fleet/internal/daemon"
	"github.com/fleet-starter/fleet/internal/forecast"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

var update = flag.Bool("update", false, "write the golden outputs into the scripts")

func TestMain(m *testing.M) {
	testscript.Main(leakFree{m}, map[string]func(){
		"fleetctl": func() { os.Exit(cli.Main(context.Background(), os.Args[1:], cli.System())) },
		"terminal": func() { os.Exit(cli.Main(context.Background(), os.Args[1:], onTerminal())) },
		"docker":   fakeDocker,
		"ssh":      fakeSSH,
	})
}

// onTerminal is fleetctl's environment on a terminal without colours.
func onTerminal() cli.IO {
	world := cli.System()
	world.Terminal, world.Plain = true, true
	return world
}

// leakFree fails the tests if goroutines are left.
type leakFree struct{ *testing.M }

func (m leakFree) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		println(err.Error())
		return 1
	}
	return code
}

// here is the machine that the scripts' server runs on.
const here = "8abff2e7000000000000000000000000"

// world is the cluster of one script.
type world struct {
	store *memstore.Store
	conn  *memstore.Conn
}

func TestScripts(t *testing.T) {
	testscript.Run(t, scripts(t, "testdata/script", func(server http.Handler) http.Handler { return server }))
}

// scripts returns the scripts of a directory, each with its own cluster; asked wraps its server.
func scripts(t *testing.T, dir string, asked func(http.Handler) http.Handler) testscript.Params {
	return testscript.Params{
		Dir: dir, UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			w, socket := serve(t, env, asked)
			env.Values[world{}] = w
			env.Setenv("FLEETCTL_ENDPOINT", "unix://"+socket)
			manifests, err := filepath.Abs("../../manifests")
			env.Setenv("MANIFESTS", manifests)
			env.Setenv("LONGNOTE", strings.Repeat("x", wire.MaxNote+1))
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"put": put, "del": del, "etcd": etcd, "answer": answer, "exits": exits, "stored": stored, "holds": holds, "many": many, "undolast": undoLast,
		},
	}
}

// serve runs the real API on an in-memory store, on a unix socket.
func serve(t *testing.T, env *testscript.Env, asked func(http.Handler) http.Handler) (*world, string) {
	w := &world{store: memstore.New(memstore.Options{})}
	w.conn = w.store.Connect()
	dir, err := os.MkdirTemp("", "fleetctl") // the script's own directory may be too long for a socket path
	require.NoError(t, err)
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	server := &http.Server{
		BaseContext: func(net.Listener) context.Context { return ctx },
		Handler: asked(api.New(api.Options{Store: w.conn, Keys: keyspace.New(""), MachineID: here, Version: "1.2.3", Log: logr.Discard(),
			Now: func() time.Time { return clock }, Journal: journal{}, StatusText: statusText,
			Explain: daemon.NewExplainer(daemon.ExplainOptions{Store: w.conn, Keys: keyspace.New(""), Now: func() time.Time { return clock }}),
			Forecasts: api.Forecasts{Run: forecast.On(w.conn, forecast.Options{Keys: keyspace.New(""), Now: func() time.Time { return clock }}),
				Cluster: func(context.Context) (string, error) { return "c1", nil }}})),
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	env.Defer(func() {
		cancel()
		server.Close()
		<-done
		os.RemoveAll(dir)
	})
	return w, socket
}

// statusText is what two services say of themselves.
func statusText(_ context.Context, unit string) (string, error) {
	return map[string]string{"router.service": "1 app, 3 endpoints", "hello.service": "Storage is away"}[unit], nil
}

// journal has two lines for every unit.
type journal struct{}

func (journal) Read(_ context.Context, q api.JournalQuery, emit func(wire.LogEntry) error) error {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	entries := []wire.LogEntry{{Message: "first", PID: "7"}, {Message: "second"}}
	if q.Lines == 1 {
		entries = entries[1:]
	}
	for _, e := range entries {
		e.Time, e.Unit, e.Identifier, e.Hostname = at, q.Unit, "sleep", "core-01"
		if err := emit(e); err != nil {
			return err
		}
	}
	return nil
}

func of(ts *testscript.TestScript) *world { return ts.Value(world{}).(*world) }

// write puts a key, or deletes it if value is empty; presence keys get a lease.
func (w *world) write(ctx context.Context, key string, value []byte) error {
	op := store.Op{Key: key, Value: value}
	if strings.HasPrefix(key, keyspace.New("").Machines().Prefix()) {
		var err error
		if op.Lease, err = w.store.Grant(ctx, time.Hour); err != nil {
			return err
		}
	}
	_, err := w.store.Commit(ctx, store.Txn{Ops: []store.Op{op}})
	return err
}

// put KEY FILE|JSON writes a key as fleetd or etcdctl would.
func put(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: put key file-or-text")
	}
	value := []byte(args[1])
	if !strings.HasPrefix(args[1], "{") {
		value = []byte(ts.ReadFile(args[1]))
	}
	ts.Check(of(ts).write(context.Background(), args[0], value))
}

// del KEY deletes a key.
func del(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(of(ts).write(context.Background(), args[0], nil))
}

// etcd up|down cuts the server off, or connects it again.
func etcd(ts *testscript.TestScript, _ bool, args []string) { of(ts).conn.SetDown(args[0] == "down") }

// stored KEY FILE compares a stored value with a file, byte for byte; "! stored KEY" requires that the key does not
// exist.
func stored(ts *testscript.TestScript, neg bool, args []string) {
	kv, ok, _, err := of(ts).store.Get(context.Background(), args[0])
	ts.Check(err)
	switch {
	case ok == neg:
		ts.Fatalf("%s exists: %v", args[0], ok)
	case ok && ts.ReadFile(args[1]) != string(kv.Value):
		ts.Fatalf("%s holds:\n%s", args[0], kv.Value)
	}
}

// holds KEY TEXT requires that the key's value contains the text.
func holds(ts *testscript.TestScript, neg bool, args []string) {
	kv, ok, _, err := of(ts).store.Get(context.Background(), args[0])
	ts.Check(err)
	if (ok && strings.Contains(string(kv.Value), args[1])) == neg {
		ts.Fatalf("%s holds: %s", args[0], kv.Value)
	}
}

// many N writes the manifests of N apps into the directory many.
func many(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(os.MkdirAll(ts.MkAbs("many"), 0o755))
	for i := range n {
		name := fmt.Sprintf("many%03d", i)
		text := "apiVersion: fleet/v1\nkind: App\nmetadata: {name: " + name + "}\nspec:\n  exec: {command: [/bin/true]}\n"
		ts.Check(os.WriteFile(ts.MkAbs("many/"+name+".yaml"), []byte(text), 0o644))
	}
}

// undolast FLAG... takes back the last apply; the output is in the file out.
func undoLast(ts *testscript.TestScript, neg bool, args []string) {
	applies := keyspace.New("").Applies()
	page, err := of(ts).store.List(context.Background(), applies.Prefix(), store.ListOptions{KeysOnly: true})
	ts.Check(err)
	last := slices.MaxFunc(page.KVs, func(a, b store.KV) int { return cmp.Compare(a.ModRevision, b.ModRevision) })
	id, _ := applies.Name(last.Key)
	exits(ts, neg, append([]string{"0", "undo", "--apply", id}, args...))
}

// exits CODE ARG... runs fleetctl and checks its exit code; its output is in the files out and err.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	code := 0
	err := ts.Exec("fleetctl", args[1:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	out, errs := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	ts.Check(os.WriteFile(ts.MkAbs("out"), []byte(out), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("err"), []byte(errs), 0o644))
	if got := strconv.Itoa(code); got != args[0] {
		ts.Fatalf("exit code %s, want %s\n%s%s", got, args[0], out, errs)
	}
}

// answer FILE simulates the cluster: for each line it waits until a key has been written, then puts another one,
// {"when": KEY, "has": TEXT, "put": KEY, "value": ...}; "$requestedAt" in a value is replaced by the request's. Without
// a value the key is deleted. With "after", such as "300ms", it is put later.
func answer(ts *testscript.TestScript, _ bool, args []string) {
	type step struct {
		When, Has, Put, After string
		Value                 json.RawMessage
	}
	var steps []step
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var s step
		ts.Check(json.Unmarshal([]byte(line), &s))
		steps = append(steps, s)
	}
	w := of(ts)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	changes := w.store.Watch(ctx, "/", w.store.Revision())
	done := make(chan struct{})
	ts.Defer(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for _, step := range steps {
			for step.When != "" {
				batch, open := <-changes
				if !open {
					return
				}
				if written(batch, step.When, step.Has) {
					break
				}
			}
			if after, err := time.ParseDuration(cmp.Or(step.After, "0s")); err != nil || !store.Sleep(ctx, after) {
				return
			}
			if w.write(ctx, step.Put, step.Value) != nil {
				return
			}
		}
	}()
}

func written(batch store.Batch, key, text string) bool {
	for _, e := range batch.Events {
		if e.Key == key && strings.Contains(string(e.Value), text) {
			return true
		}
	}
	return false
}
