package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, 5*time.Second, "test")
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func send(w http.ResponseWriter, kind string, object any, revision int64) {
	_ = json.NewEncoder(w).Encode(wire.Event[any]{Type: kind, Object: object, Revision: revision})
}

func TestEndpoints(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"": true, "unix:///run/fleet.sock": true, "http://127.0.0.1:1": true, "https://a.example.com/": true,
		"unix://relative": false, "unix://": false, "127.0.0.1:1": false, "ftp://x": false, "http://": false, "%": false,
	} {
		_, err := client.New(endpoint, 0, "")
		require.Equal(t, ok, err == nil, "%q: %v", endpoint, err)
	}
	require.Equal(t, "/apis/fleet/v1/units/a%2Fb@1.service", client.Path("units", "a/b@1.service"))
}

func TestFollowGoesOnAfterEveryKindOfLoss(t *testing.T) {
	var calls atomic.Int32
	asked := make(chan string, 10)
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Query().Get("resourceVersion")
		switch calls.Add(1) {
		case 1: // the connection is cut
			send(w, wire.Added, v1.Event{Reason: "one"}, 5)
			send(w, wire.Bookmark, nil, 7)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case 2: // etcd is away
			w.WriteHeader(http.StatusServiceUnavailable)
			_ = json.NewEncoder(w).Encode(wire.Fail(wire.ReasonUnavailable, "away"))
		case 3: // the past is gone
			send(w, wire.Error, wire.Fail(wire.ReasonExpired, "compacted"), 0)
		case 4:
			send(w, wire.Added, v1.Event{Reason: "two"}, 9)
		default:
			send(w, wire.Error, wire.Fail(wire.ReasonForbidden, "no"), 0)
		}
	})
	var got []string
	var failure error
	for e, err := range client.Follow[v1.Event](context.Background(), c, client.Path("events"), nil, true) {
		if err != nil {
			failure = err
			break
		}
		got = append(got, e.Type+" "+e.Object.Reason)
	}
	require.Equal(t, []string{"ADDED one", "BOOKMARK ", "ADDED two"}, got)
	require.ErrorContains(t, failure, "no")
	close(asked)
	var versions []string
	for v := range asked {
		versions = append(versions, v)
	}
	require.Equal(t, []string{"", "7", "7", "", "9"}, versions)
}

func TestFollowFailsAtOnceWhereNothingWasSeen(t *testing.T) {
	c, err := client.New("unix://"+t.TempDir()+"/s", time.Second, "")
	require.NoError(t, err)
	for _, err := range client.Follow[v1.Event](context.Background(), c, client.Path("events"), nil, false) {
		var unreachable *client.UnreachableError
		require.ErrorAs(t, err, &unreachable)
		return
	}
	t.Fatal("no error")
}

func TestListReadsAllPages(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		n := 0
		_, _ = fmt.Sscan(r.URL.Query().Get("continue"), &n)
		list := wire.List[int]{Items: []int{n}}
		if n < 3 {
			list.Metadata.Continue = fmt.Sprint(n + 1)
		}
		_ = json.NewEncoder(w).Encode(list)
	})
	q := url.Values{"limit": {"1"}}
	all, err := client.List[int](context.Background(), c, "/x", q)
	require.NoError(t, err)
	require.Equal(t, []int{0, 1, 2, 3}, all)
	require.Equal(t, url.Values{"limit": {"1"}}, q)
}

func TestAnswersOfStrangers(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/text":
			http.Error(w, "teapot", http.StatusTeapot)
		case "/redirect":
			http.Redirect(w, r, "/json", http.StatusFound)
		default:
			_, _ = w.Write([]byte("<html>"))
		}
	})
	for path, want := range map[string]string{"/text": "teapot", "/redirect": "302", "/html": "cannot be read"} {
		_, err := client.Get[v1.App](context.Background(), c, path, nil)
		require.ErrorContains(t, err, want)
		require.False(t, client.NotFound(err))
	}
}
