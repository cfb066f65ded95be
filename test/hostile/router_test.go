package hostile

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/route"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// router is a machine's router with a real nginx, and an app besides the input.
type router struct {
	t       *testing.T
	store   *memstore.Store
	address string
	dir     string
	trap    string // where an injected server would listen
	headers chan http.Header
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func startRouter(t *testing.T) *router {
	t.Helper()
	r := &router{t: t, store: memstore.New(memstore.Options{}), address: freeAddress(t), dir: t.TempDir(), trap: freeAddress(t), headers: make(chan http.Header, 1)}
	healthy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		select {
		case r.headers <- req.Header:
		default:
		}
		fmt.Fprint(w, "healthy")
	}))
	t.Cleanup(healthy.Close)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // nginx outlives a test that panics, so it must not hold the pipe that go test reads
	require.NoError(t, err)
	t.Cleanup(func() { null.Close() })
	server, err := nginx.New(nginx.Options{Dir: r.dir, Stdout: null, Stderr: null, Log: logr.Discard()})
	require.NoError(t, err)
	_, err = server.Start(t.Context())
	require.NoError(t, err)
	recorder := events.New(r.store, keys, events.Options{Source: "route", Machine: machine, Log: logr.Discard()})
	c := route.New(route.Options{
		Store: r.store, Keys: keys, Nginx: server, Events: recorder, Log: logr.Discard(), Machine: machine, Address: netip.MustParseAddr("127.0.0.1"),
		TTL: route.DefaultTTL, Debounce: route.DefaultDebounce, Settings: nginx.Settings{Dir: r.dir, Listen: []string{r.address}, Domain: "localhost", Workers: 1},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = recorder.Run(ctx) })
	running.Go(func() { _ = c.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		stopping, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		require.NoError(t, server.Stop(stopping))
		require.NoError(t, server.Close())
	})
	present, err := keys.Machines().Encode(v1.Machine{Spec: v1.MachineSpec{Address: "127.0.0.1", Endpoint: "http://127.0.0.1:49999"}})
	require.NoError(t, err)
	lease, err := r.store.Grant(t.Context(), time.Hour)
	require.NoError(t, err)
	_, err = r.store.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: keys.Machines().Key(machine), Value: present, Lease: lease}}})
	require.NoError(t, err)
	r.put(map[string]string{
		"/services/web/healthy/healthy@1": strings.TrimPrefix(healthy.URL, "http://"),
		keys.Routes().Key("healthy"):      routeTo("healthy.example.com"), keys.Routes().Key("evil"): routeTo(""), keys.Routes().Key("other"): routeTo(""),
	})
	require.Eventually(t, func() bool { return r.get("healthy.example.com") == "200 healthy" }, within, 10*time.Millisecond)
	require.Empty(t, r.served()) // until then an old nginx worker may answer, too
	return r
}

// routeTo is a route written past the app controller and its validation.
func routeTo(hosts ...string) string {
	r := v1.AppRoute{UID: "1", Prefix: v1.DefaultAnnouncePrefix, Hosts: map[string]int64{}}
	for _, host := range hosts {
		r.Hosts[host] = 1
	}
	value, err := keys.Routes().Encode(r)
	if err != nil {
		panic(err)
	}
	return string(value)
}

func (r *router) put(all map[string]string) {
	r.t.Helper()
	var groups []store.Group
	for key, value := range all {
		groups = append(groups, store.Group{{Key: key, Value: []byte(value)}})
	}
	_, err := store.LastRevision(store.Write(r.t.Context(), r.store, groups, store.Fence{}))
	require.NoError(r.t, err)
}

// served waits until the router has published that it serves what was put, and returns what it left out. It puts a healthy
// endpoint to get a new revision.
func (r *router) served() map[string]string {
	r.t.Helper()
	revision, err := r.store.Commit(r.t.Context(), store.Txn{Ops: []store.Op{{Key: "/services/web/other/other@1", Value: []byte("127.0.0.1:1")}}})
	require.NoError(r.t, err)
	var served v1.Router
	require.Eventually(r.t, func() bool {
		kv, ok, _, err := r.store.Get(r.t.Context(), keys.Routers().Key(machine))
		require.NoError(r.t, err)
		if !ok {
			return false
		}
		require.Less(r.t, len(kv.Value), 1<<20, "etcd would not take it")
		served, err = keys.Routers().Decode(kv.Value)
		require.NoError(r.t, err)
		return served.Revision >= revision
	}, within, 10*time.Millisecond)
	return served.Refused
}

