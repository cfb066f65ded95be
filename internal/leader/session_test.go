package leader_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/leader"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// lasting is a store whose watches and renewals continue for a while after cancellation.
type lasting struct {
	store.Interface
	watch, renewal time.Duration
	mu             sync.Mutex
	underWay       int
	revoked        []int // the number still running at each revocation
}

func (l *lasting) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.underWay += n
}

func (l *lasting) KeepAlive(ctx context.Context, id store.LeaseID) (time.Duration, error) {
	l.count(1)
	defer l.count(-1)
	left, err := l.Interface.KeepAlive(ctx, id)
	time.Sleep(l.renewal)
	return left, err
}

func (l *lasting) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	in, out := l.Interface.Watch(ctx, prefix, after), make(chan store.Batch)
	l.count(1)
	go func() {
		defer close(out)
		defer l.count(-1)
		for batch := range in {
			out <- batch
		}
		time.Sleep(l.watch)
	}()
	return out
}

func (l *lasting) Revoke(ctx context.Context, id store.LeaseID) error {
	l.mu.Lock()
	l.revoked = append(l.revoked, l.underWay)
	l.mu.Unlock()
	return l.Interface.Revoke(ctx, id)
}

// TestNothingRunsOn: a candidate revokes its lease only after its watch and its renewal have ended, whether it leads or
// waits.
func TestNothingRunsOn(t *testing.T) {
	for _, leads := range []bool{true, false} {
		for _, l := range []*lasting{{watch: time.Second, renewal: 600 * time.Millisecond}, {watch: 200 * time.Millisecond, renewal: time.Second}} {
			synctest.Test(t, func(t *testing.T) {
				s := memstore.New(memstore.Options{})
				l.Interface = s.Connect()
				e := newElection(t)
				if !leads {
					e.run(s.Connect(), "other", ttl)
					e.awaitLeader("other")
				}
				stop := e.run(l, "a", ttl)
				time.Sleep(ttl/3 + time.Second/2)
				require.Equal(t, leads, e.leading["a"])
				require.Equal(t, 2, l.underWay, "a watch and a renewal")
				stop()
				time.Sleep(2 * time.Second)
				require.Equal(t, []int{0}, l.revoked)
			})
		}
	}
}

// refusing is a store in which a new key exists at the first attempt to put it, and is gone afterwards.
type refusing struct {
	store.Interface
	refused bool
}

func (r *refusing) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if !r.refused && txn.Ops[0].If == store.Absent() {
		r.refused = true
		return 0, store.ErrConflict
	}
	return r.Interface.Commit(ctx, txn)
}

// TestKeyThatWasThere: a conflicting key that is gone already is not deleted; the candidate puts its own.
func TestKeyThatWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		e := newElection(t)
		a := &asking{Interface: &refusing{Interface: s.Connect()}}
		stop := e.run(a, "a", ttl)
		e.awaitLeader("a")
		_, commits, _ := a.so()
		require.Equal(t, 2, commits, "refused, and put")
		stop()
	})
}

// unlisted is a store that fails to list, with an error or without an answer.
type unlisted struct {
	*memstore.Conn
	err error
}

func (u unlisted) List(ctx context.Context, _ string, _ store.ListOptions) (store.Page, error) {
	if u.err == nil {
		<-ctx.Done()
		return store.Page{}, ctx.Err()
	}
	return store.Page{}, u.err
}

// TestSaysWhyItDoesNotLead: the log has the error that ended the attempt, or that of the lease if it caused the others.
func TestSaysWhyItDoesNotLead(t *testing.T) {
	for name, c := range map[string]struct {
		list error
		want string
	}{
		"listing fails":         {store.ErrDenied, store.ErrDenied.Error()},
		"the lease is not kept": {nil, "the lease could not be renewed in time: " + store.ErrUnavailable.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said []string
				log := funcr.New(func(_, args string) { said = append(said, args) }, funcr.Options{})
				s := memstore.New(memstore.Options{})
				conn := s.Connect()
				ctx, cancel := context.WithCancel(logr.NewContext(t.Context(), log))
				done := make(chan error, 1)
				go func() {
					done <- leader.Run(ctx, unlisted{conn, c.list}, keys, "engine", "a", ttl, func(context.Context, store.Fence) error { return nil })
				}()
				synctest.Wait()
				conn.SetDown(true)
				time.Sleep(ttl)
				cancel()
				require.NoError(t, <-done)
				require.Contains(t, said[0], `"msg"="Not leading, will campaign again"`)
				require.Contains(t, said[0], `"error"="`+c.want)
			})
		})
	}
}

