// Package daemon is fleetd. It starts all parts in order and stops them in reverse; neither affects units.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/fleet-starter/fleet/controllers/node"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/config"
	"github.com/fleet-starter/fleet/internal/container"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/forecast"
	"github.com/fleet-starter/fleet/internal/git"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/logging"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/systemd"
	"github.com/fleet-starter/fleet/internal/version"
)

// Options are what a Daemon needs besides its configuration. The zero value is usable.
type Options struct {
	// Log is where the log goes. Default: stderr.
	Log io.Writer
	// Out is where the state goes that SIGUSR1 asks for. Default: stdout.
	Out io.Writer
	// Reload reads the configuration again on SIGHUP. nil: SIGHUP changes nothing.
	Reload func() (*config.Config, []string, error)
	// Signals replaces the process's signals in tests.
	Signals <-chan os.Signal
}

// Daemon is one fleetd.
type Daemon struct {
	Options
	log   logr.Logger
	level logging.Level

	mu  sync.Mutex
	cfg *config.Config

	registry *prometheus.Registry
	metrics  *controller.Metrics
	caches   []cache.Option
	keys     keyspace.Keys
	store    *store.Client
	systemd  *systemd.Client
	etcd     etcdVersions
	agent    *Agent
}

// New prepares a fleetd. It opens and starts nothing before Run.
func New(cfg *config.Config, o Options) *Daemon {
	if o.Log == nil {
		o.Log = os.Stderr
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	d := &Daemon{Options: o, cfg: cfg, registry: prometheus.NewRegistry(), keys: keyspace.New(cfg.EtcdKeyPrefix)}
	d.level.Set(cfg.Verbosity)
	d.log, _ = logging.New(o.Log, cfg.LogFormat, &d.level) // the format was validated with the configuration
	d.metrics = controller.NewMetrics(d.registry)
	d.caches = []cache.Option{cache.WithMetrics(cache.NewMetrics(d.registry)), cache.WithCheckEvery(cfg.CacheCheckInterval)}
	leading := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fleet_leading", Help: "1 if this machine runs the elected controllers.",
	}, func() float64 {
		if d.agent != nil && d.agent.Leading() != nil {
			return 1
		}
		return 0
	})
	d.registry.MustRegister(leading, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return d
}

// Logger returns the daemon's logger, for messages before Run.
func (d *Daemon) Logger() logr.Logger { return d.log }

// Run works until ctx or a signal ends it, and then returns nil. Units keep running, and the machine stays present for its
// TTL. It returns an error only where a restart may help, such as when another machine has the same ID.
func (d *Daemon) Run(ctx context.Context) error {
	p := newParts(d.log)
	defer p.stop()
	if err := d.start(ctx, p); err != nil {
		return err
	}
	return d.supervise(ctx, p.failed)
}

// start starts all parts in order of dependency.
func (d *Daemon) start(ctx context.Context, p *parts) (err error) {
	layout := layoutOf(d.cfg)
	machine, err := describe(ctx, d.cfg)
	if err != nil {
		return err
	}
	id := machine.Metadata.Name
	d.log.Info("Starting fleetd", "version", version.String(), "machine", id, "address", machine.Spec.Address, "etcd", d.cfg.EtcdServers)
	if err := layout.Make(); err != nil {
		return err
	}
	if err := provide(layout, d.cfg, machine); err != nil {
		return err
	}
	all, err := listeners(d.cfg.Listen, d.log)
	if err != nil {
		return err
	}
	p.closing(func() { closeAll(all) }) // no-op once they are served
	if err := d.dial(ctx, p); err != nil {
		return err
	}
	recorder := events.New(d.store, d.keys, events.Options{Source: "fleetd", Machine: id, Log: d.log.WithName("events")})
	d.agent, err = NewAgent(AgentOptions{
		ElectedFor: ElectedFor{
			Store: d.store, Keys: d.keys, Log: d.log, Events: recorder, Metrics: d.metrics, Caches: d.caches,
			AgentTTL: d.cfg.AgentTTL, FreezeTimeout: d.cfg.FreezeTimeout, Repositories: repositories(d.cfg, layout), Reporter: &git.Reporter{},
		},
		Machine: machine, Systemd: d.systemd, Layout: layout, Output: api.LastWords(d.journal()), Runtimes: runtimes(), Puller: container.Installed, DisableEngine: d.cfg.DisableEngine,
	})
	if err != nil {
		return err
	}
	p.start(ctx, "etcd versions", func(ctx context.Context) error { return d.etcd.watch(ctx, d.store, d.log) })
	p.start(ctx, "api", func(ctx context.Context) error { return d.serve(ctx, all) })
	d.agent.start(ctx, p)
	return nil
}

