package leader_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/leader"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var keys = keyspace.New("")

// term is a period of leadership.
type term struct {
	id         string
	fence      store.Fence
	start, end time.Time // end of its context
}

// election records the leaders, and fails if two overlap.
type election struct {
	t       *testing.T
	overlap bool // two may lead for a moment, because the lease was revoked by hand
	mu      sync.Mutex
	leading map[string]bool
	terms   []*term
	changed chan struct{}
}

func newElection(t *testing.T) *election {
	return &election{t: t, leading: map[string]bool{}, changed: make(chan struct{})}
}

// run starts a candidate; the function returned stops it and waits.
func (e *election) run(s store.Interface, id string, ttl time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- leader.Run(ctx, s, keys, "engine", id, ttl, e.elected(id)) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(e.t, <-done)
	})
	e.t.Cleanup(stop)
	return stop
}

func (e *election) elected(id string) func(context.Context, store.Fence) error {
	return func(ctx context.Context, fence store.Fence) error {
		term := &term{id: id, fence: fence, start: time.Now()}
		e.change(func() {
			if len(e.leading) > 0 && !e.overlap {
				e.t.Errorf("%s leads beside %v", id, e.leading)
			}
			e.leading[id] = true
			e.terms = append(e.terms, term)
		})
		<-ctx.Done()
		e.change(func() {
			term.end = time.Now()
			delete(e.leading, id)
		})
		return ctx.Err()
	}
}

func (e *election) change(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
	close(e.changed)
	e.changed = make(chan struct{})
}

// await waits until it holds and returns the last term.
func (e *election) await(what string, holds func() bool) *term {
	e.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		e.mu.Lock()
		ok, changed := holds(), e.changed
		var last *term
		if ok && len(e.terms) > 0 {
			last = e.terms[len(e.terms)-1]
		}
		e.mu.Unlock()
		if ok {
			return last
		}
		select {
		case <-changed:
		case <-limit:
			require.Fail(e.t, "not reached: "+what)
		}
	}
}

func (e *election) awaitLeader(id string) *term {
	e.t.Helper()
	return e.await(id+" leads", func() bool { return e.leading[id] })
}

func (e *election) awaitNoLeader() {
	e.t.Helper()
	e.await("no candidate leads", func() bool { return len(e.leading) == 0 })
}

const ttl = 30 * time.Second

func TestHandsOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		e := newElection(t)
		stopA := e.run(s.Connect(), "a", ttl)
		e.awaitLeader("a")
		stopB := e.run(s.Connect(), "b", ttl)
		time.Sleep(10 * time.Minute)
		require.Len(t, e.terms, 1)
		page, err := s.List(t.Context(), keys.Leader("engine")+"/", store.ListOptions{})
		require.NoError(t, err)
		require.Len(t, page.KVs, 2)
		require.Equal(t, s.Revision(), max(page.KVs[0].ModRevision, page.KVs[1].ModRevision), "at rest nothing is written")

		stopped := time.Now()
		stopA()
		require.Equal(t, stopped, e.awaitLeader("b").start)
		stopB()
	})
}

// TestCutOff: a leader that is cut off stops before its lease can have ended; the next one leads after that.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		e := newElection(t)
		a := s.Connect()
		stopA := e.run(a, "a", ttl)
		first := e.awaitLeader("a")
		stopB := e.run(s.Connect(), "b", ttl)
		time.Sleep(time.Minute + time.Second)
		a.SetDown(true)
		second := e.awaitLeader("b")
		require.True(t, first.end.Before(second.start))
		require.GreaterOrEqual(t, second.start.Sub(first.end), ttl/5)
		_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/x", Value: []byte{}}}, Fence: first.fence})
		require.ErrorIs(t, err, store.ErrFenced)
		a.SetDown(false)
		time.Sleep(10 * time.Minute)
		require.Len(t, e.terms, 2)
		stopA()
		stopB()
	})
}

// TestShortCutKeepsTheLeader: the leader stays as long as the lease is renewed in time.
func TestShortCutKeepsTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		e := newElection(t)
		stop := e.run(s, "a", ttl)
		e.awaitLeader("a")
		for range 10 {
			time.Sleep(10 * time.Second)
			s.SetDown(true)
			time.Sleep(10 * time.Second)
			s.SetDown(false)
			time.Sleep(10 * time.Second)
		}
		require.Len(t, e.terms, 1)
		stop()
	})
}

// TestSameLeaderAfterLongCut: leases survive an outage of etcd itself; the leader keeps its key.
func TestSameLeaderAfterLongCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		e := newElection(t)
		stop := e.run(s, "a", ttl)
		first := e.awaitLeader("a")
		s.SetDown(true)
		e.awaitNoLeader()
		s.ExtendLeases()
		time.Sleep(20 * time.Second)
		s.SetDown(false)
		require.Equal(t, first.fence, e.awaitLeader("a").fence)
		stop()
	})
}

func TestKeyDeletedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		e := newElection(t)
		stop := e.run(s, "a", ttl)
		first := e.awaitLeader("a")
		_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: first.fence.Key}}})
		require.NoError(t, err)
		e.await("a second term", func() bool { return len(e.terms) == 2 })
		require.NotEqual(t, first.fence, e.terms[1].fence)
		stop()
	})
}

// TestLostAnswers: a key that was put although the answer was lost is recognized, not waited for.
func TestLostAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		e := newElection(t)
		s.LoseAnswers(true)
		stop := e.run(s, "a", ttl)
		e.awaitLeader("a")
		stop()
		page, err := s.List(t.Context(), keys.Leader("engine"), store.ListOptions{})
		require.NoError(t, err)
		require.Empty(t, page.KVs)
	})
}

// TestGivesUp: if the elected function fails, another candidate leads, and the first campaigns again.
func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		terms := 0
		go func() {
			done <- leader.Run(ctx, s, keys, "engine", "a", ttl, func(context.Context, store.Fence) error {
				terms++
				return errors.New("broken")
			})
		}()
		e := newElection(t)
		synctest.Wait()
		stop := e.run(s, "b", ttl)
		e.awaitLeader("b")
		stop()
		time.Sleep(time.Minute)
		cancel()
		require.NoError(t, <-done)
		require.Greater(t, terms, 5)
		require.Less(t, terms, 30, "with growing pauses")
	})
}

// TestNeverTwo cuts candidates off at random. There are never two leaders at once (elected checks), and after recovery
// there is one.
func TestNeverTwo(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			s := memstore.New(memstore.Options{})
			e := newElection(t)
			var conns []*memstore.Conn
			var stops []func()
			for i := range 4 {
				conns = append(conns, s.Connect())
				stops = append(stops, e.run(conns[i], fmt.Sprint(i), ttl))
			}
			for range 100 {
				conns[random.IntN(4)].SetDown(random.IntN(2) == 0)
				conns[random.IntN(4)].LoseAnswers(random.IntN(4) == 0)
				time.Sleep(time.Duration(random.Int64N(int64(ttl))))
			}
			for _, c := range conns {
				c.SetDown(false)
				c.LoseAnswers(false)
			}
			time.Sleep(2 * ttl)
			e.await("a leader", func() bool { return len(e.leading) == 1 })
			require.Greater(t, len(e.terms), 3)
			for _, stop := range stops {
				stop()
			}
		})
	}
}
