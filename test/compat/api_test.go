package compat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// request is one row of the table of the API: a request and what comes back.
type request struct {
	method, path, body string
	code               int
	// original is the original's code where it differs, with the reason.
	original int
	why      string
	// kind is the request's content type; "" is application/json.
	kind string
	// has are parts of the answer.
	has []string
}

// broken is the code of a connection that ends without an answer.
const broken = -1

const options = `"options":[{"section":"Service","name":"ExecStart","value":"/bin/sleep 2001"}]`

// requests follow each other. MACHINE is the first machine's ID, NAME a name of 257 characters.
var requests = []request{
	// Listings, and what they refuse.
	{method: "GET", path: "/units", code: 200},
	{method: "GET", path: "/state", code: 200},
	{method: "GET", path: "/machines", code: 200, has: []string{`"id":"MACHINE"`, `"primaryIP":"127.0.0.21"`, `"metadata":{"hostname":"127.0.0.21"}`}},
	{method: "GET", path: "/discovery", code: 200, has: []string{`"UnitStatePage"`, `"units/{unitName}"`, `"fleet.Machine.List"`}},
	{method: "GET", path: "/units?nextPageToken=EwBMLg==", code: 400},
	{method: "GET", path: "/state?nextPageToken=EwBMLg==", code: 400},
	{method: "GET", path: "/machines?nextPageToken=EwBMLg==", code: 400},
	{method: "GET", path: "/units?nextPageToken=", code: 400},
	{method: "POST", path: "/units", code: 405},
	{method: "PUT", path: "/state", code: 405},
	{method: "DELETE", path: "/machines", code: 405},
	{method: "POST", path: "/units/a.service", code: 405},
	{method: "PUT", path: "/state/a.service", code: 405},
	{method: "GET", path: "", code: 405},
	{method: "GET", path: "/nothing", code: 404},
	{method: "GET", path: "/units/", code: 404},

	// Units that do not exist.
	{method: "GET", path: "/units/a.service", code: 404},
	{method: "GET", path: "/state/a.service", code: 404, original: broken, why: "it panics"},
	{method: "DELETE", path: "/units/a.service", code: 404},
	{method: "PUT", path: "/units/a.service", body: `{"desiredState":"launched"}`, code: 409},
	{method: "PUT", path: "/units/a.service", body: `{}`, code: 409},

	// Requests that are not valid.
	{method: "PUT", path: "/units/a.service", body: `{`, code: 400},
	{method: "PUT", path: "/units/a.service", body: `[]`, code: 400},
	{method: "PUT", path: "/units/a.service", body: `{` + options + `}`, kind: "text/plain", code: 415},
	{method: "PUT", path: "/units/a.service", body: `{"name":"b.service",` + options + `}`, code: 400},
	{method: "PUT", path: "/units/a.bad", body: `{` + options + `}`, code: 400},
	{method: "PUT", path: "/units/a", body: `{` + options + `}`, code: 400},
	{method: "PUT", path: "/units/NAME", body: `{` + options + `}`, code: 400},
	{method: "PUT", path: "/units/a.service", body: `{"options":[{"section":"X-Fleet","name":"MachineOf","value":"b.service"},{"section":"X-Fleet","name":"Conflicts","value":"b.*"}]}`, code: 400},
	{method: "PUT", path: "/units/a.service", body: `{"options":[{"section":"X-Fleet","name":"Global","value":"true"},{"section":"X-Fleet","name":"MachineOf","value":"b.service"}]}`, code: 400},
	{method: "PUT", path: "/units/a@.service", body: `{"desiredState":"launched",` + options + `}`, code: 400, original: 201, why: "it looks only at existing templates"},

	// Creating, changing, deleting.
	{method: "PUT", path: "/units/a.service", body: `{"unknown":[1],` + options + `}`, kind: "application/json; charset=utf-8", code: 201},
	{method: "GET", path: "/units/a.service", code: 200, has: []string{`"name":"a.service"`, `"desiredState":"inactive"`, `"currentState":"inactive"`, `"value":"/bin/sleep 2001"`}},
	{method: "PUT", path: "/units/a.service", body: `{` + options + `}`, code: 409},
	{method: "PUT", path: "/units/a.service", body: `{}`, code: 409},
	{method: "PUT", path: "/units/a.service", body: `{"desiredState":"loaded"}`, code: 204},
	{method: "PUT", path: "/units/a.service", body: `{"name":"a.service","desiredState":"launched",` + options + `}`, code: 204},
	{method: "GET", path: "/units/a.service", code: 200, has: []string{`"desiredState":"launched"`}},
	{method: "PUT", path: "/units/a.service", body: strings.Replace(`{"desiredState":"launched",`+options+`}`, "2001", "2002", 1), code: 201},
	{method: "GET", path: "/units/a.service", code: 200, has: []string{`"desiredState":"launched"`, `"value":"/bin/sleep 2002"`}},
	{method: "PUT", path: "/units/a.service", body: `{` + options + `}`, code: 201},
	{method: "GET", path: "/units/a.service", code: 200, has: []string{`"desiredState":"inactive"`, `"value":"/bin/sleep 2001"`}},
	{method: "PUT", path: "/units/b@.service", body: `{` + options + `}`, code: 201},
	{method: "PUT", path: "/units/b@.service", body: `{"desiredState":"loaded"}`, code: 400},
	{method: "DELETE", path: "/units/b@.service", code: 204},
	{method: "DELETE", path: "/units/a.service", code: 204},
	{method: "GET", path: "/units/a.service", code: 404},

	// Metadata of machines.
	{method: "PATCH", path: "/machines", body: `[{"op":"add","path":"/MACHINE/metadata/foo","value":{"value":"bar"}}]`, code: 204},
	{method: "GET", path: "/machines", code: 200, has: []string{`"foo":"bar"`}},
	{method: "PATCH", path: "/machines", body: `[{"op":"replace","path":"/MACHINE/metadata/foo","Value":{"value":"baz"}}]`, code: 204},
	{method: "GET", path: "/machines", code: 200, has: []string{`"foo":"baz"`}},
	{method: "PATCH", path: "/machines", body: `[{"op":"remove","path":"/MACHINE/metadata/foo","value":{"value":""}},{"op":"remove","path":"/MACHINE/metadata/hostname"}]`, code: 204},
	{method: "GET", path: "/machines", code: 200, has: []string{`"primaryIP":"127.0.0.21"}`}},
	{method: "PATCH", path: "/machines", body: `[{"op":"add","path":"/MACHINE/metadata/hostname","value":"plain"}]`, code: 204, original: 400, why: "its documentation says otherwise"},
	{method: "PATCH", path: "/machines", body: `[{"op":"noop","path":"/MACHINE/metadata/foo","value":{"value":"bar"}}]`, code: 400},
	{method: "PATCH", path: "/machines", body: `[{"op":"add","path":"/MACHINE/foo","value":{"value":"bar"}}]`, code: 400},
	{method: "PATCH", path: "/machines", body: `[{"op":"add","path":"/MACHINE/metadata/foo","value":{"value":""}}]`, code: 400},
	{method: "PATCH", path: "/machines", body: `{}`, code: 400},
	{method: "PATCH", path: "/machines", body: `[{"op":"add","path":"/unknown/metadata/foo","value":{"value":"bar"}}]`, code: 400, original: 204, why: "it keeps metadata for machines that never come"},
	{method: "PATCH", path: "/machines", body: `[{"op":"add","path":"/MACHINE/metadata/hostname","value":{"value":"127.0.0.21"}}]`, code: 204},
}

