package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
)

const web = v1.DefaultAnnouncePrefix

func (b *bench) revision(app string, number int64, prefix string) {
	uid, _ := b.UIDOf(app)
	value, err := b.Keys.Revisions().Encode(v1.Revision{Number: number, AppUID: uid, Spec: v1.AppSpec{Announce: &v1.Announce{Prefix: prefix}}})
	require.NoError(b.t, err)
	b.put(b.Keys.Revisions().Key(keyspace.RevisionName(app, number)), string(value))
}

func TestEndpointSetIsThatOfRouters(t *testing.T) {
	b := newBench(t)
	set := func() v1.EndpointSet {
		sets := b.EndpointSetsOf("web", true)
		require.Len(t, sets, 1)
		return sets[0]
	}
	require.Equal(t, v1.EndpointsDigest(nil), set().Digest)
	b.put("/services/web/web/web@1", "127.0.0.1:80")
	before := set()
	require.Equal(t, web, before.Prefix)
	require.Equal(t, v1.EndpointsDigest(map[string]string{"/services/web/web/web@1": "127.0.0.1:80"}), before.Digest)
	require.Equal(t, before, set())
	require.Equal(t, map[string]int64{"web/web@1": before.Revision}, b.EndpointsOf("web"))
	b.put("/services/web/web/web@1", "")
	require.Greater(t, set().Revision, before.Revision)
	require.Equal(t, v1.EndpointsDigest(nil), set().Digest)
	require.Empty(t, b.EndpointSetsOf("web", false)[0].Digest)
}

// TestEndpointsOfEveryPrefix: the endpoints below every prefix that a revision names are known, and each app is enqueued once
// they are.
func TestEndpointsOfEveryPrefix(t *testing.T) {
	b := newBench(t)
	b.put("/services/internal/api/api@1", "10.0.0.1:80")
	b.put("/services/internal/db/db@m1", "10.0.0.2:80")
	b.put(b.Keys.Apps().Key("api"), "its manifest")
	b.put(b.Keys.Apps().Key("db"), "its manifest")
	require.True(t, b.KnowsEndpoints("api"))
	b.revision("api", 1, "/services/internal")
	require.Eventually(t, func() bool { return b.KnowsEndpoints("api") }, 5*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return len(b.EndpointsOf("api")) == 1 }, 5*time.Second, time.Millisecond)
	require.Contains(t, b.EndpointsOf("api"), "api/api@1")
	require.Contains(t, b.enqueued(), "api")
	b.revision("db", 1, "/services/internal")
	require.Contains(t, b.EndpointsOf("db"), "db/db@m1")

	b.revision("api", 2, web)
	require.Empty(t, b.EndpointsOf("api"))
	require.Contains(t, b.FormerEndpointsOf("api"), "api/api@1")
	sets := b.EndpointSetsOf("api", false)
	require.Len(t, sets, 2)
	require.Equal(t, []string{"/services/internal", web}, []string{sets[0].Prefix, sets[1].Prefix})

	b.enqueued()
	b.put("/services/internal/api/api@1", "")
	require.Equal(t, []string{"api"}, b.enqueued())
	require.Empty(t, b.FormerEndpointsOf("api"))

	b.put(b.Keys.Revisions().Key(keyspace.RevisionName("api", 1)), "")
	require.NotNil(t, b.endpoints.of("/services/internal"), "db is announced there")
	b.put(b.Keys.Revisions().Key(keyspace.RevisionName("db", 1)), "")
	require.Nil(t, b.endpoints.of("/services/internal"), "no revision names it")
	b.put(b.Keys.Revisions().Key(keyspace.RevisionName("api", 2)), "")
	require.NotNil(t, b.endpoints.of(web), "the default is always kept")
}

// TestByHand: an app is enqueued when a unit that is announced under its name comes or goes.
func TestByHand(t *testing.T) {
	b := newBench(t)
	require.False(t, b.IsUnit("worker@1"))
	b.put("/services/web/site/worker@1", "10.0.0.1:80")
	b.enqueued()
	b.put(b.Keys.Units().Key("worker@1.service"), unit(""))
	require.Equal(t, []string{"site", "worker"}, b.enqueued())
	require.True(t, b.IsUnit("worker@1"))
	require.True(t, b.IsUnit("worker@1.service"))
	require.False(t, b.IsUnit("worker@2"))
	b.put(b.Keys.Units().Key("worker@1.service"), `{"spec":{"hash":"other"}}`)
	require.Equal(t, []string{"worker"}, b.enqueued(), "it is a unit as before")

	// Routed, with a late script: apps with the unit in their route are enqueued when it ends.
	b.put(b.Keys.Routes().Key("site"), `{"prefix":"/services/web","units":["worker@1"]}`)
	b.put("/services/web/site/worker@1", "")
	b.enqueued()
	b.put(b.Keys.Units().Key("worker@1.service"), "")
	require.Equal(t, []string{"site", "worker"}, b.enqueued())

	// A deleted app's units no longer count as the cluster's.
	b.put(b.Keys.Units().Key("gone@1.service"), unit("gone"))
	require.False(t, b.IsUnit("gone@1"))
	b.put(b.Keys.Apps().Key("gone"), "its manifest")
	require.True(t, b.IsUnit("gone@1"))
}
