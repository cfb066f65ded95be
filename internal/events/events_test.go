package events_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
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

// stored returns the stored events, in the order of their keys, and the leases.
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
		for range 2 {
			time.Sleep(20 * time.Minute)
			r.Record("Unit", "a", v1.EventWarning, "Failed", "again")
		}
		stored, _ = r.stored()
		require.Len(t, stored, 5)
		require.Equal(t, []int{5, 0}, []int{stored[3].Count, stored[4].Count}, "what came once since is no repeat")
		r.stop()
	})
}

// TestRepeatIsAsLongAsItIsSetTo: ten minutes by default.
func TestRepeatIsAsLongAsItIsSetTo(t *testing.T) {
	for set, want := range map[time.Duration]time.Duration{0: 10 * time.Minute, time.Minute: time.Minute, -1: 10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			r := record(t, events.Options{Repeat: set})
			r.Record("Unit", "a", v1.EventNormal, "R", "m")
			time.Sleep(want - 1)
			r.Record("Unit", "a", v1.EventNormal, "R", "m")
			stored, _ := r.stored()
			require.Len(t, stored, 1, set)
			time.Sleep(time.Nanosecond)
			r.Record("Unit", "a", v1.EventNormal, "R", "m")
			stored, _ = r.stored()
			require.Len(t, stored, 2, set)
			r.stop()
		})
	}
}

// remembered is how many different events are remembered.
const remembered = 4096

// TestMemoryIsBounded: if too many different events are remembered, those that would be written again anyway are dropped
// first; then all.
func TestMemoryIsBounded(t *testing.T) {
	flood := func(r *recording, from, to int) {
		for i := from; i < to; i++ {
			r.Record("Unit", fmt.Sprint(i), v1.EventNormal, "R", "m")
			time.Sleep(time.Microsecond) // so that no two have the same key
		}
	}
	written := func(r *recording) int {
		stored, _ := r.stored()
		return len(stored)
	}
	synctest.Test(t, func(t *testing.T) {
		r := record(t, events.Options{Buffer: 2 * remembered})
		flood(r, 0, remembered)
		flood(r, 0, remembered)
		require.Equal(t, remembered, written(r), "each is remembered")
		flood(r, remembered, remembered+1) // one too many
		flood(r, remembered, remembered+1)
		require.Equal(t, remembered+1, written(r), "that one is remembered")
		flood(r, 0, 1)
		require.Equal(t, remembered+2, written(r), "the others are not")
		r.stop()
	})
	synctest.Test(t, func(t *testing.T) {
		r := record(t, events.Options{Buffer: 2 * remembered, Repeat: time.Minute})
		flood(r, 0, remembered-1)
		time.Sleep(time.Minute)
		flood(r, remembered-1, remembered+1) // there is no room for the second one
		flood(r, remembered-1, remembered+1)
		require.Equal(t, remembered+1, written(r), "what is still to be counted is remembered")
		r.stop()
	})
}

// TestLater: a simulation decides when an event is recorded, which happens once.
func TestLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		later := map[string]func(){}
		r := record(t, events.Options{Source: "node", Later: func(event string, record func()) { later[event] = record }})
		r.Record("Unit", "a", v1.EventNormal, "R", "m")
		r.Record("Unit", "b", v1.EventNormal, "R", "m")
		stored, _ := r.stored()
		require.Empty(t, stored)
		require.Len(t, later, 2, "different events have different names")
		time.Sleep(time.Second)
		for name, record := range later {
			require.Contains(t, name, "Unit")
			record()
		}
		stored, _ = r.stored()
		require.Len(t, stored, 2)
		require.Equal(t, time.Now().UTC(), stored[0].Time, "it happens when it is recorded")
		r.stop()
	})
}

// TestLongTexts: texts longer than 4,096 bytes are visibly truncated.
func TestLongTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 4096
		r := record(t, events.Options{})
		r.Record("Unit", strings.Repeat("n", most), v1.EventNormal, "R", strings.Repeat("m", most+1))
		stored, _ := r.stored()
		require.Len(t, stored, 1)
		require.Equal(t, strings.Repeat("n", most), stored[0].Name)
		require.Equal(t, strings.Repeat("m", most)+"...", stored[0].Message)
		r.stop()
	})
}

// TestTransactionsAreFull: many events need few writes.
func TestTransactionsAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model := memstore.New(memstore.Options{})
		recorder := events.New(model, keys, events.Options{})
		for i := range 3 * (store.MaxTxnOps - 1) {
			recorder.Record("Unit", fmt.Sprint(i), v1.EventNormal, "R", "m")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		before := model.Revision()
		go func() { done <- recorder.Run(ctx) }()
		synctest.Wait()
		require.Equal(t, before+3, model.Revision(), "each is one revision")
		cancel()
		require.NoError(t, <-done)
	})
}

// TestLeases: one lease for many events, another after half its time, none at rest; events expire.
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

// TestEtcdAway: recording never blocks; what fits into the buffer is written afterwards, once.
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

// TestDropped: dropped events are logged, and do not count as recorded: a repeated one is written.
func TestDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		log := funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
		r := record(t, events.Options{Buffer: 1, Repeat: 24 * time.Hour, Log: log})
		record := func(n int) {
			for i := range n {
				r.Record("Unit", fmt.Sprint(i), v1.EventNormal, "R", "m")
				synctest.Wait()
			}
		}
		record(1)
		r.conn.SetDown(true)
		record(6)
		r.conn.SetDown(false)
		time.Sleep(time.Minute)
		stored, _ := r.stored()
		require.Len(t, stored, 3)
		record(6)
		stored, _ = r.stored()
		require.Len(t, stored, 6)
		r.conn.SetDown(true)
		for i := range 3 {
			r.Record("Unit", fmt.Sprint("more ", i), v1.EventNormal, "R", "m")
			synctest.Wait()
		}
		r.conn.SetDown(false)
		time.Sleep(time.Minute)
		require.Equal(t, []string{
			`"level"=0 "msg"="Events were dropped" "reason"="BufferFull" "count"=3`,
			`"level"=0 "msg"="Events were dropped" "reason"="BufferFull" "count"=1`,
		}, lines)
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

// TestStopWritesWhatWasNotTaken: events recorded before the end are written, even if the writer has not taken them yet.
func TestStopWritesWhatWasNotTaken(t *testing.T) {
	for range 20 { // it is random which of the two it sees first
		synctest.Test(t, func(t *testing.T) {
			model := memstore.New(memstore.Options{})
			recorder := events.New(model, keys, events.Options{})
			recorder.Record("Unit", "a", v1.EventNormal, "R", "m")
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.NoError(t, recorder.Run(ctx))
			page, err := model.List(t.Context(), keys.Events().Prefix(), store.ListOptions{})
			require.NoError(t, err)
			require.Len(t, page.KVs, 1)
		})
	}
}

// TestStopWritesWhatIsLeft, even if etcd is unreachable, within its time.
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
