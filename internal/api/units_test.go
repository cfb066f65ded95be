package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

const (
	units    = wire.Prefix + "/units"
	sleeping = "[Service]\nExecStart=/bin/sleep infinity\n"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func unitJSON(t testing.TB, name, contents string, state v1.DesiredState) string {
	t.Helper()
	data, err := json.Marshal(v1.Unit{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindUnit}, Metadata: v1.ObjectMeta{Name: name},
		Spec: v1.UnitSpec{Contents: contents, DesiredState: state}})
	require.NoError(t, err)
	return string(data)
}

func (c *cluster) unit(name string) v1.Unit {
	c.t.Helper()
	u, err := keys.Units().Decode([]byte(c.get("/fleet/units/" + name)))
	require.NoError(c.t, err)
	return u
}

func TestPutUnitStoresTheFileByItsHash(t *testing.T) {
	c := newCluster(t)
	a := c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", sleeping, v1.Launched))
	require.Equal(t, http.StatusCreated, a.code, a.body)
	hash := unitfile.Hash(sleeping)
	require.Equal(t, sleeping, c.get("/fleet/unitfiles/"+hash))
	stored := c.unit("a.service")
	require.Equal(t, v1.UnitSpec{Hash: hash, DesiredState: v1.Launched}, stored.Spec)
	require.Equal(t, sleeping, c.do(http.MethodGet, units+"/a.service/file", "").body)
	require.Equal(t, sleeping, c.do(http.MethodGet, wire.Prefix+"/unitfiles/"+hash, "").body)
	require.Equal(t, wire.ReasonUnchanged, c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", sleeping, v1.Launched)).status(t).Reason)
	require.Equal(t, []wire.UnitFile{{Hash: hash}}, getAs[wire.List[wire.UnitFile]](c, wire.Prefix+"/unitfiles").Items)
	list := getAs[wire.List[v1.Unit]](c, units+"?contents=true")
	require.Equal(t, sleeping, list.Items[0].Spec.Contents)

	require.Equal(t, http.StatusOK, c.do(http.MethodDelete, units+"/a.service", "").code)
	require.Equal(t, http.StatusNotFound, c.do(http.MethodDelete, units+"/a.service", "").code)
}

// TestInlineUnit: a unit written with etcdctl carries its text. It is shown like any other, whether or not its file is
// stored.
func TestInlineUnit(t *testing.T) {
	c := newCluster(t)
	c.put("/fleet/units/a.service", v1.Unit{Spec: v1.UnitSpec{Contents: sleeping, DesiredState: v1.Inactive}})
	hash := unitfile.Hash(sleeping)
	for range 2 {
		require.Equal(t, sleeping, c.do(http.MethodGet, units+"/a.service/file", "").body)
		require.Equal(t, v1.UnitSpec{Hash: hash, DesiredState: v1.Inactive}, getAs[v1.Unit](c, units+"/a.service").Spec)
		list := getAs[wire.List[v1.Unit]](c, units+"?contents=true")
		require.Equal(t, v1.UnitSpec{Hash: hash, Contents: sleeping, DesiredState: v1.Inactive}, list.Items[0].Spec)
		require.Contains(t, c.do(http.MethodGet, "/fleet/v1/units/a.service", "").body, "ExecStart")
		c.put("/fleet/unitfiles/"+hash, sleeping)
	}
	started := c.do(http.MethodPost, units+"/a.service/start", "")
	require.Equal(t, http.StatusOK, started.code, started.body)
	require.Equal(t, sleeping, c.unit("a.service").Spec.Contents)
	require.Equal(t, v1.Launched, c.unit("a.service").Spec.DesiredState)
}

// TestNamesThatNoUnitCanHave: both APIs refuse names that systemd refuses. A unit stored under such a name by an
// earlier version can be shown and deleted.
func TestNamesThatNoUnitCanHave(t *testing.T) {
	c := newCluster(t)
	for name, why := range map[string]string{"zzdata@vol1.mount": "units of type mount have no instances", "a@1.slice": "units of type slice have no instances",
		"a.snapshot": "systemd has no snapshot units", "a.busname": "systemd has no busname units"} {
		a := c.do(http.MethodPut, units+"/"+name, unitJSON(t, name, sleeping, v1.Launched))
		require.GreaterOrEqual(t, a.code, 400)
		require.Contains(t, a.body, why)
		a = c.do(http.MethodPut, "/fleet/v1/units/"+name, `{"desiredState": "launched", "options": [{"section": "Service", "name": "ExecStart", "value": "/bin/true"}]}`, "Content-Type", "application/json")
		require.Equal(t, http.StatusBadRequest, a.code, a.body)
		require.Contains(t, a.body, why)

		c.put("/fleet/units/"+name, v1.Unit{Spec: v1.UnitSpec{Contents: sleeping, DesiredState: v1.Launched}})
		require.Equal(t, http.StatusOK, c.do(http.MethodGet, units+"/"+name, "").code)
		require.Contains(t, c.do(http.MethodPost, units+"/"+name+"/start", "").body, why)
		require.Equal(t, http.StatusOK, c.do(http.MethodDelete, units+"/"+name, "").code)
		c.put("/fleet/units/"+name, v1.Unit{Spec: v1.UnitSpec{Contents: sleeping, DesiredState: v1.Launched}})
		require.Equal(t, http.StatusNoContent, c.do(http.MethodDelete, "/fleet/v1/units/"+name, "").code)
	}
}

func TestPutUnitRefuses(t *testing.T) {
	c := newCluster(t)
	for name, tt := range map[string]struct{ path, body, want string }{
		"another name":    {"b.service", unitJSON(t, "a.service", sleeping, ""), "metadata.name"},
		"no type":         {"a", unitJSON(t, "a", sleeping, ""), "metadata.name"},
		"unit file":       {"a.service", unitJSON(t, "a.service", "[Service\n", ""), "line 1: "},
		"fleet option":    {"a.service", unitJSON(t, "a.service", "[X-Fleet]\nMachineOf=\nNonsense=1\nPorts=x\n", ""), "line 4: [X-Fleet] Ports"},
		"unknown hash":    {"a.service", `{"apiVersion":"fleet/v1","kind":"Unit","metadata":{"name":"a.service"},"spec":{"hash":"` + strings.Repeat("a", 64) + `"}}`, "spec.hash"},
		"template to run": {"a@.service", unitJSON(t, "a@.service", sleeping, v1.Launched), "spec.desiredState"},
		"unknown field":   {"a.service", `{"apiVersion":"fleet/v1","kind":"Unit","metadata":{"name":"a.service"},"sepc":{}}`, "sepc"},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.do(http.MethodPut, units+"/"+tt.path, tt.body)
			require.Equal(t, http.StatusUnprocessableEntity, a.code, a.body)
			s := a.status(t)
			require.Contains(t, s.Error(), tt.want)
		})
	}
	require.Empty(t, getAs[wire.List[v1.Unit]](c, units).Items)
}

