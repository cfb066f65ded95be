package schedule

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

var (
	unitNames    = []string{"a@1.service", "a@2.service", "a@3.service", "b@1.service", "b@2.service", "c.service", "d.service", "g.service"}
	machineNames = []string{"m1", "m2", "m3", "m4", "m5", "m6"}
)

func drawFleet(t *rapid.T, name string, replacing bool) (f unitfile.Fleet) {
	pick := func(label string, options ...string) string { return rapid.SampledFrom(options).Draw(t, label) }
	if name == "g.service" {
		f.Global = true
	}
	if c := pick("conflicts", "", "", "a@*.service", "b@*.service", "*@1.service", "c.service", "?.service"); c != "" {
		f.Conflicts = []string{c}
	}
	if z := pick("zone", "", "", "", "a", "b"); z != "" {
		f.MachineMetadata = map[string][]string{"zone": {z}}
	}
	if rapid.Bool().Draw(t, "port") {
		f.Ports = []int{rapid.IntRange(1, 3).Draw(t, "number")}
	}
	f.AutoPorts = rapid.SampledFrom([][]string{nil, nil, nil, {"http"}, {"http", "admin"}, {"admin"}}).Draw(t, "auto ports")
	f.CPU = rapid.SampledFrom([]int64{0, 0, 500, 1000}).Draw(t, "cpu")
	f.Memory = rapid.SampledFrom([]int64{0, 0, 1, 2}).Draw(t, "memory")
	if f.Global {
		return f
	}
	f.SpreadOver = pick("spread", "", "", "zone")
	if pick("prefer", "", "", "b") != "" {
		f.PreferMetadata = map[string][]string{"zone": {"b"}}
	}
	switch pick("tie", "", "", "of", "id", "replaces") {
	case "of":
		f.MachineOf = rapid.SliceOfNDistinct(rapid.SampledFrom(unitNames), 1, 2, rapid.ID).Draw(t, "machineOf")
	case "id":
		f.MachineID = rapid.SampledFrom(machineNames).Draw(t, "machineID")
	case "replaces":
		if replacing {
			f.Conflicts = nil
			f.Replaces = []string{pick("replaced", "a@*.service", "b@2.service", "c.service")}
		}
	}
	return f
}

func drawUnit(t *rapid.T, replacing bool) index.UnitSpec {
	name := rapid.SampledFrom(unitNames).Draw(t, "unit")
	u := launched(name, drawFleet(t, name, replacing))
	u.Hash = fmt.Sprint(u.Fleet, rapid.SampledFrom([]string{"1", "2"}).Draw(t, "hash"))
	u.DesiredState = rapid.SampledFrom([]v1.DesiredState{v1.Launched, v1.Launched, v1.Launched, v1.Loaded, v1.Inactive}).Draw(t, "state")
	u.Owner, u.LetGo = rapid.SampledFrom([]string{"", "app", "other"}).Draw(t, "owner"), rapid.SampledFrom(machineNames).Draw(t, "letGo")
	if rapid.IntRange(0, 2).Draw(t, "next") == 0 {
		next := drawFleet(t, name, replacing)
		u.Next, u.NextFleet = v1.Preparation{Hash: fmt.Sprint(next, "next")}, &next // a hash is of one file
	}
	if rapid.IntRange(0, 9).Draw(t, "problem") == 0 {
		u.Problem = "line 3: broken"
	}
	return u
}

