package keyspace

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPaths pins the keys: etcdctl, scripts and other versions of fleetd use them.
func TestPaths(t *testing.T) {
	k := New("")
	for got, want := range map[string]string{
		k.Root():                                             "/fleet/",
		k.Apps().Key("web"):                                  "/fleet/apps/web",
		k.AppNames().Key("web"):                              "/fleet/apps/web",
		k.Units().Key("web@1.service"):                       "/fleet/units/web@1.service",
		k.UnitFiles().Key("0123"):                            "/fleet/unitfiles/0123",
		k.Machines().Key("m1"):                               "/fleet/machines/m1",
		k.MachineAddresses().Key("m1"):                       "/fleet/machines/m1",
		k.MachineConfigs().Key("m1"):                         "/fleet/machineconfig/m1",
		k.Overrides().Key("web@1.service"):                   "/fleet/overrides/web@1.service",
		k.Rollouts().Key("web"):                              "/fleet/rollouts/web",
		k.Placements().Key("m1/a.service"):                   "/fleet/placements/m1/a.service",
		k.PlacementsOf("m1").Key("b.service"):                "/fleet/placements/m1/b.service",
		k.Unplaced().Key("web@1.service"):                    "/fleet/unplaced/web@1.service",
		k.States().Key("m1/a.service"):                       "/fleet/states/m1/a.service",
		k.StatesOf("m1").Key("b.service"):                    "/fleet/states/m1/b.service",
		k.Status().Key("web"):                                "/fleet/status/web",
		k.Routes().Key("web"):                                "/fleet/routes/web",
		k.Routers().Key("m1"):                                "/fleet/routers/m1",
		k.Events().Key("e"):                                  "/fleet/events/e",
		k.Leaders().Key("engine/1"):                          "/fleet/leaders/engine/1",
		k.Leader("engine"):                                   "/fleet/leaders/engine",
		k.Revisions().Key(RevisionName("web", 12)):           "/fleet/revisions/web/0000000012",
		Endpoints("/services/web").Key(Join("web", "web@1")): "/services/web/web/web@1",
		Endpoints("/services/web/").Prefix():                 "/services/web/",
		New("/other").Apps().Key("web"):                      "/other/apps/web",
		New("/other/").Leader("engine"):                      "/other/leaders/engine",
	} {
		require.Equal(t, want, got)
	}
	require.Equal(t, "/other/", New("other").Root(), "a root without a slash")
	require.True(t, k.Machines().Leased() && k.Routers().Leased() && k.Leaders().Leased(), "who put these is there for as long as their lease")
	require.False(t, k.Placements().Leased() || k.States().Leased() || k.Units().Leased())
}

// TestNames: Name is the inverse of Key, and rejects other rows' keys.
func TestNames(t *testing.T) {
	k := New("")
	for _, c := range []struct {
		name func(string) (string, bool)
		key  string
		want string
	}{
		{k.Apps().Name, "/fleet/apps/web", "web"},
		{k.Apps().Name, "/fleet/units/web", ""},
		{k.Units().Name, "/fleet/units/web@1.service", "web@1.service"},
		{k.Units().Name, "/fleet/unitfiles/0123", ""},
		{k.Placements().Name, "/fleet/placements/m1/a.service", "m1/a.service"},
		{k.Placements().Name, "/fleet/placements/a.service", ""},
		{k.Placements().Name, "/fleet/placements/m1/m1/a.service", ""},
		{k.PlacementsOf("m1").Name, "/fleet/placements/m1/a.service", "a.service"},
		{k.PlacementsOf("m1").Name, "/fleet/placements/m10/a.service", ""},
		{k.States().Name, "/fleet/states/m1/a.service", "m1/a.service"},
		{k.States().Name, "/fleet/states/a.service", ""},
		{k.StatesOf("m1").Name, "/fleet/states/m1/a.service", "a.service"},
		{k.Revisions().Name, "/fleet/revisions/web/0000000012", "web/0000000012"},
		{k.Revisions().Name, "/fleet/revisions/web/12", ""},
		{k.Revisions().Name, "/fleet/revisions/web", ""},
		{k.Machines().Name, "/fleet/machines/m1", "m1"},
		{k.Machines().Name, "/fleet/machines/m1/x", ""},
		{k.Routers().Name, "/fleet/routers/m1", "m1"},
		{k.Routers().Name, "/fleet/routes/m1", ""},
		{k.Routers().Name, "/fleet/routers/m 1", ""},
		{k.Leaders().Name, "/fleet/leaders/engine/1", "engine/1"},
		{k.Leaders().Name, "/fleet/leaders/other/1", ""},
		{k.Events().Name, "/fleet/events/", ""},
		{k.Events().Name, "/fleet/events/" + strings.Repeat("e", 1024), strings.Repeat("e", 1024)},
		{k.Events().Name, "/fleet/events/" + strings.Repeat("e", 1025), ""},
	} {
		name, ok := c.name(c.key)
		require.Equal(t, c.want != "", ok, c.key)
		if ok {
			require.Equal(t, c.want, name, c.key)
		}
	}
}
