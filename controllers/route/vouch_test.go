package route

import (
	"bytes"
	"context"
	"errors"
	"sync"
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

// slow is an nginx that takes a configuration after a while. The router waits for it for at most as long as nginx.Server does.
type slow struct {
	mu    sync.Mutex
	takes time.Duration
}

func (s *slow) set(takes time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes = takes
}

func (s *slow) Apply(ctx context.Context, _ nginx.Configuration) (nginx.Result, error) {
	s.mu.Lock()
	takes := s.takes
	s.mu.Unlock()
	const most = 10 * time.Second
	store.Sleep(ctx, min(takes, most))
	if takes > most {
		return nginx.Result{}, errors.New("the configuration is not in effect")
	}
	return nginx.Result{Changed: true}, nil
}

func (s *slow) Exited() <-chan struct{} { return nil }

func (s *slow) Draining() []v1.Draining { return nil }

// run runs a controller over a model of nginx.
func run(t *testing.T, n Nginx, etcd *memstore.Store, conn store.Interface) *router {
	r := &router{t: t, store: etcd, keys: keyspace.New("")}
	c := New(Options{
		Store: conn, Keys: r.keys, Nginx: n, Events: discard{}, Log: logr.Discard(), Machine: "m1", TTL: 10 * time.Second, Debounce: DefaultDebounce, Allowed: anywhere.Allowed,
		Settings: nginx.Settings{Dir: "/d", Listen: []string{"80"}},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	r.route("shop", app(""))
	return r
}

// behind reports whether those who withdraw an endpoint wait for the router, and whether a version of fleetd before routes/ does.
func (r *router) behind(revision int64, endpoints map[string]string) (now, before bool) {
	r.t.Helper()
	record, there := r.served()
	require.True(r.t, there)
	set := v1.EndpointSet{Prefix: web, Revision: revision, Digest: v1.EndpointsDigest(endpoints)}
	older := v1.Router{Revision: record.Revision, Digest: record.Digest}
	of := func(record v1.Router) bool { return len(v1.RoutersBehind(map[string]v1.Router{"m1": record}, set)) > 0 }
	return of(record), of(older)
}

// TestEndpointThatCameAndWentIsWaitedFor: the endpoints are again those that the router has acknowledged, while its nginx takes the
// configuration with another one, within the time that it has or later. Who withdraws that one waits until nginx has answered.
func TestEndpointThatCameAndWentIsWaitedFor(t *testing.T) {
	for name, takes := range map[string]time.Duration{"in time": 5 * time.Second, "late": 12 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, etcd := &slow{}, memstore.New(memstore.Options{})
				r := run(t, n, etcd, etcd)
				stays := map[string]string{"/services/web/shop/shop@1": "10.0.0.1:80"}
				r.put("/services/web/shop/shop@1", "10.0.0.1:80")
				time.Sleep(time.Second)
				now, before := r.behind(etcd.Revision(), stays)
				require.False(t, now, "a new leader lists them at a higher revision, and does not wait for nothing")
				require.False(t, before)

				n.set(takes)
				r.put("/services/web/shop/shop@2", "10.0.0.2:80")
				time.Sleep(time.Second)
				gone := r.put("/services/web/shop/shop@2", "")
				for range 14 {
					now, before = r.behind(gone, stays)
					require.True(t, now)
					require.True(t, before)
					if time.Sleep(time.Second); takes < 10*time.Second {
						break
					}
				}
				n.set(0)
				time.Sleep(30 * time.Second)
				record, _ := r.served()
				require.Equal(t, v1.Served{Revision: gone, Digest: v1.EndpointsDigest(stays)}, record.Served[web])
				now, before = r.behind(gone+100, stays)
				require.False(t, now)
				require.False(t, before)
			})
		})
	}
}

// TestWithdrawalIsPublishedOnce: nginx gets no endpoint that the record does not stand for, so nothing is taken back.
func TestWithdrawalIsPublishedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := memstore.New(memstore.Options{})
		r := run(t, &slow{}, etcd, etcd)
		r.put("/services/web/shop/shop@1", "10.0.0.1:80")
		time.Sleep(time.Second)
		gone := r.put("/services/web/shop/shop@1", "")
		time.Sleep(time.Second)
		require.Equal(t, gone+1, etcd.Revision())
		came := r.put("/services/web/shop/shop@1", "10.0.0.1:80")
		time.Sleep(time.Second)
		require.Equal(t, came+2, etcd.Revision(), "the digest is taken back, and given")
	})
}

// TestRecordOfUnknownFateIsTakenBack: the answer to a record is lost. It may be in etcd, so it is taken back before nginx gets more.
func TestRecordOfUnknownFateIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, etcd := &slow{}, memstore.New(memstore.Options{})
		stays := map[string]string{"/services/web/shop/shop@1": "10.0.0.1:80"}
		conn := &lossy{Interface: etcd, digest: v1.EndpointsDigest(stays), lost: make(chan struct{})}
		r := run(t, n, etcd, conn)
		time.Sleep(time.Second)
		first := r.put("/services/web/shop/shop@1", "10.0.0.1:80")
		<-conn.lost
		record, _ := r.served()
		require.Equal(t, first, record.Revision, "it was written")
		n.set(5 * time.Second)
		r.put("/services/web/shop/shop@2", "10.0.0.2:80")
		time.Sleep(time.Second)
		gone := r.put("/services/web/shop/shop@2", "")
		now, before := r.behind(gone, stays)
		require.True(t, now)
		require.True(t, before)
	})
}

// lossy loses the answer to the first record with a digest.
type lossy struct {
	store.Interface
	digest string
	once   sync.Once
	lost   chan struct{}
}

func (l *lossy) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	revision, err := l.Interface.Commit(ctx, txn)
	if bytes.Contains(txn.Ops[0].Value, []byte(l.digest)) {
		l.once.Do(func() {
			revision, err = 0, store.ErrUnavailable
			close(l.lost)
		})
	}
	return revision, err
}
