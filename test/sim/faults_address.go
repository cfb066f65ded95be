package sim

import (
	"fmt"
	"maps"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Addresses change: a machine comes back with another one, and its old one goes to another machine.
func init() {
	maps.Copy(faults, map[string]func(w *world, s step){
		"readdress": func(w *world, s step) {
			gone := w.pick(s.A)
			left := gone.address()
			gone.powerOff()
			gone.readdress(w.newAddress())
			if heir := w.pick(s.A + 1 + s.B%uint64(w.machines-1)); s.C%2 == 0 {
				heir.powerOff()
				heir.readdress(left)
				heir.powerOn()
			}
		},
	})
}

// newAddress returns an address that no machine has had.
func (w *world) newAddress() string {
	w.readdressed++
	return fmt.Sprintf("10.0.1.%d", w.readdressed)
}

// readdress gives the machine, which is off, another address.
func (h *host) readdress(address string) {
	h.w.tell(h.name, "will be at %s instead of %s", address, h.address())
	h.describe(func(spec *v1.MachineSpec) { spec.Address = address })
}

// describe changes the machine's spec.
func (h *host) describe(change func(*v1.MachineSpec)) {
	spec := *h.spec.Load()
	change(&spec)
	h.spec.Store(&spec)
}
