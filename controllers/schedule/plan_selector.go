package schedule

import (
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// selector is one demand on metadata, shared by all units that make it: the machines that meet it, by load.
type selector struct {
	id    string
	terms []term
	refs  int
	match bitmap // machines that meet it
	n     int
	view  view // those of them that may get new units
}

// pair is a key of metadata with its value.
type pair struct{ key, value string }

// term: one of these values under this key.
type term struct {
	key    string
	values []string
}

func (t term) String() string {
	return t.key + "=" + strings.Join(t.values, " or ")
}

func (t term) meets(meta map[string]string) bool {
	v, ok := meta[t.key]
	return ok && slices.Contains(t.values, v)
}

func (s *selector) meets(meta map[string]string) bool {
	for _, t := range s.terms {
		if !t.meets(meta) {
			return false
		}
	}
	return true
}

func (c *Cluster) selectorFor(demand map[string][]string) *selector {
	if len(demand) == 0 && c.anywhere != nil {
		return c.anywhere
	}
	var id []byte
	keys := slices.Sorted(maps.Keys(demand))
	for _, key := range keys {
		id = append(append(id, key...), 0)
		for _, v := range demand[key] {
			id = append(append(id, v...), 0)
		}
		id = append(id, 1)
	}
	if s := c.selectors[string(id)]; s != nil {
		return s
	}
	s := &selector{id: string(id)}
	for _, key := range keys {
		s.terms = append(s.terms, term{key, demand[key]})
	}
	c.selectors[s.id] = s
	if len(s.terms) > 0 {
		for _, v := range s.terms[0].values {
			pair := s.terms[0].key + "=" + v
			c.byTerm[pair] = append(c.byTerm[pair], s)
		}
	}
	s.reset()
	for _, m := range c.sorted {
		if m.indexed && s.meets(m.meta) {
			m.selector = append(m.selector, s)
			s.attach(m, c.words)
		}
	}
	return s
}

func (c *Cluster) dropSelector(s *selector) {
	if s.refs--; s.refs > 0 {
		return
	}
	delete(c.selectors, s.id)
	for _, v := range s.terms[0].values {
		pair := s.terms[0].key + "=" + v
		if rest := remove(c.byTerm[pair], s); len(rest) > 0 {
			c.byTerm[pair] = rest
		} else {
			delete(c.byTerm, pair)
		}
	}
	for w, word := range s.match {
		for ; word != 0; word &= word - 1 {
			m := c.slots[w<<6+bits.TrailingZeros64(word)]
			m.selector = remove(m.selector, s)
		}
	}
}

// eachSelector finds the selectors that a machine meets by what it says, not by trying them all.
func (c *Cluster) eachSelector(m *machine, f func(*selector)) {
	f(c.anywhere)
	for key, value := range m.meta {
		for _, s := range c.byTerm[key+"="+value] {
			if s.meets(m.meta) {
				f(s)
			}
		}
	}
}

func (s *selector) attach(m *machine, words int) {
	if s.match == nil {
		s.match = make(bitmap, words)
	}
	s.match.set(m.slot)
	s.n++
	if m.schedulable() {
		s.view.put(m.slot, m.load, words)
	}
}

func (s *selector) detach(m *machine) {
	s.match.clear(m.slot)
	s.n--
	if m.schedulable() {
		s.view.take(m.slot, m.load)
	}
}

func (s *selector) reset() { s.match, s.n, s.view = nil, 0, view{} }

// spreadKey: the units of a family are spread over the values of a metadata key.
type spreadKey struct{ family, key string }

// spread counts the units of a family by the value that their machine has under a key, and keeps the machines together
// whose values have the same count: the smallest count is where the next unit goes.
type spread struct {
	spreadKey
	refs   int
	zones  map[string]*zone
	levels []*level // by count, none without machines
	spare  *level
}

type zone struct {
	machines bitmap
	n        int
	count    int
}

type level struct {
	count int
	bits  bitmap
	zones int
}

func (c *Cluster) spreadFor(u *unit) *spread {
	key := u.Fleet.SpreadOver
	if key == "" || u.Fleet.Global {
		return nil
	}
	id := spreadKey{u.familyName(), key}
	s := c.spreads[id]
	if s == nil {
		s = &spread{spreadKey: id, zones: map[string]*zone{}}
		c.spreads[id] = s
		for _, m := range c.sorted {
			if m.indexed {
				s.attach(m, c.words)
			}
		}
	}
	s.refs++
	return s
}

// familyName is the template of an instance, else the name: a plain unit is a family of its own.
func (u *unit) familyName() string {
	if u.Family != "" {
		return u.Family
	}
	return u.name
}

func (c *Cluster) dropSpread(s *spread) {
	if s == nil {
		return
	}
	if s.refs--; s.refs == 0 {
		delete(c.spreads, s.spreadKey)
	}
}

func (s *spread) attach(m *machine, words int) {
	value, ok := m.meta[s.key]
	if !ok {
		return
	}
	z := s.zones[value]
	if z == nil {
		z = &zone{machines: make(bitmap, words)}
		s.zones[value] = z
	}
	if z.n == 0 {
		s.level(z.count, words).zones++
	}
	z.n++
	z.machines.set(m.slot)
	s.level(z.count, words).bits.set(m.slot)
}

func (s *spread) detach(m *machine) {
	value, ok := m.meta[s.key]
	if !ok {
		return
	}
	z := s.zones[value]
	z.machines.clear(m.slot)
	s.level(z.count, 0).bits.clear(m.slot)
	if z.n--; z.n == 0 {
		s.leave(z.count)
		delete(s.zones, value)
	}
}

// count adds to the units on a machine's value, which takes all of its machines to another level.
func (s *spread) count(m *machine, by int) {
	value, ok := m.meta[s.key]
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
		if s.spare = nil; l == nil {
			l = &level{bits: make(bitmap, words)}
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

func (s *spread) reset() { clear(s.zones); s.levels, s.spare = nil, nil }
