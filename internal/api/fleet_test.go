package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

const fleetBody = `{"name":"a.service","desiredState":"launched","options":[{"section":"Service","name":"ExecStart","value":"/bin/sleep infinity"}]}`

func TestFleetUnits(t *testing.T) {
	c := newCluster(t)
	put := func(path, body string) answer {
		return c.do(http.MethodPut, "/fleet/v1/units/"+path, body, "Content-Type", "application/json")
	}
	other := strings.Replace(fleetBody, "infinity", "1", 1)
	without := func(body string) string { return strings.Replace(body, `"desiredState":"launched",`, "", 1) }
	for _, tt := range []struct {
		path, body string
		code       int
		desired    v1.DesiredState // afterwards
	}{
		{"a.service", `{"desiredState":"launched"}`, 409, ""}, {"b.service", fleetBody, 400, ""}, {"a.service", `{`, 400, ""}, {"a.service", `[]`, 400, ""},
		{"a.service", `{"nonsense":1}`, 409, ""}, {"a.bad", `{}`, 400, ""}, {"@a.service", `{}`, 400, ""}, {strings.Repeat("a", 249) + ".service", `{}`, 400, ""},
		{"a@.service", strings.Replace(fleetBody, "a.service", "a@.service", 1), 400, ""},
		{"a.service", strings.Replace(fleetBody, "launched", "resting", 1), 400, ""},
		{"a.service", fleetBody, 201, "launched"}, {"a.service", fleetBody, 204, "launched"},
		{"a.service", strings.Replace(fleetBody, "{", `{"nonsense":[{}],"currentState":"loaded",`, 1), 204, "launched"},
		{"a.service", `{"desiredState":"loaded"}`, 204, "loaded"}, {"a.service", fleetBody, 204, "launched"},
		{"a.service", `{"desiredState":"resting"}`, 400, "launched"},
		{"a.service", `{}`, 409, "launched"}, {"a.service", without(fleetBody), 409, "launched"}, // an existing unit, and no state to change to
		{"a.service", without(other), 201, "inactive"}, {"a.service", fleetBody, 201, "launched"}, {"a.service", other, 201, "launched"},
	} {
		a := put(tt.path, tt.body)
		require.Equal(t, tt.code, a.code, "%s %s: %s", tt.path, tt.body, a.body)
		require.Equal(t, "application/json", a.header.Get("Content-Type"))
		require.Equal(t, "fleetd/1.2.3", a.header.Get("Server"))
		if a.code >= 400 {
			require.Contains(t, a.body, `{"error":{"code":`+strconv.Itoa(a.code)+`,"message":"`)
		}
		if tt.desired != "" {
			require.Equal(t, tt.desired, c.unit("a.service").Spec.DesiredState, "%s %s", tt.path, tt.body)
		}
	}
	require.Equal(t, 201, put("a@.service", without(strings.Replace(fleetBody, "a.service", "a@.service", 1))).code)
	require.Equal(t, 400, put("a@.service", `{"desiredState":"loaded"}`).code)
	require.Equal(t, 204, put("a@.service", `{"desiredState":"inactive"}`).code)
	require.Equal(t, 415, c.do(http.MethodPut, "/fleet/v1/units/a.service", fleetBody, "Content-Type", "text/plain").code)
	require.Equal(t, 204, c.do(http.MethodPut, "/fleet/v1/units/a.service", other, "Content-Type", "application/json; charset=utf-8").code)
	require.Equal(t, 415, c.do(http.MethodPut, "/fleet/v1/units/a.service", fleetBody).code)
	require.Equal(t, "[Service]\nExecStart=/bin/sleep 1\n", c.do(http.MethodGet, units+"/a.service/file", "").body)
	require.JSONEq(t, `{"name":"a.service","options":[{"section":"Service","name":"ExecStart","value":"/bin/sleep 1"}],"desiredState":"launched","currentState":"inactive"}`,
		c.do(http.MethodGet, "/v1-alpha/units/a.service", "").body)
	require.Equal(t, 404, c.do(http.MethodGet, "/fleet/v1/units/b.service", "").code)
	for method, path := range map[string]string{http.MethodPost: "/units", http.MethodDelete: "/state", http.MethodPut: "/machines", http.MethodPatch: "/units/a.service", http.MethodGet: ""} {
		for _, prefix := range []string{"/fleet/v1", "/v1-alpha"} {
			require.Equal(t, 405, c.do(method, prefix+path, "").code, "%s %s", method, prefix+path)
		}
	}
	require.Equal(t, 404, c.do(http.MethodGet, "/fleet/v1/nothing", "").code)
	require.Equal(t, 204, c.do(http.MethodDelete, "/fleet/v1/units/a.service", "").code)
	require.Equal(t, 404, c.do(http.MethodDelete, "/fleet/v1/units/a.service", "").code)
	discovery := getAs[struct {
		Schemas   map[string]struct{ Properties map[string]any }
		Resources map[string]struct {
			Methods map[string]struct{ Path, HTTPMethod string }
		}
	}](c, "/fleet/v1/discovery")
	require.Len(t, discovery.Schemas, 7)
	require.Contains(t, discovery.Schemas["UnitState"].Properties, "systemdActiveState")
	require.Equal(t, "units/{unitName}", discovery.Resources["Units"].Methods["Set"].Path)
}