func (r *router) get(host string) string {
	return r.send("GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
}

// send sends raw bytes, which no HTTP client would.
func (r *router) send(request string) string {
	conn, err := net.DialTimeout("tcp", r.address, within)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(within))
	if _, err := io.WriteString(conn, request); err != nil {
		return err.Error()
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return fmt.Sprintf("%d %s", response.StatusCode, body)
}

// config is all that nginx reads: its configuration, the table of hosts and endpoints, and what people look at.
func (r *router) config() string {
	r.t.Helper()
	text := ""
	for _, name := range []string{"nginx.conf", "endpoints", "conf.d/apps.conf"} {
		data, err := os.ReadFile(filepath.Join(r.dir, name))
		require.NoError(r.t, err)
		text += string(data)
	}
	return text
}

// harmless requires that nothing was injected, and that the healthy app is served.
func (r *router) harmless() {
	r.t.Helper()
	config := r.config()
	require.Contains(r.t, config, "healthy.example.com")
	require.NotContains(r.t, config, "injected")
	require.NotContains(r.t, config, r.trap)
	_, err := net.DialTimeout("tcp", r.trap, time.Second)
	require.Error(r.t, err, "something injected listens")
	require.Equal(r.t, "200 healthy", r.get("healthy.example.com"))
}

// TestRouter tries to break out of the configuration of a real nginx, through the real controller.
func TestRouter(t *testing.T) {
	r := startRouter(t)
	payload := "; } server { listen " + r.trap + "; server_name injected; return 200 injected; } #"
	routeOf := keys.Routes().Key
	for _, c := range []struct {
		name    string
		put     map[string]string
		refused string // what the router reports as left out; empty: it does not see the key
		why     string
	}{
		{"value", map[string]string{"/services/web/evil/evil@1": "127.0.0.1:80" + payload}, "/services/web/evil/evil@1", "InvalidAddress: want ip:port"},
		{"value with a line break", map[string]string{"/services/web/evil/evil@2": "127.0.0.1:80;\n}\nserver { return 200 injected; }"}, "/services/web/evil/evil@2", "InvalidAddress: want ip:port"},
		{"value with more to it", map[string]string{"/services/web/evil/evil@3": "127.0.0.1:80 backup"}, "/services/web/evil/evil@3", "InvalidAddress: want ip:port"},
		{"value with a variable", map[string]string{"/services/web/evil/evil@4": "$host:80"}, "/services/web/evil/evil@4", "InvalidAddress: want ip:port"},
		{"value that is a file", map[string]string{"/services/web/evil/evil@5": "unix:" + r.dir + "/injected"}, "/services/web/evil/evil@5", "InvalidAddress: want ip:port"},
		{"value of 1 MB", map[string]string{"/services/web/evil/evil@6": strings.Repeat("injected.", 100_000) + ":80"}, "/services/web/evil/evil@6", "InvalidAddress: want the instance's IP address and port"},
		{"value that is a name", map[string]string{"/services/web/evil/evil@7": "injected.example.com:80"}, "/services/web/evil/evil@7", "InvalidAddress: want the instance's IP address and port"},
		{"value that is a cloud's metadata service", map[string]string{"/services/web/evil/evil@8": "169.254.169.254:80"}, "/services/web/evil/evil@8", "InvalidAddress: 169.254.169.254 is a link-local address"},
		{"value that is it in other words", map[string]string{"/services/web/evil/evil@9": "[::ffff:169.254.169.254]:80"}, "/services/web/evil/evil@9", "InvalidAddress: 169.254.169.254 is a link-local address"},
		{"value that is of no machine", map[string]string{"/services/web/evil/evil@a": "10.9.9.9:80"}, "/services/web/evil/evil@a", "UntrustedAddress: no machine of the cluster has the address 10.9.9.9"},
		{"value that is loopback, of no machine", map[string]string{"/services/web/evil/evil@b": "127.0.0.2:80"}, "/services/web/evil/evil@b", "UntrustedAddress: 127.0.0.2 means another host on every machine"},
		{"value that is fleetd's API", map[string]string{"/services/web/evil/evil@c": "127.0.0.1:49999"}, "/services/web/evil/evil@c", "ReservedPort: port 49999 is that of fleetd's API"},
		{"value that is fleetd's usual API", map[string]string{"/services/web/evil/evil@d": "127.0.0.1:49153"}, "/services/web/evil/evil@d", "ReservedPort: port 49153 is that of fleetd's API"},
		{"value that is etcd", map[string]string{"/services/web/evil/evil@e": "127.0.0.1:2379"}, "/services/web/evil/evil@e", "ReservedPort: port 2379 is that of etcd"},
		{"value that is the router", map[string]string{"/services/web/evil/evil@f": r.address}, "/services/web/evil/evil@f", "is that of the routers: requests would go round in circles"},
		{"key of an instance", map[string]string{"/services/web/evil/" + payload: "127.0.0.1:80"}, "/services/web/evil/" + payload, "InvalidInstance: want the name of an instance"},
		{"key of an app", map[string]string{"/services/web/" + payload + "/evil@1": "127.0.0.1:80", routeOf(payload): routeTo("")}, strconv.Quote(payload[:64]) + "...", "InvalidApp: the name of an app is"},
		{"key with a line break", map[string]string{"/services/web/injected\n/evil@1": "127.0.0.1:80", routeOf("injected\n"): routeTo("")}, strconv.Quote("injected\n"), "InvalidApp: the name of an app is"},
		{"key that leads elsewhere", map[string]string{"/services/web/../../injected": "127.0.0.1:80"}, "/services/web/../../injected", "InvalidKey: the key is not <prefix>/<app>/<instance>"},
		{"host names", map[string]string{routeOf("hosts"): routeTo("a.example.com", payload, "injected example.com", "$injected", "~^injected$", "\"injected\"", "injected\n")}, "hosts", "InvalidHost: want a host name"},
		{"host names of another app", map[string]string{routeOf("zebra"): routeTo("healthy.example.com"), "/services/web/zebra/zebra@1": "127.0.0.1:1"}, "zebra", "HostTaken: host healthy.example.com belongs to app healthy"},
		{"endpoint of no app", map[string]string{"/services/web/junk/junk@1": "127.0.0.1:80"}, "/services/web/junk", "NoApp: no App of that name is announced there"},
		{"app of a route", map[string]string{routeOf("x" + payload): routeTo("evil.example.com")}, strconv.Quote("x"+payload[:63]) + "...", "InvalidApp: the name of an app is"},
		{"route that is unreadable", map[string]string{routeOf("unreadable"): payload}, "", ""},
		{"prefix of a route", map[string]string{routeOf("elsewhere"): `{"prefix":"/x` + payload + `","hosts":{"elsewhere.example.com":1}}`}, "", ""},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			outer := r.t
			r.t = t
			defer func() { r.t = outer }()
			r.put(c.put)
			refused := r.served()
			if c.refused != "" {
				require.Contains(t, refused, c.refused)
				require.Contains(t, refused[c.refused], c.why)
				require.Less(t, len(refused[c.refused]), 1000)
			}
			r.harmless()
		})
	}
}

