package cache_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// reads counts reads of a store.
type reads struct {
	store.Interface
	mu    sync.Mutex
	lists int
	// stale, if not 0, is the revision that listings are answered from.
	stale int64
	// since is what each check asked for; most, if not 0, is the maximum number of keys of one check.
	since []int64
	most  int64
}

func (r *reads) List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error) {
	r.mu.Lock()
	r.lists++
	if r.stale != 0 {
		opts.Revision = r.stale
	}
	if opts.KeysOnly {
		r.since = append(r.since, opts.ChangedAfter)
		opts.Limit = cmp.Or(r.most, opts.Limit)
	}
	r.mu.Unlock()
	return r.Interface.List(ctx, prefix, opts)
}

func (r *reads) take() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.lists
	r.lists = 0
	return n
}

// checked is a reflector in a synctest bubble.
type checked struct {
	*testing.T
	s          *memstore.Store
	reads      *reads
	r          *cache.Reflector
	placements *cache.Collection[v1.Placement]
	follower   *follower
	differs    []string
	relists    int
}

func check(t *testing.T, do func(*checked)) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		for i := range 5 {
			commit(t, s, placement(fmt.Sprintf("m/u%d", i), "0"), unplaced(fmt.Sprintf("u%d", i), "no"))
		}
		commit(t, s, store.Op{Key: "/fleet/placements/x", Value: []byte("{}")}) // ignored: not a valid name
		c := &checked{T: t, s: s, reads: &reads{Interface: s}, follower: &follower{copy: map[string]*cache.Object[v1.Placement]{}}}
		c.r = cache.NewReflector(c.reads, keys.Root(),
			cache.OnDiffers(func(d cache.Difference) { c.differs = append(c.differs, d.Reason) }),
			cache.OnRelist(func(int64) { c.relists++ }))
		c.placements = cache.Register(c.r, keys.Placements())
		cache.Register(c.r, keys.Unplaced())
		c.placements.OnChange(c.follower.follow)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = c.r.Run(ctx) })
		synctest.Wait()
		c.reads.take()
		c.relists = 0
		do(c)
		cancel()
		running.Wait()
	})
}

// right reports whether the collection, and what its handlers received, match the store.
func (c *checked) right() bool {
	c.Helper()
	want := map[string]int64{}
	_, err := store.ListAll(c.Context(), c.s, keys.Placements().Prefix(), store.ListOptions{}, func(kv store.KV) error {
		if name, ok := keys.Placements().Name(kv.Key); ok {
			want[name] = kv.ModRevision
		}
		return nil
	})
	require.NoError(c, err)
	got, told := map[string]int64{}, map[string]int64{}
	for _, o := range c.placements.List() {
		got[o.Name] = o.ModRevision
	}
	for name, o := range c.follower.copy {
		told[name] = o.ModRevision
	}
	require.Empty(c, c.follower.problems)
	require.Equal(c, got, told)
	return maps.Equal(want, got)
}

// period waits for the maximum duration of a check.
func (c *checked) period() {
	time.Sleep(store.CheckEvery*11/10 + time.Second)
	synctest.Wait()
}

// TestMissed: every change that the watch lost is found by the next check and corrected by one listing.
func TestMissed(t *testing.T) {
	del := func(name string) store.Op { return gone(placement(name, "")) }
	for name, c := range map[string]struct {
		lost, seen []store.Op
		differs    []string
	}{
		"a deletion":                       {[]store.Op{del("m/u1")}, nil, []string{cache.Missed}},
		"a new object":                     {[]store.Op{placement("m/new", "1")}, nil, []string{cache.Missed}},
		"a change":                         {[]store.Op{placement("m/u1", "1")}, nil, []string{cache.Missed}},
		"a change, a later one came":       {[]store.Op{placement("m/u1", "1")}, []store.Op{placement("m/u2", "2")}, []string{cache.Missed}},
		"a deletion, others came":          {[]store.Op{del("m/u1")}, []store.Op{placement("m/u2", "2"), placement("m/u9", "2")}, []string{cache.Missed}},
		"a deletion and a new object":      {[]store.Op{del("m/u1"), placement("m/new", "1")}, []store.Op{placement("m/u2", "2")}, []string{cache.Missed}},
		"deleted and made again":           {[]store.Op{del("m/u1"), placement("m/u1", "0")}, []store.Op{placement("m/u2", "2")}, []string{cache.Missed}},
		"a key that is ignored":            {[]store.Op{{Key: "/fleet/placements/y", Value: []byte("{}")}}, nil, []string{cache.Missed}},
		"an ignored key is gone":           {[]store.Op{{Key: "/fleet/placements/x"}}, nil, []string{cache.Missed}},
		"made and deleted":                 {[]store.Op{placement("m/new", "1"), del("m/new")}, nil, nil},
		"a change, a later one of it came": {[]store.Op{placement("m/u1", "1")}, []store.Op{placement("m/u1", "2")}, nil},
		"a change, its deletion came":      {[]store.Op{placement("m/u1", "1")}, []store.Op{del("m/u1")}, nil},
		"nothing":                          {nil, []store.Op{placement("m/u1", "1"), del("m/u2")}, nil},
		"of no row":                        {[]store.Op{{Key: "/fleet/zzz", Value: []byte("x")}}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, func(c2 *checked) {
				c2.s.SetOld(memstore.OldEtcd{Drop: 1})
				for _, op := range c.lost {
					commit(c2.T, c2.s, op)
				}
				synctest.Wait()
				c2.s.SetOld(memstore.OldEtcd{})
				for _, op := range c.seen {
					commit(c2.T, c2.s, op)
				}
				c2.period()
				require.True(c2, c2.right())
				require.Equal(c2, c.differs, c2.differs)
				require.Equal(c2, len(c.differs), c2.relists)
				c2.period()
				require.Equal(c2, len(c.differs), c2.relists, "the content is correct and stays correct")
			})
		})
	}
}

