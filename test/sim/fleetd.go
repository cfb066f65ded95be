package sim

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/announce"
	"github.com/fleet-starter/fleet/controllers/app"
	"github.com/fleet-starter/fleet/controllers/collect"
	"github.com/fleet-starter/fleet/controllers/node"
	"github.com/fleet-starter/fleet/controllers/route"
	"github.com/fleet-starter/fleet/controllers/schedule"
	"github.com/fleet-starter/fleet/controllers/status"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/daemon/presence"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/leader"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
)

// agentTTL is agent_ttl.
const agentTTL = 30 * time.Second

// election is the one election that there is, see internal/daemon.
const election = "engine"

// fleetd is what internal/daemon starts, without API and signals.
func (p *process) fleetd(ctx context.Context) error {
	h, log := p.host, p.log()
	machine := v1.Machine{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindMachine}, Metadata: v1.ObjectMeta{Name: h.id}, Spec: h.spec}
	layout := h.layout()
	if err := layout.Make(); err != nil {
		return err
	}
	var own *node.Node
	here := presence.New(presence.Options{
		Store: p.conn.as("presence"), Keys: p.w.keys, Machine: machine, TTL: agentTTL, LeaseFile: layout.Lease(),
		OnReturn: func() { own.Returned() }, Log: log.WithName("presence"),
	})
	own, err := node.New(node.Options{
		Machine: h.id, Keys: p.w.keys, Store: p.conn.as("node"), Systemd: manager{h.systemd, p}, Layout: layout,
		Log: log.WithName("node"), Alone: here.Alone(), WasAway: here.WasAway, Caches: p.caches(),
	})
	if err != nil {
		return err
	}
	recorder := events.New(p.conn.as("events"), p.w.keys, events.Options{Source: "fleetd", Machine: h.id})
	return together(ctx,
		recorder.Run, here.Run, own.Run,
		func(ctx context.Context) error {
			return leader.Run(logr.NewContext(ctx, log), p.conn.as("leader"), p.w.keys, election, h.id, agentTTL, func(ctx context.Context, fence store.Fence) error {
				return p.elected(ctx, fence, recorder, log)
			})
		})
}

// elected is one term of leadership: the list of internal/daemon/controllers.go.
func (p *process) elected(ctx context.Context, fence store.Fence, recorder *events.Recorder, log logr.Logger) error {
	known, now := cluster.New(p.conn.as("cluster"), p.w.keys, log, p.caches()...), p.host.now
	of := func(name string) (logr.Logger, app.Recorder) {
		return log.WithName(name), slowRecorder{p, recorder.WithSource(name), name}
	}
	appLog, appEvents := of("app")
	scheduleLog, scheduleEvents := of("schedule")
	runs := []func(context.Context) error{
		app.New(app.Options{Store: p.conn.as("app"), Cluster: known, Fence: fence, Events: appEvents, Log: appLog, Now: now}).Run,
		schedule.New(schedule.Options{Store: p.conn.as("schedule"), Cluster: known, Fence: fence, Events: scheduleEvents, Log: scheduleLog, Now: now,
			Limits: schedule.Limits{Grace: agentTTL, FreezeTimeout: p.w.freezeTimeout}}).Run,
		status.New(status.Options{Store: p.conn.as("status"), Cluster: known, Fence: fence, Log: log.WithName("status"), Now: now}).Run,
		collect.New(collect.Options{Store: p.conn.as("collect"), Cluster: known, Fence: fence, Log: log.WithName("collect"), Now: now}).Run,
	}
	return together(ctx, append(runs, known.Run)...)
}

// slowRecorder records each event a moment later: no two at once.
type slowRecorder struct {
	p      *process
	events *events.Recorder
	source string
}

func (r slowRecorder) Record(kind, name, eventType, reason, message string) {
	soon := r.p.w.delay("event", r.p.name, r.source, kind, name, reason, message)
	r.p.w.running.Go(func() {
		r.p.w.sleep(soon)
		r.events.Record(kind, name, eventType, reason, message)
	})
}

