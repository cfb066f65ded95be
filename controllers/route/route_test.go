package route

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
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
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

type discard struct{}

func (discard) Record(_, _, _, _, _ string) {}

// router is a controller with its own nginx.
type router struct {
	t       *testing.T
	store   *memstore.Store
	keys    keyspace.Keys
	address string
	dir     string
	state   string
	allowed []netip.Prefix
	own     netip.Addr
}

func newRouter(t *testing.T) *router {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())
	return &router{t: t, allowed: anywhere.Allowed, store: memstore.New(memstore.Options{}), keys: keyspace.New(""), address: free.Addr().String(), dir: t.TempDir(), state: filepath.Join(t.TempDir(), "router", "served.json")}
}

// start runs the controller over conn until stop is called; nginx keeps running.
func (r *router) start(conn store.Interface) (stop func()) {
	r.t.Helper()
	server, err := nginx.New(nginx.Options{Dir: r.dir, Log: logr.Discard()})
	require.NoError(r.t, err)
	_, err = server.Start(r.t.Context())
	require.NoError(r.t, err)
	c := New(Options{
		Store: conn, Keys: r.keys, Nginx: server, Events: discard{}, Log: logr.Discard(), Machine: "m1", Allowed: r.allowed, Address: r.own,
		StateFile: r.state, TTL: 10 * time.Second, Debounce: DefaultDebounce,
		Settings: nginx.Settings{Dir: r.dir, Listen: []string{r.address}, Domain: "localhost", Workers: 1},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		<-done
		require.NoError(r.t, server.Close())
	}
	r.t.Cleanup(func() {
		stop()
		r.stopNginx()
	})
	return stop
}

// stopNginx stops the nginx that the controllers left running.
func (r *router) stopNginx() {
	r.t.Helper()
	last, err := nginx.New(nginx.Options{Dir: r.dir, Log: logr.Discard()})
	require.NoError(r.t, err)
	_, err = last.Start(context.Background())
	require.NoError(r.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = last.Stop(ctx)
	require.NoError(r.t, last.Close())
}

func (r *router) put(key, value string) int64 {
	r.t.Helper()
	op := store.Op{Key: key, Value: []byte(value)}
	if value == "" {
		op.Value = nil
	}
	revision, err := r.store.Commit(r.t.Context(), store.Txn{Ops: []store.Op{op}})
	require.NoError(r.t, err)
	return revision
}

func (r *router) get(host string) string {
	req, err := http.NewRequest(http.MethodGet, "http://"+r.address+"/", nil)
	require.NoError(r.t, err)
	req.Host = host
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return fmt.Sprintf("%d %s", res.StatusCode, strings.TrimSpace(string(body)))
}

func (r *router) served() (v1.Router, bool) {
	kv, ok, _, err := r.store.Get(r.t.Context(), r.keys.Routers().Key("m1"))
	require.NoError(r.t, err)
	if !ok {
		return v1.Router{}, false
	}
	served, err := r.keys.Routers().Decode(kv.Value)
	require.NoError(r.t, err)
	return served, true
}

// route writes a route, like the app controller.
func (r *router) route(name string, route v1.AppRoute) int64 {
	r.t.Helper()
	value, err := r.keys.Routes().Encode(route)
	require.NoError(r.t, err)
	return r.put(r.keys.Routes().Key(name), string(value))
}

// acknowledged waits until the router has published that it serves revision.
func (r *router) acknowledged(revision int64) v1.Router {
	r.t.Helper()
	var served v1.Router
	require.Eventually(r.t, func() bool {
		served, _ = r.served()
		return served.Revision >= revision
	}, 10*time.Second, 10*time.Millisecond)
	return served
}

func backend(t *testing.T, name string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) }))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestRoutesWhatIsAnnounced(t *testing.T) {
	r := newRouter(t)
	one, two := backend(t, "one"), backend(t, "two")
	r.route("shop", app(""))
	r.put("/services/web/shop/shop@1", one)
	stop := r.start(r.store)

	revision := r.put("/services/web/shop/shop@2", two)
	served := r.acknowledged(revision)
	require.Equal(t, v1.EndpointsDigest(map[string]string{"/services/web/shop/shop@1": one, "/services/web/shop/shop@2": two}), served.Digest)
	answers := map[string]bool{}
	for range 8 {
		answers[r.get("shop.localhost")] = true
	}
	require.Equal(t, map[string]bool{"200 one": true, "200 two": true}, answers)

	// What was published is served: not one request goes to a withdrawn instance.
	revision = r.put("/services/web/shop/shop@1", "")
	r.acknowledged(revision)
	for range 20 {
		require.Equal(t, "200 two", r.get("shop.localhost"))
	}

	// The app's own hosts: once the router has published the route, it answers.
	revision = r.route("shop", app("www.example.com"))
	require.Eventually(t, func() bool { s, _ := r.served(); return s.HasRoute(revision) }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, "200 two", r.get("www.example.com"))

	// An invalid or malicious value affects nothing else.
	r.route("evil", app(""))
	revision = r.put("/services/web/evil/evil@1", "127.0.0.1:80; } server { listen 1;")
	require.Contains(t, r.acknowledged(revision).Refused["/services/web/evil/evil@1"], "InvalidAddress: want ip:port")
	require.Equal(t, "200 two", r.get("www.example.com"))

	before := r.store.Revision()
	time.Sleep(300 * time.Millisecond)
	require.Equal(t, before, r.store.Revision(), "at rest nothing is written")

	// Killed and restarted while etcd is unreachable: the last configuration is served.
	stop()
	require.Equal(t, "200 two", r.get("www.example.com"))
	away := r.store.Connect()
	away.SetDown(true)
	r.start(away)
	require.Equal(t, "200 two", r.get("www.example.com"))
	away.SetDown(false)
	r.acknowledged(revision)
}