// TestAPI sends the same requests to our fleetd, over TCP and over its unix socket, and to the original.
func TestAPI(t *testing.T) {
	for _, kind := range []which{ours, theirs} {
		t.Run(string(kind), func(t *testing.T) {
			c := newCluster(t, kind, 1)
			n := c.nodes[0]
			tcp, unix := dialer("tcp", n.address), dialer("unix", n.socket)
			for _, r := range requests {
				r.send(t, tcp, "/fleet/v1", kind, n.ID())
			}
			_, _, _, _ = do(t, tcp, "DELETE", "/fleet/v1/units/a@.service", "", "") // the original has it now
			for _, r := range requests {
				r.send(t, unix, "/v1-alpha", kind, n.ID())
			}
			metrics, _, _, err := do(t, tcp, "GET", "/metrics", "", "")
			require.NoError(t, err)
			require.Equal(t, 200, metrics)
		})
	}
}

func dialer(network, address string) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}}
}

func do(t *testing.T, c *http.Client, method, path, kind, body string) (code int, header http.Header, answer string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://fleetd"+path, strings.NewReader(body))
	require.NoError(t, err)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.Do(req)
	if err != nil {
		return broken, nil, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(data), err
}

// send sends a request and compares the answer.
func (r request) send(t *testing.T, c *http.Client, prefix string, kind which, machine string) {
	t.Helper()
	fill := strings.NewReplacer("MACHINE", machine, "NAME", strings.Repeat("a", 249)+".service").Replace
	contentType := r.kind
	if contentType == "" {
		contentType = "application/json"
	}
	code, header, body, err := do(t, c, r.method, prefix+fill(r.path), contentType, fill(r.body))
	what := fmt.Sprintf("%s %s %s: %s %v", r.method, r.path, r.body, body, err)
	want := r.code
	if kind == theirs && r.original != 0 {
		want = r.original
	}
	require.Equal(t, want, code, "%s (the original differs: %s)", what, r.why)
	if code == broken {
		return
	}
	require.NoError(t, err, what)
	require.Contains(t, header.Get("Server"), "fleetd/", what)
	for _, part := range r.has {
		require.Contains(t, compact(body), fill(part), what)
	}
	if kind == ours || len(body) > 0 {
		require.Equal(t, "application/json", header.Get("Content-Type"), what)
	}
	if code >= 400 {
		var failure struct {
			Error struct {
				Code    int
				Message string
			}
		}
		require.NoError(t, json.Unmarshal([]byte(body), &failure), what)
		require.Equal(t, code, failure.Error.Code, what)
	}
}

func compact(body string) string {
	var out bytes.Buffer
	if json.Compact(&out, []byte(body)) != nil {
		return body
	}
	return out.String()
}
