package controller

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// running runs a controller with its own metrics until the end of the test.
func running(t *testing.T, r Func[string], keys ...string) *Metrics {
	m := NewMetrics(prometheus.NewRegistry())
	c := New("test", r, Options{Workers: len(keys), Metrics: m})
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { require.NoError(t, c.Run(ctx)) })
	t.Cleanup(func() {
		cancel()
		wait.Wait()
		require.Empty(t, m.Failing(), "a controller that has ended is not reported")
	})
	for _, key := range keys {
		c.Enqueue(key)
	}
	return m
}

func TestKeyThatKeepsFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("it is bad")
		begin := time.Now()
		mended := time.Time{}
		turns := 0
		m := running(t, func(_ context.Context, key string) (Result, error) {
			switch {
			case key == "partial":
				return Result{}, Partial(bad)
			case key == "joined":
				return Result{}, errors.Join(Partial(bad), bad)
			case key == "bad" && mended.IsZero():
				return Result{}, bad
			case key == "now and then":
				if turns++; turns%2 == 0 {
					return Result{RequeueAfter: time.Second}, nil
				}
				return Result{}, bad
			}
			return Result{}, nil
		}, "bad", "partial", "joined", "good", "now and then")
		time.Sleep(50 * time.Second)
		require.Empty(t, m.Failing(), "not failing long enough yet")
		time.Sleep(40 * time.Second)
		list := m.Failing()
		require.Len(t, list, 2)
		require.Equal(t, "bad", list[0].Key)
		require.Equal(t, "joined", list[1].Key)
		require.Equal(t, begin, list[0].Since)
		require.Greater(t, list[0].Failures, 10)
		require.Contains(t, list[0].String(), "test of bad keeps failing since 2000-01-01T00:00:00Z (")
		require.Contains(t, list[0].String(), "it is bad")
		metrics := make(chan prometheus.Metric, 10)
		m.health.Collect(metrics)
		require.Len(t, metrics, 2)

		mended = time.Now()
		time.Sleep(31 * time.Second)
		require.Len(t, m.Failing(), 1)
	})
}

func TestReconciliationThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		m := running(t, func(ctx context.Context, key string) (Result, error) {
			if key == "hangs" {
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Minute):
				}
			}
			return Result{}, nil
		}, "hangs", "good")
		time.Sleep(2 * time.Minute)
		require.Empty(t, m.Failing())
		time.Sleep(2 * time.Minute)
		require.Equal(t, []Failing{{Controller: "test", Key: "hangs", Since: begin, Err: "has not returned for 4m0s"}}, m.Failing())
		time.Sleep(7 * time.Minute)
		require.Empty(t, m.Failing())
	})
}

// TestPartialKeepsItsTime: items that work are reconciled on time, however long the backoff of failing items has
// become.
func TestPartialKeepsItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		running(t, func(context.Context, string) (Result, error) {
			looks++
			return Result{RequeueAfter: time.Second}, Partial(errors.New("one item"))
		}, "key")
		time.Sleep(5 * time.Minute)
		looks = 0
		time.Sleep(time.Minute)
		require.InDelta(t, 60, looks, 5)
	})
}
