package main

import (
	"context"
	"errors"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store"
)

const (
	// checkEvery is how often nginx's addresses are probed, checks how many probes in a row may fail.
	checkEvery = 15 * time.Second
	checks     = 3
)

// server is the part of *nginx.Server that is used here.
type server interface {
	Start(ctx context.Context) (nginx.State, error)
	Apply(ctx context.Context, c nginx.Configuration) (nginx.Result, error)
	Exited() <-chan struct{}
	Draining() []v1.Draining
	Serving(ctx context.Context, settings nginx.Settings) error
}

// cannotServe is why the router exits.
type cannotServe struct{ error }

// serving is nginx as the service manager sees it: the unit (Type=notify) is active when this nginx answers at its listen
// addresses, and fails if it cannot. Otherwise a machine whose port is taken by another program would count as one that
// serves.
type serving struct {
	server
	settings nginx.Settings
	log      logr.Logger
	// fail ends the router with a reason.
	fail context.CancelCauseFunc
	// notify sends a state to the service manager.
	notify func(state string)
	ready  chan struct{} // closed when nginx was found to serve
}

func newServing(s server, settings nginx.Settings, log logr.Logger, fail context.CancelCauseFunc) *serving {
	return &serving{server: s, settings: settings, log: log, fail: fail, ready: make(chan struct{}), notify: func(state string) {
		if _, err := sd.SdNotify(false, state); err != nil {
			log.Error(err, "Failed to notify the service manager", "state", state)
		}
	}}
}

// Start makes nginx serve the last good configuration, before etcd has answered or while it is unreachable.
func (s *serving) Start(ctx context.Context) (nginx.State, error) {
	state, err := s.server.Start(ctx)
	switch {
	case errors.Is(err, nginx.ErrAddressInUse):
		return state, err
	case err != nil:
		s.log.Error(err, "Starting nginx with its last configuration failed, waiting for a new one")
	default:
		s.log.Info("nginx", "state", state)
	}
	if err := s.check(ctx); err != nil {
		s.notify("STATUS=Waiting for endpoints from etcd")
	}
	return state, nil
}

// Apply applies a configuration, and ends the router if another program uses one of its addresses: retrying is up to the
// service manager, which also shows that and why it does.
func (s *serving) Apply(ctx context.Context, c nginx.Configuration) (nginx.Result, error) {
	result, err := s.server.Apply(ctx, c)
	if errors.Is(err, nginx.ErrAddressInUse) {
		s.fail(cannotServe{err})
	}
	if err == nil && (result.Changed || !s.isReady()) {
		err = s.check(ctx)
	}
	return result, err
}

func (s *serving) isReady() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// check probes nginx, and reports the router as ready when it answers for the first time. It must not run concurrently: Start
// calls it, and then Apply, until the router is ready.
func (s *serving) check(ctx context.Context) error {
	if err := s.Serving(ctx, s.settings); err != nil {
		return err
	}
	if !s.isReady() {
		close(s.ready)
		s.log.Info("nginx serves", "reason", "Answers", "listen", s.settings.Listen)
		s.notify(sd.SdNotifyReady + "\nSTATUS=Serving")
	}
	return nil
}

// watch ends the router when nginx has not answered for a while. It leaves nginx alone.
func (s *serving) watch(ctx context.Context) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return
	}
	for failed := 0; store.Sleep(ctx, checkEvery); {
		err := s.Serving(ctx, s.settings)
		if err == nil || ctx.Err() != nil {
			failed = 0
			continue
		}
		failed++
		s.log.Error(err, "nginx does not serve", "checks", failed)
		if failed == checks {
			s.fail(cannotServe{err})
			return
		}
	}
}
