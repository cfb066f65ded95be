package rule

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

func launched(name string, f unitfile.Fleet) index.UnitSpec {
	return index.UnitSpec{Name: name, Template: "app@.service", Hash: "1", DesiredState: v1.Launched, Fleet: f, Follows: Follows(&f)}
}

func place(x *index.Index, machine, unit string) {
	x.SetPlacement(index.Placed{MachineName: machine, UnitName: unit, Value: v1.Placement{Hash: "1"}, Mod: 1, Create: 1})
}

// begin has the index take in what it was told of.
func begin(x *index.Index) *List {
	x.Begin().Undo()
	l := Of(x)
	l.Begin()
	return l
}

// TestPatternsOfOnePrefix: a pattern that no unit carries any more goes, and those with the same prefix stay.
func TestPatternsOfOnePrefix(t *testing.T) {
	x := index.New(New)
	for _, id := range []string{"m1", "m2"} {
		x.SetMachine(index.MachineSpec{ID: id})
	}
	x.SetUnit(launched("x.service", unitfile.Fleet{Conflicts: []string{"app@*"}}))
	x.SetUnit(launched("y.service", unitfile.Fleet{Conflicts: []string{"app@*.service"}}))
	place(x, "m1", "x.service")
	place(x, "m2", "y.service")
	x.SetUnit(launched("x.service", unitfile.Fleet{}))
	x.SetUnit(launched("app@1.service", unitfile.Fleet{})) // new by its name
	l := begin(x)
	require.True(t, l.Search(x.Unit("app@1.service")).Fits(x.Machine("m1")))
	require.False(t, l.Search(x.Unit("app@1.service")).Fits(x.Machine("m2")))
}

// TestDemandsThatLookAlike: where a value ends and the next key begins is part of a demand.
func TestDemandsThatLookAlike(t *testing.T) {
	a := demandKey(nil, map[string][]string{"a": {"b"}, "c": {"d"}})
	b := demandKey(nil, map[string][]string{"a": {"b", "c", "d"}})
	require.NotEqual(t, a, b)
	require.Equal(t, a, demandKey(nil, map[string][]string{"c": {"d"}, "a": {"b"}}))
	require.Empty(t, demandKey(nil, nil))
}

// TestSpreadAfterManyMachinesCame: the sets of a zone whose machines all left are those of the new index when others come.
func TestSpreadAfterManyMachinesCame(t *testing.T) {
	x := index.New(New)
	x.SetMachine(index.MachineSpec{ID: "m1", Metadata: map[string]string{"zone": "a"}})
	x.SetUnit(launched("app@1.service", unitfile.Fleet{SpreadOver: "zone"}))
	x.SetUnit(launched("app@2.service", unitfile.Fleet{SpreadOver: "zone"}))
	place(x, "m1", "app@1.service")
	begin(x)
	for i := range 200 {
		x.SetMachine(index.MachineSpec{ID: fmt.Sprintf("n%03d", i), Metadata: map[string]string{"zone": []string{"a", "b"}[i%2]}})
	}
	l := begin(x)
	require.Equal(t, "n001", l.Search(x.Unit("app@2.service")).Find().ID, "the first of zone b, which has none")
}

// TestBesideAGlobalUnit: each plan asks anew where a global unit is.
func TestBesideAGlobalUnit(t *testing.T) {
	x := index.New(New)
	x.SetMachine(index.MachineSpec{ID: "m1"})
	x.SetMachine(index.MachineSpec{ID: "m2"})
	x.SetUnit(launched("g.service", unitfile.Fleet{Global: true}))
	x.SetUnit(launched("a.service", unitfile.Fleet{MachineOf: []string{"g.service"}}))
	place(x, "m1", "g.service")
	l := begin(x)
	require.False(t, l.Search(x.Unit("a.service")).Fits(x.Machine("m2")))
	place(x, "m2", "g.service")
	l = begin(x)
	require.True(t, l.Search(x.Unit("a.service")).Fits(x.Machine("m2")))
}