// TestWarnings: input that is valid but probably not what was meant is accepted with a warning.
func TestWarnings(t *testing.T) {
	c := newCluster(t)
	const why = `"md" matches no unit, because no unit can have such a name: write its type, too, such as md.service`
	a := c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", sleeping+"[X-Fleet]\nConflicts=md b.service\n", v1.Launched))
	require.Equal(t, []wire.Cause{{Field: "spec.contents", Message: "line 4: [X-Fleet] Conflicts: " + why,
		InContents: &wire.Cause{Line: 4, Field: "[X-Fleet] Conflicts", Message: why}}}, a.status(t).Warnings)
	require.Equal(t, http.StatusCreated, a.code)
	manifest := `{"apiVersion":"fleet/v1","kind":"App","metadata":{"name":"a"},"spec":{"exec":{"command":["/bin/a"]},"placement":{"conflicts":["%p@*.service","md"]}}}`
	a = c.do(http.MethodPut, wire.Prefix+"/apps/a?dryRun=true", manifest)
	require.Equal(t, []wire.Cause{{Field: "spec.placement.conflicts[1]", Message: why}}, a.status(t).Warnings)
	a = c.do(http.MethodPut, wire.Prefix+"/apps/a", strings.Replace(manifest, `,"md"`, "", 1))
	require.Empty(t, a.status(t).Warnings)
}

