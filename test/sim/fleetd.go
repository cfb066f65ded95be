package sim

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/route"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/daemon"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
)

// agentTTL is agent_ttl.
const agentTTL = 30 * time.Second

// fleetd is a fleetd of this cluster's machines, without API and signals.
func (p *process) fleetd(ctx context.Context) error {
	h, log := p.host, p.log()
	p.older = h.old.Load()
	h.systemd.Reconnect() // each fleetd opens its own connection
	agent, err := daemon.NewAgent(daemon.AgentOptions{
		ElectedFor: daemon.ElectedFor{
			Store: p.conn, Connection: func(part string) store.Interface { return p.conn.as(part) }, Keys: p.w.keys, Log: log,
			Events: p.recorder("fleetd"), Metrics: controller.NewMetrics(prometheus.NewRegistry()), Caches: p.caches(), AgentTTL: agentTTL,
			FreezeTimeout: p.w.freezeTimeout, Now: h.now, Generate: h.generate(), Repositories: gitClient{p},
		},
		Machine: h.machine(), Systemd: manager{h.systemd, p}, Layout: h.layout(), Puller: puller{h.images, p},
	})
	if err != nil {
		return err
	}
	p.agent.Store(agent)
	return agent.Run(ctx)
}

// recorder writes a process's events, each a moment later than the previous one.
func (p *process) recorder(source string) *events.Recorder {
	return events.New(p.conn.as("events"), p.w.keys, events.Options{Source: source, Machine: p.host.id, Later: func(event string, record func()) {
		soon := p.w.delay("event", p.name, event)
		p.w.running.Go(func() {
			p.w.sleep(soon)
			record()
		})
	}})
}

// models are the programs whose processes do something.
var models = map[string]func(context.Context, *process, fake.Running) error{
	"announcer": announcer,
	"router":    router,
}

// router is cmd/router with a model of nginx.
func router(ctx context.Context, p *process, _ fake.Running) error {
	dir, recorder, front := *p.host.dir.Load(), p.recorder("route"), &server{front: p.host.front, p: p}
	if err := front.Start(ctx); err != nil {
		p.w.tell(p.name, "cannot start nginx: %v", err)
	}
	c := route.New(route.Options{
		Store: p.conn, Keys: p.w.keys, Nginx: front, Events: recorder, Log: p.log().WithName("route"),
		Machine: p.host.id, Address: netip.MustParseAddr(p.host.address()), TTL: route.DefaultTTL, Debounce: route.DefaultDebounce, Caches: p.caches(),
		Settings:  nginx.Settings{Dir: dir + "/nginx", Listen: []string{p.host.address() + ":8080"}, Domain: "localhost", Workers: 1},
		StateFile: filepath.Join(p.w.dir, p.host.name, "router.json"),
	})
	var recording sync.WaitGroup
	recording.Go(func() { _ = recorder.Run(ctx) })
	err := c.Run(ctx)
	recording.Wait()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 8*time.Second)
	defer cancel()
	err = cmp.Or(err, c.Resign(stopping))
	if !p.dead() {
		front.end("is stopped", false)
	}
	return err
}

func pairs(m map[string]string) []string {
	var list []string
	for _, key := range sortedKeys(m) {
		list = append(list, strings.TrimPrefix(key, v1.DefaultAnnouncePrefix+"/")+"="+m[key])
	}
	return list
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
