package daemon

import (
	"context"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/controllers/schedule"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestLimits: how careful schedule is follows the configuration.
func TestLimits(t *testing.T) {
	former := elected
	defer func() { elected = former }()
	var limits schedule.Limits
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, row := range former {
		if row.name != "schedule" {
			continue
		}
		elected = []electedController{{"schedule", func(e ElectedFor) runner {
			r := row.new(e)
			limits = r.(*schedule.Controller).Limits
			cancel()
			return r
		}}}
	}
	keys, s := keyspace.New(""), memstore.New(memstore.Options{})
	e := ElectedFor{Store: s, Keys: keys, Log: logr.Discard(), Events: events.New(s, keys, events.Options{}), FreezeTimeout: time.Hour}
	_ = Campaign(ctx, "m1", 17*time.Second, e, func(bool) {})
	require.Equal(t, schedule.Limits{Grace: 17 * time.Second, FreezeTimeout: time.Hour}, limits)
}
