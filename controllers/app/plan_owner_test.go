package app

import (
	"maps"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// again deletes the app and applies another one of the same name before any controller has seen the deletion.
func (w *world) again(format string, args ...any) {
	w.manifest = nil
	w.apply(format, args...)
}

// owners are the UIDs of all units' owners.
func (w *world) owners() map[string]bool {
	owners := map[string]bool{}
	for _, u := range w.units {
		owners[u.Metadata.OwnerUID] = true
	}
	return owners
}

func (w *world) ownerUID() string { return strconv.FormatInt(w.manifest.UID, 10) }

const refused = "apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec: {replicas: two}\n"

// TestDeletedAppIsNotContinued: a rejected manifest changes nothing about its app, but keeps nothing of a deleted app of
// the same name running, whether its units still exist or not.
func TestDeletedAppIsNotContinued(t *testing.T) {
	taken := func(w *world) { w.taken["web@3.service"] = "other" }
	for _, c := range []struct {
		name, manifest string
		change         func(w *world)
		reason         string
	}{
		{"not valid", refused, func(*world) {}, InvalidManifest},
		{"empty", "", func(*world) {}, InvalidManifest},
		{"a name is taken", manifestOf("web", 3, "1", true), taken, NameTaken},
	} {
		t.Run(c.name+", its units are there", func(t *testing.T) {
			w := running(t, 2, true)
			c.change(w)
			w.again("%s", c.manifest)
			w.settleAll()
			require.Empty(t, w.units)
			require.Empty(t, w.endpoints)
			require.Len(t, w.revisions, 1)
			log := w.transcript()
			require.Contains(t, log, "Warning "+c.reason)
			withdrawn, removed := strings.Index(log, "putUnit web-discovery@1.service WithdrawForRemoval"), strings.Index(log, "deleteUnit web@1.service AppDeleted")
			require.True(t, 0 <= withdrawn && withdrawn < removed, "out of the routers first: %s", log)
		})
		t.Run(c.name+", its units are gone", func(t *testing.T) {
			w := running(t, 2, true)
			w.manifest = nil
			w.settleAll()
			require.Empty(t, w.units)
			c.change(w)
			w.again("%s", c.manifest)
			w.settleAll()
			require.Empty(t, w.units)
			require.Len(t, w.revisions, 1, "the deleted app's")
		})
		t.Run(c.name+", of the same app", func(t *testing.T) {
			w := running(t, 2, true)
			before := maps.Clone(w.units)
			c.change(w)
			w.apply("%s", c.manifest)
			w.settleAll()
			require.Equal(t, before, w.units)
			w.revisions = nil // deleted by hand
			w.settleAll()
			require.Equal(t, before, w.units)
		})
	}
}

// TestAppOfTheSameNameAdoptsUnits: applied again before the deletion was seen, an app takes over the existing units, with a
// roll-out if they differ.
func TestAppOfTheSameNameAdoptsUnits(t *testing.T) {
	for _, c := range []struct{ name, version, want string }{
		{"the same", "1", "putRevision web Accepted\nputRoute web RouteChanged\n" +
			"putUnit web-discovery@1.service Adopted launched\nputUnit web-discovery@2.service Adopted launched\n" +
			"putUnit web@1.service Adopted launched\nputUnit web@2.service Adopted launched\nNormal Accepted"},
		{"another version", "2", "putRevision web Accepted\nputRoute web RouteChanged\n" +
			"putUnit web-discovery@1.service WithdrawForUpdate loaded\nputUnit web@1.service WithdrawForUpdate launched\n" +
			"putUnit web-discovery@2.service Adopted launched\nputUnit web@2.service Adopted launched\nNormal Accepted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := running(t, 2, true)
			first := w.ownerUID()
			require.Equal(t, map[string]bool{first: true}, w.owners())
			w.again("%s", manifestOf("web", 2, c.version, true))
			w.plan()
			require.Equal(t, c.want, regexp.MustCompile(`putUnitFile .*\n`).ReplaceAllString(w.transcript(), ""))
			require.Equal(t, map[string]bool{w.ownerUID(): true}, w.owners())
			require.NotEqual(t, first, w.ownerUID())
			w.settleAll()
			require.Equal(t, 2, w.serving())
			require.EqualValues(t, 2, w.revisions[1].Number, "numbers go on")
			require.Equal(t, w.manifest.UID, w.revisions[1].AppUID)
			require.Equal(t, map[string]int64{"": w.manifest.Revision}, w.revisions[1].HostsSince, "a deleted app keeps no host")

			w.apply("%s", refused)
			w.settleAll()
			require.Equal(t, 2, w.serving(), "what was accepted goes on")
			w.revisions = nil
			w.settleAll()
			require.Equal(t, 2, w.serving(), "also where the revisions are lost: the units are this app's")
		})
	}
}

// TestUnitsOfAnOlderFleetd: they have no owner UID, and belong to the app that existed when they were created.
func TestUnitsOfAnOlderFleetd(t *testing.T) {
	older := func(w *world) {
		for name, u := range w.units {
			unit := *u.Unit
			unit.Metadata.OwnerUID = ""
			u.Unit = &unit
			w.units[name] = u
		}
		w.revisions[0].AppUID = 0
	}
	w := running(t, 2, true)
	older(w)
	w.settleAll()
	require.Empty(t, w.transcript(), "an upgrade writes nothing")
	w.again("%s", refused)
	w.settleAll()
	require.Empty(t, w.units)

	w = running(t, 2, true)
	older(w)
	w.again("%s", manifestOf("web", 2, "1", true))
	w.settleAll()
	require.Equal(t, 2, w.serving())
	require.Equal(t, map[string]bool{w.ownerUID(): true}, w.owners())
	require.NotContains(t, w.transcript(), v1.Loaded, "nothing is restarted")
}
