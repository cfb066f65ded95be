package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// The benchmarks measure, on one local cluster, what people wait for:
//
//	go test ./test/e2e -run '^$' -bench . -benchtime 20x

var keys = keyspace.New("")

// bench is the state that the benchmarks share.
type bench struct {
	*testing.B
	store *store.Client
	base  string
}

func newBench(b *testing.B) *bench {
	b.Helper()
	c, err := dev.Connect(top + "/.dev")
	require.NoError(b, err)
	status, err := c.Status()
	require.NoError(b, err)
	s, err := store.Dial(store.Config{Endpoints: []string{status.EtcdEndpoint}})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return &bench{B: b, store: s, base: fmt.Sprintf("http://%s:%d/apis/fleet/v1", dev.Address(1), dev.APIPort)}
}

func (b *bench) call(method, path, body string) {
	b.Helper()
	req, err := http.NewRequest(method, b.base+path, bytes.NewReader([]byte(body)))
	require.NoError(b, err)
	req.Header.Set("Content-Type", "application/yaml")
	res, err := http.DefaultClient.Do(req)
	require.NoError(b, err)
	defer res.Body.Close()
	require.Less(b, res.StatusCode, 300, "%s %s", method, path)
}

// until watches the keys below prefix until seen returns true.
func (b *bench) until(prefix string, seen func(store.Event) bool) (wait func() store.Event) {
	b.Helper()
	page, err := b.store.List(b.Context(), prefix, store.ListOptions{Limit: 1})
	require.NoError(b, err)
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	batches := b.store.Watch(ctx, prefix, page.Revision)
	return func() store.Event {
		b.Helper()
		defer cancel()
		for batch := range batches {
			require.NoError(b, batch.Err)
			for _, e := range batch.Events {
				if seen(e) {
					return e
				}
			}
		}
		require.Fail(b, "nothing came", prefix)
		return store.Event{}
	}
}

// active reports whether an event says that the unit is active.
func active(unit string) func(store.Event) bool {
	return func(e store.Event) bool {
		return strings.HasSuffix(e.Key, "/"+unit) && bytes.Contains(e.Value, []byte(`"activeState":"active"`))
	}
}

func median(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Microseconds()) / 1000
}

// BenchmarkApplyToActive: from the request that applies an App of one instance to its unit's state "active"
// in etcd, beside "systemctl --user start" of a unit with the same command on the same machine.
func BenchmarkApplyToActive(t *testing.B) {
	b := newBench(t)
	var applied, bare []time.Duration
	for i := range b.N {
		name := fmt.Sprintf("bench%d", i)
		wait := b.until(keys.States().Prefix(), active(name+"@1.service"))
		start := time.Now()
		b.call(http.MethodPut, "/apps/"+name, "apiVersion: fleet/v1\nkind: App\nmetadata: {name: "+name+"}\nspec: {exec: {command: [/bin/sleep, infinity]}}\n")
		wait()
		applied = append(applied, time.Since(start))
		bare = append(bare, bareStart(b, name))
		b.call(http.MethodDelete, "/apps/"+name, "")
	}
	b.ReportMetric(median(applied), "apply-ms")
	b.ReportMetric(median(bare), "systemctl-ms")
	b.ReportMetric(median(applied)/median(bare), "ratio")
	b.ReportMetric(0, "ns/op")
}

func bareStart(b *bench, name string) time.Duration {
	b.Helper()
	c, err := dev.Connect(top + "/.dev")
	require.NoError(b, err)
	do := func(argv ...string) {
		cmd, err := c.Exec(1, argv)
		require.NoError(b, err)
		cmd.Stdout, cmd.Stderr = nil, nil
		require.NoError(b, cmd.Run())
	}
	unit := "bare-" + name + ".service"
	do("sh", "-c", `printf '[Service]\nExecStart=/bin/sleep infinity\n' > "$XDG_RUNTIME_DIR/systemd/user/`+unit+`"`)
	var cmd *exec.Cmd
	cmd, err = c.Exec(1, []string{"systemctl", "--user", "start", unit})
	require.NoError(b, err)
	start := time.Now()
	require.NoError(b, cmd.Run())
	took := time.Since(start)
	do("systemctl", "--user", "stop", unit)
	do("sh", "-c", `rm "$XDG_RUNTIME_DIR/systemd/user/`+unit+`"`)
	return took
}

// BenchmarkStopToDropped: from the request that stops an instance to the deletion of its endpoint in etcd, and from
// there until the last of three nginx has dropped it.
func BenchmarkStopToDropped(t *testing.B) {
	b := newBench(t)
	const instance, unit = "example-app@1", "example-app@1.service"
	endpoint := keyspace.Endpoints("/services/web").Key(keyspace.Join(app, instance))
	var gone, dropped []time.Duration
	for range b.N {
		key := b.until(endpoint, func(e store.Event) bool { return e.Deleted })
		var removed int64
		served := map[string]bool{}
		routers := b.until(keys.Routers().Prefix(), func(e store.Event) bool {
			r, err := keys.Routers().Decode(e.Value)
			if err == nil && removed > 0 && r.Revision >= removed {
				served[e.Key] = true
			}
			return len(served) == dev.DefaultMachines
		})
		start := time.Now()
		b.call(http.MethodPost, "/units/"+unit+"/stop", "")
		removed = key().ModRevision
		gone = append(gone, time.Since(start))
		routers()
		dropped = append(dropped, time.Since(start))

		back := b.until(endpoint, func(e store.Event) bool { return !e.Deleted })
		b.call(http.MethodPost, "/units/"+unit+"/start", "")
		back()
		time.Sleep(500 * time.Millisecond) // the routers have taken it in
	}
	b.ReportMetric(median(gone), "key-gone-ms")
	b.ReportMetric(median(dropped), "dropped-ms")
	b.ReportMetric(0, "ns/op")
}