func TestFleetStatesAndMachinesInPages(t *testing.T) {
	c := newCluster(t, func(o *api.Options) { o.TokenLimit = 1 })
	m := machine("10.0.0.1")
	m.Spec.Metadata = map[string]string{"zone": "a", "gone": "x"}
	c.put("/fleet/machines/"+here, m)
	c.put("/fleet/machineconfig/"+here, v1.MachineConfig{Metadata: map[string]string{"gone": ""}})
	c.put("/fleet/machines/"+there, machine("10.0.0.2"))
	c.put("/fleet/units/a.service", v1.Unit{Spec: v1.UnitSpec{Hash: unitfile.Hash(sleeping)}})
	c.put("/fleet/unitfiles/"+unitfile.Hash(sleeping), sleeping)
	c.put("/fleet/states/"+here+"/a.service", v1.UnitState{LoadState: "loaded", ActiveState: "active", SubState: "running", Hash: unitfile.Hash(sleeping)})

	type page struct{ NextPageToken string }
	first := c.do(http.MethodGet, "/fleet/v1/machines", "")
	require.Contains(t, first.body, `{"machines":[{"id":"`+here+`","primaryIP":"10.0.0.1","metadata":{"zone":"a"}}],"nextPageToken":"`)
	next := getAs[page](c, "/fleet/v1/machines").NextPageToken
	require.Equal(t, `{"machines":[{"id":"`+there+`","primaryIP":"10.0.0.2"}]}`, compact(c.do(http.MethodGet, "/fleet/v1/machines?nextPageToken="+next, "").body))
	for _, path := range []string{"/fleet/v1/units", "/fleet/v1/state", "/fleet/v1/machines"} {
		for _, bad := range []string{"x", "", "EwBMLg==", next + "&nextPageToken=" + next} {
			require.Equal(t, 400, c.do(http.MethodGet, path+"?nextPageToken="+bad, "").code)
		}
	}
	require.Equal(t, 400, c.do(http.MethodGet, "/fleet/v1/units?nextPageToken="+next, "").code, "the token belongs to another listing")
	state := `{"name":"a.service","hash":"` + unitfile.FleetHash(sleeping) + `","machineID":"` + here + `","systemdLoadState":"loaded","systemdActiveState":"active","systemdSubState":"running"}`
	require.Equal(t, `{"states":[`+state+`]}`, compact(c.do(http.MethodGet, "/fleet/v1/state?machineID="+here, "").body))
	require.Equal(t, `{}`, compact(c.do(http.MethodGet, "/fleet/v1/state?machineID="+there, "").body))
	require.Equal(t, state, compact(c.do(http.MethodGet, "/fleet/v1/state/a.service", "").body))
	require.Equal(t, 404, c.do(http.MethodGet, "/fleet/v1/state/b.service", "").code)

	c.del("/fleet/machines/" + here)
	require.Equal(t, `{}`, compact(c.do(http.MethodGet, "/fleet/v1/state", "").body), "the machine is gone: what it reported last may no longer be so")
	require.Equal(t, 404, c.do(http.MethodGet, "/fleet/v1/state/a.service", "").code)
}