func TestUnitsOfAppsAreOverriddenNotWritten(t *testing.T) {
	c := newCluster(t)
	owned := v1.Unit{Metadata: v1.ObjectMeta{Owner: "hello"}, Spec: v1.UnitSpec{Hash: unitfile.Hash(sleeping), DesiredState: v1.Launched}}
	revision := c.put("/fleet/units/hello@1.service", owned)
	for _, a := range []answer{
		c.do(http.MethodPut, units+"/hello@1.service", unitJSON(t, "hello@1.service", sleeping, v1.Launched)),
		c.do(http.MethodDelete, units+"/hello@1.service", ""),
	} {
		require.Equal(t, wire.ReasonOwned, a.status(t).Reason)
		require.Contains(t, a.status(t).Message, "app/hello")
	}
	require.Equal(t, http.StatusCreated, c.do(http.MethodPost, units+"/hello@1.service/stop", "").code)
	require.JSONEq(t, `{"desiredState":"loaded","requestedAt":"2026-01-02T03:04:05Z"}`, c.get("/fleet/overrides/hello@1.service"), "a unit started in the meantime is stopped again")
	require.Equal(t, wire.ReasonUnchanged, c.do(http.MethodPatch, units+"/hello@1.service", `{"spec":{"desiredState":"loaded"}}`).status(t).Reason)
	require.Equal(t, http.StatusOK, c.do(http.MethodPost, units+"/hello@1.service/start", "").code)
	require.JSONEq(t, `{"desiredState":"launched","requestedAt":"2026-01-02T03:04:05Z"}`, c.get("/fleet/overrides/hello@1.service"))
	kv, _, _, err := c.store.Get(context.Background(), "/fleet/units/hello@1.service")
	require.NoError(t, err)
	require.Equal(t, revision, kv.ModRevision, "only its owner writes it")
}

// TestAWishIsForTheUnitThatExists: an override of a deleted unit or app is neither shown nor treated as already
// requested.
func TestAWishIsForTheUnitThatExists(t *testing.T) {
	c := newCluster(t)
	c.put("/fleet/apps/hello", hello)
	owned := v1.Unit{Metadata: v1.ObjectMeta{Owner: "hello"}, Spec: v1.UnitSpec{Hash: unitfile.Hash(sleeping), DesiredState: v1.Launched}}
	const key, row = "/fleet/overrides/hello@1.service", "/fleet/units/hello@1.service"
	stop := func() { require.Less(t, c.do(http.MethodPost, units+"/hello@1.service/stop", "").code, 300) }
	shown := func() v1.Unit { return getAs[v1.Unit](c, units+"/hello@1.service") }
	loaded := &v1.Override{DesiredState: v1.Loaded, RequestedAt: "2026-01-02T03:04:05Z"}

	c.put(row, owned)
	stop()
	require.Equal(t, loaded, shown().Status.Override)
	before := c.store.Revision()
	stop()
	require.Equal(t, before, c.store.Revision(), "already requested")

	c.del(row)
	c.put(row, owned)
	require.Nil(t, shown().Status.Override, "a new unit of that name")
	stop()
	require.Equal(t, loaded, shown().Status.Override)

	c.del("/fleet/apps/hello")
	c.put("/fleet/apps/hello", hello)
	owned.Metadata.OwnerUID = strconv.FormatInt(c.store.Revision(), 10)
	c.put(row, owned)
	require.Nil(t, shown().Status.Override, "the override belongs to a deleted app")
	stop()
	require.Equal(t, loaded, shown().Status.Override)
	require.JSONEq(t, `{"desiredState":"loaded","requestedAt":"2026-01-02T03:04:05Z"}`, c.get(key))
}

