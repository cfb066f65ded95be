package sim

import (
	"maps"
	"slices"
)

// One process of a machine is cut off, and no other: its connection hangs, or what is to reach it is filtered.
func init() {
	maps.Copy(faults, map[string]func(w *world, s step){
		"cut off one": func(w *world, s step) {
			h := w.pick(s.A)
			if all := h.processes(); len(all) > 0 {
				h.connectOne(all[s.B%uint64(len(all))], []network{cutOff, deaf}[s.C%2])
			}
		},
		"reconnect one": func(w *world, s step) { w.pick(s.A).connectEach() },
	})
}

// processes are those of the machine that have a connection to etcd: fleetd, and half of the choices are its, and the others.
func (h *host) processes() []*process {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*process
	for _, unit := range sortedKeys(h.procs) {
		if p := h.procs[unit].process; p != nil {
			all = append(all, p)
		}
	}
	if h.on && h.fleetd != nil && !h.fleetd.dead() {
		all = append(slices.Repeat([]*process{h.fleetd}, max(len(all), 1)), all...)
	}
	return all
}

// connectOne changes the way to etcd of one process of the machine.
func (h *host) connectOne(p *process, n network) {
	if p.kind == kindFleetd {
		h.w.check.inTrouble(h)
	}
	h.w.tell(p.name, "%s alone is %s", p.kind, n)
	p.alone.Store(int32(n))
	h.refresh()
}

// connectEach ends it for all of them.
func (h *host) connectEach() {
	for _, p := range h.processes() {
		if network(p.alone.Load()) != connected {
			h.connectOne(p, connected)
		}
	}
}

// reach is how the machine's fleetd reaches etcd: what is decided elsewhere reaches the machine by it alone.
func (h *host) reach() network {
	if p := h.daemon.Load(); p != nil && network(p.alone.Load()) != connected {
		return network(p.alone.Load())
	}
	return network(h.network.Load())
}
