package cache_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// failing is a store whose listings and watches end as configured. It records their start times.
type failing struct {
	*memstore.Conn
	mu             sync.Mutex
	list           error
	last           store.Batch   // ends a watch
	after          time.Duration // duration of the watch
	bring          bool          // it delivers a batch first
	lists, watches []time.Time
}

func (f *failing) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	f.lists, f.watches = nil, nil
}

func (f *failing) List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists = append(f.lists, time.Now())
	if f.list != nil {
		return store.Page{}, f.list
	}
	return f.Conn.List(ctx, prefix, opts)
}

func (f *failing) Watch(ctx context.Context, prefix string, revision int64) <-chan store.Batch {
	f.mu.Lock()
	f.watches = append(f.watches, time.Now())
	last, after, bring := f.last, f.after, f.bring
	f.mu.Unlock()
	out := make(chan store.Batch)
	go func() {
		defer close(out)
		ctx, cancel := context.WithCancel(ctx)
		in := f.Conn.Watch(ctx, prefix, revision)
		if bring {
			select {
			case out <- <-in:
			case <-ctx.Done():
			}
		}
		if store.Sleep(ctx, after) {
			select {
			case out <- last:
			case <-ctx.Done():
			}
		}
		if last.Err == nil {
			<-ctx.Done()
		}
		cancel()
		for range in {
		}
	}()
	return out
}

// pauses returns the differences between the times.
func pauses(moments []time.Time) (list []float64) {
	for i := range moments[1:] {
		list = append(list, moments[i+1].Sub(moments[i]).Seconds())
	}
	return list
}

func retrying(t *testing.T, do func(f *failing, running func())) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		commit(t, s, placement("m/a", "1"))
		f := &failing{Conn: s.Connect()}
		r := cache.NewReflector(f, keys.Root(), cache.WithCheckEvery(-1))
		cache.Register(r, keys.Placements())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		do(f, func() { running.Go(func() { _ = r.Run(ctx) }) })
		cancel()
		running.Wait()
	})
}

// TestPauses: the pauses between failing attempts grow up to 5 s. A listing, or a watch that delivered something,
// resets them.
func TestPauses(t *testing.T) {
	retrying(t, func(f *failing, run func()) {
		growing := func(list []float64) {
			t.Helper()
			require.Greater(t, len(list), 6)
			for i, want := range []float64{0.09, 0.18, 0.36, 0.72, 1.44, 2.88, 4.5} {
				require.InDelta(t, want, list[i], want/8)
			}
			require.InDelta(t, 4.5, list[len(list)-1], 0.5)
		}
		f.list, f.last = store.ErrUnavailable, store.Batch{Err: store.ErrUnavailable}
		run()
		time.Sleep(30 * time.Second)
		growing(pauses(f.lists))

		f.set(func() { f.list = nil })
		time.Sleep(40 * time.Second)
		require.Len(t, f.lists, 1)
		growing(pauses(f.watches))

		f.set(func() { f.bring = true })
		commit(t, f.Conn, placement("m/a", "2"))
		time.Sleep(10 * time.Second) // the next watch delivers it, those after it wait for more
		require.Len(t, f.watches, 2)
		require.InDelta(t, 0.09, pauses(f.watches)[0], 0.02)
		require.Empty(t, f.lists, "it resumes without a listing")
	})
}

// TestPausesOfDistrust: the pauses between listings caused by inconsistent data grow up to 30 s, and are reset by a
// watch that lasts more than a minute.
func TestPausesOfDistrust(t *testing.T) {
	retrying(t, func(f *failing, run func()) {
		for range 5 {
			commit(t, f.Conn, placement("m/a", "2"))
		}
		late := placement("m/b", "1")
		f.last = store.Batch{Events: []store.Event{{KV: store.KV{Key: late.Key, Value: late.Value, CreateRevision: 2, ModRevision: 2}}}, Revision: 2}
		run()
		time.Sleep(3 * time.Minute)
		list := pauses(f.lists)
		require.InDelta(t, 0.09, list[0], 0.02)
		require.InDelta(t, 0.18, list[1], 0.03)
		require.InDelta(t, 27, list[len(list)-1], 3.1)

		f.set(func() { f.after = time.Minute })
		time.Sleep(5 * time.Minute)
		require.InDelta(t, 60+27, pauses(f.lists)[2], 3.1)

		f.set(func() { f.after = time.Minute + time.Second })
		time.Sleep(6 * time.Minute)
		require.InDelta(t, 61+0.09, pauses(f.lists)[3], 0.02)
	})
}

// TestRefusesThePast: a listing older than the known state is rejected five times in a row, then accepted. Each series
// of such answers is counted separately.
func TestRefusesThePast(t *testing.T) {
	check(t, func(c *checked) {
		past := c.s.Revision()
		commit(c.T, c.s, placement("m/u2", "2"))
		stale := func(revision int64) {
			c.reads.mu.Lock()
			defer c.reads.mu.Unlock()
			c.reads.stale = revision
		}
		refused := func(listings int) {
			c.Helper()
			c.reads.take()
			stale(past)
			for n := 0; n < 1+2*listings; n += c.reads.take() { // a check, and listings of two rows
				time.Sleep(time.Millisecond)
			}
		}
		refused(3)
		stale(0)
		time.Sleep(time.Minute)
		require.Equal(c, []string{cache.WentBack}, c.differs)
		require.Equal(c, 1, c.relists)
		for i := range 2 {
			c.differs = nil
			refused(5)
			require.Equal(c, []string{cache.WentBack}, c.differs, i)
			require.Equal(c, 1+i, c.relists)
			time.Sleep(10 * time.Second)
			require.Equal(c, []string{cache.WentBack, cache.WentBack}, c.differs, i)
			require.Equal(c, 2+i, c.relists)
			require.Equal(c, 2, c.reads.take(), "the sixth is accepted")
			o, _ := c.placements.Get("m/u2")
			require.Equal(c, "2", o.Value.Hash, "the watch continues from there")
		}
	})
}
