package rule

import (
	"slices"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// spreadOver is SpreadOver=: a unit prefers machines whose value of a metadata key has the fewest units of its family. Machines without the
// key come last.
type spreadOver struct {
	base
	spreads map[spreadKey]*spread
}

// spreadKey is a family of units that is spread over the values of a metadata key.
type spreadKey struct{ family, key string }

// spread counts the units of a family by their machine's value of a key, and groups the machines by the count of their value: the next unit
// goes to the smallest count.
type spread struct {
	spreadKey
	refs   int
	zones  map[string]*zone
	levels []*level // by count, none without machines
	spare  *level
}

type zone struct {
	machines index.Bits
	n        int
	count    int
}

type level struct {
	count int
	bits  index.Bits
	zones int
}

func (r *spreadOver) join(x *index.Index, n int) {
	r.spreads = map[spreadKey]*spread{}
	r.base.join(x, n)
}

// Key is the metadata key.
func (r *spreadOver) Key(b []byte, f *unitfile.Fleet) []byte { return append(b, f.SpreadOver...) }

func (r *spreadOver) of(u *index.Unit) *spread {
	s, _ := u.Bound(r.n).(*spread)
	return s
}

// Bind finds or makes the counts of a unit's family.
func (r *spreadOver) Bind(u *index.Unit) {
	key := u.Fleet.SpreadOver
	if key == "" || u.Fleet.Global || u.Of != nil {
		return
	}
	id := spreadKey{u.FamilyName(), key}
	s := r.spreads[id]
	if s == nil {
		s = &spread{spreadKey: id, zones: map[string]*zone{}}
		r.spreads[id] = s
		for _, m := range r.x.Machines() {
			if m.Indexed {
				s.attach(m, r.x.Words)
			}
		}
	}
	s.refs++
	u.SetBound(r.n, s)
}

// Unbind drops counts that no unit has.
func (r *spreadOver) Unbind(u *index.Unit) {
	s := r.of(u)
	if s == nil {
		return
	}
	u.SetBound(r.n, nil)
	if s.refs--; s.refs == 0 {
		delete(r.spreads, s.spreadKey)
	}
}

// Enter counts a unit.
func (r *spreadOver) Enter(u *index.Unit, m *index.Machine) {
	if s := r.of(u); s != nil {
		s.add(m, 1)
	}
}

// Leave undoes Enter.
func (r *spreadOver) Leave(u *index.Unit, m *index.Machine) {
	if s := r.of(u); s != nil {
		s.add(m, -1)
	}
}

// Attach adds a machine to its zones.
func (r *spreadOver) Attach(m *index.Machine) {
	for _, s := range r.spreads {
		s.attach(m, r.x.Words)
	}
}

// Detach undoes Attach.
func (r *spreadOver) Detach(m *index.Machine) {
	for _, s := range r.spreads {
		s.detach(m)
	}
}

// Filter prefers the values with the fewest units of the family of the first member that is spread.
func (r *spreadOver) Filter(q *Search) {
	for _, u := range q.Members {
		if s := r.of(u); s != nil {
			q.Prefer(s)
			return
		}
	}
}

// Tiers are the levels.
func (s *spread) Tiers() int { return len(s.levels) }

// Tier returns the machines of a level.
func (s *spread) Tier(i int) index.Bits { return s.levels[i].bits }

func (s *spread) attach(m *index.Machine, words int) {
	value, ok := m.Labels[s.key]
	if !ok {
		return
	}
	z := s.zones[value]
	if z == nil {
		z = &zone{machines: make(index.Bits, words)}
		s.zones[value] = z
	}
	if z.n == 0 {
		s.level(z.count, words).zones++
	}
	z.n++
	z.machines.Set(m.Slot)
	s.level(z.count, words).bits.Set(m.Slot)
}

func (s *spread) detach(m *index.Machine) {
	value, ok := m.Labels[s.key]
	if !ok {
		return
	}
	z := s.zones[value]
	z.machines.Clear(m.Slot)
	s.level(z.count, 0).bits.Clear(m.Slot)
	if z.n--; z.n == 0 {
		s.leave(z.count)
		delete(s.zones, value)
	}
}

// add changes the count of a machine's value, which moves all machines with that value to another level.
func (s *spread) add(m *index.Machine, by int) {
	value, ok := m.Labels[s.key]
	if !ok {
		return
	}
	z := s.zones[value]
	words := len(z.machines)
	from, to := s.level(z.count, words), s.level(z.count+by, words)
	for i, w := range z.machines {
		from.bits[i] &^= w
		to.bits[i] |= w
	}
	to.zones++
	s.leave(z.count)
	z.count += by
}

func (s *spread) find(count int) (int, bool) {
	return slices.BinarySearchFunc(s.levels, count, func(l *level, count int) int { return l.count - count })
}

func (s *spread) level(count, words int) *level {
	i, ok := s.find(count)
	if !ok {
		l := s.spare
		if s.spare = nil; l == nil || len(l.bits) != words {
			l = &level{bits: make(index.Bits, words)}
		}
		l.count = count
		s.levels = slices.Insert(s.levels, i, l)
	}
	return s.levels[i]
}

func (s *spread) leave(count int) {
	i, _ := s.find(count)
	if s.levels[i].zones--; s.levels[i].zones == 0 {
		s.spare = s.levels[i] // no zone is left in it, so no bit is set
		s.levels = slices.Delete(s.levels, i, i+1)
	}
}
