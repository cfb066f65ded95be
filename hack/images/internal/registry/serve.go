package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
)

const (
	// readyAnyway is when systemd is told "ready" although storage has not answered: units that come after the registry's
	// run what is on the machine.
	readyAnyway = 10 * time.Second
	// drainTime is how long requests under way may take when the registry is stopped.
	drainTime = 10 * time.Second
)

// Serve serves until ctx ends. Storage that is away is no reason to end: requests are answered 503 until it is back.
func Serve(ctx context.Context, config *configuration.Configuration, log *slog.Logger) error {
	listener, err := net.Listen("tcp", config.HTTP.Addr)
	if err != nil {
		return fmt.Errorf("http.addr: %w", err)
	}
	return serveOn(ctx, listener, config, log)
}

func serveOn(ctx context.Context, listener net.Listener, config *configuration.Configuration, log *slog.Logger) error {
	defer listener.Close()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	storage, err := openStorage(ctx, config)
	if err != nil {
		return err
	}
	app, err := newApp(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = app.Shutdown() }()

	var ready sync.Once
	health := newHealth(storage.probe, log, func(away error) {
		if away == nil {
			notify("STATUS=Storage answers")
			ready.Do(func() { notify(daemon.SdNotifyReady) })
		} else {
			notify("STATUS=" + away.Error())
		}
	})
	running.Go(func() { health.run(ctx) })
	running.Go(func() {
		select {
		case <-ctx.Done():
		case <-time.After(readyAnyway):
			ready.Do(func() { notify(daemon.SdNotifyReady) })
		}
	})

	server := &http.Server{
		Handler:           &gate{next: app, health: health, storage: storage, now: time.Now},
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	running.Go(func() { served <- server.Serve(listener) })
	log.Info("registry listens", "address", listener.Addr().String(), "storage", config.Storage.Type())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	notify(daemon.SdNotifyStopping)
	draining, done := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer done()
	if err := server.Shutdown(draining); err != nil {
		server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// newApp returns the registry's handlers. The library panics at what is wrong in the configuration.
func newApp(ctx context.Context, config *configuration.Configuration) (app *handlers.App, err error) {
	defer func() {
		if wrong := recover(); wrong != nil {
			err = fmt.Errorf("configuration: %v", wrong)
		}
	}()
	return handlers.NewApp(ctx, config), nil
}

// notify tells systemd, if it asked to be told.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }
