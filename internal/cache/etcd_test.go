package cache_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
)

// follower maintains a copy from events, and fails on inconsistent ones: repeated or missing events.
type follower struct {
	mu       sync.Mutex
	copy     map[string]*cache.Object[v1.Placement]
	problems []string
}

func (f *follower) follow(events []cache.Event[v1.Placement]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		if f.copy[e.Name] != e.Old {
			f.problems = append(f.problems, fmt.Sprintf("%s at %d: the old object is not the one of the previous event", e.Name, e.Revision))
		}
		if e.New == nil {
			delete(f.copy, e.Name)
			continue
		}
		if e.Old != nil && e.New.ModRevision <= e.Old.ModRevision {
			f.problems = append(f.problems, fmt.Sprintf("%s at %d: reported twice", e.Name, e.Revision))
		}
		f.copy[e.Name] = e.New
	}
}

func (f *follower) check(t *testing.T, want map[string]int64) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Empty(t, f.problems)
	got := map[string]int64{}
	for name, o := range f.copy {
		got[name] = o.ModRevision
	}
	require.Equal(t, want, got)
}

// TestReflectorOutlivesEtcd writes at random while etcd is restarted, cut off, frozen and compacted: in the end the
// cache matches etcd, and no event was lost or repeated.
func TestReflectorOutlivesEtcd(t *testing.T) {
	etcd := etcdtest.Start(t)
	cfg := etcd.Config()
	cfg.RequestTimeout = time.Second
	f := &follower{copy: map[string]*cache.Object[v1.Placement]{}}
	listings := 0
	r := cache.NewReflector(etcd.ClientWith(cfg), keys.Root(), cache.WithPageSize(10),
		cache.OnRelist(func(int64) { listings++ }))
	placements := cache.Register(r, keys.Placements())
	placements.OnChange(f.follow)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	defer func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.GreaterOrEqual(t, listings, 2, "the first one, and one after the missed revisions were compacted")
	}()

	random := rand.New(rand.NewPCG(1, 2))
	write := func() (revision int64) {
		for range 30 {
			op := placement(fmt.Sprintf("m%d/u%d", random.IntN(3), random.IntN(10)), fmt.Sprint(random.Int()))
			if random.IntN(3) == 0 {
				op = gone(op)
			}
			revision = commit(t, rawStore{etcd, t}, op)
		}
		return revision
	}
	for _, trouble := range []struct {
		name string
		do   func()
	}{
		{"none", func() { write() }},
		{"restart", func() { etcd.Stop(); etcd.Start(); write() }},
		{"cut off", func() { etcd.Cut(); write(); etcd.Mend() }},
		{"cut off and compacted", func() { etcd.Cut(); etcd.Compact(write()); write(); etcd.Mend() }},
		{"compacted while watching", func() { etcd.Compact(write()); write() }},
		{"frozen", func() { etcd.Freeze(); write(); etcd.Thaw() }},
		{"restart and compacted", func() { etcd.Stop(); etcd.Start(); etcd.Compact(write()) }},
	} {
		trouble.do()
		revision := write()
		waitCtx, cancelWait := context.WithTimeout(ctx, 20*time.Second)
		require.NoError(t, r.WaitForRevision(waitCtx, revision), trouble.name)
		cancelWait()
		f.check(t, content(t, rawStore{etcd, t}))
		require.Len(t, f.copy, placements.Len(), trouble.name)
	}
}

// rawStore writes to etcd directly, past the network that the test interrupts.
type rawStore struct {
	etcd *etcdtest.Server
	t    *testing.T
}

func (s rawStore) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	op := txn.Ops[0]
	if op.Value == nil {
		resp, err := s.etcd.Raw().Delete(ctx, op.Key)
		require.NoError(s.t, err)
		return resp.Header.Revision, nil
	}
	return s.etcd.Put(op.Key, string(op.Value)), nil
}

func content(t *testing.T, s rawStore) map[string]int64 {
	client := s.etcd.Client()
	out := map[string]int64{}
	_, err := store.ListAll(t.Context(), client, keys.Placements().Prefix(), store.ListOptions{}, func(kv store.KV) error {
		name, _ := keys.Placements().Name(kv.Key)
		out[name] = kv.ModRevision
		return nil
	})
	require.NoError(t, err)
	return out
}

// TestWaitForRevisionOnEtcd: etcd's progress answer ends the wait for a revision outside the prefix.
func TestWaitForRevisionOnEtcd(t *testing.T) {
	etcd := etcdtest.Start(t)
	client := etcd.Client()
	f := reflect(t, client)
	f.wait(1)
	f.wait(etcd.Put("/elsewhere", "1"))
	f.wait(commit(t, client, placement("m/a", "1")))
	_, ok := f.placements.Get("m/a")
	require.True(t, ok)
	f.stop()
	require.Equal(t, 1, f.relists)
}

// losing is a store whose watches lose the events of one key.
type losing struct {
	store.Interface
	key string
}

func (l losing) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	in, out := l.Interface.Watch(ctx, prefix, after), make(chan store.Batch)
	go func() {
		defer close(out)
		for batch := range in {
			batch.Events = slices.DeleteFunc(batch.Events, func(e store.Event) bool { return e.Key == l.key })
			select {
			case out <- batch:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// TestCheckOnEtcd: a change and a deletion that an etcd watch lost are found by a check, even though later changes
// arrived.
func TestCheckOnEtcd(t *testing.T) {
	etcd := etcdtest.Start(t)
	client := etcd.Client()
	commit(t, client, placement("m/a", "1"), placement("m/b", "1"), placement("m/c", "1"))
	for _, lost := range []store.Op{placement("m/a", "2"), gone(placement("m/a", ""))} {
		differs := make(chan cache.Difference, 10)
		r := cache.NewReflector(losing{client, lost.Key}, keys.Root(), cache.WithCheckEvery(50*time.Millisecond),
			cache.OnDiffers(func(d cache.Difference) { differs <- d }))
		placements := cache.Register(r, keys.Placements())
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		require.NoError(t, r.WaitForSync(ctx))
		commit(t, client, lost)
		commit(t, client, placement("m/b", fmt.Sprint(len(lost.Value))))
		select {
		case d := <-differs:
			require.Equal(t, cache.Missed, d.Reason, d.Message)
			require.Equal(t, keys.Placements().Prefix(), d.Prefix)
		case <-ctx.Done():
			require.Fail(t, "no check found it")
		}
		require.Eventually(t, func() bool {
			o, ok := placements.Get("m/a")
			return ok == (lost.Value != nil) && (!ok || o.Value.Hash == "2")
		}, 10*time.Second, time.Millisecond)
		time.Sleep(200 * time.Millisecond)
		require.Empty(t, differs, "the content is correct now")
		cancel()
		<-done
	}
}