// TestHostOfTwoApps: of two apps with a host, the later one gets it when the first is deleted, not before.
func TestHostOfTwoApps(t *testing.T) {
	r := newRouter(t)
	apply := func(name string) {
		created := r.put(r.keys.Apps().Key(name), "its manifest")
		r.route(name, v1.AppRoute{UID: "1", Prefix: web, Hosts: map[string]int64{"www.example.com": created}})
	}
	apply("old")
	r.put("/services/web/old/old@1", backend(t, "old"))
	r.start(r.store)
	apply("a-new")
	served := r.acknowledged(r.put("/services/web/a-new/a-new@1", backend(t, "new")))
	require.Equal(t, map[string]string{"a-new": "HostTaken: host www.example.com belongs to app old"}, served.Refused)
	require.Equal(t, "200 old", r.get("www.example.com"))

	r.put(r.keys.Routes().Key("old"), "") // its instance still exists
	require.Eventually(t, func() bool { return r.get("www.example.com") == "200 new" }, 10*time.Second, 10*time.Millisecond)
}

// TestHostOfADeletedApp: it goes to the wildcard's app at once, or becomes unknown.
func TestHostOfADeletedApp(t *testing.T) {
	r := newRouter(t)
	r.route("wide", app("*.wc.test"))
	r.route("narrow", app("b.wc.test", "*.gone.test"))
	r.put("/services/web/wide/wide@1", backend(t, "wide"))
	r.start(r.store)
	r.acknowledged(r.put("/services/web/narrow/narrow@1", backend(t, "narrow")))
	require.Equal(t, "200 narrow", r.get("b.wc.test"))
	require.Equal(t, "200 narrow", r.get("x.gone.test"))
	revision := r.put(r.keys.Routes().Key("narrow"), "") // its instance is still announced
	require.Eventually(t, func() bool { s, _ := r.served(); return s.HasRoute(revision) }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, "200 wide", r.get("b.wc.test"))
	require.Contains(t, r.get("x.gone.test"), "404")
}

// A deleted record is published again: roll-outs wait for the routers that have one.
func TestPublishesAgainWhatWasDeleted(t *testing.T) {
	r := newRouter(t)
	r.route("shop", app(""))
	revision := r.put("/services/web/shop/shop@1", backend(t, "one"))
	r.start(r.store)
	before := r.acknowledged(revision)
	for range 2 {
		r.put(r.keys.Routers().Key("m1"), "")
		require.Equal(t, before, r.acknowledged(revision))
	}
}

