package presence

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

const (
	id  = "0123456789abcdef0123456789abcdef"
	ttl = 30 * time.Second
)

var keys = keyspace.New("")

func machineAt(address string) v1.Machine {
	return v1.Machine{Metadata: v1.ObjectMeta{Name: id}, Spec: v1.MachineSpec{Address: address}}
}

// life is one run of a fleetd.
type life struct {
	*Presence
	cancel context.CancelFunc
	end    chan error
}

func begin(t *testing.T, s *memstore.Store, file, address string, onReturn func()) *life {
	return beginFor(t, ttl, s, file, address, onReturn)
}

func beginFor(t *testing.T, ttl time.Duration, s *memstore.Store, file, address string, onReturn func()) *life {
	l := &life{Presence: New(Options{Store: s.Connect(), Keys: keys, Machine: machineAt(address), TTL: ttl, LeaseFile: file,
		OnReturn: onReturn, Log: logr.Discard()}), end: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	l.cancel = cancel
	go func() { l.end <- l.Run(ctx) }()
	synctest.Wait()
	return l
}

func (l *life) stop(t *testing.T) {
	l.cancel()
	require.NoError(t, <-l.end)
}

func (l *life) isPresent() bool { return closed(l.Present()) }
func (l *life) isAlone() bool   { return closed(l.Alone()) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func key() string { return keys.Machines().Key(id) }

// storedAt returns the address in the store and the revision of its last change; 0 if there is none.
func storedAt(t *testing.T, s *memstore.Store) (string, int64) {
	kv, ok, _, err := s.Get(t.Context(), key())
	require.NoError(t, err)
	if !ok {
		return "", 0
	}
	m, err := keys.Machines().Decode(kv.Value)
	require.NoError(t, err)
	return m.Spec.Address, kv.ModRevision
}

func TestRestartAdoptsTheLeaseAndWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, file := memstore.New(memstore.Options{}), filepath.Join(t.TempDir(), "lease")
		l := begin(t, s, file, "10.0.0.1", nil)
		require.True(t, l.isPresent())
		address, first := storedAt(t, s)
		require.Equal(t, "10.0.0.1", address)

		l.stop(t)
		time.Sleep(ttl / 2)
		l = begin(t, s, file, "10.0.0.1", nil)
		time.Sleep(10 * ttl) // at rest: only keep-alives
		_, now := storedAt(t, s)
		require.Equal(t, first, now)
		require.False(t, l.WasAway())

		l.Update(machineAt("10.0.0.9"))
		synctest.Wait()
		address, _ = storedAt(t, s)
		require.Equal(t, "10.0.0.9", address, "changed: put again")

		l.stop(t)
		time.Sleep(2 * ttl)
		address, _ = storedAt(t, s)
		require.Empty(t, address, "stopped for good")
	})
}

// A restart with another agent_ttl, and with another address, as after the first configuration: the presence is never gone, and
// ends after the new TTL.
func TestNewTTLTakesEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, file := memstore.New(memstore.Options{}), filepath.Join(t.TempDir(), "lease")
		begin(t, s, file, "127.0.0.1", nil).stop(t)
		_, first := storedAt(t, s)
		l := beginFor(t, 3*time.Second, s, file, "10.0.0.1", func() { t.Error("it was never away") })
		require.True(t, l.isPresent())
		address, now := storedAt(t, s)
		require.Equal(t, "10.0.0.1", address)
		require.Equal(t, first+1, now, "one write")
		time.Sleep(2 * ttl)
		_, same := storedAt(t, s)
		require.Equal(t, now, same)
		require.False(t, l.WasAway())
		l.stop(t)
		time.Sleep(4 * time.Second)
		address, _ = storedAt(t, s)
		require.Empty(t, address)
	})
}

func TestDeletedPresenceIsPutAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		l := begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.1", nil)
		_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key()}}})
		require.NoError(t, err)
		synctest.Wait()
		address, _ := storedAt(t, s)
		require.Equal(t, "10.0.0.1", address)
		l.stop(t)
	})
}

// A machine's key put with etcdctl is not another machine with its ID, which would be waited for forever.
func TestPresenceWithoutALeaseIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		put := func() {
			_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key(), Value: []byte(`{"spec":{"address":"10.0.0.66"}}`)}}})
			require.NoError(t, err)
		}
		put()
		l := begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.1", nil)
		for range 2 {
			require.True(t, l.isPresent())
			address, _ := storedAt(t, s)
			require.Equal(t, "10.0.0.1", address)
			put()
			synctest.Wait()
		}
		l.stop(t)
	})
}