// TestFleetCurrentState: it is what the machine reports, and lags behind a stop.
func TestFleetCurrentState(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := newCluster(t, func(o *api.Options) { o.Now = func() time.Time { return now } })
	c.put("/fleet/machines/"+here, machine("10.0.0.1"))
	c.put("/fleet/unitfiles/"+unitfile.Hash(sleeping), sleeping)
	c.put("/fleet/units/a.service", v1.Unit{Spec: v1.UnitSpec{Hash: unitfile.Hash(sleeping)}})
	ago := func(d time.Duration) string { return now.Add(-d).Format(time.RFC3339Nano) }
	for _, tt := range []struct {
		name             string
		placed           v1.DesiredState // "": nowhere
		requestedAt      string
		reported, states v1.DesiredState // "": not at all
	}{
		{"not placed", "", "", "", v1.Inactive},
		{"placed, not reported", v1.Launched, "", "", v1.Inactive},
		{"placed and loaded so far", v1.Launched, "", v1.Loaded, v1.Loaded},
		{"launched", v1.Launched, "", v1.Launched, v1.Launched},
		{"to be stopped", v1.Loaded, ago(time.Minute), v1.Launched, v1.Launched},
		{"stopped a moment ago", v1.Loaded, ago(time.Second), v1.Loaded, v1.Launched},
		{"stopped", v1.Loaded, ago(2 * time.Second), v1.Loaded, v1.Loaded},
		{"stopped according to a clock that is ahead", v1.Loaded, ago(-time.Minute), v1.Loaded, v1.Loaded},
		{"loaded", v1.Loaded, "", v1.Loaded, v1.Loaded},
		{"unloaded, not yet stopped", "", "", v1.Launched, v1.Launched},
	} {
		place, state := "/fleet/placements/"+here+"/a.service", "/fleet/states/"+here+"/a.service"
		c.put(place, v1.Placement{Hash: unitfile.Hash(sleeping), DesiredState: tt.placed, RequestedAt: tt.requestedAt})
		c.put(state, v1.UnitState{LoadState: "loaded", ActiveState: "inactive", DesiredState: tt.reported})
		if tt.placed == "" {
			c.del(place)
		}
		if tt.reported == "" {
			c.del(state)
		}
		type shown struct {
			CurrentState v1.DesiredState
			MachineID    string
		}
		require.Equal(t, tt.states, getAs[shown](c, "/fleet/v1/units/a.service").CurrentState, tt.name)
		require.Equal(t, tt.states, getAs[struct{ Units []shown }](c, "/fleet/v1/units").Units[0].CurrentState, tt.name)
		require.Equal(t, tt.placed != "", getAs[shown](c, "/fleet/v1/units/a.service").MachineID == here, tt.name)
	}
	c.put("/fleet/placements/"+here+"/a.service", v1.Placement{Hash: unitfile.Hash(sleeping), DesiredState: v1.Launched})
	c.del("/fleet/machines/" + here)
	require.NotContains(t, c.do(http.MethodGet, "/fleet/v1/units/a.service", "").body, here, "the machine is gone")
}

