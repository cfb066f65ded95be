package sim

import (
	"maps"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// A machine's configured metadata is changed, and fleetd reloads it (internal/daemon, SIGHUP), or reads it when it starts.
func init() {
	maps.Copy(faults, map[string]func(w *world, s step){
		"reload": func(w *world, s step) {
			others := []map[string]string{{"zone": "a"}, {"zone": "b"}, {"zone": "c", "disk": "ssd"}, nil}
			w.pick(s.A).reload(others[s.B%uint64(len(others))])
		},
	})
}

func (h *host) reload(metadata map[string]string) {
	h.w.tell(h.name, "its metadata is changed to %v", metadata)
	h.describe(func(spec *v1.MachineSpec) { spec.Metadata = metadata })
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fleetd == nil || h.fleetd.dead() {
		return
	}
	if agent := h.fleetd.agent.Load(); agent != nil {
		agent.SetMetadata(metadata)
	}
}

// machine is what fleetd publishes about it.
func (h *host) machine() v1.Machine {
	return v1.Machine{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindMachine}, Metadata: v1.ObjectMeta{Name: h.id}, Spec: *h.spec.Load()}
}
