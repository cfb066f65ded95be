package store

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// chance replaces Chance by f.
func chance(t *testing.T, f func(n int64) int64) {
	t.Helper()
	before := Chance
	Chance = f
	t.Cleanup(func() { Chance = before })
}

// TestBackoff: each pause is twice the previous one, up to a limit, with 20% jitter; a success starts again.
func TestBackoff(t *testing.T) {
	pauses := func(b *Backoff, n int) (list []time.Duration) {
		for range n {
			list = append(list, b.Next())
		}
		return list
	}
	ms := func(list ...time.Duration) []time.Duration {
		for i := range list {
			list[i] *= time.Millisecond
		}
		return list
	}
	chance(t, func(int64) int64 { return 0 })
	b := &Backoff{First: 100 * time.Millisecond, Max: time.Second}
	require.Equal(t, ms(100, 200, 400, 800, 1000, 1000), pauses(b, 6))
	b.Reset()
	require.Equal(t, ms(100, 200), pauses(b, 2))
	require.Equal(t, ms(100, 100), pauses(&Backoff{First: 100 * time.Millisecond, Max: 10 * time.Millisecond}, 2), "never less than the first")

	chance(t, func(n int64) int64 { return n - 1 })
	b.Reset()
	require.Equal(t, ms(80, 160, 320, 640, 800, 800), pauses(b, 6))
	require.Zero(t, (&Backoff{}).Next())
}

func TestAround(t *testing.T) {
	chance(t, func(int64) int64 { return 0 })
	require.Equal(t, 54*time.Second, Around(time.Minute))
	chance(t, func(n int64) int64 { return n - 1 })
	require.Equal(t, 66*time.Second, Around(time.Minute))
	require.Zero(t, Around(0))
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		require.True(t, Sleep(t.Context(), time.Minute))
		require.Equal(t, time.Minute, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.False(t, Sleep(ctx, time.Hour))
		require.Equal(t, time.Minute+time.Second, time.Since(began), "it ends with its context")
		require.False(t, Sleep(ctx, 0))
	})
}