func TestFleetGlobalUnit(t *testing.T) {
	c := newCluster(t)
	text := "[X-Fleet]\nGlobal=true\n"
	c.put("/fleet/machines/"+here, machine("10.0.0.1"))
	c.put("/fleet/unitfiles/"+unitfile.Hash(text), text)
	c.put("/fleet/units/a.service", v1.Unit{Spec: v1.UnitSpec{Hash: unitfile.Hash(text)}})
	c.put("/fleet/placements/"+here+"/a.service", v1.Placement{Hash: unitfile.Hash(text), DesiredState: v1.Launched})
	c.put("/fleet/states/"+here+"/a.service", v1.UnitState{DesiredState: v1.Launched})
	require.Equal(t, `{"name":"a.service","options":[{"section":"X-Fleet","name":"Global","value":"true"}],"desiredState":"launched"}`,
		compact(c.do(http.MethodGet, "/fleet/v1/units/a.service", "").body), "its state is that of no machine in particular")
}

// TestFleetStopIsARequest: "loaded" stops what was launched, and no unit that systemd or a person started since it was loaded.
func TestFleetStopIsARequest(t *testing.T) {
	c := newCluster(t)
	put := func(state string) string {
		require.Equal(t, 204, c.do(http.MethodPut, "/fleet/v1/units/a.service", `{"desiredState":"`+state+`"}`, "Content-Type", "application/json").code)
		return c.unit("a.service").Spec.RequestedAt
	}
	c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", sleeping, v1.Inactive))
	require.Empty(t, put("loaded"))
	require.Empty(t, put("loaded"))
	require.NotEmpty(t, put("launched"))
	c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", sleeping, v1.Launched))
	require.NotEmpty(t, put("loaded"))
}

func TestFleetPatchMachines(t *testing.T) {
	c := newCluster(t)
	m := machine("10.0.0.1")
	m.Spec.Metadata = map[string]string{"zone": "a"}
	c.put("/fleet/machines/"+here, m)
	c.put("/fleet/machines/"+there, machine("10.0.0.2"))
	path := func(machine, name string) string { return `"path":"/` + machine + `/metadata/` + name + `"` }
	for _, tt := range []struct {
		body     string
		code     int
		metadata string // of the two machines afterwards
	}{
		{`[{"op":"add",` + path(here, "foo") + `,"value":{"value":"bar"}},{"op":"replace",` + path(there, "ping") + `,"Value":{"value":"splat"}}]`, 204, `{"foo":"bar","zone":"a"} {"ping":"splat"}`},
		{`[{"op":"replace",` + path(here, "foo") + `,"value":"plain"}]`, 204, `{"foo":"plain","zone":"a"} {"ping":"splat"}`},
		{`[{"op":"remove",` + path(here, "zone") + `,"value":{"value":""}},{"op":"remove",` + path(there, "ping") + `}]`, 204, `{"foo":"plain"} null`},
		{`[]`, 204, `{"foo":"plain"} null`},
		{`[{"op":"remove",` + path(here, "foo") + `},{"op":"noop",` + path(here, "foo") + `,"value":"x"}]`, 400, `{"foo":"plain"} null`},
		{`[{"op":"add","path":"/` + here + `/foo","value":"x"}]`, 400, ""}, {`[{"op":"add",` + path(here, "a/b") + `,"value":"x"}]`, 400, ""},
		{`[{"op":"add",` + path(here, "foo") + `,"value":""}]`, 400, ""}, {`[{"op":"add",` + path(here, "foo") + `,"value":7}]`, 400, ""},
		{`[{"op":"add",` + path(here, "foo") + `}]`, 400, ""}, {`{}`, 400, ""}, {`x`, 400, ""}, {``, 400, ""},
		{`[{"op":"add",` + path(here, "foo") + `,"value":"x"},{"op":"add",` + path("unknown", "foo") + `,"value":"x"}]`, 400, `{"foo":"plain"} null`},
	} {
		a := c.do(http.MethodPatch, "/fleet/v1/machines", tt.body)
		require.Equal(t, tt.code, a.code, "%s: %s", tt.body, a.body)
		require.Equal(t, "application/json", a.header.Get("Content-Type"))
		if tt.metadata != "" {
			page := getAs[struct {
				Machines []struct{ Metadata map[string]string }
			}](c, "/fleet/v1/machines")
			first, _ := json.Marshal(page.Machines[0].Metadata)
			second, _ := json.Marshal(page.Machines[1].Metadata)
			require.Equal(t, tt.metadata, string(first)+" "+string(second), tt.body)
		}
	}
	c.absent("/fleet/machineconfig/unknown")
}

