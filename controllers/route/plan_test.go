package route

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

const web, other = "/services/web", "/services/other"

func app(hosts ...string) v1.AppRoute {
	r := v1.AppRoute{UID: "1", Prefix: web, Hosts: map[string]int64{}}
	for _, host := range hosts {
		r.Hosts[host] = 3
	}
	return r
}

// anywhere trusts every address.
var anywhere = Trust{Allowed: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}

// refusalsOf lists what a plan leaves out: keys or apps, with their reasons.
func refusalsOf(plan Decision) (list []string) {
	for _, r := range plan.Table.Refused {
		list = append(list, r.Subject()+" "+r.Reason)
	}
	return list
}

func TestMakePlan(t *testing.T) {
	elsewhere := app("elsewhere.example.com")
	elsewhere.Prefix = "/services/internal"
	limited := app("limited.example.com")
	limited.Options = &v1.Route{BodySize: "2M", Timeout: v1.Duration(7e9)}
	in := Input{
		Trust: anywhere, Domain: "example", Prefixes: []string{web}, Revisions: map[string]int64{web: 7}, RoutesRevision: 5,
		Endpoints: map[string]string{
			"/services/web/shop/shop@1":      "10.0.0.1:80",
			"/services/web/shop/shop@2":      "10.0.0.2:80",
			"/services/web/site/worker@1":    "10.0.0.3:80",
			"/services/web/site/worker@2":    "10.0.0.3:81",
			"/services/web/junk/x":           "10.0.0.6:80",
			"/services/web/elsewhere/e@1":    "10.0.0.7:80",
			"/services/web/deep/a/b":         "10.0.0.4:80",
			"/services/web/flat":             "10.0.0.5:80",
			"/services/webbing/not/below-it": "10.0.0.8:80",
		},
		Routes: map[string]v1.AppRoute{
			"elsewhere": elsewhere, "resting": app(""), "limited": limited, "shop": app("shop.example.com", "*.shop.example.com"),
			"site": {Prefix: web, Units: []string{"worker@1"}},
		},
	}
	delete(in.Endpoints, "/services/webbing/not/below-it") // its watch does not return it
	plan := Plan(in)
	require.Equal(t, []routing.Route{
		{App: "limited", Prefix: web, Hosts: []string{"limited.example.com"}, Timeout: 7e9, BodySize: 2 << 20},
		{App: "resting", Prefix: web, Hosts: []string{"resting.example"}},
		{App: "shop", Prefix: web, Hosts: []string{"*.shop.example.com", "shop.example.com"}, Upstreams: []routing.Upstream{
			{Key: "/services/web/shop/shop@1", Instance: "shop@1", Address: "10.0.0.1:80"}, {Key: "/services/web/shop/shop@2", Instance: "shop@2", Address: "10.0.0.2:80"}}},
		{App: "site", Prefix: web, Hosts: []string{"site.example"}, Upstreams: []routing.Upstream{{Key: "/services/web/site/worker@1", Instance: "worker@1", Address: "10.0.0.3:80"}}},
	}, plan.Table.Routes)
	require.EqualValues(t, 7, plan.Table.Revision)
	require.Equal(t, []string{
		"/services/web/deep/a/b InvalidKey", "/services/web/elsewhere NoApp", "/services/web/flat InvalidKey", "/services/web/junk NoApp", "/services/web/site NoApp",
	}, refusalsOf(plan))
	require.Equal(t, map[string]string{"/services/web/shop/shop@1": "10.0.0.1:80", "/services/web/shop/shop@2": "10.0.0.2:80", "/services/web/site/worker@1": "10.0.0.3:80"}, plan.Endpoints)
	require.Equal(t, map[string]v1.AppRoute{
		"limited": {Prefix: web, Hosts: limited.Hosts, Options: limited.Options}, "resting": {Prefix: web, Hosts: map[string]int64{"": 3}},
		"shop": {Prefix: web, Hosts: map[string]int64{"shop.example.com": 3, "*.shop.example.com": 3}}, "site": {Prefix: web},
	}, plan.Apps)
	require.False(t, plan.Untrusted)
	require.Equal(t, map[string]v1.Served{web: {Revision: 7, Digest: v1.EndpointsDigest(in.Endpoints)}}, plan.Served)
	require.True(t, plan.Publish, "nothing is published yet")

	in.Published = &v1.Router{Served: plan.Served, Routes: 5}
	require.False(t, Plan(in).Publish, "at rest nothing is written")
	in.RoutesRevision = 6
	require.True(t, Plan(in).Publish, "a route alone is news: a roll-out may wait for its host")
	in.RoutesRevision, in.Revisions = 5, map[string]int64{web: 8}
	require.True(t, Plan(in).Publish, "a revision alone is news: a roll-out may wait for it")
	in.Revisions = map[string]int64{web: 7}
	delete(in.Endpoints, "/services/web/flat")
	require.True(t, Plan(in).Publish)
}

