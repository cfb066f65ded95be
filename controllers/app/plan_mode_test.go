package app

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// modes is a cluster of machines with one port that each instance needs. The scheduler takes a turn to notice that a machine
// has room, and an instance another one to be announced.
type modes struct {
	*world
	machines []string
	on       map[string]string // the unit that has the port, by machine
	since    map[string]time.Time
	served   map[string]bool
	has      map[[2]string]v1.UnitSpec // what a machine has of a unit
	fails    func(v1.UnitSpec) bool    // what never gets healthy, if anything
}

func newModes(t *testing.T, announced bool) *modes {
	m := &modes{world: newWorld(t, "web"), machines: []string{"m1", "m2", "m3"}, on: map[string]string{}, since: map[string]time.Time{}, served: map[string]bool{},
		has: map[[2]string]v1.UnitSpec{}}
	m.world.apply("%s", manifestOf("web", 3, "1", announced))
	for range 30 {
		m.turn()
	}
	require.Len(t, m.served, 3)
	return m
}

func (m *modes) excepts(unit, machine string) bool {
	u, ok := m.units[unit]
	return !ok || slices.Contains(list(u.Metadata.Annotations[v1.AnnotationExcept]), machine)
}

// files gives a machine what it should have of a unit. Another file restarts what runs.
func (m *modes) files(machine, unit string) {
	u, is := m.units[unit], m.has[[2]string{machine, unit}]
	if u.Unit == nil || slices.Contains(list(u.Metadata.Annotations[v1.AnnotationFormer]), machine) && is.Hash != "" {
		return
	}
	if unit == m.on[machine] && is.Hash != "" && is.Hash != u.Spec.Hash {
		m.since[machine] = m.now
	}
	m.has[[2]string{machine, unit}] = u.Spec
}

func (m *modes) input() Input {
	in := m.world.input()
	in.States, in.Places, in.Endpoints = map[string][]State{}, map[string]Place{}, map[string]int64{}
	for name := range m.units {
		n, sidekick, _ := v1.ParseAppUnit("web", name)
		place := Place{}
		for _, machine := range m.machines {
			app := m.on[machine]
			if app != v1.AppUnit("web", n) || sidekick && m.excepts(name, machine) {
				continue
			}
			place.Machines = append(place.Machines, machine)
			has := m.has[[2]string{machine, name}]
			s := &v1.UnitState{ActiveState: "active", Hash: has.Hash, RequestedAt: has.RequestedAt, Since: m.since[machine]}
			if sidekick && m.units[name].Spec.DesiredState != v1.Launched {
				s.ActiveState = "inactive"
			} else if sidekick && m.served[machine] {
				endpoint := v1.EndpointName("web", n)
				if n == 0 {
					endpoint = v1.GlobalEndpointName("web", machine)
				}
				in.Endpoints[endpoint] = 0
			}
			in.States[name] = append(in.States[name], State{machine, s})
		}
		if n > 0 && len(place.Machines) == 0 || n == 0 && len(place.Machines) < len(m.machines) {
			place.Unplaced = &v1.Unplaced{Message: "port 3000 is used"}
		}
		in.Places[name] = place
	}
	return in
}

// turn makes and applies a plan, and lets everything else take one step. It returns how many machines serve.
func (m *modes) turn() int {
	in := m.input()
	plan := Plan(in)
	m.turns(in, plan)
	for _, a := range plan.Actions {
		switch a.Kind {
		case PutRevision:
			m.revisions = append(m.revisions, *a.NewRevision)
		case PutUnitFile:
			m.texts[a.Name] = a.Text
		case PutUnit:
			m.units[a.Name] = StoredUnit{Unit: a.Unit, Revision: m.next()}
		case DeleteUnit:
			delete(m.units, a.Name)
		}
	}
	for _, machine := range m.machines {
		app := m.on[machine]
		n, _, _ := v1.ParseAppUnit("web", app)
		sidekick, announces := m.units[v1.SidekickUnit("web", n)]
		m.files(machine, app)
		m.files(machine, v1.SidekickUnit("web", n))
		m.served[machine] = app != "" && (m.fails == nil || !m.fails(m.has[[2]string{machine, app}])) && m.now.Sub(m.since[machine]) > time.Second &&
			(!announces || sidekick.Spec.DesiredState == v1.Launched && !m.excepts(v1.SidekickUnit("web", n), machine))
		switch _, there := m.units[app]; {
		case app != "" && (!there || m.excepts(app, machine)):
			m.on[machine] = ""
		case app == "":
			m.place(machine)
		}
	}
	m.now = m.now.Add(time.Second)
	serving := 0
	for _, serves := range m.served {
		if serves {
			serving++
		}
	}
	return serving
}

func (m *modes) place(machine string) {
	for _, name := range m.unitNames() {
		n, sidekick, _ := v1.ParseAppUnit("web", name)
		placed := slices.ContainsFunc(m.machines, func(other string) bool { return m.on[other] == name })
		if !sidekick && !m.excepts(name, machine) && (n == 0 || !placed) {
			m.on[machine], m.since[machine] = name, m.now
			delete(m.has, [2]string{machine, name})
			m.files(machine, name)
			return
		}
	}
}

// TestChangeOfModeIsARollOut: of three instances that need one port two serve at any time, in either direction.
func TestChangeOfModeIsARollOut(t *testing.T) {
	for _, announced := range []bool{true, false} {
		m := newModes(t, announced)
		global := globalOf(announced)
		for _, change := range []struct{ manifest, want string }{
			{global, "web.service web.service web.service"}, {manifestOf("web", 3, "1", announced), "web@"}, {global, "web.service web.service web.service"},
		} {
			m.apply("%s", change.manifest)
			for turn := range 200 {
				require.GreaterOrEqual(t, m.turn(), 2, "turn %d, announced %t: %v", turn, announced, m.on)
				for name, u := range m.units {
					if excepted := u.Metadata.Annotations[v1.AnnotationExcept]; excepted != "" {
						require.Subset(t, m.machines, strings.Split(excepted, ","), name)
					}
				}
			}
			require.Contains(t, m.on["m1"]+" "+m.on["m2"]+" "+m.on["m3"], change.want)
			for name := range m.units {
				n, _, _ := v1.ParseAppUnit("web", name)
				require.Equal(t, change.manifest == global, n == 0, name)
				require.Empty(t, m.units[name].Metadata.Annotations, name)
			}
		}
	}
}

// TestChangeOfModeIsTakenBack: reverted half-way, the old mode returns to all machines.
func TestChangeOfModeIsTakenBack(t *testing.T) {
	m := newModes(t, true)
	global := globalOf(true)
	m.apply("%s", global)
	for range 200 {
		m.turn()
	}
	m.apply("%s", manifestOf("web", 3, "1", true))
	for len(m.units) < 8 || m.units["web.service"].Metadata.Annotations[v1.AnnotationExcept] == "" {
		m.turn()
	}
	m.apply("%s", global)
	for range 200 {
		require.GreaterOrEqual(t, m.turn(), 2)
	}
	require.Equal(t, "web.service", m.on["m1"])
	require.Len(t, m.units, 2)
}
