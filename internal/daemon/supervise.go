package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/fleet-starter/fleet/internal/config"
)

// supervise notifies systemd (READY, watchdog), handles signals, and returns when it is time to stop.
func (d *Daemon) supervise(ctx context.Context, failed <-chan error) error {
	signals := d.Signals
	if signals == nil {
		own := make(chan os.Signal, 4)
		signal.Notify(own, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
		defer signal.Stop(own)
		signals = own
	}
	ticks, stop := d.watchdog()
	defer stop()
	d.notify(sd.SdNotifyReady)
	defer d.notify(sd.SdNotifyStopping)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-ticks:
			d.notify(sd.SdNotifyWatchdog)
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				d.reload()
			case syscall.SIGUSR1:
				d.dump()
			default:
				d.log.Info("Stopping, units keep running", "reason", s.String())
				return nil
			}
		}
	}
}

func (d *Daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.log.V(1).Info("Failed to notify systemd", "state", state, "error", err.Error())
	}
}

// watchdog ticks twice in the time that systemd allows (WatchdogSec=).
func (d *Daemon) watchdog() (ticks <-chan time.Time, stop func()) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil || interval <= 0 {
		return nil, func() {}
	}
	ticker := time.NewTicker(interval / 2)
	return ticker.C, ticker.Stop
}

// reload applies what may change while fleetd runs: verbosity and metadata. Sockets stay open.
func (d *Daemon) reload() {
	if d.Reload == nil {
		return
	}
	d.log.Info("Reloading configuration")
	d.notify("RELOADING=1")
	defer d.notify(sd.SdNotifyReady)
	cfg, warnings, err := d.Reload()
	if err != nil {
		d.log.Error(err, "Configuration is invalid, keeping the old one")
		return
	}
	for _, w := range warnings {
		d.log.Info("Configuration warning", "warning", w)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.level.Set(cfg.Verbosity)
	if !reflect.DeepEqual(cfg.Metadata, d.cfg.Metadata) {
		d.agent.SetMetadata(cfg.Metadata)
	}
	before := *d.cfg
	before.Verbosity, before.Metadata = cfg.Verbosity, cfg.Metadata
	if !reflect.DeepEqual(&before, cfg) {
		d.log.Info("Some changed keys take effect at the next start", "reloaded", []string{"verbosity", "metadata"})
	}
	d.cfg = &before
	d.log.Info("Configuration reloaded", "verbosity", cfg.Verbosity, "metadata", config.MetadataString(cfg.Metadata))
}

// dump writes what fleetd knows, as one line of JSON.
func (d *Daemon) dump() {
	d.mu.Lock()
	defer d.mu.Unlock()
	cfg := *d.cfg
	if cfg.EtcdPassword != "" {
		cfg.EtcdPassword = "(set)"
	}
	data, err := json.Marshal(map[string]any{
		"machine": d.agent.told(), "config": cfg, "leading": d.agent.Leading() != nil, "node": d.agent.node.Dump(), "wasAway": d.agent.presence.WasAway(),
	})
	if err == nil {
		_, err = fmt.Fprintf(d.Out, "%s\n", data)
	}
	if err != nil {
		d.log.Error(err, "Cannot dump the state")
		return
	}
	d.log.Info("Dumped the state")
}
