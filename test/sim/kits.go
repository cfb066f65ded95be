package sim

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// kit is a set of units that people submit together, in the state that they want them in, as in docs/deploy.md: what a timer
// or a socket starts is loaded. The last one is the one that is stopped and started.
type kit []kitUnit

type kitUnit struct {
	handMadeUnit
	desired v1.DesiredState
}

const servedAt = "/run/served"

var kits = []kit{
	{{handMadeUnit{"nightly.service", "[Service]\nType=oneshot\nExecStart=/bin/nightly\n"}, v1.Loaded},
		{handMadeUnit{"nightly.timer", "[Timer]\nOnActiveSec=4s\nOnUnitActiveSec=13s\n[X-Fleet]\nMachineOf=nightly.service\n"}, v1.Launched}},
	{{handMadeUnit{"served.service", "[Service]\nExecStart=/bin/served\n"}, v1.Loaded},
		{handMadeUnit{"served.socket", "[Socket]\nListenStream=" + servedAt + "\n[X-Fleet]\nMachineOf=served.service\n"}, v1.Launched}},
	{{handMadeUnit{"wanted.service", "[Service]\nExecStart=/bin/wanted\n"}, v1.Loaded},
		{handMadeUnit{"wants.service", "[Unit]\nWants=wanted.service\n[Service]\nExecStart=/bin/wants\n[X-Fleet]\nMachineOf=wanted.service\n"}, v1.Launched}},
	{{handMadeUnit{"slow.service", "[Service]\nExecStart=/bin/slow\nExecStop=/bin/finish\nTimeoutStopSec=20s\n"}, v1.Launched}},
	{{handMadeUnit{"deaf.service", "[Service]\nExecStart=/bin/deaf\nKillSignal=SIGWINCH\nTimeoutStopSec=9s\n"}, v1.Launched}},
}

// broughtBy maps units of kits that another unit starts to that unit.
var broughtBy = map[string]string{"nightly.service": "nightly.timer", "served.service": "served.socket", "wanted.service": "wants.service"}

// stopsWithin is how long a unit may take to stop, according to its file.
var stopsWithin = map[string]time.Duration{"slow.service": finishes, "deaf.service": 9 * time.Second}

// How long the kits' programs run.
const (
	finishes    = 6 * time.Second // the ExecStop= of slow.service
	nightlyRuns = 3 * time.Second
)

// kitOf returns the unit of that name.
func kitOf(unit string) (kitUnit, bool) {
	for _, k := range kits {
		if i := slices.IndexFunc(k, func(u kitUnit) bool { return u.name == unit }); i >= 0 {
			return k[i], true
		}
	}
	return kitUnit{}, false
}

// withKits: one in so many plans has a kit.
const withKits = 5

// drawKits adds a kit and its steps to a few plans. They are drawn separately, like the rare steps.
func (p *Plan) drawKits(length time.Duration) {
	r := rand.New(rand.NewPCG(p.Seed, 322))
	if r.IntN(withKits) != 0 {
		return
	}
	which := r.Uint64N(uint64(len(kits)))
	add := func(at time.Duration, do string) {
		p.Steps = append(p.Steps, step{At: at, Do: do, A: which, B: r.Uint64() >> 8, C: r.Uint64() >> 8})
	}
	at := 3*time.Second + time.Duration(r.Int64N(int64(10*time.Second)))
	add(at, "submit kit")
	for range 3 + r.IntN(5) {
		at += 2*time.Second + time.Duration(r.Int64N(int64(length/4)))
		switch do := []string{"drain kit", "drain kit", "stop kit", "start kit", "change kit", "connect", "connect", "destroy kit", "submit kit"}[r.IntN(9)]; do {
		case "drain kit":
			add(at, do)
			add(at+lasts(r), "undrain")
		case "stop kit": // and it is started again, maybe while it stops
			add(at, do)
			add(at+time.Second+time.Duration(r.Int64N(int64(20*time.Second))), "start kit")
		default:
			add(at, do)
		}
	}
}

func (w *world) kit(s step) kit { return kits[s.A%uint64(len(kits))] }