// TestAll: every endpoint is served, in its app's directory if there is an app.
func TestAll(t *testing.T) {
	in := Input{Trust: anywhere, Domain: "example", Prefixes: []string{other, web}, All: true, Routes: map[string]v1.AppRoute{"shop": app(), "site": {Prefix: web, Units: []string{"worker@1"}}},
		Endpoints: map[string]string{
			"/services/web/junk/x": "10.0.0.1:80", "/services/other/junk/x": "10.0.0.2:80", "/services/web/site/worker@2": "10.0.0.3:80",
			"/services/other/shop/x": "10.0.0.4:80",
		}}
	plan := Plan(in)
	require.Equal(t, map[string]string{"/services/other/junk/x": "10.0.0.2:80", "/services/web/site/worker@2": "10.0.0.3:80"}, plan.Endpoints)
	require.Equal(t, map[string]v1.AppRoute{"junk": {Prefix: other}, "shop": {Prefix: web, Hosts: map[string]int64{}}, "site": {Prefix: web}}, plan.Apps)
	require.Equal(t, []routing.Route{
		{App: "junk", Prefix: other, Hosts: []string{"junk.example"}, Upstreams: []routing.Upstream{{Key: "/services/other/junk/x", Instance: "x", Address: "10.0.0.2:80"}}},
		{App: "shop", Prefix: web, Hosts: []string{"shop.example"}},
		{App: "site", Prefix: web, Hosts: []string{"site.example"}, Upstreams: []routing.Upstream{{Key: "/services/web/site/worker@2", Instance: "worker@2", Address: "10.0.0.3:80"}}},
	}, plan.Table.Routes)
	require.Equal(t, []string{"/services/other/shop NoApp", "/services/web/junk NoApp"}, refusalsOf(plan))
}

// TestPrefixes: each prefix has the apps that are announced there, and is published separately; a template reads the keys
// below a prefix that no app uses.
func TestPrefixes(t *testing.T) {
	api := app("api.example.com")
	api.Prefix = other
	in := Input{
		Trust: anywhere, Prefixes: []string{"/config", other, web}, Revisions: map[string]int64{"/config": 1, other: 2, web: 3}, Template: true,
		Routes: map[string]v1.AppRoute{"api": api, "shop": app("shop.example.com")},
		Endpoints: map[string]string{
			"/services/web/shop/shop@1": "10.0.0.1:80", "/services/other/api/api@1": "10.0.0.2:80", "/services/other/shop/shop@1": "10.0.0.3:80",
			"/config/title": "hello", "/config/nginx/timeout": "30s", "/services/web/junk/x": "10.0.0.4:80",
		},
	}
	plan := Plan(in)
	require.Equal(t, []routing.Route{
		{App: "api", Prefix: other, Hosts: []string{"api.example.com"}, Upstreams: []routing.Upstream{{Key: "/services/other/api/api@1", Instance: "api@1", Address: "10.0.0.2:80"}}},
		{App: "shop", Prefix: web, Hosts: []string{"shop.example.com"}, Upstreams: []routing.Upstream{{Key: "/services/web/shop/shop@1", Instance: "shop@1", Address: "10.0.0.1:80"}}},
	}, plan.Table.Routes)
	require.Equal(t, map[string]string{"/config/title": "hello", "/config/nginx/timeout": "30s"}, plan.Table.Keys)
	require.Equal(t, []string{"/services/other/shop NoApp", "/services/web/junk NoApp"}, refusalsOf(plan))
	require.Equal(t, map[string]v1.Served{
		"/config": {Revision: 1, Digest: v1.EndpointsDigest(plan.Table.Keys)},
		other:     {Revision: 2, Digest: v1.EndpointsDigest(map[string]string{"/services/other/api/api@1": "10.0.0.2:80", "/services/other/shop/shop@1": "10.0.0.3:80"})},
		web:       {Revision: 3, Digest: v1.EndpointsDigest(map[string]string{"/services/web/shop/shop@1": "10.0.0.1:80", "/services/web/junk/x": "10.0.0.4:80"})},
	}, plan.Served)

	in.Template = false
	plan = Plan(in)
	require.Empty(t, plan.Table.Keys)
	require.Equal(t, []string{"/config/nginx NoApp", "/config/title InvalidKey", "/services/other/shop NoApp", "/services/web/junk NoApp"}, refusalsOf(plan))

	// One prefix below another: a key belongs to the longer one.
	in = Input{Trust: anywhere, Prefixes: []string{"/services", web}, Routes: map[string]v1.AppRoute{"shop": app()}, Endpoints: map[string]string{"/services/web/shop/shop@1": "10.0.0.1:80"}}
	plan = Plan(in)
	require.Equal(t, in.Endpoints, plan.Endpoints)
	require.Empty(t, plan.Apps["web"])
}