func TestNewLeaseAfterEtcdWasAwayForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		returns := 0
		l := begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.1", func() { returns++ })
		conn := l.Options.Store.(*memstore.Conn)
		conn.SetDown(true)
		time.Sleep(2 * ttl)
		require.True(t, l.WasAway())
		address, _ := storedAt(t, s)
		require.Empty(t, address)
		conn.SetDown(false)
		time.Sleep(ttl / 2)
		address, _ = storedAt(t, s)
		require.Equal(t, "10.0.0.1", address)
		require.Equal(t, 1, returns)
		require.True(t, l.WasAway(), "for a while")
		time.Sleep(3 * ttl)
		require.False(t, l.WasAway())
		l.stop(t)
	})
}

// A machine has to consider itself cut off a third of the TTL before its lease may end, and again not before its new presence is in
// the store.
func TestCutOffAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		l := begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.1", nil)
		conn := l.Options.Store.(*memstore.Conn)
		for range 20 {
			time.Sleep(ttl / 4)
			require.True(t, time.Now().Before(l.CutOffAt()))
		}
		conn.SetDown(true)
		for time.Now().Before(l.CutOffAt()) {
			time.Sleep(10 * time.Millisecond)
		}
		for range int(ttl / 3 / (10 * time.Millisecond)) { // what it has to stop its units
			address, _ := storedAt(t, s)
			require.NotEmpty(t, address)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(ttl)
		conn.SetDown(false)
		for !time.Now().Before(l.CutOffAt()) {
			time.Sleep(10 * time.Millisecond)
		}
		address, _ := storedAt(t, s)
		require.Equal(t, "10.0.0.1", address)
		l.stop(t)
	})
}

func TestRebootTakesOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.1", nil).stop(t)
		l := begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.1", nil) // the lease file is lost with the runtime directory
		require.True(t, l.isPresent())
		time.Sleep(2 * ttl)
		address, _ := storedAt(t, s)
		require.Equal(t, "10.0.0.1", address, "the first lease's end took nothing away")
		l.stop(t)
	})
}

func TestSecondMachineWithTheIDIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		first := begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.1", nil)
		second := begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.2", nil)
		require.False(t, second.isPresent())
		require.ErrorContains(t, second.Duplicate(), "machine "+id+" is present at 10.0.0.1, this one is at 10.0.0.2", "known at once")
		err := <-second.end
		require.ErrorIs(t, err, ErrDuplicate)
		require.ErrorContains(t, err, "machine "+id+" is present and alive at 10.0.0.1, this one is at 10.0.0.2")
		address, _ := storedAt(t, s)
		require.Equal(t, "10.0.0.1", address)
		require.Error(t, second.Duplicate())
		require.NoError(t, first.Duplicate())
		first.stop(t)
	})
}

func TestNewAddressAfterRebootWaitsForTheOldLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.1", nil).stop(t)
		l := begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.2", nil)
		require.False(t, l.isPresent())
		require.Error(t, l.Duplicate())
		time.Sleep(ttl + time.Second)
		require.True(t, l.isPresent())
		require.NoError(t, l.Duplicate())
		l.stop(t)
	})
}

func TestTwoFleetdsOnOneMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		first := begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.1", nil)
		second := begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.1", nil)
		require.ErrorIs(t, <-first.end, ErrDuplicate)
		require.True(t, second.isPresent())
		second.stop(t)
	})
}

// A machine that boots while etcd is full cannot be present. It still follows its placements, once it is sure that they are
// not another machine's.
func TestFullEtcdKeepsNoMachineFromItsPlacements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		s.SetFull(true)
		l := begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.1", nil)
		require.True(t, l.isAlone())
		require.False(t, l.isPresent())
		s.SetFull(false)
		time.Sleep(ttl)
		require.True(t, l.isPresent())
		l.stop(t)
	})
}

func TestFullEtcdWithALeaseLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, file := memstore.New(memstore.Options{}), filepath.Join(t.TempDir(), "lease")
		begin(t, s, file, "10.0.0.1", nil).stop(t)
		_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key()}}})
		require.NoError(t, err)
		s.SetFull(true)
		l := begin(t, s, file, "10.0.0.1", nil)
		require.True(t, l.isAlone())
		require.False(t, l.isPresent())
		l.stop(t)
	})
}

func TestFullEtcdWithAnotherMachineOfTheID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		first := begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.1", nil)
		s.SetFull(true)
		second := begin(t, s, filepath.Join(t.TempDir(), "lease"), "10.0.0.2", nil)
		time.Sleep(3 * ttl)
		require.False(t, second.isAlone())
		first.stop(t)
		time.Sleep(2 * ttl)
		require.True(t, second.isAlone())
		second.stop(t)
	})
}