func init() {
	maps.Copy(people, map[string]func(w *world, s step){
		"submit kit": func(w *world, s step) {
			for _, u := range w.kit(s) {
				w.submitUnit(u.handMadeUnit, u.desired, "")
			}
		},
		"change kit": func(w *world, s step) { // its first unit
			u := w.kit(s)[0]
			if w.check.knows(u.name) {
				u.text += "Environment=CHANGED=" + string(rune('a'+s.B%26)) + "\n"
				w.submitUnit(u.handMadeUnit, u.desired, "")
			}
		},
		"stop kit": func(w *world, s step) { w.setKit(s, v1.Loaded) },
		"start kit": func(w *world, s step) {
			w.setKit(s, v1.Launched)
		},
		"destroy kit": func(w *world, s step) {
			for _, u := range w.kit(s) {
				w.write(store.Op{Key: w.keys.Units().Key(u.name)})
			}
		},
		"drain kit": func(w *world, s step) { // wherever it is
			for _, kv := range w.list(w.keys.Placements().Prefix()) {
				name, _ := w.keys.Placements().Name(kv.Key)
				if machine, unit, ok := keyspace.Split(name); ok && unit == w.kit(s)[0].name {
					w.put(w.keys.MachineConfigs().Key(machine), string(encode(v1.MachineConfig{Drain: true})))
				}
			}
		},
		"connect": func(w *world, _ step) { // wherever a socket listens
			for _, h := range w.hosts {
				h.sync()
				if h.systemd.Connect(servedAt) == nil {
					w.tell(h.name, "a connection comes to %s", servedAt)
				}
				h.poke()
			}
		},
	})
}

// setKit stops or starts the last unit of a kit.
func (w *world) setKit(s step, desired v1.DesiredState) {
	u := w.kit(s)[len(w.kit(s))-1]
	if w.check.knows(u.name) {
		w.submitUnit(u.handMadeUnit, desired, time.Now().Format(time.RFC3339Nano))
	}
}

// stopTimers stops the timers: a repeating one would never come to rest.
func (w *world) stopTimers() {
	if timer, _ := kitOf("nightly.timer"); w.check.knows(timer.name) {
		w.submitUnit(timer.handMadeUnit, v1.Loaded, "")
	}
}

// stops records that a unit was told to stop.
func (c *checker) stops(h *host, unit string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopsSince[unit] == nil {
		c.stopsSince[unit] = map[*host]time.Time{}
	}
	c.stopsSince[unit][h] = time.Now()
}

// stillStops reports whether it was told to stop, and has time left according to its file.
func (c *checker) stillStops(h *host, unit string) bool {
	since, stops := c.stopsSince[unit][h]
	return stops && time.Since(since) <= stopsWithin[unit]
}

// asksToStop is called when fleetd stops a unit. A unit that another unit started must be left alone while its placement does
// not change: loaded only stops it once.
func (c *checker) asksToStop(h *host, unit string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	placement, placed := c.placed[h.id][unit]
	since, brought := c.broughtAt[unit][h]
	if !brought || !c.runs[unit][h] || !placed || placement.DesiredState != v1.Loaded {
		return
	}
	excuse := c.unreached(h, unit)
	if c.catchesUp(h) {
		excuse = "its machine could not be reached a moment ago"
	}
	if c.judge(invRestart, excuse) && since.Sub(c.told[h.id][unit]) > slack {
		c.w.fail(invRestart, "%s on %s was started by %s, and is stopped although it was not told so since", unit, h.name, broughtBy[unit])
	}
}

// brought records whether another unit has started this one as intended.
func (c *checker) brought(h *host, unit, by string) bool {
	if c.broughtAt[unit] == nil {
		c.broughtAt[unit] = map[*host]time.Time{}
	}
	delete(c.broughtAt[unit], h)
	if by == "" || by != broughtBy[unit] {
		return false
	}
	c.broughtAt[unit][h] = time.Now()
	return true
}

// isTrigger reports whether it is a timer or a socket, which has no process.
func isTrigger(unit string) bool {
	return strings.HasSuffix(unit, ".timer") || strings.HasSuffix(unit, ".socket")
}

// asksToStart is called when fleetd starts a unit. A socket is refused while its service runs.
func (c *checker) asksToStart(h *host, unit string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	service, socket := strings.CutSuffix(unit, ".socket")
	if !socket {
		return
	}
	if c.tooLate[unit] == nil {
		c.tooLate[unit] = map[*host]bool{}
	}
	c.tooLate[unit][h] = c.runs[service+".service"][h]
}