func TestStatesOfPlainUnits(t *testing.T) {
	c := newCluster(t)
	c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", sleeping, v1.Inactive))
	for _, tt := range []struct {
		verb, requested string
		state           v1.DesiredState
	}{{"load", "", v1.Loaded}, {"start", "2026-01-02T03:04:05Z", v1.Launched}, {"stop", "2026-01-02T03:04:05Z", v1.Loaded}, {"unload", "2026-01-02T03:04:05Z", v1.Inactive}} {
		require.Equal(t, http.StatusOK, c.do(http.MethodPost, units+"/a.service/"+tt.verb, "").code)
		require.Equal(t, tt.state, c.unit("a.service").Spec.DesiredState)
		require.Equal(t, tt.requested, c.unit("a.service").Spec.RequestedAt)
	}
	c.absent("/fleet/overrides/a.service")
	for path, code := range map[string]int{"/b.service/start": 404, "/a/start": 422, "/a@.service/start": 422} {
		require.Equal(t, code, c.do(http.MethodPost, units+path, "").code, path)
	}
	for _, body := range []string{`{"spec":{"desiredState":"running"}}`, `{"spec":{"hash":"x"}}`, `[]`, ``} {
		require.Equal(t, http.StatusBadRequest, c.do(http.MethodPatch, units+"/a.service", body).code, body)
	}
}

