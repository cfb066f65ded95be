package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	here  = "8abff2e7000000000000000000000000"
	there = "b5815f25000000000000000000000000"
)

var keys = keyspace.New("")

// cluster is a store with an API server on top.
type cluster struct {
	t     testing.TB
	store *memstore.Store
	conn  *memstore.Conn
	url   string
}

func newCluster(t testing.TB, change ...func(*api.Options)) *cluster {
	t.Helper()
	c := &cluster{t: t, store: memstore.New(memstore.Options{})}
	c.conn = c.store.Connect()
	o := api.Options{Store: c.conn, Keys: keys, MachineID: here, Version: "1.2.3", Log: logr.Discard(),
		Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }}
	for _, f := range change {
		f(&o)
	}
	server := httptest.NewServer(api.New(o))
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	c.url = server.URL
	return c
}

// answer is a response.
type answer struct {
	code   int
	header http.Header
	body   string
}

// status decodes the body as a Status.
func (a answer) status(t testing.TB) wire.Status {
	t.Helper()
	var s wire.Status
	require.NoError(t, json.Unmarshal([]byte(a.body), &s), a.body)
	require.Equal(t, "Status", s.Kind, a.body)
	require.Equal(t, a.code, s.Code)
	return s
}

func (c *cluster) do(method, path, body string, headers ...string) answer {
	c.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, c.url+path, strings.NewReader(body))
	require.NoError(c.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return answer{resp.StatusCode, resp.Header, string(data)}
}

// put writes a key directly to the store; value is bytes, a string, or encoded as JSON.
func (c *cluster) put(key string, value any) int64 {
	c.t.Helper()
	var data []byte
	switch v := value.(type) {
	case []byte:
		data = v
	case string:
		data = []byte(v)
	default:
		var err error
		data, err = json.Marshal(v)
		require.NoError(c.t, err)
	}
	op := store.Op{Key: key, Value: data}
	if strings.HasPrefix(key, keys.Machines().Prefix()) {
		var err error
		op.Lease, err = c.store.Grant(context.Background(), time.Hour)
		require.NoError(c.t, err)
	}
	revision, err := c.store.Commit(context.Background(), store.Txn{Ops: []store.Op{op}})
	require.NoError(c.t, err)
	return revision
}

func (c *cluster) del(key string) {
	c.t.Helper()
	_, err := c.store.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: key}}})
	require.NoError(c.t, err)
}

func (c *cluster) get(key string) string {
	c.t.Helper()
	kv, ok, _, err := c.store.Get(context.Background(), key)
	require.NoError(c.t, err)
	require.True(c.t, ok, "no key %s", key)
	return string(kv.Value)
}

func (c *cluster) absent(key string) {
	c.t.Helper()
	_, ok, _, err := c.store.Get(context.Background(), key)
	require.NoError(c.t, err)
	require.False(c.t, ok, "key %s exists", key)
}

func getAs[T any](c *cluster, path string) T {
	c.t.Helper()
	a := c.do(http.MethodGet, path, "")
	require.Equal(c.t, http.StatusOK, a.code, a.body)
	var object T
	require.NoError(c.t, json.Unmarshal([]byte(a.body), &object), a.body)
	return object
}

// watch opens a stream; next returns its next line.
func (c *cluster) watch(path string) (next func() wire.RawEvent) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	require.NoError(c.t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { cancel(); resp.Body.Close() })
	require.Equal(c.t, http.StatusOK, resp.StatusCode)
	lines := json.NewDecoder(resp.Body)
	return func() wire.RawEvent {
		c.t.Helper()
		var e wire.RawEvent
		require.NoError(c.t, lines.Decode(&e))
		return e
	}
}

func machine(address string) v1.Machine { return v1.Machine{Spec: v1.MachineSpec{Address: address}} }

const hello = `# says hello
apiVersion: fleet/v1
kind: App
metadata:
  name: hello
  labels: {tier: web}
spec:
  replicas: 2
  exec:
    command: [/bin/sleep, infinity]
`

func compact(text string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(text)) != nil {
		return text
	}
	return b.String()
}
