package sim

import (
	"maps"
	"slices"
)

// A single process of a machine is cut off: its connection hangs, or packets to it are filtered.
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

// processes are the machine's processes with a connection to etcd: fleetd, repeated to be half of the choices, and the
// others.
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

// connectOne changes the connection of one of the machine's processes.
func (h *host) connectOne(p *process, n network) {
	if p.kind == kindFleetd {
		h.w.check.inTrouble(h)
	}
	h.w.tell(p.name, "%s alone is %s", p.kind, n)
	p.alone.Store(int32(n))
	h.refresh()
}

// connectEach ends that for all of them.
func (h *host) connectEach() {
	for _, p := range h.processes() {
		if network(p.alone.Load()) != connected {
			h.connectOne(p, connected)
		}
	}
}

// reach is how the machine's fleetd reaches etcd: decisions made elsewhere reach the machine only through fleetd.
func (h *host) reach() network {
	if p := h.daemon.Load(); p != nil && network(p.alone.Load()) != connected {
		return network(p.alone.Load())
	}
	return network(h.network.Load())
}
