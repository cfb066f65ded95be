package schedule

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestManyUnitsAreWaitedForAndFewAreNot(t *testing.T) {
	begun := time.Unix(1000, 0)
	for _, test := range []struct {
		units       int
		since, last time.Duration // how long ago the first and the last of them arrived
		want        time.Duration
	}{
		{0, time.Hour, time.Hour, 0},
		{burstFrom - 1, 0, 0, 0},
		{burstFrom, 0, 0, burstPause},
		{100_000, time.Second, burstPause / 3, burstPause - burstPause/3},
		{100_000, time.Second, burstPause, 0},
		{100_000, burstMax, 0, 0}, // they keep arriving
	} {
		c := changes{noted: noted{units: set{}}, begun: begun, last: begun.Add(test.since - test.last)}
		for i := range test.units {
			c.units[fmt.Sprint(i)] = struct{}{}
		}
		require.Equal(t, test.want, c.burst(begun.Add(test.since)), "%+v", test)
	}
}
