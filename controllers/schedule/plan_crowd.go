package schedule

import (
	"container/heap"
	"slices"
)

// crowd is the units on machines of the index that something is true of, such as "this glob matches it": on which
// machines they are, how many they are, and who comes first by name. That says who is in the way without a look at all
// machines.
type crowd struct {
	machineSet
	units int
	line  line
	// heap is how much of the line is in the order of a heap: what came since somebody asked is sorted in when the next one does.
	heap int
}

// line is units by name. Who has left stays in it as long as it is in nobody's way.
type line []entry

// entry is a unit that was on a machine, and is without a break since then if it has the same stay still.
type entry struct {
	unit *unit
	stay uint32
}

func (e entry) holds() bool { return e.unit.on > 0 && e.unit.stay == e.stay }

func (l line) Len() int           { return len(l) }
func (l line) Less(i, j int) bool { return natural(l[i].unit.name, l[j].unit.name) < 0 }
func (l line) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *line) Push(x any)        { *l = append(*l, x.(entry)) }
func (l *line) Pop() any {
	last := len(*l) - 1
	e := (*l)[last]
	*l = (*l)[:last]
	return e
}

// arrive and depart tell of a unit that is on one more machine, or one fewer.
func (k *crowd) arrive(u *unit, slot, words int) {
	k.add(slot, words)
	if u.on == 1 {
		k.enlist(u)
	}
}

func (k *crowd) depart(u *unit, slot int) {
	k.remove(slot)
	if u.on > 0 {
		return
	}
	k.units--
	if last := len(k.line) - 1; last >= 0 && k.line[last].unit == u { // a plan takes back what it added last
		k.line = k.line[:last]
		k.heap = min(k.heap, last)
	}
}

func (k *crowd) enlist(u *unit) {
	if n := len(k.line); n == cap(k.line) && n >= 2*k.units { // rather than grow it drops those that have left
		k.line = slices.DeleteFunc(k.line, func(e entry) bool { return !e.holds() })
		k.heap = 0
	}
	k.units++
	k.line = append(k.line, entry{u, u.stay})
}

// foremost lists up to n units, the first by name, without some.
func (k *crowd) foremost(n int, without func(*unit) bool) (units []*unit) {
	part := k.line
	for ; k.heap < len(k.line); k.heap++ {
		part = k.line[:k.heap+1]
		heap.Fix(&part, k.heap)
	}
	var seen []entry
	for len(k.line) > 0 && len(units) < n {
		e := heap.Pop(&k.line).(entry)
		if !e.holds() {
			continue
		}
		seen = append(seen, e)
		if !without(e.unit) {
			units = append(units, e.unit)
		}
	}
	for _, e := range seen {
		heap.Push(&k.line, e)
	}
	k.heap = len(k.line)
	return units
}

func (k *crowd) reset() { *k = crowd{} }
