package rule

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// ReasonPorts is the reason of Ports=.
const ReasonPorts = "Ports" // a port that it needs is used by a unit that was there first

// ports is Ports=: on a machine each port is used by at most one unit.
type ports struct {
	base
	used map[int]*index.UnitSet
	auto *autoPorts
}

func (r *ports) join(x *index.Index, n int) {
	r.used = map[int]*index.UnitSet{}
	r.base.join(x, n)
}

// Key is the ports.
func (r *ports) Key(b []byte, f *unitfile.Fleet) []byte {
	for _, port := range f.Ports {
		b = binary.AppendVarint(b, int64(port))
	}
	return b
}

// Enter marks the ports as used.
func (r *ports) Enter(u *index.Unit, m *index.Machine) {
	for _, port := range u.Fleet.Ports {
		if r.again(u, port) {
			continue
		}
		s := r.used[port]
		if s == nil {
			s = &index.UnitSet{}
			r.used[port] = s
		}
		s.Enter(u, m.Slot, r.x.Words)
	}
}

// Leave marks them as free.
func (r *ports) Leave(u *index.Unit, m *index.Machine) {
	for _, port := range u.Fleet.Ports {
		if !r.again(u, port) {
			r.used[port].Leave(u, m.Slot)
		}
	}
}

// again reports whether a port of a former file is still in the unit's file.
func (r *ports) again(u *index.Unit, port int) bool {
	return u.Of != nil && slices.Contains(u.Of.Fleet.Ports, port)
}

// uses reports whether a unit on the machine uses the port.
func (r *ports) uses(port int, m *index.Machine) bool {
	s := r.used[port]
	return s != nil && s.Has(m.Slot)
}

// Filter leaves out machines where a port is in use.
func (r *ports) Filter(q *Search) {
	for _, u := range q.Members {
		for _, port := range u.Fleet.Ports {
			if s := r.used[port]; s != nil {
				q.Without(&s.Set)
			}
			if r.auto.on[port] > 0 {
				q.checks = append(q.checks, assignedPort{r.auto, port})
			}
		}
	}
}

// Clash names the port.
func (r *ports) Clash(u, v *index.Unit) (Refusal, bool) {
	for _, port := range u.Fleet.Ports {
		if slices.Contains(v.Fleet.Ports, port) {
			return Refusal{Reason: ReasonPorts, Message: fmt.Sprintf("%s and %s both use port %d", u.Label(), v.Label(), port)}, true
		}
	}
	return Refusal{}, false
}

// Contended reports whether another unit on the machine uses one of the ports.
func (r *ports) Contended(u *index.Unit, m *index.Machine) bool {
	return slices.ContainsFunc(u.Fleet.Ports, func(port int) bool { return r.used[port].Count(m.Slot) > 1 || r.auto.assigned(port, m) })
}

// Explain names the units that use the ports.
func (r *ports) Explain(s *Survey, i int) {
	for _, port := range s.Members[i].Fleet.Ports {
		if r.auto.on[port] > 0 {
			t := s.Where(r.x.Machines(), func(m *index.Machine) bool { return r.auto.assigned(port, m) })
			s.Add(ReasonPorts, fmt.Sprintf("has assigned port %d", port), fmt.Sprintf("have assigned port %d", port), i, " (to a unit with AutoPorts=)", t)
		}
		k := r.used[port]
		if k == nil {
			continue
		}
		if t := s.In(&k.Set); t.N > 0 {
			names := s.Names(k, func(v *index.Unit) bool { return slices.Contains(v.Fleet.Ports, port) && !r.again(v, port) })
			s.Add(ReasonPorts, fmt.Sprintf("has port %d in use", port), fmt.Sprintf("have port %d in use", port), i,
				fmt.Sprintf(" (by %s)", names), t)
		}
	}
}
