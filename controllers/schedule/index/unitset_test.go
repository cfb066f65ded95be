package index

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestUnitSet: units enter and leave machines in any order, with and without queries. The set always has the same machines,
// number and first names as a plain list.
func TestUnitSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const words = 2
		var s UnitSet
		units := map[int]*Unit{}
		on := map[[2]int]bool{} // by unit and slot
		number, slot := rapid.IntRange(0, 12), rapid.SampledFrom([]int{0, 1, 7, 63, 64, 70, 80, 90, 99, 100, 101, 127})
		t.Repeat(map[string]func(*rapid.T){
			"enter": func(t *rapid.T) {
				n, at := number.Draw(t, "unit"), slot.Draw(t, "slot")
				if on[[2]int{n, at}] {
					return
				}
				if units[n] == nil {
					units[n] = &Unit{UnitSpec: UnitSpec{Name: fmt.Sprintf("app@%d.service", n)}}
				}
				u := units[n]
				if u.On++; u.On == 1 {
					u.Stay++
				}
				on[[2]int{n, at}] = true
				s.Enter(u, at, words)
			},
			"leave": func(t *rapid.T) {
				n, at := number.Draw(t, "unit"), slot.Draw(t, "slot")
				if !on[[2]int{n, at}] {
					return
				}
				delete(on, [2]int{n, at})
				units[n].On--
				s.Leave(units[n], at)
			},
			"ask": func(t *rapid.T) { checkUnitSet(t, &s, on) },
		})
		checkUnitSet(t, &s, on)
	})
}

func checkUnitSet(t *rapid.T, s *UnitSet, on map[[2]int]bool) {
	slots, numbers := map[int]int{}, map[int]bool{}
	for key := range on {
		numbers[key[0]] = true
		slots[key[1]]++
	}
	require.Equal(t, len(slots), s.N)
	for slot := range 128 {
		require.Equal(t, slots[slot], s.Count(slot), "slot %d", slot)
	}
	var names []string
	for n := range numbers {
		names = append(names, fmt.Sprintf("app@%d.service", n))
	}
	slices.SortFunc(names, Natural)
	require.Equal(t, len(names), s.Units)
	skip := rapid.IntRange(0, len(names)).Draw(t, "skip")
	for _, n := range []int{3, len(names) + 1} {
		found := []string{}
		for _, u := range s.FirstUnits(n, func(u *Unit) bool { return slices.Contains(names[:skip], u.Name) }) {
			found = append(found, u.Name)
		}
		require.Equal(t, append([]string{}, names[skip:min(skip+n, len(names))]...), found)
	}
}

// TestUnitSetForgets: units that come and go without queries leave nothing behind that grows.
func TestUnitSetForgets(t *testing.T) {
	var s UnitSet
	units := make([]*Unit, 8)
	for i := range units {
		units[i] = &Unit{UnitSpec: UnitSpec{Name: fmt.Sprintf("app@%d.service", i)}}
	}
	for i := range 1000 {
		u := units[i%8]
		u.On, u.Stay = 1, u.Stay+1
		s.Enter(u, 1, 1)
		if i >= 3 {
			u := units[(i-3)%8]
			u.On = 0
			s.Leave(u, 1)
		}
	}
	require.Equal(t, 3, s.Units)
	require.LessOrEqual(t, cap(s.byName), 16)
}

// TestSet: few slots are listed, many become bits, and what was added twice has to be removed twice.
func TestSet(t *testing.T) {
	var s Set
	require.Empty(t, s.First(3))
	for i := range 20 {
		s.Add(100-i, 2)
		s.Add(100-i, 2)
	}
	require.Equal(t, 20, s.N)
	require.Equal(t, []int{81, 82, 83}, s.First(3))
	for i := range 20 {
		s.Remove(100 - i)
		require.Equal(t, 1, s.Count(100-i))
		s.Remove(100 - i)
		require.False(t, s.Has(100-i))
	}
	require.Zero(t, s.N)
	s.Add(300, 5) // of an index that has new slots
	require.Equal(t, []int{300}, s.First(3))
}
