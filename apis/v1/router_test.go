package v1

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoutersBehind(t *testing.T) {
	const other = "/services/other"
	routers := map[string]Router{
		"current": {Served: map[string]Served{DefaultAnnouncePrefix: {Revision: 9, Digest: "x"}}},
		"ahead":   {Served: map[string]Served{DefaultAnnouncePrefix: {Revision: 12, Digest: "y"}}},
		"same":    {Served: map[string]Served{DefaultAnnouncePrefix: {Revision: 3, Digest: "d"}}},
		"behind":  {Served: map[string]Served{DefaultAnnouncePrefix: {Revision: 8, Digest: "x"}}},
		"both":    {Served: map[string]Served{DefaultAnnouncePrefix: {Revision: 9}, other: {Revision: 1}}},
		"other":   {Served: map[string]Served{other: {Revision: 1, Digest: "d"}}},
		"older":   {Revision: 8, Digest: "x"},
		"old":     {Revision: 9, Digest: "x"},
	}
	web := EndpointSet{Prefix: DefaultAnnouncePrefix, Revision: 9, Digest: "d"}
	require.Equal(t, []string{"behind", "older"}, RoutersBehind(routers, web))
	require.Equal(t, []string{"both", "other"}, RoutersBehind(routers, EndpointSet{Prefix: other, Revision: 2}))
	require.Equal(t, []string{"behind", "both", "older"}, RoutersBehind(routers, web, EndpointSet{Prefix: other, Revision: 2, Digest: "d"}))
	web.Digest = ""
	require.Equal(t, []string{"behind", "older", "same"}, RoutersBehind(routers, web))
	require.Empty(t, RoutersBehind(routers))
	require.Empty(t, RoutersBehind(nil, web))

	require.Len(t, RoutersOf(routers, other), 2)
	require.Contains(t, RoutersOf(routers, DefaultAnnouncePrefix), "old")
	require.Empty(t, RoutersOf(routers, "/none"))
	require.Len(t, routers, 8, "the routers are as they were")
}

func TestHasRoute(t *testing.T) {
	require.True(t, Router{Served: map[string]Served{}, Routes: 5}.HasRoute(5))
	require.False(t, Router{Served: map[string]Served{}, Routes: 4}.HasRoute(5))
	require.True(t, Router{Revision: 1}.HasRoute(5), "an older router does not say")
}