func drawMachine(t *rapid.T) index.MachineSpec {
	m := index.MachineSpec{ID: rapid.SampledFrom(machineNames).Draw(t, "machine")}
	m.Metadata = map[string]string{"zone": rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone")}
	m.Capacity = v1.Capacity{CPU: rapid.SampledFrom([]int64{0, 1000, 2000}).Draw(t, "cpu"), Memory: rapid.SampledFrom([]int64{0, 2, 4}).Draw(t, "memory")}
	m.PortRange = rapid.SampledFrom([]v1.PortRange{{First: 1, Last: 4}, {First: 3, Last: 5}, {First: 2, Last: 2}, {}}).Draw(t, "auto ports")
	m.Stuck = rapid.IntRange(0, 5).Draw(t, "stuck") == 0
	return m
}

// disturb changes the world in one way.
func disturb(t *rapid.T, w *world, replacing bool) {
	machine := func() string { return rapid.SampledFrom(machineNames).Draw(t, "where") }
	switch rapid.IntRange(0, 10).Draw(t, "what") {
	case 0, 1, 2:
		w.setUnit(drawUnit(t, replacing))
	case 3:
		w.deleteUnit(rapid.SampledFrom(unitNames).Draw(t, "unit"))
	case 4, 5:
		w.setMachine(drawMachine(t))
	case 6:
		w.deleteMachine(machine())
	case 7:
		w.setConfig(machine(), v1.MachineConfig{Cordoned: rapid.Bool().Draw(t, "cordon"), Drain: rapid.Bool().Draw(t, "drain")})
	case 8: // by another client
		name, hashes := rapid.SampledFrom(unitNames).Draw(t, "unit"), []string{"1"}
		for _, key := range sortedKeys(w.files) {
			if hash, of := strings.CutPrefix(key, name+"/"); of {
				hashes = append(hashes, hash)
			}
		}
		w.put(machine(), name, v1.Placement{Hash: rapid.SampledFrom(hashes).Draw(t, "hash"), DesiredState: v1.Launched,
			Assigned: rapid.SampledFrom([]v1.Assignment{"", "", "http=1", "admin=3 http=2"}).Draw(t, "ports")})
	case 10: // a machine that was away runs on what was moved away, with all that announces it
		name, m := rapid.SampledFrom(unitNames).Draw(t, "unit"), machine()
		for _, u := range append([]string{name}, sortedKeys(w.units)...) {
			if _, placed := w.placements[m+"/"+u]; !placed && (u == name || slices.Contains(w.units[u].Fleet.MachineOf, name)) {
				f := drawFleet(t, u, replacing)
				w.leave(m, u, fmt.Sprint(f, "1"), f)
			}
		}
	case 9:
		if keys := w.where(); len(keys) > 0 {
			m, u, _ := strings.Cut(rapid.SampledFrom(keys).Draw(t, "placement"), "/")
			if rapid.Bool().Draw(t, "active or gone") {
				w.setActive(m, u, true)
			} else {
				w.remove(m, u)
			}
		}
	}
}

// checkSafe holds after any part of a plan: what the plan placed violates no constraint, and nothing runs twice.
func checkSafe(t *rapid.T, w *world, fresh map[string]bool, updated map[string]v1.Capacity, before map[string]int) {
	count := map[string]int{}
	for _, key := range w.where() {
		m, name, _ := strings.Cut(key, "/")
		count[name]++
		if u := w.units[name]; fresh[key] {
			require.Empty(t, w.wrong(u, m, w.on(m)), "%s", key)
			require.False(t, w.configs[m].Drain && len(u.Fleet.MachineOf) == 0, "%s is being drained", key)
		}
	}
	checkUpdates(t, w, updated)
	for name, n := range count {
		if u := w.units[name]; n > 1 && u.Problem == "" && !u.Fleet.Global {
			require.LessOrEqual(t, n, before[name], "%s is placed twice", name)
		}
	}
}

// checkUpdates: a new file violates no constraint of former files that others there still run with, and if it asks for more
// of a resource than before there is enough for all running files.
func checkUpdates(t *rapid.T, w *world, updated map[string]v1.Capacity) {
	for key, more := range updated {
		m, name, _ := strings.Cut(key, "/")
		if _, ok := w.placements[key]; !ok {
			continue
		}
		var sum v1.Capacity
		for _, o := range w.on(m) {
			f := o.Fleet
			if p := w.placements[m+"/"+o.Name]; p.Value.Hash != o.Hash || o.Problem != "" {
				if known, ok := w.files[o.Name+"/"+p.Value.Hash]; ok {
					f = known
				}
			}
			if sum.CPU, sum.Memory = sum.CPU+f.CPU, sum.Memory+f.Memory; o.Name != name {
				require.Empty(t, wrongFormer(w.units[name], o.Name, w.former(o, m)), "%s has its new file", key)
			}
		}
		c := w.machines[m].Capacity
		require.False(t, more.CPU > 0 && c.CPU > 0 && sum.CPU > c.CPU || more.Memory > 0 && c.Memory > 0 && sum.Memory > c.Memory,
			"%s has grown by %v: %v of %v", key, more, sum, c)
	}
}

func counts(w *world) map[string]int {
	n := map[string]int{}
	for key := range w.placements {
		_, name, _ := strings.Cut(key, "/")
		n[name]++
	}
	return n
}

// someOf executes some of the transactions, in any order, and returns the new placements.
func someOf(t *rapid.T, w *world, actions []Action) (fresh map[string]bool, updated map[string]v1.Capacity) {
	byTxn := map[int][]Action{}
	for _, a := range actions {
		byTxn[a.Txn] = append(byTxn[a.Txn], a)
	}
	order := rapid.Permutation(slices.Sorted(maps.Keys(byTxn))).Draw(t, "order")
	order = order[:rapid.IntRange(0, len(order)).Draw(t, "part")]
	fresh, updated = map[string]bool{}, map[string]v1.Capacity{}
	for _, txn := range order {
		for _, a := range byTxn[txn] {
			key := a.Machine + "/" + a.Unit
			if old := w.placements[key].Value.Hash; a.Kind == Update && old != a.Placement.Hash {
				updated[key] = v1.Capacity{}
				if was, known := w.files[a.Unit+"/"+old]; known && w.machines[a.Machine].ID != "" {
					is := w.units[a.Unit].Fleet
					updated[key] = v1.Capacity{CPU: is.CPU - was.CPU, Memory: is.Memory - was.Memory}
				}
			}
			w.apply(a)
			if a.Kind == Place || a.Kind == Move {
				fresh[key] = true
			}
		}
	}
	for _, a := range actions {
		if !slices.Contains(order, a.Txn) {
			w.c.Retry(a.Unit)
		}
	}
	return fresh, updated
}

func lines(actions []Action, texts bool) []string {
	list := []string{}
	for _, a := range actions {
		switch a.Kind {
		case FreezeMoves, UnfreezeMoves:
		case SetUnplaced, ClearUnplaced:
			if texts {
				list = append(list, a.String())
			}
		default:
			list = append(list, a.String())
		}
	}
	return list
}

// TestSafety: executing any part of a plan, in any order, in any world, violates nothing. The plan leaves the index as it
// was, and a rebuilt index gives the same plan.
func TestSafety(t *testing.T) {
	for _, replacing := range []bool{false, true} {
		t.Run(fmt.Sprintf("replacing=%v", replacing), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { safety(t, replacing) })
		})
	}
}

