package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/generate"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

const applies = wire.Prefix + "/applies"

// named is a manifest of an app with so many replicas.
func named(name string, replicas int) string {
	return fmt.Sprintf("# %s\napiVersion: fleet/v1\nkind: App\nmetadata: {name: %s}\nspec:\n  replicas: %d\n  exec: {command: [/bin/sleep, infinity]}\n", name, name, replicas)
}

func unitManifest(name, text string) string {
	return fmt.Sprintf("apiVersion: fleet/v1\nkind: Unit\nmetadata: {name: %s}\nspec: {contents: %q}\n", name, text)
}

func (c *cluster) apply(query, note string, manifests ...string) answer {
	c.t.Helper()
	body, err := json.Marshal(wire.ApplyRequest{Manifests: manifests, Note: note})
	require.NoError(c.t, err)
	return c.do(http.MethodPost, applies+query, string(body))
}

// applied requires that the manifests are stored, and returns the answer.
func (c *cluster) applied(manifests ...string) wire.Status {
	c.t.Helper()
	a := c.apply("", "", manifests...)
	require.Equal(c.t, http.StatusOK, a.code, a.body)
	return a.status(c.t)
}

// accept does what the app controller does with a stored manifest.
func (c *cluster) accept(name string, number int64) {
	c.t.Helper()
	kv, ok, _, err := c.store.Get(context.Background(), keys.Apps().Key(name))
	require.NoError(c.t, err)
	require.True(c.t, ok)
	app, err := v1.ParseAppNamed(name, kv.Value)
	require.NoError(c.t, err)
	files, err := generate.Units(name, &app.Spec)
	require.NoError(c.t, err)
	c.put(keys.UnitFiles().Key(unitfile.Hash(files.Unit)), files.Unit)
	c.put(keys.Revisions().Key(keyspace.RevisionName(name, number)), v1.Revision{Number: number, AppUID: kv.CreateRevision, ManifestRevision: kv.ModRevision,
		UnitFile: unitfile.Hash(files.Unit),
		Metadata: app.Metadata, Spec: app.Spec, AcceptedAt: time.Date(2026, 1, 2, 3, int(number), 0, 0, time.UTC), Manifest: v1.KeptManifest(kv.Value)})
}

func (c *cluster) history(name string) string {
	c.t.Helper()
	var lines []string
	for _, l := range getAs[wire.List[wire.Revision]](c, apps+"/"+name+"/revisions").Items {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%d %s: %s %s %s", l.Number, l.Change, l.Outcome, l.Message, l.Note)))
	}
	return strings.Join(lines, "\n")
}

// TestAppliesAreAllOrNothing: one manifest that is not accepted, a version that is stale, or a unit of an app, and none is stored.
func TestAppliesAreAllOrNothing(t *testing.T) {
	c := newCluster(t)
	c.put(keys.Units().Key("web@1.service"), v1.Unit{Metadata: v1.ObjectMeta{Owner: "web"}, Spec: v1.UnitSpec{Hash: "x"}})
	for name, bad := range map[string]struct{ manifest, reason string }{
		"not valid":      {named("b", -1), wire.ReasonInvalid},
		"another's unit": {unitManifest("web@1.service", sleeping), wire.ReasonOwned},
		"stale":          {strings.Replace(named("b", 1), "{name: b}", `{name: b, resourceVersion: "1"}`, 1), wire.ReasonConflict},
		"twice":          {named("a", 2), wire.ReasonBadRequest},
		"two documents":  {named("b", 1) + "---\n" + named("d", 1), wire.ReasonBadRequest},
		"empty":          {"# nothing\n", wire.ReasonBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			before := c.store.Revision()
			s := c.apply("", "", named("a", 1), bad.manifest, named("c", 1)).status(t)
			require.Equal(t, bad.reason, s.Reason, s.Message)
			require.Equal(t, "1 of 3 manifests are not accepted: nothing was stored", s.Message)
			require.Len(t, s.Items, 3)
			require.Equal(t, []string{wire.Success, wire.Failure, wire.Success}, []string{s.Items[0].Status, s.Items[1].Status, s.Items[2].Status})
			require.Equal(t, before, c.store.Revision())
		})
	}
	for _, body := range []string{"", "{", `{"manifests":[]}`, `{"manifest":"x"}`, `{"manifests":["x"],"note":"` + strings.Repeat("x", wire.MaxNote+1) + `"}`} {
		require.Equal(t, http.StatusBadRequest, c.do(http.MethodPost, applies, body).code, body)
	}
}

