package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// probeTimeout is how long the leader's fleetd may take to say that it is there. What it is asked then may take far longer.
const probeTimeout = 2 * time.Second

// leader asks the fleetd that leads: since when machines are missed is known to it alone.
type leader struct {
	reader    *reader
	store     store.Interface
	machineID string
	version   string
	transport http.RoundTripper
}

// answered is what the leader answered.
type answered struct {
	code        int
	contentType string
	body        []byte
	warning     string
}

// ask has the leader answer r, or what is asked for at another path of the resource API, with that body. answer is nil if this fleetd
// has to answer itself: it leads, or why says why the leader was not asked.
func (l *leader) ask(r *http.Request, path string, body []byte) (answer *answered, why string, err error) {
	machine, endpoint, why, err := l.find(r.Context())
	switch {
	case err != nil || why != "" || machine == l.machineID:
		return nil, why, err
	case r.Header.Get(hopHeader) != "":
		return nil, fmt.Sprintf("machine %s leads meanwhile", machine), nil
	}
	if err := l.probe(r.Context(), machine, endpoint); err != nil {
		return nil, fmt.Sprintf("the leader, on machine %s, did not answer: %v", machine, err), nil
	}
	answer, err = l.do(r.Context(), r.Method, endpoint, cmp.Or(path, r.URL.EscapedPath()), r.URL.RawQuery, body)
	if err == nil && answer.code >= http.StatusInternalServerError {
		err = fmt.Errorf("%d: %s", answer.code, bytes.TrimSpace(answer.body[:min(len(answer.body), 200)]))
	}
	if r.Context().Err() != nil {
		return nil, "", r.Context().Err()
	}
	if err != nil {
		return nil, fmt.Sprintf("the leader, on machine %s, failed: %v", machine, err), nil
	}
	return answer, "", nil
}

// find returns the machine that leads and where its fleetd is reached; why says why it cannot be.
func (l *leader) find(ctx context.Context) (machine, endpoint, why string, err error) {
	first := int64(0)
	if _, err := store.ListAll(ctx, l.store, l.reader.keys.Leader(keyspace.Election)+"/", store.ListOptions{}, func(kv store.KV) error {
		if kv.Lease != 0 && (first == 0 || kv.CreateRevision < first) {
			first, machine = kv.CreateRevision, string(kv.Value)
		}
		return nil
	}); err != nil {
		return "", "", "", err
	}
	switch {
	case machine == "":
		return "", "", "no machine leads now", nil
	case machine == l.machineID:
		return machine, "", "", nil
	}
	there, err := l.reader.machines.read(ctx, machine)
	var status *wire.Status
	switch {
	case errors.As(err, &status) && status.Reason == wire.ReasonNotFound:
		return "", "", fmt.Sprintf("the leader, machine %s, is away", machine), nil
	case err != nil:
		return "", "", "", err
	case there.Spec.Endpoint == "":
		return "", "", fmt.Sprintf("the fleetd of the leader, on machine %s, does not listen on TCP (listen=)", machine), nil
	}
	return machine, there.Spec.Endpoint, "", nil
}

// probe reports whether the machine's fleetd answers there.
func (l *leader) probe(ctx context.Context, machine, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	answer, err := l.do(ctx, http.MethodGet, endpoint, "/version", "", nil)
	if err != nil {
		return err
	}
	var is wire.Version
	if err := json.Unmarshal(answer.body, &is); err != nil || is.MachineID != machine {
		return fmt.Errorf("at %s is machine %q", endpoint, is.MachineID)
	}
	return nil
}

func (l *leader) do(ctx context.Context, method, endpoint, path, query string, body []byte) (*answered, error) {
	target, err := url.Parse(endpoint)
	if err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Host == "" {
		return nil, fmt.Errorf("its endpoint %q is not an http:// address", endpoint)
	}
	at := strings.TrimRight(endpoint, "/") + path
	if query != "" {
		at += "?" + query
	}
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set(hopHeader, l.machineID)
	req.Header.Set("User-Agent", "fleetd/"+l.version)
	if len(body) > 0 {
		req.Header.Set("Content-Type", wire.JSON)
	}
	resp, err := l.transport.RoundTrip(req) // redirects are not followed
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxPlan+1))
	if err == nil && len(data) > wire.MaxPlan {
		err = fmt.Errorf("its answer is larger than %d MB", wire.MaxPlan>>20)
	}
	return &answered{resp.StatusCode, resp.Header.Get("Content-Type"), data, resp.Header.Get(wire.WarningHeader)}, err
}

// write passes the answer on.
func (a *answered) write(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", a.contentType)
	if a.warning != "" {
		w.Header().Set(wire.WarningHeader, a.warning)
	}
	w.WriteHeader(a.code)
	_, err := w.Write(a.body)
	return ignoreGone(err)
}

// status is the answer as an error; nil if it is none.
func (a *answered) status() error {
	if a.code < http.StatusMultipleChoices {
		return nil
	}
	var status wire.Status
	if err := json.Unmarshal(a.body, &status); err != nil || status.Kind != "Status" {
		return wire.Fail(wire.ReasonInternal, "the leader answered %d: %s", a.code, bytes.TrimSpace(a.body[:min(len(a.body), 200)]))
	}
	return &status
}

// warn says in the answer, where machines are missed, that the leader was not asked (Kubernetes has such warnings, too).
func warn(w http.ResponseWriter, why string, missed []string) {
	if text := doubt(why, missed); text != "" {
		w.Header().Set(wire.WarningHeader, wire.Warning(text))
	}
}

func doubt(why string, missed []string) string {
	if why == "" || len(missed) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: since when %s missed is known to the leader alone, and it may do something else", why, areMissed(missed))
}

func areMissed(machines []string) string {
	if len(machines) == 1 {
		return "machine " + machines[0] + " is"
	}
	return fmt.Sprintf("%d machines are", len(machines))
}