func safety(t *rapid.T, replacing bool) {
	w := newWorld(t)
	w.log = t.Logf
	w.limits.FreezeMin = rapid.SampledFrom([]int{0, 100}).Draw(t, "freeze")
	for range rapid.IntRange(1, 12).Draw(t, "rounds") {
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			disturb(t, w, replacing)
		}
		d := w.plan()
		require.Equal(t, lines(d.Actions, true), lines(w.plan().Actions, true), "a second plan differs: the first changed the cluster")
		checkSurvey(t, w)
		checkClashes(t, w)
		checkIndex(t, w)
		if !replacing {
			anew := Plan(Input{Index: w.rebuilt(), Now: w.now, Limits: w.limits})
			require.Equal(t, lines(anew.Actions, false), lines(d.Actions, false), "the incremental plan differs from one made from nothing")
		}
		before, had := counts(w), maps.Clone(w.placements)
		Commit(w.c, d)
		fresh, updated := someOf(t, w, d.Actions)
		checkSafe(t, w, fresh, updated, before)
		checkNewPorts(t, w, had)
	}
	w.converge()
	require.Empty(t, w.plan().Actions)
	checkIndex(t, w)
	for _, key := range w.where() {
		_, name, _ := strings.Cut(key, "/")
		require.Contains(t, w.units, name)
	}
	checkPorts(t, w)
	if !replacing {
		checkLive(t, w)
		anew := Plan(Input{Index: w.rebuilt(), Now: w.now, Limits: w.limits})
		require.Empty(t, lines(anew.Actions, true), "what converged is not stable when looked at anew")
	}
}