// TestStray: an endpoint's key is <app>/<instance>, neither part empty.
func TestStray(t *testing.T) {
	in := Input{Trust: anywhere, Prefixes: []string{web}, All: true, Endpoints: map[string]string{}}
	want := []string{"/services/web/", "/services/web//x", "/services/web/flat", "/services/web/shop/", "/services/web/shop/a/b"}
	for _, key := range want {
		in.Endpoints[key] = "10.0.0.1:80"
	}
	plan := Plan(in)
	require.Len(t, plan.Table.Refused, len(want))
	for i, r := range plan.Table.Refused {
		require.Equal(t, []string{want[i], reasonInvalidKey, "the key is not <prefix>/<app>/<instance>"}, []string{r.Key, r.Reason, r.Message})
	}
	require.Empty(t, plan.Table.Routes)
	require.Empty(t, plan.Endpoints)
}

func TestReadSaved(t *testing.T) {
	s, old, err := readSaved([]byte(`{"endpoints":{"/services/web/a/a@1":"10.0.0.1:80"},"routes":{"a":{"prefix":"/services/web","hosts":{"a.example.com":3}}}}`))
	require.NoError(t, err)
	require.False(t, old)
	require.Equal(t, saved{Endpoints: map[string]string{"/services/web/a/a@1": "10.0.0.1:80"}, Routes: map[string]v1.AppRoute{"a": {Prefix: web, Hosts: map[string]int64{"a.example.com": 3}}}}, s)
	_, _, err = readSaved([]byte(`{`))
	require.Error(t, err)

	// As an older version wrote it.
	s, old, err = readSaved([]byte(`{"Prefix":"/services/web","Endpoints":{"/services/web/a/a@1":"10.0.0.1:80"},"Revision":9,"Specs":[
		{"number":2,"manifestRevision":5,"metadata":{"name":"a"},"spec":{"exec":{"command":["/bin/a"]},"env":{"PASSWORD":"secret"},"announce":{"prefix":"/services/web"},"route":{"hosts":["A.example.com"]}},"hostsSince":{"a.example.com":4}},
		{"number":1,"manifestRevision":6,"metadata":{"name":"job"},"spec":{"exec":{"command":["/bin/job"]}}}],"Apps":{"a":3},"Published":null}`))
	require.NoError(t, err)
	require.True(t, old)
	require.Equal(t, map[string]string{"/services/web/a/a@1": "10.0.0.1:80"}, s.Endpoints)
	require.Equal(t, map[string]v1.AppRoute{"a": {UID: "3", Prefix: web, Hosts: map[string]int64{"a.example.com": 4}}}, s.Routes)
}