// After a power cut nginx's directory is empty, and etcd may be unreachable.
func TestServesAfterAPowerCutWithoutEtcd(t *testing.T) {
	r := newRouter(t)
	one := backend(t, "one")
	r.route("shop", app(""))
	revision := r.put("/services/web/shop/shop@1", one)
	stop := r.start(r.store)
	r.acknowledged(revision)
	stop()
	r.stopNginx()
	require.NoError(t, os.RemoveAll(r.dir))

	away := r.store.Connect()
	away.SetDown(true)
	r.start(away)
	require.Eventually(t, func() bool { return r.get("shop.localhost") == "200 one" }, 10*time.Second, 10*time.Millisecond)
}

// TestSavedState: the state file has hosts and addresses, readable only by this user; an older version's, with whole specs in
// it, is served once more and replaced at once.
func TestSavedState(t *testing.T) {
	r := newRouter(t)
	one := backend(t, "one")
	require.NoError(t, os.MkdirAll(filepath.Dir(r.state), 0o755))
	require.NoError(t, os.WriteFile(r.state, []byte(`{"Prefix":"/services/web","Endpoints":{"/services/web/shop/shop@1":"`+one+`","/services/web/hand/x":"`+one+`"},"Specs":[
		{"number":1,"metadata":{"name":"shop"},"spec":{"env":{"PASSWORD":"secret"},"announce":{},"route":{"hosts":["www.example.com"]}}}]}`), 0o644))
	away := r.store.Connect()
	away.SetDown(true)
	stop := r.start(away)
	require.Eventually(t, func() bool { return r.get("www.example.com") == "200 one" }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, "200 one", r.get("hand.localhost"))
	check := func() string {
		info, err := os.Stat(r.state)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		data, err := os.ReadFile(r.state)
		require.NoError(t, err)
		require.NotContains(t, string(data), "secret")
		return string(data)
	}
	require.JSONEq(t, `{"endpoints":{"/services/web/shop/shop@1":"`+one+`","/services/web/hand/x":"`+one+`"},
		"routes":{"hand":{"prefix":"/services/web"},"shop":{"prefix":"/services/web","hosts":{"www.example.com":0}}}}`, check())

	// From etcd: only what is served is saved.
	r.route("shop", app("new.example.com"))
	r.put("/services/web/junk/junk@1", one)
	revision := r.put("/services/web/shop/shop@1", one)
	away.SetDown(false)
	served := r.acknowledged(revision)
	require.Contains(t, served.Refused, "/services/web/junk")
	require.Equal(t, []string{web}, served.Prefixes)
	require.JSONEq(t, `{"endpoints":{"/services/web/shop/shop@1":"`+one+`"},"routes":{"shop":{"prefix":"/services/web","hosts":{"new.example.com":3}}}}`, check())
	stop()
}

// TestSavedLater: what could not be saved is saved as soon as that is possible, without another change.
func TestSavedLater(t *testing.T) {
	r := newRouter(t)
	in := filepath.Dir(r.state)
	require.NoError(t, os.RemoveAll(in))
	require.NoError(t, os.WriteFile(in, nil, 0o600)) // no directory can be made here
	r.route("shop", app("www.example.com"))
	one := backend(t, "one")
	r.put("/services/web/shop/shop@1", one)
	r.start(r.store)
	require.Eventually(t, func() bool { return r.get("www.example.com") == "200 one" }, 10*time.Second, 10*time.Millisecond)
	require.NoFileExists(t, r.state)
	require.NoError(t, os.Remove(in))
	require.Eventually(t, func() bool {
		data, err := os.ReadFile(r.state)
		return err == nil && strings.Contains(string(data), one)
	}, 30*time.Second, 10*time.Millisecond)
}

// TestUnitsByHand: of instances announced by scripts, those are served that the leader found to be units.
func TestUnitsByHand(t *testing.T) {
	r := newRouter(t)
	r.put("/services/web/site/worker@1", backend(t, "one"))
	r.put("/services/web/site/worker@2", backend(t, "two"))
	r.start(r.store)
	r.route("site", v1.AppRoute{Prefix: web, Units: []string{"worker@2"}})
	require.Eventually(t, func() bool { return r.get("site.localhost") == "200 two" }, 10*time.Second, 10*time.Millisecond)
	for range 10 {
		require.Equal(t, "200 two", r.get("site.localhost"))
	}
}