// ending is a store whose watches end at once without an error, like those of a closed client.
type ending struct{ store.Interface }

func (ending) Watch(context.Context, string, int64) <-chan store.Batch {
	out := make(chan store.Batch)
	close(out)
	return out
}

// TestWatchesThatEnd: a leading or waiting candidate retries with growing pauses.
func TestWatchesThatEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		e := newElection(t)
		a, b := &asking{Interface: ending{s.Connect()}}, &asking{Interface: ending{s.Connect()}}
		stopA := e.run(a, "a", ttl)
		e.awaitLeader("a")
		stopB := e.run(b, "b", ttl)
		time.Sleep(time.Minute)
		require.Equal(t, map[string]bool{"a": true}, e.leading)
		require.Len(t, e.terms, 1)
		_, _, watched := a.so()
		require.InDelta(t, 19, len(watched), 4, "0.1 s, twice as long each time, up to 5 s")
		lists, _, _ := b.so()
		require.InDelta(t, 19, lists, 4)
		stopA()
		stopB()
	})
}

// keeping is a store that does not revoke leases, and records renewals.
type keeping struct {
	store.Interface
	renewals []time.Time
}

func (k *keeping) Revoke(context.Context, store.LeaseID) error { return store.ErrUnavailable }

func (k *keeping) KeepAlive(ctx context.Context, id store.LeaseID) (time.Duration, error) {
	k.renewals = append(k.renewals, time.Now())
	return k.Interface.KeepAlive(ctx, id)
}

// TestGivesUpWithoutAnAnswer: a leader that gives up but cannot revoke its lease does not continue to lead under it:
// others get their turn when it ends.
func TestGivesUpWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		var fences []store.Fence
		var starts []time.Time
		go func() {
			done <- leader.Run(ctx, &keeping{Interface: s.Connect()}, keys, "engine", "a", ttl, func(_ context.Context, fence store.Fence) error {
				fences, starts = append(fences, fence), append(starts, time.Now())
				return errors.New("broken")
			})
		}()
		time.Sleep(ttl * 3 / 2)
		cancel()
		require.NoError(t, <-done)
		require.Len(t, fences, 2)
		require.NotEqual(t, fences[0].Key, fences[1].Key)
		require.InDelta(t, ttl.Seconds(), starts[1].Sub(starts[0]).Seconds(), 2)
	})
}

// TestRenewsSoonAfterEachFailure: the pauses after failed renewals grow, and are reset by a success.
func TestRenewsSoonAfterEachFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		conn := s.Connect()
		k := &keeping{Interface: conn}
		e := newElection(t)
		stop := e.run(k, "a", ttl)
		e.awaitLeader("a")
		for range 3 {
			time.Sleep(time.Second)
			conn.SetDown(true)
			k.renewals = nil
			time.Sleep(ttl / 2)
			require.InDelta(t, 0.1, k.renewals[1].Sub(k.renewals[0]).Seconds(), 0.03)
			last := len(k.renewals) - 1
			require.InDelta(t, 2.7, k.renewals[last].Sub(k.renewals[last-1]).Seconds(), 1.5)
			conn.SetDown(false)
			time.Sleep(4 * time.Second)
		}
		require.Len(t, e.terms, 1)
		stop()
	})
}

// TestLeaseEndedUnseen: if the watch has lost the end of the leader's lease and key, the next renewal detects it.
func TestLeaseEndedUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		conn := s.Connect()
		e := newElection(t)
		stop := e.run(conn, "a", ttl)
		first := e.awaitLeader("a")
		conn.SetOld(memstore.OldEtcd{Drop: 1})
		revoked := time.Now()
		require.NoError(t, s.Revoke(t.Context(), candidatesOf(t, s)["a"].Lease))
		e.await("a second term", func() bool { return len(e.terms) == 2 })
		require.Equal(t, ttl/3, first.end.Sub(revoked))
		stop()
	})
}