// TestAppliesAreOneTransaction: all manifests have one version, the record has it, too, and says what was before.
func TestAppliesAreOneTransaction(t *testing.T) {
	c := newCluster(t)
	c.put(keys.Apps().Key("a"), named("a", 1))
	before := c.store.Revision()
	dry := c.apply("?dryRun=true", "", named("a", 2)).status(t)
	require.Equal(t, "1 object changed", dry.Message)
	require.Empty(t, dry.Apply)
	require.Equal(t, before, c.store.Revision())

	s := c.applied(named("a", 2), named("b", 1), unitManifest("u.service", sleeping), unitManifest("v.service", sleeping))
	require.Equal(t, before+1, c.store.Revision())
	require.Equal(t, named("a", 2), c.get(keys.Apps().Key("a")), "the very bytes")
	require.Equal(t, "4 objects changed", s.Message)
	require.Equal(t, []string{"app/a configured", "app/b created", "unit/u.service created", "unit/v.service created"},
		[]string{s.Items[0].Message, s.Items[1].Message, s.Items[2].Message, s.Items[3].Message})
	record := getAs[wire.Apply](c, applies+"/"+s.Apply)
	require.Equal(t, s.ResourceVersion, record.Metadata.ResourceVersion)
	require.Equal(t, []v1.AppliedObject{{Kind: "App", Name: "a", Before: named("a", 1)}, {Kind: "App", Name: "b", Created: true},
		{Kind: "Unit", Name: "u.service", Created: true}, {Kind: "Unit", Name: "v.service", Created: true}}, record.Objects)
	require.Equal(t, "127.0.0.1", record.From)
	require.Empty(t, record.User)

	s = c.applied(named("a", 2), named("b", 1), unitManifest("u.service", sleeping))
	require.Equal(t, "nothing changed", s.Message)
	require.Empty(t, s.Apply)
	require.Len(t, getAs[wire.List[wire.Apply]](c, applies).Items, 1)
}

// TestLargeApplies: what does not fit into one transaction of etcd is refused as a whole, and says so.
func TestLargeApplies(t *testing.T) {
	c := newCluster(t)
	var many []string
	for i := range store.MaxTxnOps {
		many = append(many, named(fmt.Sprintf("a%d", i), 1))
	}
	before := c.store.Revision()
	s := c.apply("", "", many...).status(t)
	require.Equal(t, wire.ReasonTooLarge, s.Reason)
	require.Equal(t, "128 objects are 129 operations, and one transaction of etcd has at most 128: apply fewer at once, or with --in-parts", s.Message)
	require.Equal(t, before, c.store.Revision())
	c.applied(many[:store.MaxTxnOps-1]...)

	large := func(name string, size int) string { return named(name, 1) + "#" + strings.Repeat("x", size) + "\n" }
	s = c.apply("", "", large("x", 740_000), large("y", 720_000)).status(t)
	require.Equal(t, wire.ReasonTooLarge, s.Reason)
	require.Regexp(t, `^2 objects are 146\d{4} bytes, and one transaction of etcd has at most 1450000`, s.Message)

	for _, name := range []string{"p", "q"} { // each could be kept, both are too much besides what is new
		c.applied(large(name, 120_000))
	}
	s = c.applied(large("p", 600_000), large("q", 620_000))
	a := c.do(http.MethodPost, applies+"/"+s.Apply+"/undo", "")
	require.Equal(t, http.StatusConflict, a.code)
	require.Contains(t, a.body, "what it was before is not kept, because it was too large")
}

