package cluster_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestEnvDefaults: unset fields get working defaults, and set ones are kept.
func TestEnvDefaults(t *testing.T) {
	e := cluster.Env{}.WithDefaults()
	require.WithinDuration(t, time.Now(), e.Now(), time.Minute)
	e.Log.Info("is discarded")
	e.Events.Record(v1.KindUnit, "a.service", v1.EventNormal, "Placed", "is not recorded")

	then, logged := time.Unix(1, 0), 0
	recorder := events.New(nil, keyspace.New(""), events.Options{})
	e = cluster.Env{
		Events: recorder, Now: func() time.Time { return then }, Log: funcr.New(func(string, string) { logged++ }, funcr.Options{}),
	}.WithDefaults()
	e.Log.Info("is logged")
	require.Equal(t, 1, logged)
	require.Equal(t, then, e.Now())
	require.Same(t, recorder, e.Events)
}

// TestLoop: nothing is reconciled before everything is known, errors are retried, and the loop ends when a write fails
// because another process leads.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := cluster.New(memstore.New(memstore.Options{}), keyspace.New(""), logr.Discard())
		var done []string
		answers := []error{errors.New("a write failed"), nil, store.ErrFenced}
		loop := cluster.NewLoop(cluster.Env{Cluster: known}, "test", func(_ context.Context, key string) (controller.Result, error) {
			done = append(done, key)
			err := answers[0]
			answers = answers[1:]
			return controller.Result{}, err
		}, controller.Options{})
		loop.Enqueue("first")
		loop.EnqueueAfter("second", time.Hour)
		ended := make(chan error, 1)
		go func() { ended <- loop.Run(t.Context()) }()
		synctest.Wait()
		require.Empty(t, done)

		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() { defer close(stopped); _ = known.Run(ctx) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"first", "first"}, done)
		require.Empty(t, ended)
		require.ErrorIs(t, <-ended, store.ErrFenced)
		require.Equal(t, []string{"first", "first", "second"}, done)
		cancel()
		<-stopped
	})
}