// together runs all until ctx ends or one of them returns an error, and waits for all.
func together(ctx context.Context, runs ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, run := range runs {
		all.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	<-ctx.Done()
	all.Wait()
	if err := context.Cause(ctx); err != context.Canceled {
		return err
	}
	return nil
}

// models are the programs whose processes do something.
var models = map[string]func(context.Context, *process, fake.Running) error{
	"announcer": announcer,
	"router":    router,
}

// announcer is cmd/announcer with a probe of the model's processes.
func announcer(ctx context.Context, p *process, r fake.Running) error {
	opts := announce.Options{Store: p.conn, Log: p.log().WithName("announce")}
	flags := flag.NewFlagSet("announcer", flag.ContinueOnError)
	flags.StringVar(&opts.App, "app", "", "")
	flags.StringVar(&opts.Instance, "instance", "", "")
	port := flags.String("port", "", "")
	flags.StringVar(&opts.Prefix, "prefix", v1.DefaultAnnouncePrefix, "")
	flags.DurationVar(&opts.TTL, "ttl", 30*time.Second, "")
	_ = flags.String("health-http", "", "")
	_ = flags.String("health-tcp", "", "")
	flags.DurationVar(&opts.Interval, "interval", 5*time.Second, "")
	flags.DurationVar(&opts.Timeout, "timeout", 2*time.Second, "")
	flags.IntVar(&opts.Thresholds.Healthy, "healthy-threshold", 1, "")
	flags.IntVar(&opts.Thresholds.Unhealthy, "unhealthy-threshold", 3, "")
	if err := flags.Parse(r.Argv[1:]); err != nil {
		return err
	}
	unit := opts.Instance + ".service"
	opts.Address = p.host.address + ":" + *port
	opts.Probe = func(ctx context.Context) error {
		if err := p.pause(ctx, p.w.delay("probe", p.name)); err != nil {
			return err
		}
		if !p.host.healthy(unit) {
			return fmt.Errorf("%s refuses the connection", opts.Address)
		}
		return nil
	}
	c, err := announce.New(opts)
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

// router is cmd/router with a model of nginx.
func router(ctx context.Context, p *process, _ fake.Running) error {
	dir := *p.host.dir.Load()
	c := route.New(route.Options{
		Store: p.conn, Keys: p.w.keys, Nginx: &nginxModel{p: p}, Events: (*events.Recorder)(nil), Log: p.log().WithName("route"),
		Machine: p.host.id, Address: netip.MustParseAddr(p.host.address), TTL: route.DefaultTTL, Debounce: route.DefaultDebounce, Caches: p.caches(),
		Settings: nginx.Settings{Dir: dir + "/nginx", Listen: []string{p.host.address + ":8080"}, Domain: "localhost", Workers: 1},
	})
	err := c.Run(ctx)
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 8*time.Second)
	defer cancel()
	return cmp.Or(err, c.Resign(stopping))
}

// nginxModel serves at once what it is told after a moment, and goes on when its router ends.
type nginxModel struct{ p *process }

func (n *nginxModel) Exited() <-chan struct{} { return nil }

func (n *nginxModel) Apply(ctx context.Context, c nginx.Configuration) (nginx.Result, error) {
	if err := n.p.pause(ctx, n.p.w.delay("nginx", n.p.name)); err != nil {
		return nginx.Result{}, err
	}
	served := map[string]string{}
	for _, r := range c.Routes {
		for _, u := range r.Upstreams {
			served[u.Key] = u.Address
		}
	}
	h := n.p.host
	h.mu.Lock()
	defer h.mu.Unlock()
	changed := h.served == nil || !maps.Equal(h.served, served)
	h.served = served
	h.w.check.serves(h, served)
	if changed {
		h.w.tell(h.name, "nginx serves %s", strings.Join(pairs(served), " "))
	}
	return nginx.Result{Changed: changed, Refused: c.Refused}, nil
}

func pairs(m map[string]string) []string {
	var list []string
	for _, key := range sortedKeys(m) {
		list = append(list, strings.TrimPrefix(key, v1.DefaultAnnouncePrefix+"/")+"="+m[key])
	}
	return list
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