// TestOlderLeader: while the leader does not write routes yet, a router that was upgraded first changes nothing.
func TestOlderLeader(t *testing.T) {
	r := newRouter(t)
	one := backend(t, "one")
	r.route("shop", app("www.example.com"))
	revision := r.put("/services/web/shop/shop@1", one)
	stop := r.start(r.store)
	r.acknowledged(revision)
	require.Equal(t, "200 one", r.get("www.example.com"))
	stop()
	row := r.put(r.keys.Routes().Key("shop"), "")
	manifest := r.put(r.keys.Apps().Key("shop"), "its manifest")
	value, err := r.keys.Revisions().Encode(v1.Revision{Number: 1, ManifestRevision: manifest, Spec: v1.AppSpec{Announce: &v1.Announce{}}})
	require.NoError(t, err)
	r.put(r.keys.Revisions().Key(keyspace.RevisionName("shop", 1)), string(value))
	r.start(r.store)
	time.Sleep(300 * time.Millisecond)
	require.Equal(t, "200 one", r.get("www.example.com"))
	served, _ := r.served()
	require.Less(t, served.Routes, row, "it does not say that it serves what it does not look at")
}

// stuck is an nginx that cannot be updated while it is broken.
type stuck struct {
	mu     sync.Mutex
	broken error
}

func (s *stuck) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

func (s *stuck) Apply(context.Context, nginx.Configuration) (nginx.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return nginx.Result{}, s.broken
}

func (s *stuck) Exited() <-chan struct{} { return nil }

func (s *stuck) Draining() []v1.Draining { return nil }

// TestFailingRouterSaysSo: a router that cannot apply changes publishes since when, why, and what it still serves.
func TestFailingRouterSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := memstore.New(memstore.Options{}), &stuck{}
		r := &router{t: t, store: s, keys: keyspace.New("")}
		c := New(Options{
			Store: s, Keys: r.keys, Nginx: n, Events: discard{}, Log: logr.Discard(), Machine: "m1", TTL: 10 * time.Second, Debounce: DefaultDebounce,
			Settings: nginx.Settings{Dir: "/d", Listen: []string{"80"}},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		r.route("shop", app(""))
		first := r.put("/services/web/shop/shop@1", "10.0.0.1:80")
		time.Sleep(time.Second)
		served, _ := r.served()
		require.Equal(t, first, served.Served[web].Revision)
		require.Nil(t, served.Failing)

		n.set(errors.New("nginx -t hangs"))
		began := time.Now()
		second := r.put("/services/web/shop/shop@1", "10.0.0.2:80")
		time.Sleep(time.Minute)
		failing, _ := r.served()
		require.Equal(t, first, failing.Served[web].Revision, "that is what nginx serves still")
		require.Equal(t, served.Routes, failing.Routes)
		require.Equal(t, "nginx -t hangs", failing.Failing.Message)
		require.WithinDuration(t, began, failing.Failing.Since, time.Second)
		before := s.Revision()
		time.Sleep(time.Minute)
		require.Equal(t, before, s.Revision(), "it is said once")

		n.set(nil)
		time.Sleep(10 * time.Second)
		served, _ = r.served()
		require.Equal(t, second, served.Served[web].Revision)
		require.Nil(t, served.Failing)
		cancel()
		<-done
	})
}

// TestEndpointOfAMachine: an instance gets requests as soon as its machine is present, and while its endpoint exists.
func TestEndpointOfAMachine(t *testing.T) {
	r := newRouter(t)
	r.allowed, r.own = nil, addr("127.0.0.1") // as on a local cluster
	present := func(id, address, api string) {
		value, err := r.keys.Machines().Encode(v1.Machine{Spec: v1.MachineSpec{Address: address, Endpoint: api}})
		require.NoError(t, err)
		lease, err := r.store.Grant(t.Context(), time.Minute)
		require.NoError(t, err)
		_, err = r.store.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: r.keys.Machines().Key(id), Value: value, Lease: lease}}})
		require.NoError(t, err)
	}
	one, api := backend(t, "one"), backend(t, "secret")
	r.route("shop", app("www.example.com"))
	present("other", "10.0.0.9", "")
	r.start(r.store)
	const key = "/services/web/shop/shop@1"
	served := r.acknowledged(r.put(key, one))
	require.Equal(t, map[string]string{key: "UntrustedAddress: 127.0.0.1 means another host on every machine"}, served.Refused)
	require.Contains(t, r.get("www.example.com"), "503")

	present("m1", "127.0.0.1", "http://"+api)
	require.Eventually(t, func() bool { return r.get("www.example.com") == "200 one" }, 10*time.Second, 10*time.Millisecond)
	refused := r.acknowledged(r.put("/services/web/shop/shop@2", api)).Refused
	require.Contains(t, refused["/services/web/shop/shop@2"], "is that of fleetd's API")

	// fleetd is down, for longer than its lease: its machine's endpoints are served, even new ones.
	r.put(r.keys.Machines().Key("m1"), "")
	two := backend(t, "two")
	require.NotContains(t, r.acknowledged(r.put("/services/web/shop/shop@3", two)).Refused, "/services/web/shop/shop@3")
	answers := map[string]bool{}
	for range 20 {
		answers[r.get("www.example.com")] = true
	}
	require.Subset(t, []string{"200 one", "200 two"}, slices.Collect(maps.Keys(answers)))
	require.Len(t, answers, 2)
}

