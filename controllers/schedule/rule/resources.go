package rule

import (
	"encoding/binary"
	"fmt"

	"github.com/fleet-starter/fleet/apis/quantity"
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// The reasons of CPU= and Memory=.
const (
	ReasonCPU    = "CPU"    // the machine has too little CPU left
	ReasonMemory = "Memory" // the machine has too little memory left
)

// resources is CPU= and Memory=: the requests of the units on a machine never exceed its capacity. A resource whose capacity is unknown is
// unlimited.
type resources struct {
	base
	used []v1.Capacity // by slot
	// full are, by request, the machines found to have too little left, until something there is released.
	full map[v1.Capacity]index.Bits
}

// maxFull bounds the number of requests in full.
const maxFull = 256

func (r *resources) join(x *index.Index, n int) {
	r.full = map[v1.Capacity]index.Bits{}
	r.base.join(x, n)
}

func request(u *index.Unit) v1.Capacity { return v1.Capacity{CPU: u.Fleet.CPU, Memory: u.Fleet.Memory} }

// beyond is how much a request exceeds another one.
func beyond(a, b v1.Capacity) v1.Capacity {
	return v1.Capacity{CPU: max(a.CPU-b.CPU, 0), Memory: max(a.Memory-b.Memory, 0)}
}

func plus(a, b v1.Capacity) v1.Capacity {
	return v1.Capacity{CPU: a.CPU + b.CPU, Memory: a.Memory + b.Memory}
}

// fits reports whether a machine of which used is taken has room for the request.
func fits(m *index.Machine, used, need v1.Capacity) bool {
	return (need.CPU == 0 || m.Capacity.CPU == 0 || used.CPU+need.CPU <= m.Capacity.CPU) &&
		(need.Memory == 0 || m.Capacity.Memory == 0 || used.Memory+need.Memory <= m.Capacity.Memory)
}

// Key is the request.
func (r *resources) Key(b []byte, f *unitfile.Fleet) []byte {
	if f.CPU == 0 && f.Memory == 0 {
		return b
	}
	return binary.AppendVarint(binary.AppendVarint(b, f.CPU), f.Memory)
}

// Attach begins with an empty machine.
func (r *resources) Attach(m *index.Machine) {
	if n := r.x.Words * 64; len(r.used) != n {
		r.used = make([]v1.Capacity, n) // the index has other slots now, and no machine yet
	}
	r.used[m.Slot] = v1.Capacity{}
}

// Detach forgets what is known of the machine.
func (r *resources) Detach(m *index.Machine) { r.givenBack(m) }

// Enter adds a unit's request; for a former file, what exceeds the request of its unit.
func (r *resources) Enter(u *index.Unit, m *index.Machine) {
	r.used[m.Slot] = plus(r.used[m.Slot], r.takes(u))
	r.share(m)
}

// Leave subtracts it.
func (r *resources) Leave(u *index.Unit, m *index.Machine) {
	n := r.takes(u)
	r.used[m.Slot] = plus(r.used[m.Slot], v1.Capacity{CPU: -n.CPU, Memory: -n.Memory})
	r.givenBack(m)
	r.share(m)
}

func (r *resources) takes(u *index.Unit) v1.Capacity {
	if u.Of != nil {
		return beyond(request(u), request(u.Of))
	}
	return request(u)
}

// share tells the index how full the machine is.
func (r *resources) share(m *index.Machine) {
	used, share := r.used[m.Slot], int64(0)
	if m.Capacity.CPU > 0 {
		share = used.CPU << index.ShareShift / m.Capacity.CPU
	}
	if m.Capacity.Memory > 0 {
		share = max(share, used.Memory<<index.ShareShift/m.Capacity.Memory)
	}
	m.Share = int32(min(max(share, 0), 1<<index.ShareShift-1))
}

// learn records that a request does not fit on a machine, so that a thousand full machines are not tried again for every unit.
func (r *resources) learn(need v1.Capacity, m *index.Machine) {
	b := r.full[need]
	if len(b) != r.x.Words {
		if len(r.full) >= maxFull {
			clear(r.full)
		}
		b = make(index.Bits, r.x.Words)
		r.full[need] = b
	}
	b.Set(m.Slot)
}

func (r *resources) givenBack(m *index.Machine) {
	for _, b := range r.full {
		if m.Slot>>6 < len(b) {
			b.Clear(m.Slot)
		}
	}
}

// Filter leaves out machines that have too little left for all members together.
func (r *resources) Filter(q *Search) {
	for _, u := range q.Members {
		q.need = plus(q.need, request(u))
	}
	if b := r.full[q.need]; len(b) == r.x.Words {
		q.Exclude = append(q.Exclude, b)
	}
	q.checks = append(q.checks, r)
}

func (r *resources) allows(q *Search, m *index.Machine) bool {
	if fits(m, r.used[m.Slot], q.need) {
		return true
	}
	r.learn(q.need, m)
	return false
}

// Overfull reports whether a unit requests a resource of which the machine has less than its units request.
func (l *List) Overfull(u *index.Unit, m *index.Machine) bool {
	used := l.resources.used[m.Slot]
	return request(u) != v1.Capacity{} &&
		(m.Capacity.CPU > 0 && used.CPU > m.Capacity.CPU || m.Capacity.Memory > 0 && used.Memory > m.Capacity.Memory)
}

// Left is how much a machine would have left beside units that are not there; negative: they do not fit.
func (l *List) Left(m *index.Machine, units []*index.Unit) (left v1.Capacity) {
	used := l.resources.used[m.Slot]
	for _, u := range units {
		used = plus(used, request(u))
	}
	left = v1.Capacity{CPU: m.Capacity.CPU - used.CPU, Memory: m.Capacity.Memory - used.Memory}
	if m.Capacity.CPU == 0 {
		left.CPU = 0
	}
	if m.Capacity.Memory == 0 {
		left.Memory = 0
	}
	return left
}

// Explain says how much is left, once for all members.
func (r *resources) Explain(s *Survey, i int) {
	if i < len(s.Members)-1 {
		return
	}
	need := v1.Capacity{}
	for _, u := range s.Members {
		need = plus(need, request(u))
	}
	r.explain(s, ReasonCPU, "CPU", v1.Capacity{CPU: need.CPU}, need.CPU, func(c v1.Capacity) int64 { return c.CPU })
	r.explain(s, ReasonMemory, "memory", v1.Capacity{Memory: need.Memory}, need.Memory, func(c v1.Capacity) int64 { return c.Memory })
}

func (r *resources) explain(s *Survey, reason, what string, need v1.Capacity, n int64, of func(v1.Capacity) int64) {
	if n == 0 {
		return
	}
	most := int64(0)
	t := s.Where(r.x.Machines(), func(m *index.Machine) bool {
		used := r.used[m.Slot]
		if fits(m, used, need) {
			return false
		}
		most = max(most, of(m.Capacity)-of(used))
		return true
	})
	words := " too little " + what + " left"
	s.Add(reason, "has"+words, "have"+words, 0, fmt.Sprintf(" (%s=%s, the most that is left is %s)", reason, amount(reason, n), amount(reason, most)), t)
}

// Room is what a machine has left while its units are admitted one by one.
type Room struct {
	machine *index.Machine
	used    v1.Capacity
}

// Room returns the room of an empty machine.
func (l *List) Room(m *index.Machine) *Room { return &Room{machine: m} }

// Add takes the room of a unit that is there, whether or not it fits.
func (r *Room) Add(u *index.Unit) { r.used = plus(r.used, request(u)) }

// Take takes what a unit requests beyond the file that it runs with (runs; nil if it does not run yet), or reports that there is too
// little.
func (r *Room) Take(u, runs *index.Unit) (Refusal, bool) {
	need, rest := request(u), request(u)
	if runs != nil {
		rest = beyond(need, request(runs))
	}
	if fits(r.machine, r.used, rest) {
		r.used = plus(r.used, rest)
		return Refusal{}, true
	}
	if fits(r.machine, r.used, v1.Capacity{CPU: rest.CPU}) {
		return r.tooLittle(ReasonMemory, "memory", need.Memory), false
	}
	return r.tooLittle(ReasonCPU, "CPU", need.CPU), false
}

func (r *Room) tooLittle(reason, what string, n int64) Refusal {
	return Refusal{Reason: reason, Soft: true,
		Message: fmt.Sprintf("%s has too little %s for %s=%s beside what was there first", r.machine.ID, what, reason, amount(reason, n))}
}

// amount formats an amount of a resource as the option has it.
func amount(resource string, n int64) string {
	if resource == ReasonCPU {
		return quantity.FormatCores(n)
	}
	return quantity.ApproximateMemory(n)
}
