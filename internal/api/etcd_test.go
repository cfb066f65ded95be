package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
)

// TestOverEtcd covers on real etcd what the in-memory store may simplify.
func TestOverEtcd(t *testing.T) {
	server := etcdtest.Start(t)
	cfg := server.Config()
	cfg.RequestTimeout = time.Second
	client, err := store.Dial(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	handler := httptest.NewServer(api.New(api.Options{Store: client, Keys: keys, MachineID: here, Log: logr.Discard()}))
	t.Cleanup(handler.Close)
	do := func(method, path, body string) answer {
		req, err := http.NewRequest(method, handler.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		resp, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return answer{resp.StatusCode, resp.Header, string(data)}
	}
	list := func(query string) (l wire.List[v1.Unit]) {
		a := do(http.MethodGet, units+query, "")
		require.Equal(t, http.StatusOK, a.code, a.body)
		require.NoError(t, json.Unmarshal([]byte(a.body), &l))
		return l
	}

	for i := range 5 {
		name := fmt.Sprintf("a@%d.service", i)
		require.Equal(t, http.StatusCreated, do(http.MethodPut, units+"/"+name, unitJSON(t, name, sleeping, v1.Launched)).code)
	}
	server.Put("/fleet/placements/"+here+"/a@1.service", `{"hash":"h","desiredState":"launched"}`)
	page := list("?limit=2")
	require.Len(t, page.Items, 2)
	require.Equal(t, here, page.Items[1].Status.Machine)
	do(http.MethodDelete, units+"/a@4.service", "")
	page = list("?limit=9&continue=" + page.Metadata.Continue)
	require.Len(t, page.Items, 3, "at the revision of the first page")

	resp, err := http.Get(handler.URL + units + "/a@1.service?watch=true")
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	var e wire.Event[v1.Unit]
	for _, want := range []string{wire.Added, wire.Bookmark} {
		require.NoError(t, lines.Decode(&e))
		require.Equal(t, want, e.Type)
	}
	server.Put("/fleet/states/"+here+"/a@1.service", `{"activeState":"active"}`)
	lease, err := client.Grant(t.Context(), time.Minute)
	require.NoError(t, err)
	last, err := client.Commit(t.Context(), store.Txn{Ops: []store.Op{
		{Key: "/fleet/machines/" + here, Value: []byte(`{"spec":{"address":"10.0.0.1"}}`), Lease: lease}}})
	require.NoError(t, err)
	for e.Object.Status == nil || e.Object.Status.State == nil {
		require.NoError(t, lines.Decode(&e))
	}
	require.Equal(t, "active", e.Object.Status.State.ActiveState)
	require.Equal(t, "10.0.0.1", e.Object.Status.Machines[0].Address)

	// An apply is one transaction: what does not fit is refused, and 127 apps with their record do.
	many := make([]string, store.MaxTxnOps)
	for i := range many {
		many[i] = named(fmt.Sprintf("a%d", i), 1)
	}
	apply := func(manifests []string) answer {
		body, err := json.Marshal(wire.ApplyRequest{Manifests: manifests})
		require.NoError(t, err)
		return do(http.MethodPost, applies, string(body))
	}
	stored := func() int64 {
		page, err := client.List(t.Context(), keys.Apps().Prefix(), store.ListOptions{KeysOnly: true})
		require.NoError(t, err)
		return page.Count
	}
	require.Equal(t, http.StatusRequestEntityTooLarge, apply(many).code)
	require.Zero(t, stored())
	done := apply(many[1:]).status(t)
	require.Equal(t, wire.Success, done.Status, done.Message)
	require.EqualValues(t, store.MaxTxnOps-1, stored())
	kv, _, _, err := client.Get(t.Context(), keys.Apps().Key("a5"))
	require.NoError(t, err)
	record, _, _, err := client.Get(t.Context(), keys.Applies().Key(done.Apply))
	require.NoError(t, err)
	require.Equal(t, kv.ModRevision, record.ModRevision)
	require.Equal(t, wire.Success, do(http.MethodPost, applies+"/"+done.Apply+"/undo", "").status(t).Status)
	require.Zero(t, stored())

	first := list("?limit=1")
	server.Put("/elsewhere", "x")
	server.Compact(server.Put("/elsewhere", "y"))
	require.Equal(t, http.StatusGone, do(http.MethodGet, units+"?continue="+first.Metadata.Continue, "").code)
	require.Equal(t, http.StatusGone, do(http.MethodGet, fmt.Sprintf("%s?watch=true&resourceVersion=%d", units, last), "").code)

	server.Stop()
	a := do(http.MethodGet, units, "")
	require.Equal(t, http.StatusServiceUnavailable, a.code, a.body)
}
