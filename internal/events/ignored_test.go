package events_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/store"
)

// TestIgnoredIsRecordedOnce: once for each revision of a key, by whichever process and however often, until the event expires.
func TestIgnoredIsRecordedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, events.Options{Source: "fleetd", Machine: "m1"})
		start := time.Now().UTC()
		for range 3 {
			r.WithSource("cluster").Ignored("/fleet/units/a.service", 7, "Unreadable", "not YAML")
			r.WithSource("node").Ignored("/fleet/units/a.service", 7, "Unreadable", "not YAML")
			time.Sleep(20 * time.Minute)
			stored, _ := r.stored()
			require.Len(t, stored, 1)
			require.Equal(t, start, stored[0].Time, "once")
		}
		for range 2 { // and not again when the event has expired
			time.Sleep(time.Hour)
			r.Ignored("/fleet/units/a.service", 7, "Unreadable", "not YAML")
		}
		stored, leases := r.stored()
		require.Empty(t, stored, "it was hours ago")
		require.Empty(t, leases)
		r.Ignored("/fleet/units/a.service", 8, "Unreadable", "not YAML either")
		stored, _ = r.stored()
		want := v1.Event{Time: start.Add(3 * time.Hour), Kind: "Key", Name: "/fleet/units/a.service", Type: "Warning", Reason: "Unreadable",
			Message: "revision 8: not YAML either", Source: "fleetd", Machine: "m1"}
		require.Equal(t, []v1.Event{want}, stored)

		time.Sleep(time.Minute)                                                             // the event's key contains its time
		next := events.New(r.model, keys, events.Options{Source: "cluster", Machine: "m2"}) // the next leader
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- next.Run(ctx) }()
		next.Ignored("/fleet/units/a.service", 8, "Unreadable", "not YAML either")
		next.Record("Unit", "b.service", v1.EventNormal, "R", "is written all the same")
		next.Ignored("/fleet/units/a.service", 9, "Unreadable", "nor this")
		stored, _ = r.stored()
		require.Len(t, stored, 3)
		require.ElementsMatch(t, []string{"revision 8: not YAML either", "is written all the same", "revision 9: nor this"}, []string{stored[0].Message, stored[1].Message, stored[2].Message})
		revision := r.model.Revision()
		next.Ignored("/fleet/units/a.service", 9, "Unreadable", "nor this")
		synctest.Wait()
		require.Equal(t, revision, r.model.Revision())
		cancel()
		require.NoError(t, <-done)
		r.stop()
	})
}

// TestIgnoredKeysDoNotFlood: of ten thousand keys some are reported, whatever they contain; other events are still written.
func TestIgnoredKeysDoNotFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, events.Options{})
		r.Ignored("/fleet/units/"+strings.Repeat("\xff\x00é", 300_000), 1, "NoSuchName", strings.Repeat("why", 300_000))
		for i := range 10_000 {
			r.Ignored(fmt.Sprintf("/fleet/units/%d", i), 1, "Unreadable", "why")
		}
		r.Record("Unit", strings.Repeat("u", 1<<20), v1.EventNormal, "R", strings.Repeat("é", 1<<20))
		stored, _ := r.stored()
		require.Len(t, stored, 101)
		for _, e := range stored {
			require.Less(t, len(e.Name)+len(e.Message), 9_000)
		}
		r.stop()
	})
}

// TestIgnoredIsRememberedOfSomeKeys: for longer than the events are kept, but for a limited number of keys.
func TestIgnoredIsRememberedOfSomeKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, events.Options{Ignored: 2 * remembered, Buffer: 2 * remembered})
		ignore := func(from, to int) int {
			for i := from; i < to; i++ {
				r.Ignored(fmt.Sprintf("/fleet/units/%d", i), 1, "Unreadable", "why")
			}
			stored, _ := r.stored()
			return len(stored)
		}
		require.Equal(t, remembered, ignore(0, remembered))
		time.Sleep(3 * time.Hour) // the events have expired
		require.Zero(t, ignore(0, remembered))
		require.Equal(t, 1, ignore(remembered, remembered+1), "one more")
		require.Equal(t, 2, ignore(0, 1), "which has the others forgotten")
		require.Equal(t, 2, ignore(0, 1))
		r.stop()
	})
}

// grants counts granted leases.
type grants struct {
	store.Interface
	count int
}

func (g *grants) Grant(ctx context.Context, ttl time.Duration) (store.LeaseID, error) {
	g.count++
	return g.Interface.Grant(ctx, ttl)
}

// TestWhatIsKnownNeedsNoLease: if another process has reported all of it, nothing is written.
func TestWhatIsKnownNeedsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, events.Options{})
		r.Ignored("/fleet/units/a", 1, "Unreadable", "why")
		synctest.Wait()
		s := &grants{Interface: r.model}
		next := events.New(s, keys, events.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- next.Run(ctx) }()
		next.Ignored("/fleet/units/a", 1, "Unreadable", "why")
		stored, _ := r.stored()
		require.Len(t, stored, 1)
		require.Zero(t, s.count)
		next.Ignored("/fleet/units/b", 1, "Unreadable", "why")
		stored, _ = r.stored()
		require.Len(t, stored, 2)
		require.Equal(t, 1, s.count)
		cancel()
		require.NoError(t, <-done)
		r.stop()
	})
}

func TestNilIgnoresNothing(t *testing.T) {
	var r *events.Recorder
	r.WithSource("x").Ignored("/fleet/units/a", 1, "Unreadable", "x")
}