// counted counts the reads of keys.
type counted struct {
	store.Interface
	reads atomic.Int64
}

func (c *counted) Get(ctx context.Context, key string) (store.KV, bool, int64, error) {
	c.reads.Add(1)
	return c.Interface.Get(ctx, key)
}

// TestFleetPutReadsTheUnitAtMostOnce: with a hundred units to start, each request costs the machine that answers and etcd as little as
// possible.
func TestFleetPutReadsTheUnitAtMostOnce(t *testing.T) {
	count := &counted{}
	c := newCluster(t, func(o *api.Options) {
		count.Interface = o.Store
		o.Store = count
	})
	for _, put := range []struct {
		program, state string
		code           int
		reads          int64
	}{
		{"/bin/true", "launched", http.StatusCreated, 0},
		{"/bin/false", "launched", http.StatusCreated, 1},
		{"/bin/sleep 1", "", http.StatusCreated, 1},
	} {
		count.reads.Store(0)
		a := c.do(http.MethodPut, "/fleet/v1/units/a.service",
			`{"desiredState":"`+put.state+`","options":[{"section":"Service","name":"ExecStart","value":"`+put.program+`"}]}`, "Content-Type", "application/json")
		require.Equal(t, put.code, a.code, a.body)
		require.LessOrEqual(t, count.reads.Load(), put.reads+1, "its own and that of the stored file, which the new one is compared with")
		require.GreaterOrEqual(t, count.reads.Load(), put.reads)
		require.Equal(t, put.reads == 0, count.reads.Load() == 0)
	}
}

// TestFleetUnitWrittenBackAsItWasRead: writing back what was read is a no-op: the file keeps its comments and nothing
// is restarted.
func TestFleetUnitWrittenBackAsItWasRead(t *testing.T) {
	c := newCluster(t)
	text := "# mine\n\n[Unit]\nDescription = x\n\n[Service]\nExecStart=/bin/sleep \\\n  infinity\nEnvironment=\n[X-Fleet]\n"
	const path = "/fleet/v1/units/a.service"
	put := func(body string) answer { return c.do(http.MethodPut, path, body, "Content-Type", "application/json") }
	for _, inline := range []bool{false, true} {
		c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", text, v1.Launched))
		if inline {
			c.put("/fleet/units/a.service", `{"spec":{"contents":`+strconv.Quote(text)+`}}`) // launched is the default
		}
		before := c.get("/fleet/units/a.service")
		read := c.do(http.MethodGet, path, "").body
		a := put(strings.Replace(read, `,"currentState":"inactive"`, "", 1))
		require.Equal(t, http.StatusNoContent, a.code, a.body)
		require.Equal(t, before, c.get("/fleet/units/a.service"))
		require.Equal(t, http.StatusNoContent, put(read).code)
		require.Equal(t, before, c.get("/fleet/units/a.service"))
		require.Equal(t, text, c.do(http.MethodGet, units+"/a.service/file", "").body)

		require.Equal(t, http.StatusNoContent, put(strings.Replace(read, "launched", "loaded", 1)).code, "only the state differs")
		require.Equal(t, v1.Loaded, c.unit("a.service").Spec.DesiredState)
		require.Equal(t, text, c.do(http.MethodGet, units+"/a.service/file", "").body)
		require.Equal(t, http.StatusCreated, put(strings.Replace(read, "Description", "Documentation", 1)).code)
		require.NotEqual(t, text, c.do(http.MethodGet, units+"/a.service/file", "").body)
	}
}
