package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

const apps = wire.Prefix + "/apps"

func TestPutAppKeepsTheBytesAndSaysWhatItDid(t *testing.T) {
	c := newCluster(t)
	a := c.do(http.MethodPut, apps+"/hello?dryRun=true", hello)
	require.Equal(t, "app/hello created", a.status(t).Message)
	c.absent("/fleet/apps/hello")

	a = c.do(http.MethodPut, apps+"/hello", hello)
	require.Equal(t, http.StatusCreated, a.code, a.body)
	require.Equal(t, hello, c.get("/fleet/apps/hello"), "byte for byte")
	first := a.status(t).ResourceVersion

	a = c.do(http.MethodPut, apps+"/hello", hello)
	require.Equal(t, wire.ReasonUnchanged, a.status(t).Reason)
	require.Equal(t, first, a.status(t).ResourceVersion, "nothing was written")

	changed := strings.Replace(hello, "replicas: 2", "replicas: 3", 1)
	a = c.do(http.MethodPut, apps+"/hello", changed)
	require.Equal(t, wire.ReasonConfigured, a.status(t).Reason)
	require.Equal(t, changed, c.get("/fleet/apps/hello"))

	text := c.do(http.MethodGet, apps+"/hello", "", "Accept", wire.YAML)
	require.Equal(t, changed, text.body)
}

func TestPutAppRefusesWhatIsStale(t *testing.T) {
	c := newCluster(t)
	old := c.do(http.MethodPut, apps+"/hello", hello).status(t).ResourceVersion
	c.do(http.MethodPut, apps+"/hello", hello+"# more\n")
	for name, put := range map[string]func() answer{
		"If-Match": func() answer {
			return c.do(http.MethodPut, apps+"/hello", hello, "If-Match", `"`+old+`"`)
		},
		"resourceVersion": func() answer {
			return c.do(http.MethodPut, apps+"/hello", strings.Replace(hello, "name: hello", "name: hello\n  resourceVersion: \""+old+"\"", 1))
		},
		"absent": func() answer {
			return c.do(http.MethodPut, apps+"/other", strings.Replace(hello, "name: hello", "name: other", 1), "If-Match", old)
		},
		"delete": func() answer { return c.do(http.MethodDelete, apps+"/hello", "", "If-Match", old) },
	} {
		t.Run(name, func(t *testing.T) {
			a := put()
			require.Equal(t, wire.ReasonConflict, a.status(t).Reason, a.body)
			require.Equal(t, http.StatusConflict, a.code)
			require.Equal(t, hello+"# more\n", c.get("/fleet/apps/hello"))
		})
	}
	require.Equal(t, http.StatusBadRequest, c.do(http.MethodPut, apps+"/hello", hello, "If-Match", "old").code)
}

func TestPutAppTellsAllFaultsAtOnce(t *testing.T) {
	c := newCluster(t)
	a := c.do(http.MethodPut, apps+"/hello", strings.NewReplacer("replicas: 2", "replicas: many", "tier: web", "tier: web}\n  colour: {a: b").Replace(hello))
	s := a.status(t)
	require.Equal(t, http.StatusUnprocessableEntity, a.code)
	require.Equal(t, wire.ReasonInvalid, s.Reason)
	fields := map[string]int{}
	for _, cause := range s.Causes {
		fields[cause.Field] = cause.Line
		require.NotEmpty(t, cause.Message)
	}
	require.Equal(t, map[string]int{"metadata.colour": 7, "spec.replicas": 9}, fields)
	c.absent("/fleet/apps/hello")

	a = c.do(http.MethodPut, apps+"/other", hello)
	require.Equal(t, http.StatusUnprocessableEntity, a.code)
	require.Equal(t, "metadata.name", a.status(t).Causes[0].Field)
}

func TestABrokenStoredManifestIsShownWithItsTextAndWhy(t *testing.T) {
	c := newCluster(t)
	c.put("/fleet/apps/hello", hello)
	c.put("/fleet/status/hello", v1.AppStatus{AcceptedRevision: 1, ObservedRevision: 2, Conditions: []v1.Condition{{Type: v1.Accepted, Status: v1.ConditionTrue}}})
	broken := strings.Replace(hello, "replicas: 2", "replicas: many", 1)
	c.put("/fleet/apps/hello", broken)
	app := getAs[wire.App](c, apps+"/hello")
	require.Equal(t, broken, app.Manifest)
	accepted := v1.FindCondition(app.Status.Conditions, v1.Accepted)
	require.Equal(t, v1.ConditionFalse, accepted.Status)
	require.Contains(t, accepted.Message, "line 8: spec.replicas: ")
	require.EqualValues(t, 1, app.Status.AcceptedRevision, "the accepted revision keeps running")
	require.EqualValues(t, 4, app.Status.ObservedRevision)
}

