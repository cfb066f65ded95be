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

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/repository"
)

const driftAt = "/apis/fleet/v1/sources/shop/diff"

// committed has a server know one commit.
func committed(manifests map[string]string) func(*api.Options) {
	return func(o *api.Options) {
		o.Committed = func(context.Context, string) (*repository.Manifests, error) {
			var files []repository.File
			for path, text := range manifests {
				files = append(files, repository.File{Path: path, Data: []byte(text)})
			}
			m := repository.Read(v1.SourceCommit{Hash: strings.Repeat("a", 40), Subject: "One"}, files)
			return m, m.Fault
		}
	}
}

func other(name string) string { return strings.Replace(hello, "name: hello", "name: "+name, 1) }

// What is stored is compared with the commit, object by object, with the reason: also what only differs in its text, what was deleted,
// and what the commit has no more. What was given up, and what is as in the commit, is left out.
func TestDrift(t *testing.T) {
	c := newCluster(t, committed(map[string]string{"a.yaml": hello, "b.yaml": other("same"), "c.yaml": other("undone"), "d.yaml": other("gone"), "e.yaml": other("disowned"),
		"f.yaml": other("comment")}))
	source := "apiVersion: fleet/v1\nkind: Source\nmetadata: {name: shop}\nspec:\n  git: {url: \"https://example.com/shop.git\"}\n"
	uid := c.put(keys.Sources().Key("shop"), source)
	app := func(name, text string) { c.put(keys.Apps().Key(name), text) }
	app("hello", strings.Replace(hello, "replicas: 2", "replicas: 3", 1))
	app("same", other("same"))
	app("undone", strings.Replace(other("undone"), "replicas: 2", "replicas: 1", 1))
	app("disowned", strings.Replace(other("disowned"), "replicas: 2", "replicas: 1", 1))
	app("comment", "# by hand\n"+other("comment"))
	app("kept", other("kept"))
	status := v1.SourceStatus{UID: uid, Inventory: []v1.SourceObject{{Kind: v1.KindApp, Name: "undone", Held: "it was undone by ada"}, {Kind: v1.KindApp, Name: "kept", Held: "it is paused"},
		{Kind: v1.KindApp, Name: "same"}, {Kind: v1.KindApp, Name: "hello"}, {Kind: v1.KindApp, Name: "vanished"}}}
	c.put(keys.SourceStatus().Key("shop"), status)
	c.put(keys.SourceWishes().Key("shop"), v1.SourceWish{Disown: []string{"app/disowned"}})

	require.Contains(t, c.do(http.MethodGet, driftAt, "").status(t).Message, "only the leader reads the repository: no machine leads now")
	c.leads(here)
	drift := getAs[wire.Drift](c, driftAt)
	require.Equal(t, "One", drift.Commit.Subject)
	var lines []string
	for _, o := range drift.Objects {
		lines = append(lines, strings.Join([]string{o.Files[0].Name, o.From, o.To, o.Why}, " | "))
	}
	require.Equal(t, []string{
		"app/comment | stored | f.yaml:1, commit aaaaaaaaaa | it is put back at the next pass",
		"app/gone | stored | d.yaml:1, commit aaaaaaaaaa | it is put back at the next pass",
		"app/hello | stored | a.yaml:1, commit aaaaaaaaaa | it is put back at the next pass",
		"app/undone | stored | c.yaml:1, commit aaaaaaaaaa | it was undone by ada",
		"app/kept | stored | not in commit aaaaaaaaaa | it is paused",
	}, lines)
	require.Equal(t, "# by hand\n"+other("comment"), drift.Objects[0].Files[0].Before)
	require.Empty(t, drift.Objects[1].Files[0].Before)
	require.Contains(t, drift.Objects[2].Files[0].Before, "replicas: 3")
	require.Contains(t, drift.Objects[2].Files[0].After, "replicas: 2")
	require.Empty(t, drift.Objects[4].Files[0].After)

	c.put(keys.SourceWishes().Key("shop"), v1.SourceWish{Suspended: true})
	require.Equal(t, "source/shop is suspended", getAs[wire.Drift](c, driftAt).Objects[0].Why)
	require.Equal(t, wire.ReasonNotFound, c.do(http.MethodGet, "/apis/fleet/v1/sources/none/diff", "").status(t).Reason)
}

// Another fleetd asks the leader, and says why where it cannot; what the leader cannot read is one error.
func TestOnlyTheLeaderKnowsTheDrift(t *testing.T) {
	c := newCluster(t)
	c.put(keys.Sources().Key("shop"), "apiVersion: fleet/v1\nkind: Source\nmetadata: {name: shop}\nspec:\n  git: {url: \"https://example.com/shop.git\"}\n")
	o := api.Options{Store: c.conn, Keys: keys, MachineID: there, Version: "1.2.3", Log: logr.Discard()}
	committed(map[string]string{"a.yaml": hello})(&o)
	leader := httptest.NewServer(api.New(o))
	defer leader.Close()
	c.leads(there)
	m := machine("10.0.0.2")
	c.put(keys.Machines().Key(there), m)
	answer := c.do(http.MethodGet, driftAt, "").status(t)
	require.Equal(t, wire.ReasonElsewhere, answer.Reason)
	require.Contains(t, answer.Message, "does not listen on TCP")
	m.Spec.Endpoint = leader.URL
	c.put(keys.Machines().Key(there), m)
	drift := getAs[wire.Drift](c, driftAt)
	require.Len(t, drift.Objects, 1)
	require.NotEmpty(t, drift.Objects[0].Files[0].After)

	o.Committed = func(context.Context, string) (*repository.Manifests, error) {
		return nil, errors.New("no route to host")
	}
	broken := httptest.NewServer(api.New(o))
	defer broken.Close()
	m.Spec.Endpoint = broken.URL
	c.put(keys.Machines().Key(there), m)
	var status wire.Status
	refused := c.do(http.MethodGet, driftAt, "")
	require.NoError(t, json.Unmarshal([]byte(refused.body), &status))
	require.Equal(t, "source/shop: the commit cannot be read: no route to host", status.Message)
}

// The source of a preview is its source's: deleted by people, it would be made again.
func TestPreviewIsItsSources(t *testing.T) {
	c := newCluster(t)
	c.put(keys.Sources().Key("prod-pr-7"), "apiVersion: fleet/v1\nkind: Source\nmetadata: {name: prod-pr-7}\nspec:\n  git: {url: https://example.com/a.git, branch: pr/7}\n"+
		"  preview: {source: prod, uid: 1, suffix: pr-7, host: '{branch}'}\n")
	status := c.do(http.MethodDelete, "/apis/fleet/v1/sources/prod-pr-7?objects=prune", "").status(t)
	require.Equal(t, wire.ReasonConflict, status.Reason)
	require.Equal(t, "source/prod-pr-7 is a preview of source/prod, which would make it again: delete the branch pr/7, or change previews of source/prod", status.Message)
}