// TestUndoApply: everything is as it was, in one transaction that can be undone itself; what was changed since is never overwritten.
func TestUndoApply(t *testing.T) {
	c := newCluster(t)
	c.applied(named("a", 1), unitManifest("u.service", sleeping))
	old := c.get(keys.Units().Key("u.service"))
	c.put(keys.Overrides().Key("b@1.service"), "{}")
	done := c.applied(named("a", 2), named("b", 1), unitManifest("u.service", sleeping+"# other\n"), unitManifest("w.service", sleeping))
	after := c.store.Revision()
	undo := func(id, query string) answer { return c.do(http.MethodPost, applies+"/"+id+"/undo"+query, "") }
	require.Equal(t, http.StatusOK, undo(done.Apply, "?dryRun=true").code)
	require.Equal(t, after, c.store.Revision())

	s := undo(done.Apply, "").status(t)
	require.Equal(t, after+1, c.store.Revision(), "one transaction")
	require.Equal(t, []string{"app/a configured", "app/b deleted", "unit/u.service configured", "unit/w.service deleted"},
		[]string{s.Items[0].Message, s.Items[1].Message, s.Items[2].Message, s.Items[3].Message})
	require.Equal(t, named("a", 1), c.get(keys.Apps().Key("a")))
	require.JSONEq(t, old, c.get(keys.Units().Key("u.service")))
	for _, key := range []string{keys.Apps().Key("b"), keys.Units().Key("w.service"), keys.Overrides().Key("b@1.service")} {
		c.absent(key)
	}
	require.Equal(t, "undo of apply "+done.Apply, getAs[wire.Apply](c, applies+"/"+s.Apply).Note)

	again := undo(s.Apply, "").status(t)
	require.Equal(t, wire.Success, again.Status, again.Message)
	require.Equal(t, named("a", 2), c.get(keys.Apps().Key("a")))
	require.Equal(t, named("b", 1), c.get(keys.Apps().Key("b")))

	c.put(keys.Apps().Key("b"), named("b", 5))
	c.del(keys.Units().Key("w.service"))
	before := c.store.Revision()
	refused := undo(again.Apply, "").status(t)
	require.Equal(t, wire.ReasonConflict, refused.Reason)
	require.Equal(t, before, c.store.Revision())
	require.Len(t, refused.Causes, 2)
	require.Contains(t, refused.Causes[0].String(), "app/b: it was changed since, at version ")
	require.Equal(t, "unit/w.service: it was deleted since", refused.Causes[1].String())

	require.Equal(t, http.StatusNotFound, undo("20260102T030405Z-000000", "").code)
	require.Equal(t, http.StatusBadRequest, c.do(http.MethodPost, applies+"/"+done.Apply+"/undo", `{"to":1}`).code)
}

// TestUndoApp: the very bytes of a revision, and which revision it is.
func TestUndoApp(t *testing.T) {
	c := newCluster(t)
	undo := func(body string) answer { return c.do(http.MethodPost, apps+"/a/undo", body) }
	require.Equal(t, http.StatusNotFound, undo("").code)
	c.applied(named("a", 1))
	require.Contains(t, undo("").body, "app/a has no revision yet")
	c.accept("a", 7)
	require.Contains(t, undo("").body, "app/a has no revision that differs from 7, its last one")
	commented := "# what a person knows\n" + named("a", 2)
	c.applied(commented)
	c.accept("a", 8)
	c.applied(named("a", 3))
	c.accept("a", 9)

	s := undo("").status(t)
	require.Equal(t, "app/a configured: it has the manifest of revision 8", s.Message)
	require.Equal(t, commented, c.get(keys.Apps().Key("a")))
	c.accept("a", 10)
	require.Equal(t, strings.TrimSpace(`
7 created: /bin/sleep infinity, 1 replica: superseded
8 replicas from 1 to 2: superseded
9 replicas from 2 to 3: superseded
10 replicas from 3 to 2: in progress  undo to revision 8`), c.history("a"))

	require.Equal(t, "app/a configured: it has the manifest of revision 9", undo("").status(t).Message, "undone twice is done again")
	c.accept("a", 11)
	require.Equal(t, "app/a configured: it has the manifest of revision 7", undo(`{"to":7,"note":"ticket 1"}`).status(t).Message)
	require.Equal(t, "app/a unchanged: it has the manifest of revision 7", undo(`{"to":7}`).status(t).Message)
	require.Contains(t, c.history("a"), "\n0 replicas from 3 to 1: pending  undo to revision 7: ticket 1")
	a := undo(`{"to":6}`)
	require.Equal(t, http.StatusNotFound, a.code)
	require.Contains(t, a.body, "app/a has no revision 6: there are 7, 8, 9, 10, 11; older ones are collected")
	require.Equal(t, http.StatusBadRequest, undo(`{"revision":6}`).code)

	c.put(keys.Apps().Key("a"), "spec: [") // with etcdctl
	require.Contains(t, c.history("a"), "\n0 not valid: rejected line 1: ")
	require.Equal(t, "app/a configured: it has the manifest of revision 11", undo("").status(t).Message, "the last one that was accepted")
	require.Equal(t, http.StatusOK, c.do(http.MethodDelete, apps+"/a", "").code)
	require.Contains(t, c.history("a"), "11 replicas from 2 to 3: superseded the app was deleted")
	require.Equal(t, "app/a created: it has the manifest of revision 11", undo("").status(t).Message)
	require.Contains(t, c.history("a"), "0 created: /bin/sleep infinity, 3 replicas: pending  undo to revision 11", "another app, without a past")
}

