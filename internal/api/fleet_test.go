package api_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

const fleetBody = `{"name":"a.service","desiredState":"launched","options":[{"section":"Service","name":"ExecStart","value":"/bin/sleep infinity"}]}`

func TestFleetUnits(t *testing.T) {
	c := newCluster(t)
	put := func(path, body string) answer {
		return c.do(http.MethodPut, "/fleet/v1/units/"+path, body, "Content-Type", "application/json")
	}
	for _, tt := range []struct {
		path, body string
		code       int
	}{
		{"a.service", `{"desiredState":"launched"}`, 409}, {"b.service", fleetBody, 400}, {"a.service", `{`, 400}, {"a.service", `{"nonsense":1}`, 400},
		{"a@.service", strings.Replace(fleetBody, "a.service", "a@.service", 1), 400},
		{"a.service", fleetBody, 201}, {"a.service", fleetBody, 204}, {"a.service", `{"desiredState":"loaded"}`, 204},
		{"a.service", `{"desiredState":"resting"}`, 400}, {"a.service", `{}`, 409}, {"a.service", strings.Replace(fleetBody, "infinity", "1", 1), 201},
	} {
		a := put(tt.path, tt.body)
		require.Equal(t, tt.code, a.code, "%s %s: %s", tt.path, tt.body, a.body)
		if a.code >= 400 {
			require.Contains(t, a.body, `{"error":{"code":`)
		}
	}
	require.Equal(t, 415, c.do(http.MethodPut, "/fleet/v1/units/a.service", fleetBody).code)
	require.Equal(t, "[Service]\nExecStart=/bin/sleep 1\n", c.do(http.MethodGet, units+"/a.service/file", "").body)
	require.JSONEq(t, `{"name":"a.service","options":[{"section":"Service","name":"ExecStart","value":"/bin/sleep 1"}],"desiredState":"launched","currentState":"inactive"}`,
		c.do(http.MethodGet, "/v1-alpha/units/a.service", "").body)
	require.Equal(t, 404, c.do(http.MethodGet, "/fleet/v1/units/b.service", "").code)
	require.Equal(t, 405, c.do(http.MethodPost, "/fleet/v1/units", "").code)
	require.Equal(t, 204, c.do(http.MethodDelete, "/fleet/v1/units/a.service", "").code)
	require.Equal(t, 404, c.do(http.MethodDelete, "/fleet/v1/units/a.service", "").code)
	require.Equal(t, 200, c.do(http.MethodGet, "/fleet/v1/discovery", "").code)
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
		require.Equal(t, 400, c.do(http.MethodGet, path+"?nextPageToken=x", "").code)
	}
	require.Equal(t, 400, c.do(http.MethodGet, "/fleet/v1/units?nextPageToken="+next, "").code, "the token belongs to another listing")
	state := `{"name":"a.service","hash":"` + unitfile.FleetHash(sleeping) + `","machineID":"` + here + `","systemdLoadState":"loaded","systemdActiveState":"active","systemdSubState":"running"}`
	require.Equal(t, `{"states":[`+state+`]}`, compact(c.do(http.MethodGet, "/fleet/v1/state?machineID="+here, "").body))
	require.Equal(t, `{}`, compact(c.do(http.MethodGet, "/fleet/v1/state?machineID="+there, "").body))
	require.Equal(t, state, compact(c.do(http.MethodGet, "/fleet/v1/state/a.service", "").body))
	require.Equal(t, 404, c.do(http.MethodGet, "/fleet/v1/state/b.service", "").code)
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
