package daemon

import (
	"context"
	"errors"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/daemon/presence"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// A controller that keeps failing shows in the machine's presence, in /readyz, in metrics and in events, and is written once.
func TestControllerThatKeepsFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		keys, s := keyspace.New(""), memstore.New(memstore.Options{})
		recorder := events.New(s, keys, events.Options{Source: "fleetd", Machine: "m"})
		a := &Agent{machine: v1.Machine{Metadata: v1.ObjectMeta{Name: "m"}}}
		a.ElectedFor = ElectedFor{Log: logr.Discard(), Events: recorder, Metrics: controller.NewMetrics(registry)}
		a.presence = presence.New(presence.Options{Store: s, Keys: keys, Machine: a.machine, TTL: 30 * time.Second,
			LeaseFile: t.TempDir() + "/lease", Log: a.Log})
		var broken atomic.Bool
		broken.Store(true)
		loop := controller.New("node", controller.Func[controller.Singleton](func(context.Context, controller.Singleton) (controller.Result, error) {
			if broken.Load() {
				return controller.Result{}, errors.New("systemd says no\nfor many reasons")
			}
			return controller.Result{}, nil
		}), controller.Options{Metrics: a.Metrics})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		for _, run := range []func(context.Context) error{a.presence.Run, recorder.Run, loop.Run, a.watchControllers} {
			running.Go(func() { require.NoError(t, run(ctx)) })
		}
		machine := func() (v1.Machine, int64) {
			kv, ok, _, err := s.Get(ctx, keys.Machines().Key("m"))
			require.NoError(t, err)
			require.True(t, ok)
			m, err := keys.Machines().Decode(kv.Value)
			require.NoError(t, err)
			return m, kv.ModRevision
		}
		ready := func() (int, string) {
			answer := httptest.NewRecorder()
			request := httptest.NewRequestWithContext(ctx, "GET", "/readyz", nil)
			health(registry, []check{{"controllers", func(context.Context) error { return failing(a.Metrics.Failing()) }}}).ServeHTTP(answer, request)
			return answer.Code, answer.Body.String()
		}
		loop.Enqueue(controller.Singleton{})
		time.Sleep(50 * time.Second)
		m, before := machine()
		require.Empty(t, m.Spec.Failing, "it may pass")
		code, _ := ready()
		require.Equal(t, 200, code)

		time.Sleep(time.Minute)
		m, failed := machine()
		require.Len(t, m.Spec.Failing, 1)
		require.Contains(t, m.Spec.Failing[v1.ControllerNode], "node keeps failing since 2000-01-01T00:00:00Z")
		require.Contains(t, m.Spec.Failing[v1.ControllerNode], "systemd says no ...")
		require.NotEqual(t, before, failed)
		code, body := ready()
		require.Equal(t, 503, code)
		require.Contains(t, body, "controllers: node keeps failing since 2000-01-01T00:00:00Z")
		answer := httptest.NewRecorder()
		health(registry, nil).ServeHTTP(answer, httptest.NewRequestWithContext(ctx, "GET", "/metrics", nil))
		require.Contains(t, answer.Body.String(), `fleet_controller_failing_keys{controller="node"} 1`)

		time.Sleep(10 * time.Minute)
		_, later := machine()
		require.Equal(t, failed, later, "it is written once")
		broken.Store(false)
		time.Sleep(time.Minute)
		m, _ = machine()
		require.Empty(t, m.Spec.Failing)
		code, body = ready()
		require.Equal(t, 200, code)
		require.Equal(t, "controllers: ok\n", body)
		var reasons []string
		page, err := s.List(ctx, keys.Events().Prefix(), store.ListOptions{})
		require.NoError(t, err)
		for _, kv := range page.KVs {
			e, err := keys.Events().Decode(kv.Value)
			require.NoError(t, err)
			reasons = append(reasons, e.Kind+" "+e.Name+" "+e.Reason)
		}
		require.Equal(t, []string{"Machine m ControllerFailing", "Machine m ControllerWorks"}, reasons)
	})
}

func TestManyFailingKeys(t *testing.T) {
	var list []controller.Failing
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		list = append(list, controller.Failing{Controller: "app", Key: key, Err: "x"})
	}
	require.ErrorContains(t, failing(list), "app of e keeps failing")
	require.ErrorContains(t, failing(list), "and 2 more")
	require.NotContains(t, failing(list).Error(), "app of f")
	require.NoError(t, failing(nil))
	first := nextFailing(nil, list)
	require.Equal(t, map[string]string{"app": list[0].String()}, first)
	require.Equal(t, first, nextFailing(first, list[1:]), "what was said first stays")
	require.Empty(t, nextFailing(first, nil))
}
