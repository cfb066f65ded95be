package rule

import (
	"fmt"
	"hash/fnv"
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// ReasonAutoPorts is the reason of AutoPorts=.
const ReasonAutoPorts = "AutoPorts" // the machine has too few free ports in the range of auto_ports

// autoPorts is AutoPorts=: each name gets a port of the machine's range that nothing else of fleet uses there. The placement holds
// them, so that they stay as long as it does.
type autoPorts struct {
	base
	fixed *ports
	at    []map[int]int // by slot: the assigned ports, and by how many placements
	on    map[int]int   // on how many machines a port is assigned
}

func (r *autoPorts) join(x *index.Index, n int) {
	r.on = map[int]int{}
	r.base.join(x, n)
}

// Key is the names.
func (r *autoPorts) Key(b []byte, f *unitfile.Fleet) []byte {
	for _, name := range f.AutoPorts {
		b = append(append(b, name...), 0)
	}
	return b
}

// Attach begins with an empty machine.
func (r *autoPorts) Attach(m *index.Machine) {
	if n := r.x.Words * 64; len(r.at) != n {
		r.at = make([]map[int]int, n) // the index has other slots now, and no machine yet
		clear(r.on)
	}
	r.at[m.Slot] = nil
}

// Detach does nothing: nothing is assigned there any more.
func (r *autoPorts) Detach(*index.Machine) {}

// Hold marks a placement's ports as used, also those that its unit does not name any more.
func (r *autoPorts) Hold(ports v1.Assignment, m *index.Machine) {
	for _, port := range ports.All {
		if r.at[m.Slot] == nil {
			r.at[m.Slot] = map[int]int{}
		}
		if r.at[m.Slot][port]++; r.at[m.Slot][port] == 1 {
			r.on[port]++
		}
	}
}

// Release marks them as free.
func (r *autoPorts) Release(ports v1.Assignment, m *index.Machine) {
	for _, port := range ports.All {
		if r.at[m.Slot][port]--; r.at[m.Slot][port] == 0 {
			delete(r.at[m.Slot], port)
			if r.on[port]--; r.on[port] == 0 {
				delete(r.on, port)
			}
		}
	}
}

// assigned reports whether the port is assigned to a unit on the machine.
func (r *autoPorts) assigned(port int, m *index.Machine) bool { return r.at[m.Slot][port] > 0 }

// used reports whether a port of the machine is taken, by whatever kind of port.
func (r *autoPorts) used(port int, m *index.Machine) bool {
	_, reserved := v1.ReservedPorts[port]
	return reserved || r.assigned(port, m) || r.fixed.uses(port, m)
}

// room reports whether the range has n free ports that none of the units has as a fixed one.
func (r *autoPorts) room(n int, m *index.Machine, units []*index.Unit) bool {
	if n == 0 {
		return true
	}
	most := len(v1.ReservedPorts) + len(r.at[m.Slot]) + len(r.fixed.used)
	for _, u := range units {
		most += len(u.Fleet.Ports)
	}
	return m.PortRange.Size()-most >= n || r.free(m, units, n) >= n
}

// free counts the free ports, up to a number.
func (r *autoPorts) free(m *index.Machine, units []*index.Unit, most int) (n int) {
	for i := 0; i < m.PortRange.Size() && n < most; i++ {
		if port := m.PortRange.First + i; !r.used(port, m) && !fixes(units, port) {
			n++
		}
	}
	return n
}

func fixes(units []*index.Unit, port int) bool {
	return slices.ContainsFunc(units, func(u *index.Unit) bool { return slices.Contains(u.Fleet.Ports, port) })
}

// Filter leaves out machines with too few free ports for all members together.
func (r *autoPorts) Filter(q *Search) {
	for _, u := range q.Members {
		q.assign += len(u.Fleet.AutoPorts)
	}
	q.checks = append(q.checks, r)
}

func (r *autoPorts) allows(q *Search, m *index.Machine) bool {
	return r.room(q.assign, m, q.Members)
}

// contends reports whether anything else on the machine has one of a placement's ports, also where its unit does not name them any more.
func (r *autoPorts) contends(x *index.Place) bool {
	for _, port := range x.Value.Assigned.All {
		if r.at[x.Machine.Slot][port] > 1 || r.fixed.uses(port, x.Machine) {
			return true
		}
	}
	return false
}

// Explain says how many ports are free, once for all members.
func (r *autoPorts) Explain(s *Survey, i int) {
	need := 0
	for _, u := range s.Members {
		need += len(u.Fleet.AutoPorts)
	}
	if i < len(s.Members)-1 || need == 0 {
		return
	}
	older := s.Where(r.x.Machines(), func(m *index.Machine) bool { return m.PortRange.IsZero() })
	s.Add(ReasonAutoPorts, "has a fleetd that assigns no ports", "have a fleetd that assigns no ports", 0, " (update it)", older)
	most := 0
	full := s.Where(r.x.Machines(), func(m *index.Machine) bool {
		if m.PortRange.IsZero() || r.room(need, m, s.Members) {
			return false
		}
		most = max(most, r.free(m, s.Members, need))
		return true
	})
	s.Add(ReasonAutoPorts, "has too few free ports left", "have too few free ports left", 0,
		fmt.Sprintf(" (AutoPorts= needs %d, the most that are free in auto_ports is %d)", need, most), full)
}

// Assign returns the automatic ports of a unit on a machine: those that it has, and a free one for each other name. None is a fixed one
// of the units that come with it. ok is false if there are too few.
//
// The search for a free port begins where a hash of the names says: a port that another instance has just left is rarely given again
// while a router that has not heard of it may still send requests there, and an instance that returns usually has the one it had.
func (l *List) Assign(u *index.Unit, m *index.Machine, has v1.Assignment, with []*index.Unit) (ports v1.Assignment, ok bool) {
	r := l.autoPorts
	for _, name := range u.Fleet.AutoPorts {
		port := has.Get(name)
		if port == 0 && m.Indexed {
			port = r.choose(u, m, name, ports, append(with[:len(with):len(with)], u))
		}
		if port == 0 {
			return "", false
		}
		ports = ports.With(name, port)
	}
	return ports, true
}

func (r *autoPorts) choose(u *index.Unit, m *index.Machine, name string, also v1.Assignment, with []*index.Unit) int {
	h, n := fnv.New32a(), m.PortRange.Size()
	fmt.Fprintf(h, "%s %s", u.Name, name)
	for i := range n {
		port := m.PortRange.First + (int(h.Sum32()%uint32(n))+i)%n
		if !r.used(port, m) && !also.Has(port) && !fixes(with, port) {
			return port
		}
	}
	return 0
}

// AssignsTo reports whether a unit with that section gets ports assigned.
func (l *List) AssignsTo(f *unitfile.Fleet) bool { return len(f.AutoPorts) > 0 }

// Hold and Release tell of the ports that a placement holds.
func (l *List) Hold(ports v1.Assignment, m *index.Machine)    { l.autoPorts.Hold(ports, m) }
func (l *List) Release(ports v1.Assignment, m *index.Machine) { l.autoPorts.Release(ports, m) }

// Short reports why a unit cannot stay with its file of now: that wants more ports than are free. It may keep a former file.
func (l *List) Short(x *index.Place) (Refusal, bool) {
	if len(x.Unit.Fleet.AutoPorts) == 0 {
		return Refusal{}, false
	}
	if _, ok := l.Assign(x.Unit, x.Machine, x.Value.Assigned, nil); ok {
		return Refusal{}, false
	}
	return Refusal{Reason: ReasonAutoPorts, Soft: x.Changes(), Message: x.MachineName + " has too few free ports for AutoPorts="}, true
}

// SharePort reports which assigned port keeps two units off the same machine. Clash compares fixed ones.
func (l *List) SharePort(x, y *index.Place) (Refusal, bool) {
	if x.Value.Assigned == "" && y.Value.Assigned == "" {
		return Refusal{}, false
	}
	share := func(port int) (Refusal, bool) {
		return Refusal{Reason: ReasonPorts, Message: fmt.Sprintf("%s and %s both use port %d", x.Unit.Label(), y.Unit.Label(), port)}, true
	}
	for _, port := range x.Value.Assigned.All {
		if y.Value.Assigned.Has(port) || slices.Contains(y.Unit.Fleet.Ports, port) {
			return share(port)
		}
	}
	for _, port := range y.Value.Assigned.All {
		if slices.Contains(x.Unit.Fleet.Ports, port) {
			return share(port)
		}
	}
	return Refusal{}, false
}

// assignedPort leaves out machines where a port is assigned to another unit.
type assignedPort struct {
	*autoPorts
	port int
}

func (r assignedPort) allows(_ *Search, m *index.Machine) bool { return !r.assigned(r.port, m) }
