package controller_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fleet-starter/fleet/internal/controller"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

// world runs a controller in a bubble and records when each key was reconciled.
type world struct {
	t      *testing.T
	c      *controller.Controller[string]
	start  time.Time
	cancel context.CancelFunc
	done   chan error

	mu    sync.Mutex
	calls []call
}

type call struct {
	key string
	at  time.Duration
}

func run(t *testing.T, opts controller.Options, reconcile func(ctx context.Context, key string, n int) (controller.Result, error)) *world {
	w := &world{t: t, start: time.Now(), done: make(chan error, 1)}
	w.c = controller.New("test", controller.Func[string](func(ctx context.Context, key string) (controller.Result, error) {
		w.mu.Lock()
		w.calls = append(w.calls, call{key, time.Since(w.start)})
		n := len(w.calls)
		w.mu.Unlock()
		return reconcile(ctx, key, n)
	}), opts)
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	go func() { w.done <- w.c.Run(ctx) }()
	return w
}

func (w *world) stop() {
	w.t.Helper()
	w.cancel()
	require.NoError(w.t, <-w.done)
}

// times lets time pass and returns the times of the calls.
func (w *world) times(pass time.Duration) []time.Duration {
	time.Sleep(pass)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	at := []time.Duration{}
	for _, c := range w.calls {
		at = append(at, c.at)
	}
	return at
}

// TestRequeueing covers each case of the requeue decision.
func TestRequeueing(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		results []error // of the first calls; nil afterwards
		after   time.Duration
		want    []time.Duration
		counts  string
	}{
		"done":                   {want: []time.Duration{0}, counts: "success"},
		"again when time is up":  {after: 20 * s, want: []time.Duration{0, 20 * s, 40 * s, 60 * s}, counts: "requeue_after"},
		"errors back off":        {results: []error{errBroken, errBroken, errBroken}, want: []time.Duration{0, 1 * s, 3 * s, 7 * s}, counts: "error"},
		"the pause has a limit":  {results: []error{errBroken, errBroken, errBroken, errBroken, errBroken, errBroken}, want: []time.Duration{0, 1 * s, 3 * s, 7 * s, 15 * s, 25 * s, 35 * s}, counts: "error"},
		"success forgets errors": {results: []error{errBroken, errBroken, nil, errBroken}, after: 20 * s, want: []time.Duration{0, 1 * s, 3 * s, 23 * s, 24 * s, 44 * s, 64 * s}, counts: "requeue_after"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				registry := prometheus.NewRegistry()
				opts := controller.Options{MinBackoff: s, MaxBackoff: 10 * s, Metrics: controller.NewMetrics(registry)}
				w := run(t, opts, func(_ context.Context, _ string, n int) (controller.Result, error) {
					if n <= len(c.results) && c.results[n-1] != nil {
						return controller.Result{RequeueAfter: c.after}, c.results[n-1]
					}
					return controller.Result{RequeueAfter: c.after}, nil
				})
				w.c.Enqueue("a")
				require.Equal(t, c.want, w.times(70*s))
				require.Positive(t, count(t, registry, "fleet_controller_reconcile_total", c.counts))
				w.stop()
			})
		})
	}
}

// count returns the counter with that value in one of its labels.
func count(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetValue() == label {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

// TestEnqueueAfter: a key is reconciled again after the given time.
func TestEnqueueAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, controller.Options{}, func(context.Context, string, int) (controller.Result, error) {
			return controller.Result{}, nil
		})
		w.c.Enqueue("a")
		w.c.EnqueueAfter("a", time.Minute)
		require.Equal(t, []time.Duration{0, time.Minute}, w.times(time.Hour))
		w.stop()
	})
}

// TestOneKeyAtATime: a key enqueued while it is reconciled runs once more afterwards, never concurrently.
func TestOneKeyAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running := map[string]int{}
		most := 0
		w := run(t, controller.Options{Workers: 4}, func(_ context.Context, key string, _ int) (controller.Result, error) {
			mu.Lock()
			running[key]++
			require.Equal(t, 1, running[key])
			now := 0
			for _, n := range running {
				now += n
			}
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running[key]--
			mu.Unlock()
			return controller.Result{}, nil
		})
		for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
			w.c.Enqueue(key)
			w.c.Enqueue(key)
		}
		time.Sleep(500 * time.Millisecond)
		for range 10 {
			w.c.Enqueue("a")
		}
		require.Len(t, w.times(time.Minute), 7)
		require.Equal(t, 4, most)
		w.stop()
	})
}

func TestPanicIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		var mu sync.Mutex
		var logged string
		log := funcr.New(func(_, args string) {
			mu.Lock()
			defer mu.Unlock()
			logged += args
		}, funcr.Options{})
		opts := controller.Options{MinBackoff: time.Second, Metrics: controller.NewMetrics(registry), Log: log}
		w := run(t, opts, func(_ context.Context, _ string, n int) (controller.Result, error) {
			if n == 1 {
				panic("oops")
			}
			return controller.Result{}, nil
		})
		w.c.Enqueue("a")
		require.Equal(t, []time.Duration{0, time.Second}, w.times(time.Minute))
		w.stop()
		require.Contains(t, logged, "panic: oops")
		require.Contains(t, logged, "controller_test.go", "the stack")
		require.EqualValues(t, 1, count(t, registry, "fleet_controller_panics_total", "test"))
	})
}

func TestFatalEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := controller.Options{Workers: 2, Fatal: func(err error) bool { return errors.Is(err, errBroken) }}
		var ended error
		w := run(t, opts, func(ctx context.Context, key string, _ int) (controller.Result, error) {
			if key == "slow" {
				<-ctx.Done()
				ended = ctx.Err()
				return controller.Result{}, ctx.Err()
			}
			return controller.Result{}, errBroken
		})
		w.c.Enqueue("slow")
		synctest.Wait()
		w.c.Enqueue("a")
		require.ErrorIs(t, <-w.done, errBroken)
		require.ErrorIs(t, ended, context.Canceled, "the other worker was cancelled and waited for")
		w.cancel()
	})
}

// TestStopDrains: running reconciliations finish, queued keys are dropped.
func TestStopDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finished := 0
		w := run(t, controller.Options{}, func(context.Context, string, int) (controller.Result, error) {
			time.Sleep(time.Second)
			finished++
			return controller.Result{}, errBroken
		})
		w.c.Enqueue("a")
		synctest.Wait()
		w.c.Enqueue("b")
		w.stop()
		require.Equal(t, 1, finished)
		require.Equal(t, time.Second, time.Since(w.start))
		w.c.Enqueue("c") // no effect, and no deadlock
	})
}

func TestSlowKeysRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks []time.Duration
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var c *controller.Controller[string]
		c = controller.New("test", controller.Func[string](func(_ context.Context, key string) (controller.Result, error) {
			looks = append(looks, time.Since(start).Round(time.Millisecond))
			c.Enqueue(key) // it changes all the time
			if len(looks) > 3 {
				cancel()
			}
			time.Sleep(time.Second)
			return controller.Result{}, nil
		}), controller.Options{Rest: 2})
		c.Enqueue("a")
		require.NoError(t, c.Run(ctx))
		require.Equal(t, []time.Duration{0, 3 * time.Second, 6 * time.Second, 9 * time.Second}, looks)
	})
}

func TestRestHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks []time.Duration
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var c *controller.Controller[string]
		c = controller.New("test", controller.Func[string](func(_ context.Context, key string) (controller.Result, error) {
			looks = append(looks, time.Since(start))
			c.Enqueue(key)
			if len(looks) == 3 {
				cancel()
			}
			time.Sleep([]time.Duration{30 * time.Millisecond, time.Minute, 0}[len(looks)-1])
			return controller.Result{}, nil
		}), controller.Options{Rest: 1, RestAtMost: 100 * time.Millisecond})
		c.Enqueue("a")
		require.NoError(t, c.Run(ctx))
		require.Equal(t, []time.Duration{0, 60 * time.Millisecond, time.Minute + 160*time.Millisecond}, looks)
	})
}

func TestQuickKeysDoNotRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		n, start := 0, time.Now()
		var c *controller.Controller[string]
		c = controller.New("test", controller.Func[string](func(_ context.Context, key string) (controller.Result, error) {
			if n++; n == 100 {
				cancel()
			}
			time.Sleep(9 * time.Millisecond)
			c.Enqueue(key)
			return controller.Result{}, nil
		}), controller.Options{Rest: 9})
		c.Enqueue("a")
		require.NoError(t, c.Run(ctx))
		require.Equal(t, 900*time.Millisecond, time.Since(start))
	})
}