// TestOutcomesOfEarlierRevisions: each that all instances were of is complete, whatever came after it. One whose text alone is another
// one says so, and undo returns to the text before it.
func TestOutcomesOfEarlierRevisions(t *testing.T) {
	c := newCluster(t)
	commented := "# what a person knows\n" + named("a", 1)
	c.applied(named("a", 1))
	c.accept("a", 1)
	c.completed("a", 1)
	c.applied(named("a", 2))
	c.accept("a", 2)
	c.applied(named("a", 1))
	c.accept("a", 3)
	c.applied(commented)
	c.accept("a", 4)
	require.Equal(t, strings.TrimSpace(`
1 created: /bin/sleep infinity, 1 replica: complete
2 replicas from 1 to 2: superseded
3 replicas from 2 to 1: superseded
4 only the text of the manifest: in progress`), c.history("a"))
	undone := c.do(http.MethodPost, apps+"/a/undo", "").status(t)
	require.Equal(t, "app/a configured: it has the manifest of revision 3", undone.Message)
	require.Equal(t, named("a", 1), c.get(keys.Apps().Key("a")))
	require.Equal(t, "app/a configured: it has the manifest of revision 4", c.do(http.MethodPost, apps+"/a/undo", `{"to":4}`).status(t).Message)
	require.Equal(t, commented, c.get(keys.Apps().Key("a")), "the very bytes")
}

// completed does what the app controller does when all instances are of a revision.
func (c *cluster) completed(name string, number int64) {
	c.t.Helper()
	key := keys.Revisions().Key(keyspace.RevisionName(name, number))
	revision, err := keys.Revisions().Decode([]byte(c.get(key)))
	require.NoError(c.t, err)
	revision.Complete = revision.AcceptedAt.Add(time.Minute)
	c.put(key, revision)
}

// TestUndoAManifestThatIsNotKept: it is too large, or of an older fleetd.
func TestUndoAManifestThatIsNotKept(t *testing.T) {
	c := newCluster(t)
	c.applied(named("a", 1) + "#" + strings.Repeat("x", v1.MaxKeptManifest))
	c.accept("a", 1)
	c.applied(named("a", 2))
	c.accept("a", 2)
	a := c.do(http.MethodPost, apps+"/a/undo", "")
	require.Equal(t, http.StatusGone, a.code)
	require.Contains(t, a.body, "revision 1 of app/a keeps no manifest")
	a = c.do(http.MethodGet, apps+"/a/revisions/1", "", "Accept", wire.YAML)
	require.Equal(t, http.StatusGone, a.code)
	require.Equal(t, named("a", 2), c.do(http.MethodGet, apps+"/a/revisions/2", "", "Accept", wire.YAML).body)
	require.Equal(t, named("a", 2), getAs[wire.Revision](c, apps+"/a/revisions/2").Manifest)
	require.Equal(t, http.StatusBadRequest, c.do(http.MethodGet, apps+"/a/revisions/x", "").code)
	require.Equal(t, http.StatusNotFound, c.do(http.MethodGet, apps+"/a/revisions/3", "").code)
}

// TestOutcomes: what became of the last revision is what the app's status says.
func TestOutcomes(t *testing.T) {
	c := newCluster(t)
	c.applied(named("a", 1))
	c.accept("a", 1)
	status := func(conditions string) {
		c.put(keys.Status().Key("a"), `{"observedRevision":1000,"acceptedRevision":1,"replicas":{"desired":1,"updated":1},"conditions":[`+conditions+`]}`)
	}
	for outcome, conditions := range map[string]string{
		"complete":                `{"type":"Ready","status":"True"},{"type":"Progressing","status":"False"}`,
		"in progress 0 of 1":      `{"type":"Ready","status":"False"},{"type":"Progressing","status":"True","message":"0 of 1"}`,
		"in progress not ready":   `{"type":"Ready","status":"False","message":"not ready"},{"type":"Progressing","status":"False"}`,
		"stalled it is not ready": `{"type":"Progressing","status":"False","reason":"RolloutStalled","message":"it is not ready"}`,
		"in progress":             ``,
	} {
		status(conditions)
		require.Equal(t, "1 created: /bin/sleep infinity, 1 replica: "+outcome, c.history("a"))
	}
	kv := c.put(keys.Apps().Key("a"), named("a", 4))
	c.put(keys.Status().Key("a"), fmt.Sprintf(`{"observedRevision":%d,"acceptedRevision":1,"conditions":[{"type":"Accepted","status":"False","message":"name\ntaken"}]}`, kv))
	require.Contains(t, c.history("a"), "\n0 replicas from 1 to 4: rejected name; taken")
}