// TestPutKeepsWhenAStartWasAskedFor: a new file neither requests a start nor withdraws one.
func TestPutKeepsWhenAStartWasAskedFor(t *testing.T) {
	c := newCluster(t)
	c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", sleeping, v1.Launched))
	require.Equal(t, http.StatusOK, c.do(http.MethodPost, units+"/a.service/start", "").code)
	changed := sleeping + "Restart=always\n"
	a := c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", changed, v1.Launched))
	require.Equal(t, http.StatusOK, a.code, a.body)
	require.Equal(t, v1.UnitSpec{Hash: unitfile.Hash(changed), DesiredState: v1.Launched, RequestedAt: "2026-01-02T03:04:05Z"}, c.unit("a.service").Spec)
	require.Equal(t, wire.ReasonUnchanged, c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", changed, v1.Launched)).status(t).Reason)
	asked := strings.Replace(unitJSON(t, "a.service", changed, v1.Launched), `"desiredState"`, `"requestedAt":"now","desiredState"`, 1)
	require.Equal(t, http.StatusOK, c.do(http.MethodPut, units+"/a.service", asked).code)
	require.Equal(t, "now", c.unit("a.service").Spec.RequestedAt, "an explicit value is used")
}

// TestUnitsThatChangedMeanwhile: a request that names an outdated version of a unit is refused.
func TestUnitsThatChangedMeanwhile(t *testing.T) {
	c := newCluster(t)
	old := c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", sleeping, v1.Launched)).status(t).ResourceVersion
	changed := sleeping + "Restart=always\n"
	now := c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", changed, v1.Launched), "If-Match", old).status(t).ResourceVersion
	for _, a := range []answer{
		c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", sleeping, v1.Launched), "If-Match", old),
		c.do(http.MethodPut, units+"/a.service", strings.Replace(unitJSON(t, "a.service", sleeping, v1.Launched), `"name"`, `"resourceVersion":"`+old+`","name"`, 1)),
		c.do(http.MethodDelete, units+"/a.service", "", "If-Match", old),
		c.do(http.MethodDelete, units+"/a.service?dryRun=true", "", "If-Match", old),
	} {
		require.Equal(t, http.StatusConflict, a.code, a.body)
		require.Equal(t, wire.ReasonConflict, a.status(t).Reason)
		require.Equal(t, unitfile.Hash(changed), c.unit("a.service").Spec.Hash)
	}
	require.Equal(t, http.StatusOK, c.do(http.MethodDelete, units+"/a.service", "", "If-Match", now).code)
	c.absent("/fleet/units/a.service")
}

func TestRestartStopsWaitsAndStarts(t *testing.T) {
	c := newCluster(t)
	c.put("/fleet/machines/"+here, machine("10.0.0.1"))
	c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", sleeping, v1.Launched))
	c.put("/fleet/placements/"+here+"/a.service", v1.Placement{DesiredState: v1.Launched})
	c.put("/fleet/states/"+here+"/a.service", v1.UnitState{ActiveState: "active"})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	changes := c.store.Watch(ctx, "/fleet/units/", c.store.Revision())
	done := make(chan answer)
	go func() { done <- c.do(http.MethodPost, units+"/a.service/restart", "") }()
	next := func() store.Event { return (<-changes).Events[0] }
	require.Contains(t, string(next().Value), `"desiredState":"loaded"`)
	c.put("/fleet/states/"+here+"/a.service", v1.UnitState{ActiveState: "deactivating"})
	c.put("/fleet/states/"+here+"/a.service", v1.UnitState{ActiveState: "inactive"})
	require.Contains(t, string(next().Value), `"desiredState":"launched","requestedAt":"2026`)
	require.Equal(t, http.StatusOK, (<-done).code)
}

func TestUnitsAreJoinedWithWhereTheyAre(t *testing.T) {
	c := newCluster(t)
	c.put("/fleet/machines/"+here, machine("10.0.0.1"))
	c.put("/fleet/units/a.service", v1.Unit{Spec: v1.UnitSpec{DesiredState: v1.Launched}})
	c.put("/fleet/units/b.service", v1.Unit{Spec: v1.UnitSpec{DesiredState: v1.Launched}})
	c.put("/fleet/units/broken.service", "[]")
	c.put("/fleet/placements/"+here+"/a.service", v1.Placement{Hash: "h", DesiredState: v1.Launched})
	c.put("/fleet/placements/"+there+"/a.service", v1.Placement{Hash: "h", DesiredState: v1.Launched})
	c.put("/fleet/states/"+here+"/a.service", v1.UnitState{ActiveState: "active", SubState: "running"})
	c.put("/fleet/states/"+there+"/a.service", v1.UnitState{ActiveState: "active"})
	c.put("/fleet/states/"+here+"/gone.service", v1.UnitState{ActiveState: "active"})
	c.put("/fleet/unplaced/b.service", v1.Unplaced{Message: "0 of 1 machines fit"})
	list := getAs[wire.List[v1.Unit]](c, units).Items
	require.Len(t, list, 3)
	require.Equal(t, []v1.UnitOnMachine{
		{Machine: here, Address: "10.0.0.1", Placement: &v1.Placement{Hash: "h", DesiredState: v1.Launched}, State: &v1.UnitState{ActiveState: "active", SubState: "running"}, Phase: v1.PhaseActive},
		{Machine: there, Placement: &v1.Placement{Hash: "h", DesiredState: v1.Launched}, Phase: v1.PhaseAway, Reason: "the machine is away"},
	}, list[0].Status.Machines, "the state on an absent machine is unknown")
	require.Equal(t, v1.PhaseAway, list[0].Status.Phase, "the worst phase")
	require.Equal(t, "0 of 1 machines fit", list[1].Status.Unplaced.Message)
	require.Equal(t, v1.PhaseUnplaced, list[1].Status.Phase)
	require.Contains(t, list[2].Status.Unplaced.Message, "cannot be read")
	require.Equal(t, list[0], getAs[v1.Unit](c, units+"/a.service"), "a single unit is joined in the same way")

	next := c.watch(units + "/a.service?watch=true")
	require.Equal(t, wire.Added, next().Type)
	require.Equal(t, wire.Bookmark, next().Type)
	c.put("/fleet/states/"+here+"/b.service", v1.UnitState{ActiveState: "failed"})
	c.put("/fleet/machines/"+there, machine("10.0.0.2"))
	e := next()
	require.Contains(t, string(e.Object), "10.0.0.2", "a returning machine changes its units")
	c.del("/fleet/placements/" + there + "/a.service")
	e = next()
	var unit v1.Unit
	require.NoError(t, json.Unmarshal(e.Object, &unit))
	require.Equal(t, here, unit.Status.Machine)
	require.Nil(t, unit.Status.Machines[1].Placement, "still reported by the machine that it left")
}

// TestUnitWithoutAnEndpoint: an instance that hangs is active for systemd. That it is not announced is what there is to say.
func TestUnitWithoutAnEndpoint(t *testing.T) {
	const app, unit, endpoint = "web", "web@1.service", "/services/web/web/web@1"
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	long := now.Add(-time.Minute)
	for _, tt := range []struct {
		name    string
		route   v1.AppRoute
		rollout v1.RolloutPhase
		unit    string
		since   time.Time
		want    string
	}{
		{"announced", v1.AppRoute{UID: "1", Prefix: "/services/web"}, "", unit, long, "active, but not announced: its health check fails or has not passed yet"},
		{"it has just been started", v1.AppRoute{UID: "1", Prefix: "/services/web"}, "", unit, now.Add(-time.Second), ""},
		{"of another prefix", v1.AppRoute{UID: "1", Prefix: "/other"}, "", unit, long, ""},
		{"announced by a script", v1.AppRoute{Prefix: "/services/web", Units: []string{"web@1"}}, "", unit, long, ""},
		{"withdrawn", v1.AppRoute{UID: "1", Prefix: "/services/web"}, v1.RolloutWithdrawing, unit, long, ""},
		{"replaced, and not ready", v1.AppRoute{UID: "1", Prefix: "/services/web"}, v1.RolloutUpdating, unit, long, "active, but not announced: its health check fails or has not passed yet"},
		{"the sidekick", v1.AppRoute{UID: "1", Prefix: "/services/web"}, "", "web-discovery@1.service", long, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t)
			c.put("/fleet/machines/"+here, machine("10.0.0.1"))
			c.put("/fleet/routes/"+app, tt.route)
			c.put("/fleet/units/"+tt.unit, v1.Unit{Metadata: v1.ObjectMeta{Owner: app}, Spec: v1.UnitSpec{DesiredState: v1.Launched}, Rollout: v1.Rollout{Phase: tt.rollout}})
			c.put("/fleet/placements/"+here+"/"+tt.unit, v1.Placement{Hash: "h", DesiredState: v1.Launched})
			c.put("/fleet/states/"+here+"/"+tt.unit, v1.UnitState{LoadState: "loaded", ActiveState: "active", SubState: "running", Since: tt.since})
			require.Equal(t, tt.want, getAs[v1.Unit](c, units+"/"+tt.unit).Status.Machines[0].Reason)
			if tt.want == "" {
				return
			}
			next := c.watch(units + "/" + tt.unit + "?watch=true")
			require.Contains(t, string(next().Object), tt.want)
			require.Equal(t, wire.Bookmark, next().Type)
			c.put(endpoint, "10.0.0.1:3000")
			require.NotContains(t, string(next().Object), tt.want, "it is announced now")
			require.Empty(t, getAs[wire.List[v1.Unit]](c, units).Items[0].Status.Machines[0].Reason)
			c.del(endpoint)
			require.Contains(t, string(next().Object), tt.want, "and not any more")
		})
	}
}