// busy is an nginx with requests under way to withdrawn endpoints, and one that may refuse its configuration.
type busy struct {
	mu       sync.Mutex
	draining []v1.Draining
	refuses  error
	reloads  string
}

func (b *busy) set(change func(b *busy)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b)
}

func (b *busy) Apply(context.Context, nginx.Configuration) (nginx.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return nginx.Result{Endpoints: true, Draining: b.draining, Reloads: b.reloads}, b.refuses
}

func (b *busy) Draining() []v1.Draining {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.draining
}

func (b *busy) Exited() <-chan struct{} { return nil }

// runBusy runs a controller over a model of nginx.
func runBusy(t *testing.T, n *busy) *router {
	s := memstore.New(memstore.Options{})
	r := &router{t: t, store: s, keys: keyspace.New("")}
	c := New(Options{
		Store: s, Keys: r.keys, Nginx: n, Events: discard{}, Log: logr.Discard(), Machine: "m1", TTL: 10 * time.Second, Debounce: DefaultDebounce,
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

// TestRequestsUnderWayArePublished: a withdrawal is acknowledged with the endpoints that have requests under way, and again when
// they have none.
func TestRequestsUnderWayArePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &busy{reloads: "no module"}
		r := runBusy(t, n)
		r.put("/services/web/shop/shop@1", "10.0.0.1:80")
		time.Sleep(time.Second)
		served, _ := r.served()
		require.Empty(t, served.Draining)
		require.Equal(t, "no module", served.Reloads)

		n.set(func(b *busy) { b.draining = []v1.Draining{{Endpoint: "/services/web/shop/shop@1", Requests: 3}} })
		withdrawn := r.put("/services/web/shop/shop@1", "")
		time.Sleep(time.Second)
		served, _ = r.served()
		require.Equal(t, withdrawn, served.Served[web].Revision)
		require.Equal(t, []string{"m1"}, v1.RoutersDraining(map[string]v1.Router{"m1": served}, "shop/shop@1"))
		before := r.store.Revision()
		n.set(func(b *busy) { b.draining = []v1.Draining{{Endpoint: "/services/web/shop/shop@1", Requests: 2}} })
		time.Sleep(time.Minute)
		require.Equal(t, before, r.store.Revision(), "their number alone is not published")
		n.set(func(b *busy) { b.draining = nil })
		time.Sleep(100 * time.Millisecond)
		served, _ = r.served()
		require.Empty(t, served.Draining)
		require.Equal(t, withdrawn, served.Served[web].Revision)
	})
}

// TestEndpointsAreAcknowledgedWithoutAReload: nginx refuses a configuration, and serves new endpoints all the same.
func TestEndpointsAreAcknowledgedWithoutAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &busy{}
		r := runBusy(t, n)
		r.put("/services/web/shop/shop@1", "10.0.0.1:80")
		time.Sleep(time.Second)
		before, _ := r.served()
		n.set(func(b *busy) { b.refuses = errors.New("nginx -t fails") })
		r.route("other", app("other.example.com"))
		second := r.put("/services/web/shop/shop@1", "10.0.0.2:80")
		time.Sleep(10 * time.Second)
		served, _ := r.served()
		require.Equal(t, second, served.Served[web].Revision)
		require.Equal(t, second, served.Revision)
		require.Equal(t, before.Routes, served.Routes, "the new host is not served")
		require.Equal(t, "nginx -t fails", served.Failing.Message)
	})
}