// TestDiffs: of revisions, of manifests that are not stored yet, of units.
func TestDiffs(t *testing.T) {
	c := newCluster(t)
	diff := func(query string) wire.Diff { return getAs[wire.Diff](c, apps+"/a/diff"+query) }
	would := func(manifest string) []wire.DiffFile {
		a := c.apply("?diff=true", "", manifest)
		require.Equal(t, http.StatusOK, a.code, a.body)
		return a.status(t).Items[0].Diff
	}
	names := func(files []wire.DiffFile) (list []string) {
		for _, f := range files {
			list = append(list, f.Name)
		}
		return list
	}
	require.Equal(t, []string{"app/a", "a@.service"}, names(would(named("a", 1))), "new")
	c.absent(keys.Apps().Key("a"))
	c.applied(named("a", 1))
	c.accept("a", 1)
	require.Equal(t, http.StatusNotFound, c.do(http.MethodGet, apps+"/a/diff", "").code, "there is only one")
	require.Empty(t, would(named("a", 1)))
	require.Empty(t, would("# a comment\n"+named("a", 1)))
	files := would(named("a", 2))
	require.Equal(t, []string{"app/a"}, names(files))
	require.Contains(t, files[0].Before, "\n  replicas: 1\n")
	require.Contains(t, files[0].After, "\n  replicas: 2\n")
	c.applied(named("a", 2))
	c.accept("a", 2)
	other := strings.Replace(named("a", 2), "infinity", "1d", 1)
	require.Equal(t, []string{"app/a", "a@.service"}, names(would(other)))
	c.applied(other)
	c.accept("a", 3)
	require.Equal(t, []string{"app/a", "a@.service"}, names(diff("").Files))
	require.Equal(t, "revision 2", diff("").From)
	require.Equal(t, []string{"app/a"}, names(diff("?to=2").Files))
	require.Equal(t, "revision 1", diff("?from=1").From)
	require.Empty(t, diff("?from=3&to=3").Files)
	require.Equal(t, http.StatusNotFound, c.do(http.MethodGet, apps+"/a/diff?from=9", "").code)
	require.Equal(t, http.StatusBadRequest, c.do(http.MethodGet, apps+"/a/diff?to=x", "").code)

	require.Equal(t, []string{"unit/u.service", "u.service"}, names(would(unitManifest("u.service", sleeping))))
	c.applied(unitManifest("u.service", sleeping))
	require.Empty(t, would(unitManifest("u.service", sleeping)))
	require.Equal(t, []string{"u.service"}, names(would(unitManifest("u.service", sleeping+"# more\n"))))
}

// TestDeletionIsUndone: a deletion is recorded as an apply, and undone as one.
func TestDeletionIsUndone(t *testing.T) {
	c := newCluster(t)
	c.applied("# what a person knows\n"+named("a", 2), unitManifest("u.service", sleeping))
	old := c.get(keys.Units().Key("u.service"))
	for _, object := range []struct{ path, key, was string }{
		{apps + "/a", keys.Apps().Key("a"), "# what a person knows\n" + named("a", 2)},
		{units + "/u.service", keys.Units().Key("u.service"), old},
	} {
		before := c.store.Revision()
		dry := c.do(http.MethodDelete, object.path+"?dryRun=true", "").status(t)
		require.Equal(t, wire.ReasonDeleted, dry.Reason)
		require.Equal(t, before, c.store.Revision())
		s := c.do(http.MethodDelete, object.path, "").status(t)
		require.Equal(t, wire.ReasonDeleted, s.Reason)
		c.absent(object.key)
		require.True(t, getAs[wire.Apply](c, applies+"/"+s.Apply).Objects[0].Deleted)
		require.Equal(t, http.StatusNotFound, c.do(http.MethodDelete, object.path, "").code)

		undone := c.do(http.MethodPost, applies+"/"+s.Apply+"/undo", "").status(t)
		require.Equal(t, wire.Success, undone.Status, undone.Message)
		require.Equal(t, object.was, c.get(object.key))
	}
}
