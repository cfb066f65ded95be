package route

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// refusing is an nginx that refuses on request, and counts the configurations it applies.
type refusing struct {
	mu      sync.Mutex
	refuses []v1.RouteRefusal
	applied int
}

func (n *refusing) Apply(_ context.Context, c nginx.Configuration) (nginx.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.applied++
	return nginx.Result{Refused: append(slices.Clone(c.Refused), n.refuses...)}, nil
}

func (n *refusing) Exited() <-chan struct{} { return nil }

func (n *refusing) Draining() []v1.Draining { return nil }

func (n *refusing) times() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.applied
}

// dying is an nginx that can be ended.
type dying struct {
	mu      sync.Mutex
	applied []nginx.Configuration
	exited  chan struct{}
}

func (n *dying) Apply(_ context.Context, c nginx.Configuration) (nginx.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.applied = append(n.applied, c)
	if n.exited == nil || closed(n.exited) {
		n.exited = make(chan struct{})
	}
	return nginx.Result{Changed: true}, nil
}

func (n *dying) Draining() []v1.Draining { return nil }

func (n *dying) Exited() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.exited
}

// die ends it, and returns how often it was applied until then.
func (n *dying) die() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.exited)
	return len(n.applied)
}

// since is what was applied after the first ones.
func (n *dying) since(first int) []nginx.Configuration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.applied[first:]
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestNginxThatEndsWhileEtcdIsAwayIsRestarted: with what it served last, also long after the router's lease has ended, and
// after a start without etcd.
func TestNginxThatEndsWhileEtcdIsAwayIsRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n, keys := memstore.New(memstore.Options{}), &dying{exited: make(chan struct{})}, keyspace.New("")
		conn, state := s.Connect(), filepath.Join(t.TempDir(), "state")
		r := &router{t: t, store: s, keys: keys}
		r.route("shop", app("www.example.com"))
		r.put("/services/web/shop/shop@1", "10.0.0.1:80")
		start := func() (stop func()) {
			c := New(Options{Store: conn, Keys: keys, Nginx: n, Events: discard{}, Log: logr.Discard(), Machine: "m1", TTL: 10 * time.Second, StateFile: state,
				Debounce: DefaultDebounce, Allowed: anywhere.Allowed, Settings: nginx.Settings{Dir: "/d", Listen: []string{"80"}}})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- c.Run(ctx) }()
			return func() { cancel(); <-done }
		}
		restarts := func() {
			t.Helper()
			before := n.die()
			time.Sleep(5 * time.Second)
			again := n.since(before)
			require.Len(t, again, 1)
			require.Equal(t, n.since(before - 1)[0].Routes, again[0].Routes)
			require.Len(t, again[0].Routes, 1)
			require.NotEmpty(t, again[0].Routes[0].Upstreams)
		}
		stop := start()
		time.Sleep(5 * time.Second)
		restarts()
		conn.SetDown(true)
		time.Sleep(time.Minute)
		restarts()
		stop()
		stop = start()
		time.Sleep(5 * time.Second)
		restarts()
		stop()
	})
}

// hooked runs a function before a commit's answer, or before listing a prefix.
type hooked struct {
	store.Interface
	committed func(store.Txn)
	listing   func(ctx context.Context, prefix string) error
}

func (h *hooked) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	revision, err := h.Interface.Commit(ctx, txn)
	if h.committed != nil {
		h.committed(txn)
	}
	return revision, err
}

func (h *hooked) List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error) {
	if h.listing != nil {
		if err := h.listing(ctx, prefix); err != nil {
			return store.Page{}, err
		}
	}
	return h.Interface.List(ctx, prefix, opts)
}

