package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// pick returns a host.
func (w *world) pick(n uint64) *host { return w.hosts[n%uint64(w.machines)] }

// faults are the faults, and what ends each.
var faults = map[string]func(w *world, s step){
	"power off": func(w *world, s step) { w.pick(s.A).powerOff() },
	"power on":  func(w *world, s step) { w.pick(s.A).powerOn() },
	"power off many": func(w *world, s step) {
		for i := range uint64(w.machines)/2 + 1 + s.B%2 {
			w.pick(s.A + i).powerOff()
		}
	},
	"power on many": func(w *world, s step) {
		for i := range uint64(w.machines)/2 + 2 {
			w.pick(s.A + i).powerOn()
		}
	},
	"cut off":   func(w *world, s step) { w.disconnect(w.pick(s.A), cutOff) },
	"deaf":      func(w *world, s step) { w.disconnect(w.pick(s.A), deaf) },
	"reconnect": func(w *world, s step) { w.pick(s.A).connect(connected) },
	"cut off many": func(w *world, s step) {
		for i := range uint64(w.machines)/2 + 1 {
			w.disconnect(w.pick(s.A+i), cutOff)
		}
	},
	"reconnect many": func(w *world, s step) {
		for i := range uint64(w.machines)/2 + 1 {
			w.pick(s.A + i).connect(connected)
		}
	},
	"kill fleetd": func(w *world, s step) {
		w.check.inTrouble(w.pick(s.A))
		w.pick(s.A).killFleetd()
	},
	"stop fleetd": func(w *world, s step) {
		w.check.inTrouble(w.pick(s.A))
		w.pick(s.A).termFleetd()
	},
	"hold fleetd": func(w *world, s step) {
		w.check.inTrouble(w.pick(s.A))
		w.pick(s.A).hold(true)
		w.pick(s.A).killFleetd()
	},
	"release fleetd": func(w *world, s step) { w.pick(s.A).hold(false) },
	"trap": func(w *world, s step) {
		w.commit.Lock()
		defer w.commit.Unlock()
		w.trap = &trap{w: w, what: traps[s.A%uint64(len(traps))], left: int(s.B % 6)}
	},
	"lose": func(w *world, _ step) { // the answer to what schedule writes next
		w.commit.Lock()
		defer w.commit.Unlock()
		w.trap = &trap{w: w, what: trapPartition, part: "schedule"}
	},
	"etcd away": func(w *world, _ step) { w.etcdAway(true) },
	"etcd back": func(w *world, _ step) { w.etcdAway(false) },
	"full":      func(w *world, _ step) { w.fill(true) },
	"room":      func(w *world, _ step) { w.fill(false) },
	"compact":   func(w *world, _ step) { w.etcd.Compact(w.etcd.Revision()) },
	"kill process": func(w *world, s step) {
		h := w.pick(s.A)
		if units := h.units(); len(units) > 0 {
			unit := units[s.B%uint64(len(units))]
			h.killUnit(unit)
			if u, ok := kitOf(unit); ok && !strings.Contains(u.text, "Restart=") {
				w.check.refused(h, unit, true) // a person has to ask for it again
			}
		}
	},
	"sick": func(w *world, s step) {
		h := w.pick(s.A)
		if units := h.units(); len(units) > 0 {
			h.ill(units[s.B%uint64(len(units))], true)
		}
	},
	// systemd refuses to start anything, or to do anything at all.
	"refuse": func(w *world, s step) {
		w.check.inTrouble(w.pick(s.A))
		w.pick(s.A).stubborn.Store(s.B%2 == 0)
		w.pick(s.A).refuses.Store(true)
	},
	"obey": func(w *world, s step) { w.pick(s.A).refuses.Store(false) },
	"cure": func(w *world, s step) { w.pick(s.A).ill("", false) },
	"duplicate": func(w *world, s step) {
		if len(w.hosts) > w.machines {
			return
		}
		twin := w.pick(s.A)
		h := w.newHost("twin", twin.id, 99, twin.spec.Load().Metadata, v1.Capacity{CPU: 4000})
		w.check.inTrouble(twin)
		h.powerOn()
	},
	"duplicate off": func(w *world, _ step) {
		for _, h := range w.hosts[w.machines:] {
			h.powerOff()
			w.check.inTrouble(h)
		}
	},
}

func (w *world) disconnect(h *host, n network) {
	w.check.inTrouble(h)
	h.connect(n)
}

// etcdAway makes etcd unreachable, or reachable again with a new leader, which extends every lease to its full TTL.
func (w *world) etcdAway(away bool) {
	if !away && w.away.Load() {
		w.etcd.ExtendLeases()
	}
	w.check.inTrouble(nil)
	w.away.Store(away)
	for _, h := range w.hosts {
		h.refresh()
	}
}

// fill makes etcd full, or ends that.
func (w *world) fill(full bool) {
	w.check.inTrouble(nil)
	w.full.Store(full)
	w.etcd.SetFull(full)
}

// ill makes the unit fail its health check; with sick false, all of the host's units pass again.
func (h *host) ill(unit string, sick bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !sick {
		clear(h.sick)
		clear(h.ails)
		return
	}
	h.w.tell(h.name, "%s does not pass its health check any more", unit)
	h.sick[unit] = true
}

// heal ends all faults.
func (w *world) heal() {
	w.tell("world", "all faults end")
	w.commit.Lock()
	w.trap = nil
	w.commit.Unlock()
	w.etcdAway(false)
	w.fill(false)
	w.stock()
	w.trustAgain()
	w.alwaysFails.Store(nil)
	for i, h := range w.hosts {
		h.ill("", false)
		h.hold(false)
		h.refuses.Store(false)
		h.disk.fill(h, false, false)
		h.loseBus(false)
		h.upgrade()
		h.front.heal()
		h.connectEach()
		h.connect(connected)
		if i < w.machines {
			h.powerOn()
		} else {
			h.powerOff()
		}
	}
	w.startAnew()
	w.mendGit()
}

// askAgain repeats people's requests that were refused meanwhile: fleetd does not.
func (w *world) askAgain() {
	now := time.Now().Format(time.RFC3339Nano)
	for _, unit := range w.check.refusedUnits() {
		if i := slices.IndexFunc(handMade, func(u handMadeUnit) bool { return u.name == unit }); i >= 0 {
			w.submit(uint64(i), v1.Launched, now)
		} else if u, ok := w.box(unit); ok {
			w.submitUnit(u, v1.Launched, now)
		} else if u, ok := kitOf(unit); ok {
			w.submitUnit(u.handMadeUnit, u.desired, now)
		} else {
			w.put(w.keys.Overrides().Key(unit), string(encode(v1.Override{DesiredState: v1.Launched, RequestedAt: now})))
		}
	}
}

// boot starts the cluster.
func (w *world) boot(p Plan) {
	machines := p.Machines
	w.machines = machines
	for i := range machines {
		name := fmt.Sprintf("m%d", i+1)
		capacity := v1.Capacity{CPU: []int64{1000, 2000, 4000}[(w.seed+uint64(i))%3], Memory: 1 << 30}
		h := w.newHost(name, name, i+1, map[string]string{"zone": string(rune('a' + i%2))}, capacity)
		h.old.Store(p.OldFleetd)
	}
	w.put(w.keys.Apps().Key("router"), routerManifest)
	for _, h := range w.hosts {
		w.sleep(w.delay("power", h.name))
		h.powerOn()
	}
}
