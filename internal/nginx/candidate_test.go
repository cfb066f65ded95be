package nginx

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Routes that are bad by themselves are refused and good ones kept, in order; of two that only conflict with each other, the
// first is kept.
func TestAccept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.SliceOfN(rapid.IntRange(0, 9), 0, 40).Draw(t, "items")
		bad := rapid.SliceOfDistinct(rapid.IntRange(0, 9), rapid.ID).Draw(t, "bad")
		tests := 0
		good, refused, err := accept(nil, items, func(s []int) error {
			tests++
			seen := map[int]bool{}
			for _, i := range s {
				if slices.Contains(bad, i) || seen[i] {
					return refusal{message: "no"}
				}
				seen[i] = true
			}
			return nil
		})
		require.NoError(t, err)
		var wantGood, wantBad []int
		for _, i := range items {
			if slices.Contains(bad, i) || slices.Contains(wantGood, i) {
				wantBad = append(wantBad, i)
			} else {
				wantGood = append(wantGood, i)
			}
		}
		require.Equal(t, wantGood, good)
		var gotBad []int
		for _, r := range refused {
			gotBad = append(gotBad, r.item)
		}
		require.Equal(t, wantBad, gotBad)
		require.LessOrEqual(t, tests, 1+len(wantBad)*13, "k log n")
	})
}

func TestAcceptEndsOnOtherErrors(t *testing.T) {
	broken := errors.New("nginx cannot be run")
	_, _, err := accept(nil, []int{1, 2, 3}, func([]int) error { return broken })
	require.ErrorIs(t, err, broken)
}

func TestAppAt(t *testing.T) {
	r, err := new(renderer).render(configured(testSettings, goldenRoutes...), nil)
	require.NoError(t, err)
	seen := map[string]int{}
	for i, line := range strings.Split(string(r.text), "\n") {
		app := r.appAt(i + 1)
		seen[app]++
		if line == "    # "+app {
			require.Equal(t, 1, seen[app], "an app's first line is its comment")
		}
	}
	require.Len(t, seen, 1+len(goldenRoutes))
	require.Empty(t, r.appAt(1))
}