// checkLive: a unit without group and placement fits nowhere, and its explanation says so.
func checkLive(t *rapid.T, w *world) {
	n := counts(w)
	for name, u := range w.units {
		if u.DesiredState == v1.Inactive || n[name] > 0 || u.Fleet.Global {
			continue
		}
		require.NotEmpty(t, w.unplaced[name].Message, "%s has no machine and no reason", name)
		followed := false
		for _, o := range w.units {
			followed = followed || o.Problem == "" && slices.Contains(o.Fleet.MachineOf, name)
		}
		if u.Problem != "" || len(u.Fleet.MachineOf) > 0 || followed {
			continue
		}
		for id := range w.machines {
			if c := w.configs[id]; !c.Cordoned && !c.Drain && !w.machines[id].Stuck {
				require.NotEmpty(t, w.wrong(u, id, w.on(id))+w.rival(u), "%s would fit on %s: %s", name, id, w.unplaced[name].Message)
			}
		}
	}
	for name := range w.unplaced {
		u, ok := w.units[name]
		require.True(t, ok && u.DesiredState != v1.Inactive, "%s has a reason and needs none", name)
	}
}

// checkNewPorts: a port that a placement gets is used by nothing else there, and it keeps those that it had.
func checkNewPorts(t *rapid.T, w *world, had map[string]index.Placed) {
	for key, x := range w.placements {
		m, name, _ := strings.Cut(key, "/")
		before, there := had[key]
		for port, number := range x.Value.Assigned.All {
			if was := before.Value.Assigned.Get(port); there && was != 0 {
				require.Equal(t, was, number, "%s has another port %s", key, port)
			} else {
				require.Empty(t, w.portUser(number, m, name), "%s gets port %d", key, number)
			}
		}
	}
}

// checkPorts: once nothing is left to do, units that run with their file of now have all of their ports, and no others have them.
func checkPorts(t *rapid.T, w *world) {
	for key, x := range w.placements {
		m, name, _ := strings.Cut(key, "/")
		u := w.units[name]
		if u.Problem != "" || x.Value.Hash != u.Hash || w.machines[m].ID == "" {
			continue
		}
		var names []string
		for port, number := range x.Value.Assigned.All {
			names = append(names, port)
			require.Empty(t, w.portUserNow(number, m, name), "%s has port %d", key, number)
		}
		if len(names) < len(u.Fleet.AutoPorts) { // it stays where it is while it fits nowhere else
			require.NotEmpty(t, w.unplaced[name], "%s lacks ports: %s", key, x.Value.Assigned)
			continue
		}
		require.Equal(t, u.Fleet.AutoPorts, names, key)
	}
}

// checkIndex compares the index with one built at once from the same machines and units.
func checkIndex(t *rapid.T, w *world) {
	rules := rule.Of(w.c)
	sum := func() string {
		rules.Begin()
		var b strings.Builder
		for _, m := range w.c.Machines() {
			fmt.Fprintln(&b, m.ID, m.Load, m.Share)
			for _, name := range w.known() {
				u := w.c.Unit(name)
				x := w.c.PlaceOf(u, m)
				fmt.Fprint(&b, name, rules.Search(u).Fits(m), x != nil && rules.Contended(x), " ")
			}
		}
		for _, name := range w.known() {
			u := w.c.Unit(name)
			if m := rules.Search(u).Find(); m != nil {
				fmt.Fprintln(&b, name, "goes to", m.ID)
			}
			fmt.Fprintln(&b, *rules.Survey([]*index.Unit{u}, rule.Pin{}, nil).For("", []*index.Unit{u}))
		}
		return b.String()
	}
	kept := sum()
	w.c.Rebuild()
	require.Equal(t, sum(), kept)
}