// TestKnownEventsAreDropped: a repeated event is reported once and causes no listing.
func TestKnownEventsAreDropped(t *testing.T) {
	check(t, func(c *checked) {
		c.s.SetOld(memstore.OldEtcd{Twice: 1})
		for i := range 10 {
			commit(c.T, c.s, placement("m/u1", fmt.Sprint(i)), placement("m/u2", fmt.Sprint(i)))
			synctest.Wait()
			commit(c.T, c.s, gone(placement("m/u2", "")))
			synctest.Wait()
		}
		require.True(c, c.right())
		require.Zero(c, c.relists)
		require.Empty(c, c.differs)
	})
}

// TestLate: an event out of order, or after progress that ruled it out, causes a listing at once.
func TestLate(t *testing.T) {
	t.Run("out of order", func(t *testing.T) {
		check(t, func(c *checked) {
			c.s.SetOld(memstore.OldEtcd{Late: 1})
			commit(c.T, c.s, gone(placement("m/u1", "")), placement("m/new", "1"))
			synctest.Wait()
			require.False(c, c.right())
			c.s.SetOld(memstore.OldEtcd{})
			commit(c.T, c.s, placement("m/u2", "2"))
			time.Sleep(time.Second)
			synctest.Wait()
			require.True(c, c.right())
			require.Equal(c, []string{cache.Late}, c.differs)
		})
	})
	t.Run("early progress", func(t *testing.T) {
		check(t, func(c *checked) {
			slow := c.s.Connect()
			slow.SetDown(true)
			b := &behind{Interface: c.s, hold: make(chan struct{})}
			r := cache.NewReflector(b, keys.Root(), cache.OnDiffers(func(d cache.Difference) { c.differs = append(c.differs, d.Reason) }))
			placements := cache.Register(r, keys.Placements())
			ctx, cancel := context.WithCancel(c.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = r.Run(ctx) })
			synctest.Wait()
			last := commit(c.T, c.s, gone(placement("m/u1", "")), placement("m/u2", "2"))
			b.progress(last)
			synctest.Wait()
			require.Equal(c, last, r.Revision(), "as reported by progress")
			close(b.hold)
			time.Sleep(time.Second)
			synctest.Wait()
			require.Equal(c, []string{"m/u0", "m/u2", "m/u3", "m/u4"}, names(placements.List()))
			o, _ := placements.Get("m/u2")
			require.Equal(c, last, o.ModRevision)
			require.Equal(c, []string{cache.Late}, c.differs)
			cancel()
			running.Wait()
		})
	})
}

// behind holds back events and lets the test send progress before them.
type behind struct {
	store.Interface
	hold chan struct{}
	out  chan store.Batch
}

func (b *behind) progress(revision int64) { b.out <- store.Batch{Revision: revision} }

func (b *behind) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	in, out := b.Interface.Watch(ctx, prefix, after), make(chan store.Batch)
	b.out = out
	go func() {
		defer close(out)
		for batch := range in {
			select {
			case <-b.hold:
			case <-ctx.Done():
				continue
			}
			select {
			case out <- batch:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// TestResumesWhereEventsCame: a watch that ends after early progress resumes after the last event.
func TestResumesWhereEventsCame(t *testing.T) {
	check(t, func(c *checked) {
		b := &behind{Interface: c.s, hold: make(chan struct{})}
		r := cache.NewReflector(b, keys.Root())
		placements := cache.Register(r, keys.Placements())
		ctx, cancel := context.WithCancel(c.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = r.Run(ctx) })
		synctest.Wait()
		last := commit(c.T, c.s, gone(placement("m/u1", "")))
		b.progress(last)
		b.out <- store.Batch{Err: store.ErrUnavailable}
		close(b.hold)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(c, []string{"m/u0", "m/u2", "m/u3", "m/u4"}, names(placements.List()))
		cancel()
		running.Wait()
	})
}

// TestCheckCosts: at rest there is one read per row and period, and nothing else.
func TestCheckCosts(t *testing.T) {
	check(t, func(c *checked) {
		const periods = 20
		time.Sleep(periods * store.CheckEvery)
		synctest.Wait()
		require.InDelta(c, 2*periods, c.reads.take(), 2*periods/8)
		require.Zero(c, c.relists)
	})
}

// TestChecksWhileThingsChange: correct content is never reported as different, however many changes are in flight.
func TestChecksWhileThingsChange(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			s := memstore.New(memstore.Options{})
			commit(t, s, placement("m/u0", "0"))
			var differs []cache.Difference
			slow := &delayed{Interface: s, random: random}
			r := cache.NewReflector(slow, keys.Root(), cache.WithCheckEvery(20*time.Millisecond),
				cache.OnDiffers(func(d cache.Difference) { differs = append(differs, d) }))
			placements := cache.Register(r, keys.Placements())
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = r.Run(ctx) })
			for range 2000 {
				op := placement(fmt.Sprintf("m/u%d", random.IntN(8)), fmt.Sprint(random.Int()))
				switch random.IntN(4) {
				case 0:
					op = gone(op)
				case 1: // an ignored key, or one no longer ignored
					op.Key = strings.Replace(op.Key, "m/", "", 1)
				}
				commit(t, s, op)
				time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
			}
			time.Sleep(time.Second)
			require.Empty(t, differs)
			page, err := s.List(t.Context(), keys.Placements().Prefix()+"m/", store.ListOptions{})
			require.NoError(t, err)
			require.Len(t, page.KVs, placements.Len())
			cancel()
			running.Wait()
		})
	}
}

