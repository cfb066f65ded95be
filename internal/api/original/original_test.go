package original_test

import (
	"context"
	"encoding/json"
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
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	here     = "8abff2e7000000000000000000000000"
	sleeping = "[Service]\nExecStart=/bin/sleep infinity\n"
	global   = "[Service]\nExecStart=/bin/sleep 1\n\n[X-Fleet]\nGlobal=true\n"
)

// older is our API without the resource API: what is left is that of the original. test/compat runs fleetctl against the original itself.
type older struct {
	t     *testing.T
	store *memstore.Store
	c     *client.Client
}

func newOlder(t *testing.T) *older {
	s := memstore.New(memstore.Options{})
	h := api.New(api.Options{Store: s.Connect(), Keys: keyspace.New(""), MachineID: here, Version: "1.0.0", Log: logr.Discard(), TokenLimit: 2})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/fleet/v1/") {
			w.Header().Set("Server", "fleetd/1.0.0")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"error":{"code":404,"message":""}}`))
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, 10*time.Second, "test")
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return &older{t, s, c}
}

// put writes keys at once, those below machines/ under a lease.
func (o *older) put(values map[string]any) {
	o.t.Helper()
	var ops []store.Op
	for key, value := range values {
		data, err := json.Marshal(value)
		require.NoError(o.t, err)
		op := store.Op{Key: key, Value: data}
		if strings.HasPrefix(key, "/fleet/machines/") {
			op.Lease, err = o.store.Grant(context.Background(), time.Hour)
			require.NoError(o.t, err)
		}
		ops = append(ops, op)
	}
	_, err := o.store.Commit(context.Background(), store.Txn{Ops: ops})
	require.NoError(o.t, err)
}

func (o *older) submit(name, text string, state v1.DesiredState) error {
	body, err := json.Marshal(v1.Unit{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindUnit}, Metadata: v1.ObjectMeta{Name: name},
		Spec: v1.UnitSpec{Contents: text, DesiredState: state}})
	require.NoError(o.t, err)
	_, err = o.c.Write(o.t.Context(), client.Request{Method: http.MethodPut, Path: client.Path("units", name), Body: body, ContentType: wire.JSON})
	return err
}

// run reports a unit as running on the machine.
func (o *older) run(name, text string) {
	o.put(map[string]any{
		"/fleet/machines/" + here:                v1.Machine{Spec: v1.MachineSpec{Address: "10.0.0.1", Metadata: map[string]string{"zone": "a"}}},
		"/fleet/placements/" + here + "/" + name: v1.Placement{Hash: unitfile.Hash(text), DesiredState: v1.Launched},
		"/fleet/states/" + here + "/" + name:     v1.UnitState{LoadState: "loaded", ActiveState: "active", SubState: "running", Hash: unitfile.Hash(text), DesiredState: v1.Launched},
	})
}

func TestReadsOfTheOriginal(t *testing.T) {
	o := newOlder(t)
	// The first request is a write: it is sent again after the server turned out to be the original.
	require.NoError(t, o.submit("a.service", sleeping, v1.Launched))
	require.NoError(t, o.submit("b.service", sleeping, v1.Inactive))
	require.NoError(t, o.submit("c.service", global, v1.Launched))
	o.run("a.service", sleeping)
	o.run("c.service", global)

	units, err := client.List[v1.Unit](t.Context(), o.c, client.Path("units"), map[string][]string{"file": {"true"}})
	require.NoError(t, err)
	require.Len(t, units, 3, "two pages")
	a, b, c := units[0], units[1], units[2]
	require.Equal(t, v1.PhaseActive, a.Status.Phase)
	require.Equal(t, here, a.Status.Machine)
	require.Equal(t, unitfile.FleetHash(sleeping), a.Status.File.SHA1)
	require.Equal(t, v1.UnitOnMachine{Machine: here, Address: "10.0.0.1", Phase: v1.PhaseActive,
		Placement: &v1.Placement{Hash: unitfile.Hash(sleeping), DesiredState: v1.Launched},
		State:     &v1.UnitState{LoadState: "loaded", ActiveState: "active", SubState: "running", Hash: unitfile.Hash(sleeping), DesiredState: v1.Launched}}, a.Status.Machines[0])
	require.Equal(t, v1.PhaseInactive, b.Status.Phase)
	require.Empty(t, b.Status.Machines)
	require.True(t, c.Status.File.Global)
	require.Len(t, c.Status.Machines, 1)
	require.NotNil(t, c.Status.Machines[0].Placement)

	text, err := o.c.Do(t.Context(), client.Request{Method: http.MethodGet, Path: client.Path("units", "a.service", "file")})
	require.NoError(t, err)
	require.Equal(t, sleeping, string(text))
	machines, err := client.List[v1.Machine](t.Context(), o.c, client.Path("machines"), nil)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"zone": "a"}, wire.Metadata(&machines[0]))
	_, err = client.Get[v1.Machine](t.Context(), o.c, client.Path("machines", here), nil)
	require.NoError(t, err)
	states, err := client.List[wire.InstanceState](t.Context(), o.c, client.Path("states"), map[string][]string{"unitName": {"a.service"}})
	require.NoError(t, err)
	require.Len(t, states, 1)
	version, err := client.Get[wire.Version](t.Context(), o.c, "/version", nil)
	require.NoError(t, err)
	require.Equal(t, "1.0.0", version.Version)

	for _, query := range []map[string][]string{{"owner": {"app"}}, {"labelSelector": {"app=x"}}} {
		units, err = client.List[v1.Unit](t.Context(), o.c, client.Path("units"), query)
		require.NoError(t, err)
		require.Empty(t, units)
	}
	_, err = client.Get[v1.Unit](t.Context(), o.c, client.Path("units", "nothing.service"), nil)
	require.True(t, client.NotFound(err), err)
	_, err = client.List[wire.App](t.Context(), o.c, client.Path("apps"), nil)
	require.ErrorContains(t, err, "the server is the original fleet 1.0.0, which has units and machines only: it does not know GET /apps")
}

func TestWritesToTheOriginal(t *testing.T) {
	o := newOlder(t)
	stored := func() v1.Unit {
		u, err := client.Get[v1.Unit](t.Context(), o.c, client.Path("units", "a.service"), nil)
		require.NoError(t, err)
		return u
	}
	post := func(verb string) error {
		_, err := o.c.Write(t.Context(), client.Request{Method: http.MethodPost, Path: client.Path("units", "a.service", verb)})
		return err
	}
	require.True(t, client.NotFound(post("start")), "the original says 409")
	require.ErrorContains(t, o.submit("a.service", "[Service\n", v1.Inactive), "unit/a.service is not valid")
	require.NoError(t, o.submit("a.service", sleeping, v1.Inactive))
	for verb, state := range map[string]v1.DesiredState{"start": v1.Launched, "stop": v1.Loaded, "load": v1.Loaded, "unload": v1.Inactive, "restart": v1.Launched} {
		require.NoError(t, post(verb), verb)
		require.Equal(t, state, stored().Spec.DesiredState, verb)
	}
	require.ErrorContains(t, post("dance"), "does not know POST /units/a.service/dance")
	_, err := o.c.Write(t.Context(), client.Request{Method: http.MethodDelete, Path: client.Path("units", "a.service")})
	require.NoError(t, err)
	_, err = o.c.Write(t.Context(), client.Request{Method: http.MethodDelete, Path: client.Path("units", "a.service")})
	require.True(t, client.NotFound(err), err)
}

// TestWatchOfTheOriginal: it is polled, and only what changes is told.
func TestWatchOfTheOriginal(t *testing.T) {
	o := newOlder(t)
	require.NoError(t, o.submit("a.service", sleeping, v1.Launched))
	var told []string
	for event, err := range client.Watch[v1.Unit](t.Context(), o.c, client.Path("units", "a.service"), nil) {
		require.NoError(t, err)
		phase := v1.Phase("")
		if event.Object.Status != nil {
			phase = event.Object.Status.Phase
		}
		told = append(told, strings.TrimSpace(event.Type+" "+string(phase)))
		switch len(told) {
		case 2:
			o.run("a.service", sleeping)
		case 3:
			_, err := o.c.Write(t.Context(), client.Request{Method: http.MethodDelete, Path: client.Path("units", "a.service")})
			require.NoError(t, err)
		}
		if event.Type == wire.Deleted {
			break
		}
	}
	require.Equal(t, []string{"ADDED Pending", "BOOKMARK", "MODIFIED Active", "DELETED Active"}, told)
}
