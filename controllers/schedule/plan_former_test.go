package schedule

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// TestBothFilesHold: while a placement names its unit's former file, nothing is placed there that clashes with that file; as
// soon as it names the new one it may be.
func TestBothFilesHold(t *testing.T) {
	for _, test := range []struct {
		name       string
		former, is unitfile.Fleet
		comer      unitfile.Fleet
		reason     v1.Refusal
	}{
		{"Ports=", unitfile.Fleet{Ports: []int{80}}, unitfile.Fleet{Ports: []int{81}}, unitfile.Fleet{Ports: []int{80}},
			v1.Refusal{Reason: "Ports", Message: "has port 80 in use (by a.service with its former file)"}},
		{"Conflicts=", unitfile.Fleet{Conflicts: []string{"b*"}}, unitfile.Fleet{}, unitfile.Fleet{},
			v1.Refusal{Reason: "Conflicts", Message: "runs a unit that conflicts (Conflicts=b* of a.service with its former file)"}},
		{"Replaces=", unitfile.Fleet{Replaces: []string{"b*"}}, unitfile.Fleet{}, unitfile.Fleet{},
			v1.Refusal{Reason: "Replaces", Message: "runs a unit that makes no room (Replaces=)"}},
		{"CPU=", unitfile.Fleet{CPU: 600}, unitfile.Fleet{CPU: 100}, unitfile.Fleet{CPU: 500},
			v1.Refusal{Reason: "CPU", Message: "has too little CPU left (CPU=0.5, the most that is left is 0.4)"}},
		{"Memory=", unitfile.Fleet{Memory: 600}, unitfile.Fleet{}, unitfile.Fleet{Memory: 500},
			v1.Refusal{Reason: "Memory", Message: "has too little memory left (Memory=500, the most that is left is 400)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.setMachine(index.MachineSpec{ID: "m1", Capacity: v1.Capacity{CPU: 1000, Memory: 1000}})
			// Its announcer may send it requests: it keeps its file until its app has let it go.
			a := index.UnitSpec{Name: "a.service", Hash: "1", DesiredState: v1.Launched, Owner: "a", Fleet: test.former}
			w.setUnit(a)
			w.setUnit(index.UnitSpec{Name: "d.service", Hash: "1", DesiredState: v1.Launched, Owner: "a", Fleet: unitfile.Fleet{MachineOf: []string{"a.service"}}})
			w.converge()
			a.Hash, a.Fleet = "2", test.is
			w.setUnit(a)
			w.converge()
			require.Equal(t, v1.Placement{Hash: "1", DesiredState: v1.Launched, Leaving: true}, w.placements["m1/a.service"].Value)

			w.setUnit(index.UnitSpec{Name: "b.service", Hash: "1", DesiredState: v1.Launched, Fleet: test.comer})
			test.reason.Count, test.reason.Machines = 1, []string{"m1"}
			for _, c := range []*index.Index{w.c, w.rebuilt()} { // a new leader knows it, too
				var said []v1.Refusal
				for _, x := range Plan(Input{Index: c, Now: w.now, Limits: w.limits}).Actions {
					require.NotEqual(t, Place, x.Kind, "%v", x)
					if x.Kind == SetUnplaced {
						said = append(said, x.Unplaced.Reasons...)
					}
				}
				require.Equal(t, []v1.Refusal{test.reason}, said)
			}
			w.converge()
			require.NotContains(t, w.placements, "m1/b.service")

			a.LetGo = "m1"
			w.setUnit(a)
			w.converge()
			require.Equal(t, v1.Placement{Hash: "2", DesiredState: v1.Launched}, w.placements["m1/a.service"].Value)
			require.Contains(t, w.placements, "m1/b.service")
			require.Empty(t, w.unplaced)
		})
	}
}