func TestDeleteApp(t *testing.T) {
	c := newCluster(t)
	require.Equal(t, http.StatusNotFound, c.do(http.MethodDelete, apps+"/hello", "").code)
	c.put("/fleet/apps/hello", "not a manifest")
	require.Equal(t, "app/hello deleted", c.do(http.MethodDelete, apps+"/hello?dryRun=true", "").status(t).Message)
	require.Equal(t, "not a manifest", c.get("/fleet/apps/hello"))
	require.Equal(t, http.StatusOK, c.do(http.MethodDelete, apps+"/hello", "").code)
	c.absent("/fleet/apps/hello")
}

// TestStatusIsOfTheAppThatExists: waiting for an app that was deleted and applied again must not report the deleted one
// as ready.
func TestStatusIsOfTheAppThatExists(t *testing.T) {
	c := newCluster(t)
	c.put("/fleet/apps/hello", hello)
	c.put("/fleet/status/hello", v1.AppStatus{AcceptedRevision: 1, ObservedRevision: c.store.Revision()})
	require.NotNil(t, getAs[wire.App](c, apps+"/hello").Status)
	c.del("/fleet/apps/hello")
	c.put("/fleet/apps/hello", hello)
	require.Nil(t, getAs[wire.App](c, apps+"/hello").Status)
}

// TestDeleteAppTakesItsOverrides: a new app of the same name must not inherit stopped instances.
func TestDeleteAppTakesItsOverrides(t *testing.T) {
	c := newCluster(t)
	c.put("/fleet/apps/hello", "not a manifest")
	for _, unit := range []string{"hello@1.service", "hello-discovery@1.service", "hello-world@1.service", "helloes@1.service"} {
		c.put("/fleet/overrides/"+unit, v1.Override{DesiredState: v1.Loaded})
	}
	require.Equal(t, http.StatusOK, c.do(http.MethodDelete, apps+"/hello", "").code)
	c.absent("/fleet/overrides/hello@1.service")
	c.absent("/fleet/overrides/hello-discovery@1.service")
	c.get("/fleet/overrides/hello-world@1.service")
	c.get("/fleet/overrides/helloes@1.service")
}

func TestListPagesAndSelects(t *testing.T) {
	c := newCluster(t)
	for i := range 7 {
		text := strings.Replace(hello, "name: hello", fmt.Sprintf("name: app%d", i), 1)
		if i%2 == 1 {
			text = strings.Replace(text, "tier: web", "tier: db", 1)
		}
		c.put(fmt.Sprintf("/fleet/apps/app%d", i), text)
	}
	names := func(l wire.List[wire.App]) (out []string) {
		for _, a := range l.Items {
			out = append(out, a.Metadata.Name)
		}
		return out
	}
	page := getAs[wire.List[wire.App]](c, apps+"?limit=3&labelSelector=tier%3Dweb")
	require.Equal(t, []string{"app0", "app2", "app4"}, names(page))
	c.put("/fleet/apps/app5x", strings.Replace(hello, "name: hello", "name: app5x", 1))
	c.del("/fleet/apps/app6")
	page = getAs[wire.List[wire.App]](c, apps+"?limit=3&labelSelector=tier%3Dweb&continue="+page.Metadata.Continue)
	require.Equal(t, []string{"app6"}, names(page), "all pages show one revision")
	require.Empty(t, page.Metadata.Continue)

	first := getAs[wire.List[wire.App]](c, apps+"?limit=1")
	c.put("/fleet/apps/app9", hello)
	c.store.Compact(c.store.Revision())
	require.Equal(t, http.StatusGone, c.do(http.MethodGet, apps+"?continue="+first.Metadata.Continue, "").code)
	for _, bad := range []string{"?limit=-1", "?limit=x", "?continue=x", "?continue=bnVsbA", "?labelSelector=%3D%3D%3D", "?resourceVersion=x"} {
		require.Equal(t, http.StatusBadRequest, c.do(http.MethodGet, apps+bad, "").code, bad)
	}
}

