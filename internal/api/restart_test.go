package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

func TestRestartOfAnAppAsksForAllItsInstancesAtOnce(t *testing.T) {
	c := newCluster(t)
	const path = wire.Prefix + "/apps/web/restart"
	restart := func(body string) (restarted wire.Restart) {
		a := c.do(http.MethodPost, path, body)
		require.Equal(t, http.StatusOK, a.code, a.body)
		require.NoError(t, json.Unmarshal([]byte(a.body), &restarted))
		return restarted
	}
	require.Equal(t, http.StatusNotFound, c.do(http.MethodPost, path, "").code)
	c.put("/fleet/apps/web", "x")
	require.Equal(t, wire.Restart{Units: []string{}, RequestedAt: "2026-01-02T03:04:05Z"}, restart(""))
	own := v1.Unit{Metadata: v1.ObjectMeta{Owner: "web"}, Spec: v1.UnitSpec{DesiredState: v1.Launched}}
	for _, name := range []string{"web@1.service", "web@2.service", "web@3.service", "web-discovery@1.service"} {
		c.put("/fleet/units/"+name, own)
	}
	c.put("/fleet/units/web@4.service", v1.Unit{Spec: v1.UnitSpec{DesiredState: v1.Launched}}) // not owned by the app
	c.put("/fleet/units/web-api@1.service", v1.Unit{Metadata: v1.ObjectMeta{Owner: "web-api"}, Spec: v1.UnitSpec{DesiredState: v1.Launched}})
	c.put("/fleet/overrides/web@2.service", v1.Override{DesiredState: v1.Loaded})
	c.put("/fleet/overrides/web@3.service", v1.Override{DesiredState: v1.Launched, RequestedAt: "before"})

	const asked = `{"desiredState":"launched","requestedAt":"2026-01-02T03:04:05Z","restart":true}`
	require.Equal(t, []string{"web@1.service", "web@3.service"}, restart("{}").Units, "instances stopped by hand stay stopped")
	require.JSONEq(t, asked, c.get("/fleet/overrides/web@1.service"))
	require.JSONEq(t, `{"desiredState":"loaded"}`, c.get("/fleet/overrides/web@2.service"))
	require.JSONEq(t, asked, c.get("/fleet/overrides/web@3.service"))
	for _, name := range []string{"web-discovery@1.service", "web@4.service", "web-api@1.service"} {
		c.absent("/fleet/overrides/" + name)
	}
	require.Equal(t, []string{"web@2.service"}, restart(`{"units":["web@2.service"]}`).Units)
	require.JSONEq(t, asked, c.get("/fleet/overrides/web@2.service"), "unless it is named")

	for body, code := range map[string]int{`{"units":["web@9.service"]}`: 404, `{"units":["web@4.service"]}`: 404, `{"units":["web-discovery@1.service"]}`: 404, `{"unit":1}`: 400, `[]`: 400} {
		require.Equal(t, code, c.do(http.MethodPost, path, body).code, body)
	}
	require.Equal(t, http.StatusMethodNotAllowed, c.do(http.MethodGet, path, "").code)
}

func TestRestartOfManyInstances(t *testing.T) {
	c := newCluster(t)
	c.put("/fleet/apps/web", "x")
	var want []string
	for n := range 250 {
		want = append(want, fmt.Sprintf("web@%d.service", n+1))
		c.put("/fleet/units/"+want[n], v1.Unit{Metadata: v1.ObjectMeta{Owner: "web"}})
	}
	slices.Sort(want)
	var restarted wire.Restart
	a := c.do(http.MethodPost, wire.Prefix+"/apps/web/restart", "")
	require.NoError(t, json.Unmarshal([]byte(a.body), &restarted))
	require.Equal(t, want, restarted.Units)
	for _, unit := range want {
		c.get("/fleet/overrides/" + unit)
	}
}
