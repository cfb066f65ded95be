package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
)

func TestEtcdAwayIs503(t *testing.T) {
	c := newCluster(t)
	c.put("/fleet/apps/hello", hello)
	c.conn.SetDown(true)
	for _, r := range [][2]string{
		{http.MethodGet, apps}, {http.MethodGet, apps + "/hello"}, {http.MethodGet, apps + "?watch=true"}, {http.MethodPut, apps + "/hello"},
		{http.MethodDelete, apps + "/hello"}, {http.MethodPost, units + "/a.service/start"}, {http.MethodPost, units + "/a.service/restart"},
		{http.MethodGet, units + "/a.service/logs"}, {http.MethodPatch, wire.Prefix + "/machines/" + here},
	} {
		body := hello
		if r[0] == http.MethodPatch {
			body = `{"cordoned":true}`
		}
		a := c.do(r[0], r[1], body)
		require.Equal(t, http.StatusServiceUnavailable, a.code, "%v: %s", r, a.body)
		require.Contains(t, a.status(t).Message, "unable to communicate with etcd")
	}
	a := c.do(http.MethodGet, "/fleet/v1/units", "")
	require.Equal(t, http.StatusServiceUnavailable, a.code)
	require.Contains(t, a.body, `{"error":{"code":503,"message":"fleet server unable to communicate with etcd`)
}

// cutOff is a store whose watches end at once with an error.
type cutOff struct{ store.Interface }

func (cutOff) Watch(context.Context, string, int64) <-chan store.Batch {
	out := make(chan store.Batch, 1)
	out <- store.Batch{Err: store.ErrUnavailable}
	close(out)
	return out
}

func TestAWatchEndsWithAnErrorWhenEtcdGoes(t *testing.T) {
	c := newCluster(t, func(o *api.Options) { o.Store = cutOff{o.Store} })
	next := c.watch(apps + "?watch=true")
	require.Equal(t, wire.Bookmark, next().Type)
	e := next()
	require.Equal(t, wire.Error, e.Type)
	require.Contains(t, string(e.Object), `"reason":"Unavailable"`)
}

func TestRequestsAreBounded(t *testing.T) {
	c := newCluster(t)
	a := c.do(http.MethodPut, apps+"/hello", hello+"#"+strings.Repeat("x", wire.MaxBody))
	require.Equal(t, http.StatusRequestEntityTooLarge, a.code)
	require.Equal(t, wire.ReasonTooLarge, a.status(t).Reason)
}

func TestUnknownPathsAndMethods(t *testing.T) {
	c := newCluster(t)
	for path, code := range map[string]int{
		"/": 404, "/nowhere": 404, wire.Prefix: 404, wire.Prefix + "/": 404, wire.Prefix + "/pods": 404, apps + "/": 404,
		apps + "/a/b/c": 404, "/version": 405, apps: 405, units + "/a/start": 404,
	} {
		method := http.MethodPatch
		a := c.do(method, path, "")
		if path == units+"/a/start" {
			a = c.do(http.MethodGet, path, "")
			code = 405
			require.Equal(t, "POST", a.header.Get("Allow"))
		}
		require.Equal(t, code, a.code, "%s: %s", path, a.body)
		require.NotEmpty(t, a.status(t).Message)
		require.Equal(t, "fleetd/1.2.3", a.header.Get("Server"))
	}
	require.Equal(t, `{"version":"1.2.3","machineID":"`+here+`"}`, compact(c.do(http.MethodGet, "/version", "").body))
}

func TestOtherPathsAreTheDaemons(t *testing.T) {
	c := newCluster(t, func(o *api.Options) {
		o.Fallback = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("daemon: " + r.URL.Path)) })
	})
	require.Equal(t, "daemon: /healthz", c.do(http.MethodGet, "/healthz", "").body)
}

func TestAWebPageOfAnotherOriginWritesNothing(t *testing.T) {
	c := newCluster(t)
	c.put("/fleet/apps/hello", hello)
	a := c.do(http.MethodDelete, apps+"/hello", "", "Sec-Fetch-Site", "cross-site")
	require.Equal(t, http.StatusForbidden, a.code)
	require.Equal(t, hello, c.get("/fleet/apps/hello"))
}

// panicking is a store that panics.
type panicking struct{ store.Interface }

func (panicking) Get(context.Context, string) (store.KV, bool, int64, error) { panic("broken") }

func TestAPanicIsAnAnswer(t *testing.T) {
	c := newCluster(t, func(o *api.Options) { o.Store = panicking{o.Store} })
	a := c.do(http.MethodGet, apps+"/hello", "")
	require.Equal(t, http.StatusInternalServerError, a.code)
	require.NotContains(t, a.body, "broken")
}

// racing is a store in which another client writes before every transaction.
type racing struct {
	store.Interface
	before func()
}

func (r racing) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	r.before()
	return r.Interface.Commit(ctx, txn)
}

func TestALostRaceIsTriedAgainUnlessAVersionWasNamed(t *testing.T) {
	var c *cluster
	times := 0
	c = newCluster(t, func(o *api.Options) {
		o.Store = racing{o.Store, func() {
			if times--; times >= 0 {
				c.put("/fleet/apps/hello", hello+strings.Repeat("#\n", times+1))
			}
		}}
	})
	times = 3
	require.Equal(t, http.StatusOK, c.do(http.MethodPut, apps+"/hello", hello).code)
	require.Equal(t, hello, c.get("/fleet/apps/hello"))
	version := c.put("/fleet/apps/hello", hello+"# mine\n")
	times = 1
	a := c.do(http.MethodPut, apps+"/hello", hello, "If-Match", itoa(version))
	require.Equal(t, http.StatusConflict, a.code)
	times = 100
	require.Equal(t, http.StatusConflict, c.do(http.MethodPut, apps+"/hello", hello).code, "retries are bounded")
}

func TestAClientThatSendsNoBodyIsLeft(t *testing.T) {
	c := newCluster(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("PUT " + apps + "/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab"))
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	n, err := conn.Read(make([]byte, 1024))
	require.Zero(t, n, "the connection is closed without an answer")
	require.ErrorIs(t, err, io.EOF)
}

// TestRefused: a fleetd on the second machine with an ID answers with 503, in the format of either API.
func TestRefused(t *testing.T) {
	duplicate := errors.New("machine x is present at 10.0.0.1")
	c := newCluster(t, func(o *api.Options) { o.Refuse = func() error { return duplicate } })
	const message = "fleet server unable to communicate with etcd: machine x is present at 10.0.0.1"
	a := c.do(http.MethodGet, "/fleet/v1/machines", "")
	require.Equal(t, 503, a.code)
	require.Equal(t, `{"error":{"code":503,"message":"`+message+`"}}`, compact(a.body))
	a = c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", sleeping, v1.Launched))
	require.Equal(t, 503, a.code)
	require.Equal(t, message, a.status(t).Message)
	c.absent("/fleet/units/a.service")

	duplicate = nil
	require.Equal(t, 200, c.do(http.MethodGet, "/fleet/v1/machines", "").code)
}