func TestMachineConfig(t *testing.T) {
	c := newCluster(t)
	path := wire.Prefix + "/machines/" + here
	require.Equal(t, http.StatusNotFound, c.do(http.MethodPatch, path, `{"cordoned":true}`).code)
	c.put("/fleet/machines/"+here, machine("10.0.0.1"))
	require.Equal(t, http.StatusCreated, c.do(http.MethodPatch, path, `{"cordoned":true,"metadata":{"zone":"a","x":""}}`).code)
	require.Equal(t, wire.ReasonUnchanged, c.do(http.MethodPatch, path, `{"cordoned":true}`).status(t).Reason)
	require.Equal(t, http.StatusOK, c.do(http.MethodPatch, path+"/config", `{"drain":true,"metadata":{"x":null}}`).code)
	want := v1.MachineConfig{Cordoned: true, Drain: true, Metadata: map[string]string{"zone": "a"}}
	require.Equal(t, want, *getAs[v1.Machine](c, path).Config)
	require.Equal(t, want, getAs[v1.MachineConfig](c, path+"/config"))
	require.Equal(t, http.StatusBadRequest, c.do(http.MethodPatch, path, `{"cordonned":true}`).code)

	away := wire.Prefix + "/machines/" + there
	c.put("/fleet/placements/"+there+"/a.service", v1.Placement{})
	require.Equal(t, wire.ReasonUnchanged, c.do(http.MethodPatch, away, `{"cordoned":false}`).status(t).Reason)
	c.absent("/fleet/machineconfig/" + there)
	require.Equal(t, http.StatusCreated, c.do(http.MethodPatch, away, `{"drain":true}`).code, "known from its units")
}

