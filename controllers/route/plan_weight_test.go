package route

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

// TestShareOfACanary: c are instances of the canary, f fresh ones of the revision before, o others. Without weights all are 0.
func TestShareOfACanary(t *testing.T) {
	for _, tt := range []struct {
		name      string
		c, f, o   int
		percent   int32
		canary    int
		fresh     int
		other     int
		shareIsOf float64 // of all requests, in per cent, that the canary gets
	}{
		{"as many for the fresh one", 1, 1, 3, 5, 1, 1, 6, 5},
		{"several", 2, 2, 6, 10, 500, 500, 1333, 10},
		{"a fresh one gets no more than the others", 1, 1, 3, 60, 6, 1, 1, 60},
		{"the least", 1, 1, 2, 1, 1, 1, 49, 1},
		{"no fresh one yet", 1, 0, 3, 10, 1, 0, 3, 10},
		{"the others are away", 1, 1, 0, 25, 1, 3, 0, 25},
		{"odd numbers", 1, 1, 7, 5, 100, 100, 257, 5},
		{"only the canary is there", 2, 0, 0, 5, 0, 0, 0, 100},
		{"no canary is there", 0, 1, 3, 5, 0, 0, 0, 0},
		{"nonsense", 1, 1, 1, 120, 0, 0, 0, 100.0 / 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			canary := &v1.RouteCanary{Percent: tt.percent}
			var upstreams []routing.Upstream
			add := func(n int, kind string) (names []string) {
				for i := range n {
					names = append(names, fmt.Sprint(kind, "@", i))
					upstreams = append(upstreams, routing.Upstream{Instance: names[i]})
				}
				return names
			}
			canary.Units, canary.Fresh = add(tt.c, "c"), add(tt.f, "f")
			add(tt.o, "o")
			got, sum, ofCanary := weighted(upstreams, canary), 0, 0
			for _, u := range got {
				require.Equal(t, map[byte]int{'c': tt.canary, 'f': tt.fresh, 'o': tt.other}[u.Instance[0]], u.Weight, u.Instance)
				sum += max(1, u.Weight)
				if u.Instance[0] == 'c' {
					ofCanary += max(1, u.Weight)
				}
			}
			require.InDelta(t, tt.shareIsOf, 100*float64(ofCanary)/float64(sum), 0.1)
		})
	}
	require.Equal(t, []routing.Upstream{{Instance: "a@1"}}, weighted([]routing.Upstream{{Instance: "a@1"}}, nil))
}