// TestRouterRequests: what a client sends is data for nginx, never part of its configuration.
func TestRouterRequests(t *testing.T) {
	r := startRouter(t)
	const evil = "x; } server { return 200 injected; } #$host`\"'"
	for name, request := range map[string]string{
		"host":         "GET / HTTP/1.1\r\nHost: " + evil + "\r\nConnection: close\r\n\r\n",
		"no host":      "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
		"two hosts":    "GET / HTTP/1.1\r\nHost: healthy.example.com\r\nHost: other.example.com\r\nConnection: close\r\n\r\n",
		"line":         "GET /; } server { HTTP/9.9\r\nHost: healthy.example.com\r\n\r\n",
		"large header": "GET / HTTP/1.1\r\nHost: healthy.example.com\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
	} {
		answer := r.send(request)
		require.NotContains(t, answer, "200", name)
		require.NotContains(t, answer, "<injected>", name)
		r.harmless()
	}
	for len(r.headers) > 0 {
		<-r.headers
	}
	require.Equal(t, "200 healthy", r.send("GET /"+strings.Repeat("%3b%7d", 100)+"?"+strings.Repeat(";}", 100)+" HTTP/1.1\r\nHost: healthy.example.com\r\nX-Evil: "+evil+
		"\r\nX-Forwarded-For: "+evil+"\r\nUpgrade: "+evil+"\r\nConnection: close\r\n\r\n"))
	header := <-r.headers
	require.Equal(t, evil, header.Get("X-Evil"), "a header that means nothing to nginx comes as it was sent")
	r.harmless()
}

// TestRouterJunk: thousands of endpoints that belong to no app or unit only cost the router reading their keys. A new route
// is served as if they did not exist, nginx's configuration does not contain them, and the report about them is short.
func TestRouterJunk(t *testing.T) {
	r := startRouter(t)
	junk := map[string]string{}
	for i := range 2000 {
		junk[fmt.Sprintf("/services/web/junk%04d/junk@1", i)] = "192.0.2.1:80"
	}
	r.put(junk)
	refused := r.served()
	require.Len(t, refused, 3)
	require.Contains(t, refused, "/services/web/junk0000")
	require.NotContains(t, r.config(), "junk")

	started := time.Now()
	r.put(map[string]string{"/services/web/fresh/fresh@1": "127.0.0.1:1", keys.Routes().Key("fresh"): routeTo("fresh.example.com")})
	require.Eventually(t, func() bool { return strings.HasPrefix(r.get("fresh.example.com"), "502") }, within, 10*time.Millisecond)
	t.Log("a new route among 2,000 junk keys took", time.Since(started))
	r.harmless()
}

// TestRouterSaysSome: if there are more wrong endpoints than fit into one value, some are named. A router that could not
// publish what it serves would block every roll-out.
func TestRouterSaysSome(t *testing.T) {
	r := startRouter(t)
	all := map[string]string{}
	for i := range 3000 {
		all[fmt.Sprintf("/services/web/evil/%d%s", i, strings.Repeat(" ", 900))] = "injected"
	}
	r.put(all)
	refused := r.served()
	require.Len(t, refused, 101)
	require.Equal(t, "and 2900 more", refused["..."])
	r.harmless()
}
