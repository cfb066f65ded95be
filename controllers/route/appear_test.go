package route

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// lateLease is an etcd whose watches are quicker than its leases, and which sends no events for the router's own key.
type lateLease struct {
	store.Interface
	own     string
	refuses error
}

func (l *lateLease) Get(ctx context.Context, key string) (store.KV, bool, int64, error) {
	if key == l.own {
		<-ctx.Done()
		return store.KV{}, false, 0, ctx.Err()
	}
	return l.Interface.Get(ctx, key)
}

func (l *lateLease) Grant(ctx context.Context, ttl time.Duration) (store.LeaseID, error) {
	if !store.Sleep(ctx, 15*time.Second) {
		return 0, ctx.Err()
	}
	if l.refuses != nil {
		return 0, l.refuses
	}
	return l.Interface.Grant(ctx, ttl)
}

// takes is an nginx that records what it takes over, and whether the router's record was in etcd then.
type takes struct {
	recorded func() bool
	served   map[string]bool // by key
}

func (n *takes) Exited() <-chan struct{} { return nil }

func (n *takes) Draining() []v1.Draining { return nil }

func (n *takes) Apply(_ context.Context, c nginx.Configuration) (nginx.Result, error) {
	for _, route := range c.Routes {
		for _, upstream := range route.Upstreams {
			if _, before := n.served[upstream.Key]; !before {
				n.served[upstream.Key] = n.recorded()
			}
		}
	}
	return nginx.Result{Changed: true}, nil
}

// A router takes over nothing before its record is in etcd: at first, and after being cut off for longer than its lease. If
// etcd answers but grants no lease, as when it is full, it proceeds without.
func TestRecordComesFirst(t *testing.T) {
	for _, c := range []struct {
		name    string
		refuses error
		want    map[string]bool
	}{
		{"leases are late", nil, map[string]bool{"/services/web/shop/shop@1": true, "/services/web/shop/shop@2": true}},
		{"etcd is full", store.ErrNoSpace, map[string]bool{"/services/web/shop/shop@1": false, "/services/web/shop/shop@2": false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &router{t: t, store: memstore.New(memstore.Options{}), keys: keyspace.New("")}
				r.route("shop", app(""))
				r.put("/services/web/shop/shop@1", "10.0.0.1:3000")
				server := &takes{served: map[string]bool{}, recorded: func() bool { _, ok := r.served(); return ok }}
				conn := r.store.Connect()
				controller := New(Options{Store: &lateLease{conn, r.keys.Routers().Key("m1"), c.refuses}, Keys: r.keys, Nginx: server, Events: discard{}, Log: logr.Discard(),
					Machine: "m1", Allowed: anywhere.Allowed, TTL: 10 * time.Second, Debounce: DefaultDebounce,
					Settings: nginx.Settings{Dir: "/x", Listen: []string{"127.0.0.1:8080"}, Domain: "localhost", Workers: 1}})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); _ = controller.Run(ctx) }()
				time.Sleep(40 * time.Second)

				conn.SetDown(true)
				time.Sleep(time.Minute)
				r.put("/services/web/shop/shop@2", "10.0.0.2:3000")
				conn.SetDown(false)
				time.Sleep(40 * time.Second)
				cancel()
				<-done
				require.Equal(t, c.want, server.served)
			})
		})
	}
}