// TestMachineWithoutALeaseIsNone: a machine key put with etcdctl does not make a machine.
func TestMachineWithoutALeaseIsNone(t *testing.T) {
	c := newCluster(t)
	_, err := c.store.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/fleet/machines/" + here, Value: []byte(`{"spec":{"address":"10.0.0.1"}}`)}}})
	require.NoError(t, err)
	require.Empty(t, getAs[wire.List[v1.Machine]](c, wire.Prefix+"/machines").Items)
	require.Equal(t, http.StatusNotFound, c.do(http.MethodPatch, wire.Prefix+"/machines/"+here, `{"cordoned":true}`).code)
	c.put("/fleet/units/a.service", unitJSON(t, "a.service", sleeping, v1.Launched))
	c.put("/fleet/placements/"+here+"/a.service", v1.Placement{DesiredState: v1.Launched})
	for _, m := range getAs[v1.Unit](c, units+"/a.service").Status.Machines {
		require.Empty(t, m.Address)
	}
}

func TestEventsAreSelectedByObject(t *testing.T) {
	c := newCluster(t)
	for i, e := range []v1.Event{{Kind: "App", Name: "hello"}, {Kind: "Unit", Name: "hello@1.service", Machine: here}, {Kind: "Unit", Name: "hello-discovery@1.service"}, {Kind: "Unit", Name: "other.service"}, {Kind: "Machine", Name: there}} {
		c.put("/fleet/events/"+itoa(int64(i)), e)
	}
	c.put("/fleet/events/9", "not JSON")
	for q, n := range map[string]int{"": 6, "?for=key//fleet/events/9": 1, "?for=app/hello": 3, "?for=unit/hello@1.service": 1, "?for=machine/" + here: 1, "?for=app/hel": 0} {
		require.Len(t, getAs[wire.List[v1.Event]](c, wire.Prefix+"/events"+q).Items, n, q)
	}
	require.Equal(t, http.StatusBadRequest, c.do(http.MethodGet, wire.Prefix+"/events?for=hello", "").code)
	c.put("/fleet/states/"+here+"/a.service", v1.UnitState{ActiveState: "active"})
	c.put("/fleet/states/"+there+"/a.service", v1.UnitState{ActiveState: "active"})
	require.Len(t, getAs[wire.List[wire.InstanceState]](c, wire.Prefix+"/states?machineID="+here+"&unitName=a.service").Items, 1)
}

