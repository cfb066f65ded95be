package canary

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// of are counts of n responses in 2 ms, some of which are errors and some slow.
func of(n, errors, slow int64) Counts {
	c := Counts{Requests: n, Errors: errors}
	c.Latency[1], c.Latency[9] = n-slow, slow
	return c
}

func TestWorse(t *testing.T) {
	for _, c := range []struct {
		name             string
		canary, baseline Counts
		want             string
	}{
		{"nothing was counted", Counts{}, Counts{}, ""},
		{"one side was not counted", of(100, 100, 0), Counts{}, ""},
		{"all is well", of(1000, 0, 0), of(1000, 0, 0), ""},
		{"one error", of(1000, 1, 0), of(1000, 0, 0), ""},
		{"13 errors and none", of(260, 13, 0), of(260, 0, 0), ""},
		{"15 errors and none", of(300, 15, 0), of(300, 0, 0), "5% (15 of 300) of its requests failed with 5xx, and 0% (0 of 300) of the old version's"},
		{"both fail alike", of(10000, 5000, 0), of(10000, 5000, 0), ""},
		{"a little more, of many", of(1000000, 14000, 0), of(1000000, 10000, 0), ""},
		{"twice as many, of many", of(100000, 2000, 0), of(100000, 1000, 0), "2% (2000 of 100000) of its requests failed with 5xx, and 1% (1000 of 100000) of the old version's"},
		{"fewer", of(10000, 0, 0), of(10000, 500, 0), ""},
		{"a third of the requests", of(100, 20, 0), of(200, 40, 0), ""},
		{"slow", of(500, 0, 100), of(500, 0, 5), "20% (100 of 500) of its requests took longer than 2 ms, and 1% (5 of 500) of the old version's"},
		{"slow alike", of(5000, 0, 1000), of(5000, 0, 1000), ""},
	} {
		require.Equal(t, c.want, Worse(c.canary, c.baseline), c.name)
	}
}

// TestFalsePositives: of healthy versions no more are taken back than is said, although one looks after each 20 requests.
func TestFalsePositives(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const runs = 500
	found := 0
	for range runs {
		var canary, baseline Counts
		p := random.Float64() * 0.2
		worse := p * 1.2 // within what is tolerated
		for looks := 0; looks < 50; looks++ {
			for range 10 {
				draw(random, &canary, worse)
				draw(random, &baseline, p)
			}
			if Worse(canary, baseline) != "" {
				found++
				break
			}
		}
	}
	require.LessOrEqual(t, float64(found)/runs, FalsePositives)
}

// TestFivePerCentAreFound: of versions with 5 % of errors nearly all are found within 500 requests.
func TestFivePerCentAreFound(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const runs = 500
	missed := 0
	for range runs {
		var canary, baseline Counts
		for range 500 {
			draw(random, &canary, 0.05)
			draw(random, &baseline, 0)
		}
		if Worse(canary, baseline) == "" {
			missed++
		}
	}
	require.Less(t, float64(missed)/runs, 0.03)
}

func draw(random *rand.Rand, c *Counts, errors float64) {
	c.Requests++
	if random.Float64() < errors {
		c.Errors++
	}
	b := 2
	for b < 8 && random.IntN(2) == 0 {
		b++
	}
	c.Latency[b]++
}

// TestWorseIsMonotone: more errors of the canary are never better, more of the old version never worse for it.
func TestWorseIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 100000).Draw(t, "requests")
		x, y := rapid.Int64Range(0, n).Draw(t, "x"), rapid.Int64Range(0, n).Draw(t, "y")
		e := evidence(x, y, tolerated(n, n))
		require.Less(t, e, evidence(x+1, y, tolerated(n, n)))
		require.Greater(t, e, evidence(x, y+1, tolerated(n, n)))
		if x <= y {
			require.Empty(t, Worse(of(n, x, 0), of(n, y, 0)))
		}
	})
}