// delayed delays answers and batches.
type delayed struct {
	store.Interface
	mu     sync.Mutex
	random *rand.Rand
}

func (d *delayed) wait() {
	d.mu.Lock()
	pause := time.Duration(d.random.IntN(5000)) * time.Microsecond
	d.mu.Unlock()
	time.Sleep(pause)
}

func (d *delayed) List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error) {
	d.wait()
	defer d.wait()
	return d.Interface.List(ctx, prefix, opts)
}

func (d *delayed) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	in, out := d.Interface.Watch(ctx, prefix, after), make(chan store.Batch)
	go func() {
		defer close(out)
		for batch := range in {
			d.wait()
			select {
			case out <- batch:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// withBehind runs a reflector whose watch has stopped delivering without ending. It is to notice that during then.
func withBehind(t *testing.T, then func(c *checked, ctx context.Context, r *cache.Reflector)) {
	check(t, func(c *checked) {
		b := &behind{Interface: c.s, hold: make(chan struct{})}
		var differs []string
		r := cache.NewReflector(b, keys.Root(), cache.OnDiffers(func(d cache.Difference) { differs = append(differs, d.Reason) }))
		placements := cache.Register(r, keys.Placements())
		ctx, cancel := context.WithCancel(c.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = r.Run(ctx) })
		synctest.Wait()
		then(c, ctx, r)
		require.Equal(c, []string{cache.Behind}, differs)
		require.Equal(c, 4, placements.Len())
		cancel()
		running.Wait()
	})
}

// TestBehind: the check detects it.
func TestBehind(t *testing.T) {
	withBehind(t, func(c *checked, _ context.Context, _ *cache.Reflector) {
		commit(c.T, c.s, gone(placement("m/u1", "")))
		c.period()
		time.Sleep(15 * time.Second)
	})
}

// TestBehindIsSuspected: a wait for a write that the watch does not deliver ends long before the next regular check.
func TestBehindIsSuspected(t *testing.T) {
	withBehind(t, func(c *checked, ctx context.Context, r *cache.Reflector) {
		began := time.Now()
		require.NoError(c, r.WaitForRevision(ctx, commit(c.T, c.s, gone(placement("m/u1", "")))))
		require.Less(c, time.Since(began), 20*time.Second)
	})
}

// TestStaleReads: a listing at an older revision, from a member that lags behind, is rejected; one from a restored
// backup is accepted eventually.
func TestStaleReads(t *testing.T) {
	check(t, func(c *checked) {
		past := c.s.Revision()
		commit(c.T, c.s, gone(placement("m/u1", "")), placement("m/u2", "2"))
		synctest.Wait()
		before := slices.Clone(names(c.placements.List()))
		c.reads.stale = past
		c.period()
		c.reads.mu.Lock()
		c.reads.stale = 0
		c.reads.mu.Unlock()
		require.Equal(c, cache.WentBack, c.differs[0])
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(c, before, names(c.placements.List()))
	})
	t.Run("restored", func(t *testing.T) {
		check(t, func(c *checked) {
			// other has the same revisions with other content.
			other := memstore.New(memstore.Options{})
			for i := range 3 {
				commit(c.T, other, placement(fmt.Sprintf("m/u%d", i), "restored"))
			}
			c.reads.Interface = other
			c.period()
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Equal(c, []string{"m/u0", "m/u1", "m/u2"}, names(c.placements.List()))
			o, _ := c.placements.Get("m/u1")
			require.Equal(c, "restored", o.Value.Hash)
			require.Equal(c, other.Revision(), c.r.Revision())
			commit(c.T, other, placement("m/u7", "new"))
			synctest.Wait()
			require.Equal(c, 4, c.placements.Len(), "the watch follows the restored store")
		})
	})
}
