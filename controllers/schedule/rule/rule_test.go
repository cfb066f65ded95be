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

// begin makes the index process its changes.
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

// TestDemandsAreShared: units with the same demand share its set of machines, and the last one takes it along.
func TestDemandsAreShared(t *testing.T) {
	x := index.New(New)
	ssd := unitfile.Fleet{MachineMetadata: map[string][]string{"disk": {"ssd"}}}
	x.SetUnit(launched("a.service", ssd))
	x.SetUnit(launched("b.service", ssd))
	var r *machineMetadata
	for _, rule := range Of(x).rules {
		if m, ok := rule.(*machineMetadata); ok {
			r = m
		}
	}
	require.NotNil(t, r.of(x.Unit("a.service")))
	require.Same(t, r.of(x.Unit("a.service")), r.of(x.Unit("b.service")))
	x.DeleteUnit("a.service")
	require.Len(t, r.selectors, 1)
	x.DeleteUnit("b.service")
	require.Empty(t, r.selectors)
	require.Empty(t, r.byTerm)
}

// TestPatternsThatNoUnitCarries are forgotten by the units that they matched.
func TestPatternsThatNoUnitCarries(t *testing.T) {
	x := index.New(New)
	x.SetUnit(launched("app@1.service", unitfile.Fleet{}))
	x.SetUnit(launched("x.service", unitfile.Fleet{Conflicts: []string{"app@*"}}))
	require.NotEmpty(t, x.Unit("app@1.service").Bindings)
	require.NotZero(t, x.Unit("app@1.service").Concerns)
	x.DeleteUnit("x.service")
	require.Empty(t, x.Unit("app@1.service").Bindings)
	require.Zero(t, x.Unit("app@1.service").Concerns)
}

// TestLoadByShare: of machines with as many units the one is taken of which less is requested, be it CPU or memory.
func TestLoadByShare(t *testing.T) {
	for _, f := range []unitfile.Fleet{{CPU: 500}, {Memory: 500}} {
		x := index.New(New)
		for _, id := range []string{"m1", "m2"} {
			x.SetMachine(index.MachineSpec{ID: id, Capacity: v1.Capacity{CPU: 1000, Memory: 1000}})
		}
		x.SetUnit(launched("a.service", f))
		x.SetUnit(launched("b.service", unitfile.Fleet{}))
		x.SetUnit(launched("c.service", unitfile.Fleet{}))
		place(x, "m1", "a.service")
		place(x, "m2", "b.service")
		require.Equal(t, "m2", begin(x).Search(x.Unit("c.service")).Find().ID, "%v", f)
	}
}

// TestAMachineInAnotherZone counts in that one only.
func TestAMachineInAnotherZone(t *testing.T) {
	x := index.New(New)
	zone := func(id, zone string) {
		x.SetMachine(index.MachineSpec{ID: id, Metadata: map[string]string{"zone": zone}})
	}
	zone("m1", "b")
	zone("m2", "a")
	zone("m3", "c")
	x.SetUnit(launched("app@1.service", unitfile.Fleet{SpreadOver: "zone"}))
	x.SetUnit(launched("app@2.service", unitfile.Fleet{SpreadOver: "zone"}))
	place(x, "m2", "app@1.service")
	require.Equal(t, "m1", begin(x).Search(x.Unit("app@2.service")).Find().ID)
	zone("m1", "a")
	require.Equal(t, "m3", begin(x).Search(x.Unit("app@2.service")).Find().ID)
}
