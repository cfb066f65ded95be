package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

func TestStatusTextOfAUnit(t *testing.T) {
	says := func(text string, fault error) func(o *api.Options) {
		return func(o *api.Options) {
			o.StatusText = func(_ context.Context, unit string) (string, error) { return unit + " " + text, fault }
		}
	}
	const path = units + "/a.service/statustext"
	shown := func(a answer) (text wire.UnitStatusText) {
		require.Equal(t, http.StatusOK, a.code, a.body)
		require.NoError(t, json.Unmarshal([]byte(a.body), &text))
		return text
	}
	c := newCluster(t, says("serves\n\x1b[31m1 app ", nil))
	require.Equal(t, http.StatusNotFound, c.do(http.MethodGet, path, "").code)
	placed(c, "a.service", here)
	require.Equal(t, wire.UnitStatusText{Unit: "a.service", Machine: here, StatusText: "a.service serves [31m1 app"}, shown(c.do(http.MethodGet, path, "")))
	require.Equal(t, http.StatusNotFound, c.do(http.MethodGet, path+"?machine=b581", "").code)
	require.Equal(t, http.StatusUnprocessableEntity, c.do(http.MethodGet, units+"/..%2Fx/statustext", "").code)

	c = newCluster(t, says(strings.Repeat("long ", 1000), nil))
	placed(c, "a.service", here)
	require.Len(t, shown(c.do(http.MethodGet, path, "")).StatusText, 1024)

	c = newCluster(t, says("", errors.New("systemd cannot be reached")))
	placed(c, "a.service", here)
	s := c.do(http.MethodGet, path, "").status(t)
	require.Equal(t, []string{wire.ReasonUnavailable, "systemd cannot be reached"}, []string{s.Reason, s.Message})

	c = newCluster(t)
	placed(c, "a.service", here)
	require.Contains(t, c.do(http.MethodGet, path, "").status(t).Message, "systemctl status a.service")

	// The fleetd of the unit's machine is asked.
	placed(c, "b.service", there)
	o := api.Options{Store: c.conn, Keys: keys, MachineID: there, Log: logr.Discard()}
	says("serves", nil)(&o)
	other := httptest.NewServer(api.New(o))
	defer other.Close()
	m := machine("10.0.0.2")
	m.Spec.Endpoint = other.URL
	c.put("/fleet/machines/"+there, m)
	require.Equal(t, wire.UnitStatusText{Unit: "b.service", Machine: there, StatusText: "b.service serves"}, shown(c.do(http.MethodGet, units+"/b.service/statustext", "")))
	require.Equal(t, http.StatusConflict, c.do(http.MethodGet, units+"/b.service/statustext", "", "X-Fleet-Forwarded", there).code)
}