// TestWhatAFileSays: a single unit, a listing and a watch include it on request.
func TestWhatAFileSays(t *testing.T) {
	c := newCluster(t)
	const text = "[Unit]\nDescription=Meter\n[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineOf=app@%i.service\n"
	for name, text := range map[string]string{"meter@1.service": text, "meter@2.service": text, "agent.service": "[X-Fleet]\nGlobal=true\n", "odd.service": "[X-Fleet\n"} {
		c.put("/fleet/unitfiles/"+unitfile.Hash(text), text)
		c.put("/fleet/units/"+name, v1.Unit{Spec: v1.UnitSpec{Hash: unitfile.Hash(text), DesiredState: v1.Launched}})
	}
	meter := func(app string) *v1.UnitFileFacts {
		return &v1.UnitFileFacts{SHA1: unitfile.FleetHash(text), Description: "Meter", MachineOf: []string{app},
			Options: []v1.UnitOption{{Name: "MachineOf", Value: "app@%i.service"}}}
	}
	list := getAs[wire.List[v1.Unit]](c, units+"?file=true").Items
	require.Len(t, list, 4)
	require.True(t, list[0].Status.File.Global)
	require.Equal(t, meter("app@1.service"), list[1].Status.File)
	require.Equal(t, meter("app@2.service"), list[2].Status.File)
	require.Equal(t, &v1.UnitFileFacts{SHA1: unitfile.FleetHash("[X-Fleet\n")}, list[3].Status.File, "as far as it can be parsed")
	require.Empty(t, list[1].Spec.Contents)
	require.Equal(t, list[1], getAs[v1.Unit](c, units+"/meter@1.service?file=true"))
	require.Nil(t, getAs[v1.Unit](c, units+"/meter@1.service").Status.File)

	next := c.watch(units + "/meter@1.service?watch=true&file=true")
	var unit v1.Unit
	require.NoError(t, json.Unmarshal(next().Object, &unit))
	require.Equal(t, list[1], unit)
	require.Equal(t, wire.Bookmark, next().Type)
	other := strings.Replace(text, "Meter", "Other", 1)
	c.put("/fleet/unitfiles/"+unitfile.Hash(other), other)
	c.put("/fleet/units/meter@1.service", v1.Unit{Spec: v1.UnitSpec{Hash: unitfile.Hash(other)}})
	unit = v1.Unit{}
	require.NoError(t, json.Unmarshal(next().Object, &unit))
	require.Equal(t, "Other", unit.Status.File.Description)
	c.conn.SetDown(true)
	require.Equal(t, http.StatusServiceUnavailable, c.do(http.MethodGet, units+"?file=true", "").code)
}

// TestHowMachinesDo: cordon and drain come before failures, and failures are listed.
func TestHowMachinesDo(t *testing.T) {
	c := newCluster(t)
	failing := machine("10.0.0.1")
	failing.Spec.Failing = map[string]string{"node": "node keeps failing", "announce": "announce keeps failing"}
	c.put("/fleet/machines/"+here, failing)
	c.put("/fleet/machines/"+there, machine("10.0.0.2"))
	status := func(id string) v1.MachineStatus {
		return *getAs[v1.Machine](c, wire.Prefix+"/machines/"+id).Status
	}
	warnings := []string{"announce keeps failing", "node keeps failing", "until it recovers, this machine starts and stops no units and gets no new ones"}
	require.Equal(t, v1.MachineStatus{State: "announce,node failing", Warnings: warnings}, status(here))
	require.Equal(t, v1.MachineStatus{State: "ready"}, status(there))
	c.put("/fleet/machineconfig/"+here, v1.MachineConfig{Cordoned: true})
	c.put("/fleet/machineconfig/"+there, v1.MachineConfig{Cordoned: true, Drain: true})
	require.Equal(t, v1.MachineStatus{State: "cordoned", Warnings: warnings}, status(here))
	require.Equal(t, "draining", status(there).State)
}

// TestUnitsOfEndpoints: an endpoint names the unit that it announces and, for a global unit, its machine.
func TestUnitsOfEndpoints(t *testing.T) {
	c := newCluster(t)
	for name, want := range map[string]wire.Endpoint{
		"web/web@1":        {App: "web", Instance: "web@1", Unit: "web@1.service"},
		"web/web@" + there: {App: "web", Instance: "web@" + there, Unit: "web.service", Machine: there},
		"web/byhand":       {App: "web", Instance: "byhand", Unit: "byhand.service"},
	} {
		c.put("/services/web/"+name, "10.0.0.1:80")
		want.Address, want.Key = "10.0.0.1:80", "/services/web/"+name
		require.Equal(t, []wire.Endpoint{want}, getAs[wire.List[wire.Endpoint]](c, wire.Prefix+"/endpoints").Items)
		c.del("/services/web/" + name)
	}
}
