package cache_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// recorded are the events of a recorder.
type recorded []string

func (r *recorded) Record(kind, name, eventType, reason, message string) {
	*r = append(*r, strings.Join([]string{kind, name, eventType, reason, message}, " "))
}

// counters returns the registry's non-zero counters.
func counters(t *testing.T, registry *prometheus.Registry) (list []string) {
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			text := strings.TrimPrefix(family.GetName(), "fleet_cache_")
			for _, label := range m.GetLabel() {
				text += " " + label.GetValue()
			}
			list = append(list, fmt.Sprint(text, " ", m.GetCounter().GetValue()))
		}
	}
	return list
}

// TestAMissedChangeIsTold: a missed change is reported in the log, as an event and in the metrics.
func TestAMissedChangeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		commit(t, s, placement("m/a", "1")) // 2
		var events recorded
		var said []string
		registry := prometheus.NewRegistry()
		r := cache.NewReflector(s, keys.Root(), cache.RecordDiffers(&events), cache.WithMetrics(cache.NewMetrics(registry)),
			cache.WithLogger(funcr.New(func(_, args string) { said = append(said, args) }, funcr.Options{})))
		cache.Register(r, keys.Placements())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = r.Run(ctx) })
		synctest.Wait()
		commit(t, s, placement("m/b", "1")) // 3
		synctest.Wait()
		require.EqualValues(t, 3, r.Revision())
		s.SetOld(memstore.OldEtcd{Drop: 1})
		commit(t, s, placement("m/a", "2")) // 4
		s.SetOld(memstore.OldEtcd{})
		time.Sleep(store.CheckEvery * 3 / 2)
		synctest.Wait()
		message := "at revision 4 /fleet/placements/m/a changed at revision 4, the cache has revision 2"
		require.Equal(t, recorded{"Key /fleet/placements/ Warning CacheMissed " + message}, events)
		require.Contains(t, strings.Join(said, "\n"), `"reason"="Missed" "prefix"="/fleet/placements/" "message"="`+message)
		require.Equal(t, []string{"checks_total /fleet/placements/ Missed 1", "relists_total /fleet/ Missed 1"}, counters(t, registry))
		require.EqualValues(t, 4, r.Revision())
		cancel()
		running.Wait()
	})
}

// TestCheckEvery: 0 means the default, negative means never.
func TestCheckEvery(t *testing.T) {
	for every, want := range map[time.Duration]int{0: 12, time.Minute: 60, -1: 0} {
		synctest.Test(t, func(t *testing.T) {
			s := &reads{Interface: memstore.New(memstore.Options{})}
			r := cache.NewReflector(s, keys.Root(), cache.WithCheckEvery(every))
			cache.Register(r, keys.Placements())
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = r.Run(ctx) })
			synctest.Wait()
			s.take()
			time.Sleep(time.Hour + time.Second)
			require.InDelta(t, want, s.take(), float64(want)/12)
			cancel()
			running.Wait()
		})
	}
}

// TestChecksReadWhatChanged: a check reads what changed since the listing or the previous check, page by page.
func TestChecksReadWhatChanged(t *testing.T) {
	check(t, func(c *checked) {
		listed := c.s.Revision()
		c.reads.most = 2
		for i := range 4 {
			commit(c.T, c.s, placement(fmt.Sprintf("m/u%d", i), "1"))
		}
		c.period()
		require.Equal(c, []int64{listed, listed, listed}, c.reads.since, "two pages of placements, one of unplaced")
		checked := c.s.Revision()
		c.reads.since = nil
		for i := range 4 {
			commit(c.T, c.s, placement(fmt.Sprintf("m/u%d", i), "2"))
		}
		synctest.Wait()
		c.s.SetOld(memstore.OldEtcd{Drop: 1})
		commit(c.T, c.s, placement("m/u4", "2"))
		c.period()
		require.Equal(c, []int64{checked, checked, checked}, c.reads.since)
		require.Equal(c, []string{cache.Missed}, c.differs)
		require.True(c, c.right())
	})
}

// TestTold: the changes of one batch in a row are reported together, waiters continue at that moment, and objects with
// equal contents share their values. A listing uses the configured page size.
func TestTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		refused := func(name string) store.Op {
			value, err := keys.Unplaced().Encode(v1.Unplaced{Reasons: []v1.Refusal{{}}})
			require.NoError(t, err)
			return store.Op{Key: keys.Unplaced().Key(name), Value: value}
		}
		l := &limits{Interface: s}
		r := cache.NewReflector(l, keys.Root(), cache.WithPageSize(7), cache.WithCheckEvery(-1))
		unplaced := cache.Register(r, keys.Unplaced())
		var calls []int
		unplaced.OnChange(func(events []cache.Event[v1.Unplaced]) { calls = append(calls, len(events)) })
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = r.Run(ctx) })
		synctest.Wait()
		require.Equal(t, []int64{7}, l.limits)
		began := time.Now()
		var waited time.Duration
		running.Go(func() {
			if r.WaitForRevision(ctx, 2) == nil {
				waited = time.Since(began)
			}
		})
		time.Sleep(100 * time.Millisecond)
		commit(t, s, refused("a"), refused("b"))
		time.Sleep(time.Second)
		require.Equal(t, []int{2}, calls)
		require.Equal(t, 100*time.Millisecond, waited)
		list := unplaced.List()
		require.Same(t, &list[0].Value.Reasons[0], &list[1].Value.Reasons[0])
		cancel()
		running.Wait()
	})
}

// limits records the page sizes of listings.
type limits struct {
	store.Interface
	limits []int64
}

func (l *limits) List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error) {
	l.limits = append(l.limits, opts.Limit)
	return l.Interface.List(ctx, prefix, opts)
}