func TestWatchTellsWhatExistsAndWhatChanges(t *testing.T) {
	c := newCluster(t)
	c.put("/fleet/apps/hello", hello)
	next := c.watch(apps + "?watch=true&labelSelector=tier%3Dweb")
	e := next()
	require.Equal(t, wire.Added, e.Type)
	require.Contains(t, string(e.Object), `"name":"hello"`)
	require.Equal(t, wire.Bookmark, next().Type)

	c.put("/fleet/status/hello", v1.AppStatus{ObservedRevision: 2, AcceptedRevision: 7})
	e = next()
	require.Equal(t, wire.Modified, e.Type)
	require.Contains(t, string(e.Object), `"acceptedRevision":7`)
	require.EqualValues(t, c.store.Revision(), e.Revision)

	c.put("/fleet/apps/hello", strings.Replace(hello, "tier: web", "tier: db", 1))
	require.Equal(t, wire.Deleted, next().Type, "no longer selected")
	c.put("/fleet/apps/hello", hello)
	require.Equal(t, wire.Added, next().Type)
	c.del("/fleet/apps/hello")
	e = next()
	require.Equal(t, wire.Deleted, e.Type)
	require.Contains(t, string(e.Object), `"name":"hello"`)

	seen := c.put("/fleet/apps/hello", hello)
	c.put("/fleet/status/hello", v1.AppStatus{ObservedRevision: 2, AcceptedRevision: 8})
	again := c.watch(fmt.Sprintf("%s/hello?watch=true&resourceVersion=%d", apps, seen))
	require.Equal(t, wire.Bookmark, again().Type, "events that the client has seen are not repeated")
	require.Equal(t, wire.Modified, again().Type, "newer events are sent")
}

func TestAppEndpointsAreThoseBelowItsPrefix(t *testing.T) {
	c := newCluster(t)
	c.put("/fleet/apps/hello", hello)
	c.put("/services/web/hello/hello@1", "10.0.0.1:3000")
	c.put("/services/web/hello2/hello2@1", "10.0.0.1:3001")
	list := getAs[wire.List[wire.Endpoint]](c, apps+"/hello/endpoints")
	require.Equal(t, []wire.Endpoint{{App: "hello", Instance: "hello@1", Address: "10.0.0.1:3000", Key: "/services/web/hello/hello@1", Unit: "hello@1.service"}}, list.Items)
	require.Len(t, getAs[wire.List[wire.Endpoint]](c, wire.Prefix+"/endpoints").Items, 2)
}

// TestHowAnAppDoes: the summary is one word and one line, even before the status controller has seen the manifest.
func TestHowAnAppDoes(t *testing.T) {
	c := newCluster(t)
	revision := c.put("/fleet/apps/hello", hello)
	summary := func() v1.AppSummary { return *getAs[wire.App](c, apps+"/hello").Status.Summary }
	require.Nil(t, getAs[wire.App](c, apps+"/hello").Status, "no status yet")
	c.put("/fleet/status/hello", v1.AppStatus{ObservedRevision: revision, Conditions: []v1.Condition{{Type: v1.Ready, Status: v1.ConditionTrue}}})
	require.Equal(t, v1.AppSummary{Phase: v1.AppReady, Message: "Ready"}, summary())
	c.put("/fleet/apps/hello", strings.Replace(hello, "replicas: 2", "replicas: many", 1))
	require.Equal(t, v1.AppBroken, summary().Phase)
	require.Equal(t, v1.Accepted, summary().Condition)
	require.Contains(t, summary().Message, "InvalidManifest: line 8: spec.replicas: expected an integer")
}

// TestWhatIsReadCanBeWritten: an object can be written back as it was read, including its read-only fields.
func TestWhatIsReadCanBeWritten(t *testing.T) {
	c := newCluster(t)
	revision := c.put("/fleet/apps/hello", hello)
	c.put("/fleet/status/hello", v1.AppStatus{ObservedRevision: revision, Conditions: []v1.Condition{{Type: v1.Ready, Status: v1.ConditionTrue}}})
	read := c.do(http.MethodGet, apps+"/hello", "").body
	require.Contains(t, read, `"summary":{"phase":"Ready"`)
	a := c.do(http.MethodPut, apps+"/hello", read)
	require.Equal(t, http.StatusOK, a.code, a.body)

	require.Equal(t, http.StatusCreated, c.do(http.MethodPut, units+"/a.service", unitJSON(t, "a.service", sleeping, v1.Launched)).code)
	c.put("/fleet/machines/"+here, machine("10.0.0.1"))
	c.put("/fleet/placements/"+here+"/a.service", v1.Placement{DesiredState: v1.Launched})
	read = c.do(http.MethodGet, units+"/a.service?file=true", "").body
	require.Contains(t, read, `"phase":"Pending"`)
	a = c.do(http.MethodPut, units+"/a.service", read)
	require.Equal(t, http.StatusOK, a.code, a.body)
	require.Equal(t, wire.ReasonUnchanged, a.status(t).Reason)
}