// TestNothingIsServedBeforeAllIsKnown: until the endpoints below every prefix, the routes and the machines are known, nginx
// keeps its configuration, and nothing is published: an empty cache is not an empty cluster.
func TestNothingIsServedBeforeAllIsKnown(t *testing.T) {
	keys := keyspace.New("")
	const other = "/services/other"
	for _, late := range []string{web, other, keys.Routes().Prefix(), keys.Machines().Prefix()} {
		t.Run(late, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n := memstore.New(memstore.Options{}), &refusing{}
				known := make(chan struct{})
				h := &hooked{Interface: s, listing: func(ctx context.Context, prefix string) error {
					if !strings.HasPrefix(prefix+"/", strings.TrimSuffix(late, "/")+"/") {
						return nil
					}
					select {
					case <-known:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}}
				r := &router{t: t, store: s, keys: keys}
				r.route("shop", app(""))
				revision := r.put("/services/web/shop/shop@1", "10.0.0.1:80")
				c := New(Options{Store: h, Keys: keys, Nginx: n, Events: discard{}, Log: logr.Discard(), Machine: "m1", TTL: 10 * time.Second,
					Debounce: DefaultDebounce, Prefixes: []string{web, other}, Allowed: anywhere.Allowed, Settings: nginx.Settings{Dir: "/d", Listen: []string{"80"}}})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- c.Run(ctx) }()
				defer func() { cancel(); <-done }()
				time.Sleep(5 * time.Second)
				require.Zero(t, n.times())
				_, said := r.served()
				require.False(t, said)
				close(known)
				time.Sleep(5 * time.Second)
				require.Positive(t, n.times())
				served, _ := r.served()
				require.Equal(t, revision, served.Served[web].Revision)
			})
		})
	}
}

// beside is a controller whose loop does not run, over an nginx that refuses on request.
func beside(t *testing.T, s store.Interface, n Nginx) *Controller {
	c := New(Options{Store: s, Keys: keyspace.New(""), Nginx: n, Events: discard{}, Log: logr.Discard(), Machine: "m1", TTL: 10 * time.Second,
		Allowed: anywhere.Allowed, Settings: nginx.Settings{Dir: "/d", Listen: []string{"80"}}})
	t.Cleanup(func() { // shuts down the queue
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = c.loop.Run(ended)
	})
	return c
}

// TestPublishesAnotherRefusal: changed refusals are published even if the served revision is the same.
func TestPublishesAnotherRefusal(t *testing.T) {
	s, n := memstore.New(memstore.Options{}), &refusing{}
	r := &router{t: t, store: s, keys: keyspace.New("")}
	lease, err := s.Grant(t.Context(), time.Minute)
	require.NoError(t, err)
	c := beside(t, s, n)
	c.lease = lease
	in := Input{Prefixes: []string{web}, Revisions: map[string]int64{web: 7}, RoutesRevision: 5, Routes: map[string]v1.AppRoute{"shop": app("shop.example.com")},
		Endpoints: map[string]string{"/services/web/shop/shop@1": "10.0.0.1:80"}, Trust: anywhere}
	for _, tt := range []struct {
		refuses []v1.RouteRefusal
		want    map[string]string
		writes  int64
	}{
		{nil, nil, 1},
		{nil, nil, 0},
		{[]v1.RouteRefusal{{App: "shop", Reason: "HostTaken", Message: "x"}}, map[string]string{"shop": "HostTaken: x"}, 1},
		{[]v1.RouteRefusal{{App: "shop", Reason: "HostTaken", Message: "x"}}, map[string]string{"shop": "HostTaken: x"}, 0},
		{[]v1.RouteRefusal{{App: "shop", Reason: "HostTaken", Message: "y"}}, map[string]string{"shop": "HostTaken: y"}, 1},
		{[]v1.RouteRefusal{{App: "shop", Key: "/k", Reason: "HostTaken", Message: "y"}}, map[string]string{"/k": "HostTaken: y"}, 1},
		{nil, nil, 1},
	} {
		n.refuses = tt.refuses
		c.mu.Lock()
		in.Published = c.published
		c.mu.Unlock()
		before := s.Revision()
		require.NoError(t, c.apply(t.Context(), in, Plan(in)))
		require.Equal(t, before+tt.writes, s.Revision())
		served, _ := r.served()
		require.Equal(t, tt.want, served.Refused)
		require.Equal(t, tt.want, v1.RefusalTexts(served.Refusals, 0))
		require.Equal(t, int64(7), served.Served[web].Revision)
	}
}

