package rule

import "github.com/fleet-starter/fleet/controllers/schedule/index"

// Why a machine gets no new units.
const (
	ReasonDraining   = "Draining" // the machine is to be empty
	ReasonCordoned   = "Cordoned" // the machine takes no new units
	ReasonUnreadable = "Machine"  // what the machine says of itself cannot be read
	ReasonStuck      = "Stuck"    // the machine's node controller keeps failing: it gets no new units
)

// closed is not an option of units: machines that are drained, cordoned, unreadable or stuck get no new units. The index keeps them
// out of every search; this rule only explains it.
type closed struct {
	base
	draining, cordoned, unreadable, stuck index.Set
}

// Closed returns every reason why a machine gets no new units.
func Closed(m *index.Machine) (reasons []string) {
	if m.Config.Drain {
		reasons = append(reasons, ReasonDraining)
	} else if m.Config.Cordoned {
		reasons = append(reasons, ReasonCordoned)
	}
	if m.Problem != "" {
		reasons = append(reasons, ReasonUnreadable)
	}
	if m.Stuck {
		reasons = append(reasons, ReasonStuck)
	}
	return reasons
}

// sets are the sets that a machine belongs to, one for each reason.
func (r *closed) sets(m *index.Machine) (sets []*index.Set) {
	for _, reason := range Closed(m) {
		sets = append(sets, r.of(reason))
	}
	return sets
}

func (r *closed) of(reason string) *index.Set {
	switch reason {
	case ReasonDraining:
		return &r.draining
	case ReasonCordoned:
		return &r.cordoned
	case ReasonUnreadable:
		return &r.unreadable
	}
	return &r.stuck
}

// Attach adds a machine to its sets.
func (r *closed) Attach(m *index.Machine) {
	for _, s := range r.sets(m) {
		s.Add(m.Slot, r.x.Words)
	}
}

// Detach undoes Attach.
func (r *closed) Detach(m *index.Machine) {
	for _, s := range r.sets(m) {
		s.Remove(m.Slot)
	}
}

// Explain counts closed machines once for all members.
func (r *closed) Explain(s *Survey, i int) {
	if i < len(s.Members)-1 {
		return
	}
	s.Add(ReasonDraining, "is being drained", "are being drained", 0, "", s.In(&r.draining))
	s.Add(ReasonCordoned, "is cordoned", "are cordoned", 0, "", s.In(&r.cordoned))
	s.Add(ReasonUnreadable, "cannot be read", "cannot be read", 0, "", s.In(&r.unreadable))
	s.Add(ReasonStuck, "starts and stops no units now", "start and stop no units now", 0, " (list-machines says why)", s.In(&r.stuck))
}
