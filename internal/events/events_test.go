package events_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var keys = keyspace.New("")

// recording is a running recorder over a model.
type recording struct {
	*events.Recorder
	t     *testing.T
	model *memstore.Store
	conn  *memstore.Conn
	stop  func()
}

func record(t *testing.T, opts events.Options) *recording {
	model := memstore.New(memstore.Options{})
	conn := model.Connect()
	r := &recording{Recorder: events.New(conn, keys, opts), t: t, model: model, conn: conn}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = func() {
		cancel()
		require.NoError(t, <-done)
	}
	return r
}

// stored returns what is in the store, in the order of the keys, and the leases.
func (r *recording) stored() (stored []v1.Event, leases map[store.LeaseID]int) {
	r.t.Helper()
	synctest.Wait()
	leases = map[store.LeaseID]int{}
	_, err := store.ListAll(r.t.Context(), r.model, keys.Events().Prefix(), store.ListOptions{}, func(kv store.KV) error {
		e, err := keys.Events().Decode(kv.Value)
		stored = append(stored, e)
		leases[kv.Lease]++
		return err
	})
	require.NoError(r.t, err)
	return stored, leases
}

func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, events.Options{Source: "schedule", Machine: "m1"})
		start := time.Now().UTC()
		r.Record("Unit", "a.service", v1.EventNormal, "Scheduled", "placed on m1")
		time.Sleep(time.Second)
		r.WithSource("node").Record("Unit", "a.service", v1.EventWarning, "Failed", "exit code 1")
		stored, leases := r.stored()
		require.Equal(t, []v1.Event{
			{Time: start, Kind: "Unit", Name: "a.service", Type: "Normal", Reason: "Scheduled", Message: "placed on m1", Source: "schedule", Machine: "m1"},
			{Time: start.Add(time.Second), Kind: "Unit", Name: "a.service", Type: "Warning", Reason: "Failed", Message: "exit code 1", Source: "node", Machine: "m1"},
		}, stored)
		require.Len(t, leases, 1)
		require.NotContains(t, leases, store.LeaseID(0))
		r.stop()
	})
}

func TestNilRecordsNothing(t *testing.T) {
	var r *events.Recorder
	r.WithSource("x").Record("Unit", "a", v1.EventNormal, "R", "m")
}

func TestRepeatsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, events.Options{Repeat: 10 * time.Minute})
		for range 25 {
			r.Record("Unit", "a", v1.EventWarning, "Failed", "again")
			time.Sleep(time.Minute)
		}
		stored, _ := r.stored()
		require.Len(t, stored, 3)
		require.Equal(t, []int{0, 10, 10}, []int{stored[0].Count, stored[1].Count, stored[2].Count})
		r.stop()
	})
}

// TestLeases: one lease for many events, another after half its time, none at rest; events last a while and go.
func TestLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, events.Options{})
		time.Sleep(24 * time.Hour)
		require.EqualValues(t, 1, r.model.Revision())
		for i := range 120 { // every minute, for two hours
			r.Record("Unit", fmt.Sprint(i), v1.EventNormal, "R", "m")
			time.Sleep(time.Minute)
		}
		stored, leases := r.stored()
		require.GreaterOrEqual(t, len(stored), 60)
		require.Len(t, leases, 1, "the first hour's has just ended")
		time.Sleep(59 * time.Minute)
		stored, _ = r.stored()
		require.Len(t, stored, 60)
		time.Sleep(time.Hour)
		stored, _ = r.stored()
		require.Empty(t, stored)
		r.stop()
	})
}

// TestEtcdAway: recording goes on without waiting; what fits into the buffer is written afterwards, once.
func TestEtcdAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, events.Options{Buffer: 5})
		r.conn.SetDown(true)
		for i := range 20 {
			r.Record("Unit", fmt.Sprint(i), v1.EventNormal, "R", "m")
			synctest.Wait()
		}
		time.Sleep(time.Hour)
		r.conn.SetDown(false)
		r.conn.LoseAnswers(true)
		time.Sleep(time.Minute)
		r.conn.LoseAnswers(false)
		time.Sleep(time.Minute)
		stored, _ := r.stored()
		require.Len(t, stored, 6, "one under way and five waiting")
		r.stop()
	})
}

func TestLeaseRevokedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, events.Options{})
		r.Record("Unit", "a", v1.EventNormal, "R", "m")
		_, leases := r.stored()
		for id := range leases {
			require.NoError(t, r.model.Revoke(t.Context(), id))
		}
		r.Record("Unit", "b", v1.EventNormal, "R", "m")
		time.Sleep(time.Second)
		stored, _ := r.stored()
		require.Len(t, stored, 1)
		r.stop()
	})
}

// TestStopWritesWhatIsLeft: also where etcd is away, within its time.
func TestStopWritesWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, events.Options{})
		r.conn.SetDown(true)
		for i := range 300 {
			r.Record("Unit", fmt.Sprint(i), v1.EventNormal, "R", "m")
		}
		synctest.Wait()
		r.conn.SetDown(false)
		r.stop()
		stored, _ := r.stored()
		require.Len(t, stored, 300)

		r = record(t, events.Options{})
		r.conn.SetDown(true)
		r.Record("Unit", "a", v1.EventNormal, "R", "m")
		start := time.Now()
		r.stop()
		require.LessOrEqual(t, time.Since(start), 2*time.Second)
	})
}
