package sim

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/announce"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
)

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
	opts.Address = p.host.address() + ":" + *port
	opts.Probe = func(ctx context.Context) error {
		if err := p.pause(ctx, p.w.delay("probe", p.name)); err != nil {
			return err
		}
		if p.host.ailment(unit) == hangs {
			<-ctx.Done() // the instance accepts the connection and never answers
			return ctx.Err()
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

// ailing is how an instance fails its health check.
type ailing int

const (
	hangs ailing = iota + 1 // it accepts the probe's connection, and never answers
	flaps                   // it passes and fails in turns
)

// flapFor is how long a flapping instance is healthy, and then not.
const flapFor = 1700 * time.Millisecond

// ailment returns what is wrong with a unit now; 0: nothing.
func (h *host) ailment(unit string) ailing {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ails[unit]
}

// ailsNow reports whether the unit would fail its health check, for its own ailment or its app's. h.mu is held.
func (h *host) ailsNow(unit string) bool {
	switch h.ails[unit] {
	case hangs:
		return true
	case flaps:
		return h.w.now()/flapFor%2 == 1
	}
	always := h.w.alwaysFails.Load()
	return always != nil && *always == appOf(unit)
}

// falls makes an announced instance ail.
func (w *world) falls(s step, what ailing, text string) {
	all := w.list(v1.DefaultAnnouncePrefix + "/")
	if len(all) == 0 {
		return
	}
	kv := all[s.B%uint64(len(all))]
	h, unit := w.hostOf(address(string(kv.Value))), path.Base(kv.Key)+".service"
	if h == nil {
		return
	}
	w.tell(h.name, "%s %s", unit, text)
	h.mu.Lock()
	h.ails[unit] = what
	h.mu.Unlock()
}

func isAnnouncer(unit string) bool { return strings.Contains(unit, "-discovery@") }

// anyUnit returns a running unit that satisfies such, on the first machine from the step's on that has one; nil if there is
// none.
func (w *world) anyUnit(s step, such func(string) bool) (*host, string) {
	for i := range uint64(w.machines) {
		h := w.pick(s.A + i)
		units := slices.DeleteFunc(h.units(), func(unit string) bool { return !such(unit) })
		if len(units) > 0 {
			return h, units[s.B%uint64(len(units))]
		}
	}
	return nil, ""
}

// Faults of health checks and announcers.
func init() {
	rareDoings = append(rareDoings, often{"probe hangs", 10, "recover"}, often{"flap", 4, "recover"}, often{"announcer dies", 3, ""},
		often{"always fail", 3, "fail no more"})
	maps.Copy(faults, map[string]func(w *world, s step){
		"probe hangs": func(w *world, s step) { w.falls(s, hangs, "does not answer its health check any more") },
		"flap":        func(w *world, s step) { w.falls(s, flaps, "flaps") },
		"recover": func(w *world, _ step) {
			for _, h := range w.hosts {
				h.ill("", false)
			}
		},
		"announcer dies": func(w *world, s step) {
			if h, unit := w.anyUnit(s, isAnnouncer); h != nil {
				h.killUnit(unit)
			}
		},
		// No instance of the app passes, not even a new one.
		"always fail": func(w *world, s step) {
			app := []string{"web", "api"}[s.A%2]
			w.tell("world", "no instance of %s passes its health check", app)
			w.alwaysFails.Store(&app)
		},
		"fail no more": func(w *world, _ step) { w.alwaysFails.Store(nil) },
	})
}