// runtimes are the container runtimes that generated units use.
func runtimes() map[string]node.ContainerRuntime {
	all := map[string]node.ContainerRuntime{}
	for _, r := range container.Installed {
		all[r.Name] = r
	}
	return all
}

// dial connects to etcd, which may be unreachable, and to systemd, which may not.
func (d *Daemon) dial(ctx context.Context, p *parts) (err error) {
	d.store, err = store.Dial(store.Config{
		Endpoints: d.cfg.EtcdServers,
		TLS:       store.TLSFiles{CAFile: d.cfg.EtcdCAFile, CertFile: d.cfg.EtcdCertFile, KeyFile: d.cfg.EtcdKeyFile},
		Username:  d.cfg.EtcdUsername, Password: d.cfg.EtcdPassword, RequestTimeout: d.cfg.EtcdRequestTimeout,
	})
	if err != nil {
		return err
	}
	p.closing(func() {
		if err := d.store.Close(); err != nil {
			d.log.V(1).Info("Closing the connection to etcd failed", "error", err.Error())
		}
	})
	socket := systemd.SystemSocket
	if d.cfg.SystemdUser {
		socket = systemd.UserSocket(os.Getenv("XDG_RUNTIME_DIR"))
	}
	client, err := systemd.Dial(ctx, socket, d.log.WithName("systemd"))
	if err != nil {
		return fmt.Errorf("the service manager at %s: %w (set systemd_user to use the user's)", socket, err)
	}
	d.systemd = client
	p.closing(client.Close)
	return nil
}

func (d *Daemon) journal() api.Journalctl {
	return api.Journalctl{User: d.cfg.SystemdUser, Directory: d.cfg.JournalDirectory}
}

func (d *Daemon) serve(ctx context.Context, all []net.Listener) error {
	handler := api.New(api.Options{
		Store: d.store, Keys: d.keys, MachineID: d.agent.Machine.Metadata.Name, Version: version.String(), Log: d.log.WithName("api"),
		Journal: d.journal(), StatusText: d.systemd.StatusText,
		Explain:    NewExplainer(ExplainOptions{Store: d.store, Keys: d.keys, Now: time.Now, FreezeTimeout: d.cfg.FreezeTimeout, Leader: d.agent.Leading}),
		Refuse:     d.agent.presence.Duplicate,
		Forecasts:  d.forecasts(),
		Committed:  d.agent.Committed,
		Events:     d.agent.Events.WithSource("api"),
		Fallback:   health(d.registry, d.checks(), d.etcd.warnings),
		TokenLimit: d.cfg.TokenLimit,
	})
	return serve(ctx, all, handler)
}

// forecasts are made with the settings that this fleetd would lead with.
func (d *Daemon) forecasts() api.Forecasts {
	o := forecast.Options{Keys: d.keys, Limits: limits(d.cfg.AgentTTL, d.cfg.FreezeTimeout), AgentTTL: d.cfg.AgentTTL, Leader: d.agent.Leading}
	return api.Forecasts{Run: forecast.On(d.store, o), Cluster: d.store.ClusterID}
}

// checks are what /readyz reports.
func (d *Daemon) checks() []check {
	return []check{
		{"etcd", func(ctx context.Context) error {
			_, _, _, err := d.store.Get(ctx, d.keys.Machines().Key(d.agent.Machine.Metadata.Name))
			return err
		}},
		{"machine ID", func(context.Context) error { return d.agent.presence.Duplicate() }},
		{"placements", func(context.Context) error {
			if !d.agent.node.Synced() {
				return errors.New("not read from etcd yet")
			}
			return nil
		}},
		{"systemd", func(ctx context.Context) error {
			_, err := d.systemd.States(ctx, []string{"basic.target"})
			return err
		}},
		{"disk", func(context.Context) error { return d.agent.node.DiskError() }},
		{"controllers", func(context.Context) error { return failing(d.metrics.Failing()) }},
	}
}
