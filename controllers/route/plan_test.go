package route

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

func spec(app string, announce *v1.Announce, hosts ...string) v1.Revision {
	r := v1.Revision{Metadata: v1.ObjectMeta{Name: app}, ManifestRevision: 3}
	r.Spec.Announce = announce
	if hosts != nil {
		r.Spec.Route = &v1.Route{Hosts: hosts}
	}
	return r
}

func TestMakePlan(t *testing.T) {
	here := &v1.Announce{Prefix: "/services/web"}
	in := Input{
		Prefix:   "/services/web",
		Revision: 7,
		Endpoints: map[string]string{
			"/services/web/shop/shop@1": "10.0.0.1:80",
			"/services/web/shop/shop@2": "10.0.0.2:80",
			"/services/web/byhand/x":    "10.0.0.3:80",
			"/services/web/deep/a/b":    "10.0.0.4:80",
			"/services/web/flat":        "10.0.0.5:80",
		},
		Specs: []v1.Revision{
			spec("batch", nil),
			spec("elsewhere", &v1.Announce{Prefix: "/services/internal"}, "elsewhere.example.com"),
			spec("resting", here),
			spec("shop", here, "shop.example.com", "*.shop.example.com"),
		},
	}
	plan := Plan(in)
	require.Equal(t, []Route{
		{App: "byhand", Endpoints: map[string]string{"/services/web/byhand/x": "10.0.0.3:80"}},
		{App: "resting", Since: map[string]int64{"": 3}, Endpoints: map[string]string{}},
		{App: "shop", Hosts: []string{"shop.example.com", "*.shop.example.com"}, Since: map[string]int64{"shop.example.com": 3, "*.shop.example.com": 3}, Endpoints: map[string]string{
			"/services/web/shop/shop@1": "10.0.0.1:80", "/services/web/shop/shop@2": "10.0.0.2:80"}},
	}, plan.Routes)
	require.Equal(t, []string{"/services/web/deep/a/b", "/services/web/flat"}, plan.Stray)
	require.True(t, plan.Publish, "nothing is published yet")

	in.Published = &v1.Router{Revision: 7, Digest: plan.Digest}
	require.False(t, Plan(in).Publish, "at rest nothing is written")
	in.Revision = 8
	require.True(t, Plan(in).Publish, "a revision alone is news: somebody may wait for it")
	in.Revision = 7
	delete(in.Endpoints, "/services/web/flat")
	require.True(t, Plan(in).Publish)
}

// TestSince: an app has a host since its manifest first asked for it, but no longer than there is an app of that name.
func TestSince(t *testing.T) {
	r := spec("shop", &v1.Announce{}, "A.example.com", "b.example.com")
	r.HostsSince = map[string]int64{"a.example.com": 2}
	in := Input{Prefix: "/services/web", Specs: []v1.Revision{r}}
	for _, c := range []struct {
		name string
		apps map[string]int64
		want map[string]int64
	}{
		{"apps are not known", nil, map[string]int64{"a.example.com": 2, "b.example.com": 3}},
		{"created before", map[string]int64{"shop": 1}, map[string]int64{"a.example.com": 2, "b.example.com": 3}},
		{"deleted and created again", map[string]int64{"shop": 9}, map[string]int64{"a.example.com": 9, "b.example.com": 9}},
		{"deleted", map[string]int64{"other": 1}, nil},
	} {
		in.Apps = c.apps
		require.Equal(t, c.want, Plan(in).Routes[0].Since, c.name)
	}
}