// TestANewFileWaitsForAFormerOne: a new file that clashes with another unit's former file waits until that is gone.
func TestANewFileWaitsForAFormerOne(t *testing.T) {
	with := func(hash string, port int) func(string, string) index.UnitSpec {
		return func(name, owner string) index.UnitSpec {
			return index.UnitSpec{Name: name, Hash: hash, DesiredState: v1.Launched, Owner: owner, Fleet: unitfile.Fleet{Ports: []int{port}}}
		}
	}
	announcer := index.UnitSpec{Name: "d.service", Hash: "1", DesiredState: v1.Launched, Owner: "a", Fleet: unitfile.Fleet{MachineOf: []string{"a.service"}}}
	t.Run("for one that its app has not let go", func(t *testing.T) {
		w := newWorld(t)
		w.setMachine(index.MachineSpec{ID: "m1"})
		w.setUnit(with("1", 80)("a.service", "a"))
		w.setUnit(announcer)
		w.setUnit(with("1", 82)("b.service", ""))
		w.converge()
		w.setUnit(with("2", 81)("a.service", "a"))
		w.setUnit(with("2", 80)("b.service", ""))
		w.converge()
		require.Equal(t, "1", w.placements["m1/b.service"].Value.Hash)
		const why = "a.service with its former file and b.service both use port 80"
		require.Equal(t, v1.Unplaced{Message: "it stays on m1 with its former file for now: " + why,
			Reasons: []v1.Refusal{{Reason: "Ports", Message: why}}}, w.unplaced["b.service"])
		a := with("2", 81)("a.service", "a")
		a.LetGo = "m1"
		w.setUnit(a)
		w.converge()
		require.Equal(t, "2", w.placements["m1/a.service"].Value.Hash)
		require.Equal(t, "2", w.placements["m1/b.service"].Value.Hash)
		require.Empty(t, w.unplaced)
	})
	t.Run("each for the other: one leaves", func(t *testing.T) {
		w := newWorld(t)
		w.setMachine(index.MachineSpec{ID: "m1"})
		w.setUnit(with("1", 80)("a.service", ""))
		w.setUnit(with("1", 81)("b.service", ""))
		w.converge()
		w.setUnit(with("2", 81)("a.service", ""))
		w.setUnit(with("2", 80)("b.service", ""))
		require.Equal(t, []string{
			"Unplace b.service from m1: Ports: a.service with its former file and b.service both use port 80",
			"Update a.service on m1: HashChanged: the unit's file changed",
			"Place b.service on m1: Placed: of the machines that fit, this one runs least",
		}, w.converge())
	})
	t.Run("for one that leaves first, whatever was placed first", func(t *testing.T) {
		for _, order := range [][]string{{"a.service", "b.service", "c.service"}, {"c.service", "b.service", "a.service"}} {
			w := newWorld(t)
			w.setMachine(index.MachineSpec{ID: "m1"})
			for _, name := range order {
				w.setUnit(with("1", map[string]int{"a.service": 80, "b.service": 81, "c.service": 82}[name])(name, ""))
				w.converge()
			}
			w.setUnit(with("2", 81)("a.service", ""))
			b := with("2", 80)("b.service", "")
			b.Fleet.Ports = []int{80, 82}
			w.setUnit(b)
			w.deleteUnit("c.service")
			var first []string
			for _, a := range w.step() {
				first = append(first, a.String())
			}
			require.Equal(t, []string{"Unplace c.service from m1: Deleted: the unit does not exist"}, first, "%v", order)
			w.converge()
			require.Equal(t, []string{"m1/a.service", "m1/b.service"}, w.where())
			require.Empty(t, w.unplaced)
		}
	})
	t.Run("one takes less, then the other has room for more", func(t *testing.T) {
		w := newWorld(t)
		w.setMachine(index.MachineSpec{ID: "m1", Capacity: v1.Capacity{CPU: 1000}})
		cpu := func(name, hash string, n int64) index.UnitSpec {
			return index.UnitSpec{Name: name, Hash: hash, DesiredState: v1.Launched, Fleet: unitfile.Fleet{CPU: n}}
		}
		w.setUnit(cpu("a.service", "1", 300))
		w.setUnit(cpu("b.service", "1", 700))
		w.converge()
		w.setUnit(cpu("a.service", "2", 700))
		w.setUnit(cpu("b.service", "2", 300))
		require.Equal(t, []string{
			"Update b.service on m1: HashChanged: the unit's file changed",
			"Update a.service on m1: HashChanged: the unit's file changed",
		}, w.converge())
	})
}

// TestAFormerFileByHand: a person restores a global unit's former file on a machine that had the new one.
func TestAFormerFileByHand(t *testing.T) {
	w := newWorld(t)
	w.setMachine(index.MachineSpec{ID: "m1"})
	w.setMachine(index.MachineSpec{ID: "m2"})
	g := index.UnitSpec{Name: "g.service", Hash: "1", DesiredState: v1.Launched, Fleet: unitfile.Fleet{Global: true, Ports: []int{80}}}
	w.setUnit(g)
	w.converge()
	g.Hash, g.Fleet.Ports = "2", nil
	w.setUnit(g)
	w.setUnit(index.UnitSpec{Name: "probe.service", DesiredState: v1.Inactive, Fleet: unitfile.Fleet{Ports: []int{80}}})
	inUse := func() (list []bool) {
		w.plan()
		for _, id := range []string{"m1", "m2"} {
			list = append(list, !rule.Of(w.c).Search(w.c.Unit("probe.service")).Fits(w.c.Machine(id)))
		}
		return list
	}
	require.Equal(t, []bool{true, true}, inUse())
	w.put("m2", "g.service", v1.Placement{Hash: "2", DesiredState: v1.Launched})
	require.Equal(t, []bool{true, false}, inUse())
	w.put("m2", "g.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
	require.Equal(t, []bool{true, true}, inUse())
	w.remove("m2", "g.service")
	w.put("m1", "g.service", v1.Placement{Hash: "2", DesiredState: v1.Launched})
	require.Equal(t, []bool{false, false}, inUse())
	require.Empty(t, w.c.Unit("g.service").Formers)
}

// TestANewLeaderKnowsFormerFiles: a leader that finds a placement with its unit's former file reads that file.
func TestANewLeaderKnowsFormerFiles(t *testing.T) {
	s := memstore.New(memstore.Options{})
	keys, former := keyspace.New(""), "[X-Fleet]\nPorts=80\n"
	placed, err := keys.Placements().Encode(v1.Placement{Hash: unitfile.Hash(former), DesiredState: v1.Launched})
	require.NoError(t, err)
	for key, value := range map[string]string{
		keys.UnitFiles().Key(unitfile.Hash(former)):             former,
		keys.Placements().Key(keyspace.Join("m1", "a.service")): string(placed),
	} {
		_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte(value)}}})
		require.NoError(t, err)
	}
	b := &bench{t: t, ctx: t.Context(), store: s, keys: keys}
	b.unit("a.service", "[X-Fleet]\nPorts=none\n")
	b.unit("b.service", "[X-Fleet]\nPorts=80\n")
	b.machine("m1", "a")
	start(t, s).await("m1/a.service launched",
		`a.service: it stays on m1 as it was: line 2: [X-Fleet] Ports: port "none": write numbers from 1 to 65535, separated by white space`,
		"b.service: 0 of 1 machine fits: 1 has port 80 in use (by a.service with its former file)")
}
