package main

import (
	"context"
	"encoding/json"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/daemon"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/logging"
	"github.com/fleet-starter/fleet/internal/store"
)

type leaderConfig struct{ Etcd string }

// leader is everything that fleetd runs on the leader's machine.
type leader struct {
	store   *counted
	running sync.WaitGroup
	cancel  context.CancelFunc
	began   time.Time
	goals   []*goal
}

// lead campaigns with everything that a fleetd needs for it, including its log.
func lead(s store.Interface, goals ...*goal) (*leader, error) {
	log, err := logging.New(io.Discard, logging.Text, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &leader{cancel: cancel, began: time.Now(), goals: goals}
	l.store = count(s, keys.Root(), l.written)
	recorder := events.New(l.store, keys, events.Options{Source: "fleetd", Machine: "leader", Log: log})
	elected := daemon.ElectedFor{Store: l.store, Keys: keys, Log: log, Events: recorder, Metrics: controller.NewMetrics(prometheus.NewRegistry())}
	l.running.Go(func() { _ = recorder.Run(ctx) })
	l.running.Go(func() { _ = daemon.Campaign(ctx, "leader", 30*time.Second, elected, func(*daemon.Term) {}) })
	return l, nil
}

func (l *leader) stop() {
	l.cancel()
	l.running.Wait()
}

func (l *leader) written(ops []store.Op) {
	for _, g := range l.goals {
		g.note(ops)
	}
}

func serveLeader(config string) (questions, func(), error) {
	var c leaderConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return nil, nil, err
	}
	client, err := store.Dial(store.Config{Endpoints: []string{c.Etcd}})
	if err != nil {
		return nil, nil, err
	}
	var l *leader
	var placed *goal
	stop := func() {
		if l != nil {
			l.stop()
			l = nil
		}
	}
	return questions{
			"lead": func(_ context.Context, n string) (any, error) { // until that many placements are written
				stop()
				wanted, err := strconv.Atoi(n)
				if err != nil {
					return nil, err
				}
				placed = newGoal(keys.Placements().Prefix(), wanted, nil)
				l, err = lead(client, placed)
				return l.began, err
			},
			"await":   func(ctx context.Context, _ string) (any, error) { return placed.wait(ctx) },
			"traffic": func(context.Context, string) (any, error) { return l.store.traffic(), nil },
			"resign":  func(context.Context, string) (any, error) { stop(); return nil, nil },
		}, func() {
			stop()
			client.Close()
		}, nil
}