// TestPublishUnderAnOldLease: a record put under a lease that has been replaced would end with that lease: it is put again,
// under the current one.
func TestPublishUnderAnOldLease(t *testing.T) {
	s, n := memstore.New(memstore.Options{}), &refusing{}
	row := keyspace.New("").Routers()
	grant := func() store.LeaseID {
		lease, err := s.Grant(t.Context(), time.Minute)
		require.NoError(t, err)
		return lease
	}
	first, second := grant(), grant()
	h := &hooked{Interface: s}
	c := beside(t, h, n)
	c.onLease(first, true)
	h.committed = func(txn store.Txn) {
		require.Equal(t, first, txn.Ops[0].Lease)
		c.onLease(second, true)
	}
	record := v1.Router{Revision: 7, Served: map[string]v1.Served{web: {Revision: 7}}}
	require.NoError(t, c.publish(t.Context(), record, nil, true))
	require.Nil(t, c.published, "it counts as not published")
	h.committed = nil
	require.NoError(t, c.publish(t.Context(), record, nil, false))
	kv, ok, _, err := s.Get(t.Context(), row.Key("m1"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, second, kv.Lease)
	require.Equal(t, &record, c.published)
	require.NoError(t, s.Revoke(t.Context(), first))
	_, ok, _, err = s.Get(t.Context(), row.Key("m1"))
	require.NoError(t, err)
	require.True(t, ok, "the end of the old lease takes nothing away")

	require.NoError(t, c.Resign(t.Context()))
	_, ok, _, err = s.Get(t.Context(), row.Key("m1"))
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, c.publish(t.Context(), record, nil, true))
	require.Nil(t, c.published, "without a lease nothing is said")
	_, err = c.Reconcile(t.Context(), controller.Singleton{})
	require.NoError(t, err)
	require.Zero(t, n.times())
}

// TestNothingIsServedUnderAnOlderLeader: while apps were accepted and no leader has written a route, no app seems to be
// announced: nginx keeps its configuration until there is one. Without such an app there is nothing to wait for, and an etcd
// that refuses the read is not asked again.
func TestNothingIsServedUnderAnOlderLeader(t *testing.T) {
	silent := v1.Revision{Number: 1, ManifestRevision: 100} // later than the manifest was created
	announced, former := silent, silent
	announced.Spec.Announce, former.Spec.Announce = &v1.Announce{}, &v1.Announce{}
	former.AppUID = 99
	for _, tt := range []struct {
		name     string
		revision *v1.Revision
		manifest bool
		fault    error
		waits    bool
	}{
		{"an app that is announced", &announced, true, nil, true},
		{"an app that is not", &silent, true, nil, false},
		{"an app that was deleted", &announced, false, nil, false},
		{"an app of the same name as one that was deleted", &former, true, nil, false},
		{"nothing", nil, false, nil, false},
		{"it may not look", &announced, true, store.ErrDenied, false},
		{"etcd does not tell", nil, false, store.ErrUnavailable, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n, keys := memstore.New(memstore.Options{}), &refusing{}, keyspace.New("")
				h := &hooked{Interface: s, listing: func(_ context.Context, prefix string) error {
					if prefix == keys.Revisions().Prefix() {
						return tt.fault
					}
					return nil
				}}
				r := &router{t: t, store: s, keys: keys}
				if tt.manifest {
					r.put(keys.Apps().Key("shop"), "its manifest")
				}
				if tt.revision != nil {
					value, err := keys.Revisions().Encode(*tt.revision)
					require.NoError(t, err)
					r.put(keys.Revisions().Key(keyspace.RevisionName("shop", 1)), string(value))
				}
				c := New(Options{Store: h, Keys: keys, Nginx: n, Events: discard{}, Log: logr.Discard(), Machine: "m1", TTL: 10 * time.Second,
					Debounce: DefaultDebounce, Allowed: anywhere.Allowed, Settings: nginx.Settings{Dir: "/d", Listen: []string{"80"}}})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- c.Run(ctx) }()
				defer func() { cancel(); <-done }()
				time.Sleep(time.Minute)
				_, said := r.served()
				require.Equal(t, tt.waits, n.times() == 0)
				require.Equal(t, tt.waits, !said)
				revision := r.route("shop", app(""))
				time.Sleep(awaitInterval + time.Second)
				require.Positive(t, n.times())
				served, _ := r.served()
				require.Equal(t, revision, served.Routes)
			})
		})
	}
}
