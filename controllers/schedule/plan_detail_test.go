package schedule

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// TestIdle: after a decision was written, no plan is needed until something changes.
func TestIdle(t *testing.T) {
	w := newWorld(t)
	require.True(t, w.c.Idle())
	for name, change := range map[string]func(){
		"a machine":   func() { w.setMachine(index.MachineSpec{ID: "m1"}) },
		"a unit":      func() { w.add(t, "a.service") },
		"a stray key": func() { w.c.SetStray("nowhere", 7) },
		"a placement": func() { w.put("m1", "unknown.service", v1.Placement{}) },
	} {
		change()
		require.False(t, w.c.Idle(), name)
		w.converge()
		require.True(t, w.c.Idle(), name)
	}
	w.add(t, "b.service MachineMetadata=zone=nowhere")
	w.converge()
	require.True(t, w.c.Idle(), "what fits nowhere waits")
	w.setMachine(index.MachineSpec{ID: "m2", Metadata: map[string]string{"zone": "nowhere"}})
	require.False(t, w.c.Idle())
}

// TestRoomIsGivenBack: a unit that fitted nowhere is placed when room becomes free, of either resource.
func TestRoomIsGivenBack(t *testing.T) {
	for _, resource := range []string{"CPU=1500m", "Memory=3G", "CPU=1500m;Memory=1G"} {
		w := newWorld(t)
		w.setMachine(index.MachineSpec{ID: "m1", Capacity: v1.Capacity{CPU: 2000, Memory: 4 << 30}})
		w.add(t, "a.service "+resource)
		w.converge()
		w.add(t, "b.service "+resource, "c.service "+resource)
		w.converge()
		require.Equal(t, []string{"m1/a.service"}, w.where(), resource)
		w.deleteUnit("a.service")
		w.converge()
		require.Equal(t, []string{"m1/b.service"}, w.where(), resource)
		require.Contains(t, w.unplaced, "c.service")
	}
}

// TestKeeper: which of several placements of a unit counts.
func TestKeeper(t *testing.T) {
	for _, tt := range []struct {
		name   string
		unit   string
		change func(w *world)
		want   string
	}{
		{"the one that was there first", "", func(*world) {}, "m2"},
		{"where it is active", "", func(w *world) { w.setActive("m3", "a.service", true) }, "m3"},
		{"on a machine that is there", "", func(w *world) { w.setActive("m2", "a.service", true); w.deleteMachine("m2") }, "m1"},
		{"on the machine that it asks for", "MachineID=m3", func(*world) {}, "m3"},
		{"on a machine that matches", "MachineMetadata=zone=c", func(w *world) { w.setActive("m1", "a.service", true) }, "m3"},
		{"on a machine that is not drained", "", func(w *world) {
			w.setActive("m2", "a.service", true)
			w.setConfig("m2", v1.MachineConfig{Drain: true})
		}, "m1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := three(t)
			for _, m := range []string{"m2", "m1", "m3"} {
				w.put(m, "a.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
			}
			w.add(t, strings.TrimSpace("a.service "+tt.unit))
			tt.change(w)
			for _, line := range w.converge() {
				require.True(t, strings.HasPrefix(line, "Unplace "), "the others go, and it stays: %s", line)
			}
			require.Equal(t, []string{tt.want + "/a.service"}, w.where())
		})
	}
}

// TestMachineThatShrinks: if a machine has too little of something, the latest units leave, and no more of them than
// necessary.
func TestMachineThatShrinks(t *testing.T) {
	for _, tt := range []struct {
		resource string
		less     v1.Capacity
	}{
		{"CPU=500m", v1.Capacity{CPU: 1200, Memory: 4 << 30}},
		{"Memory=1G", v1.Capacity{CPU: 2000, Memory: 5 << 29}},
	} {
		w := newWorld(t)
		w.setMachine(index.MachineSpec{ID: "m1", Capacity: v1.Capacity{CPU: 2000, Memory: 4 << 30}})
		for i := range 4 {
			w.add(t, fmt.Sprintf("a@%d.service %s", i, tt.resource))
			w.converge()
		}
		w.setMachine(index.MachineSpec{ID: "m2", Capacity: v1.Capacity{CPU: 2000, Memory: 4 << 30}})
		w.converge()
		require.Equal(t, []string{"m1/a@0.service", "m1/a@1.service", "m1/a@2.service", "m1/a@3.service"}, w.where())
		w.setMachine(index.MachineSpec{ID: "m1", Capacity: tt.less})
		w.converge()
		require.Equal(t, []string{"m1/a@0.service", "m1/a@1.service", "m2/a@2.service", "m2/a@3.service"}, w.where(), tt.resource)
	}
}

// TestTakingAPlaceIsOneTransaction: the preempting unit and its victims, wherever they go.
func TestTakingAPlaceIsOneTransaction(t *testing.T) {
	w := newWorld(t)
	w.setMachine(index.MachineSpec{ID: "m1"})
	w.add(t, "old@1.service Ports=80", "old@2.service Ports=81")
	w.converge()
	w.setMachine(index.MachineSpec{ID: "m2", Metadata: map[string]string{"spare": "yes"}})
	w.add(t, "blocks.service MachineID=m2;Ports=81")
	w.converge()
	require.Equal(t, []string{"m1/old@1.service", "m1/old@2.service", "m2/blocks.service"}, w.where())
	w.unplaced["new.service"] = v1.Unplaced{Message: "it was refused before"}
	w.c.SetUnplaced("new.service", w.unplaced["new.service"], 1)
	w.add(t, "new.service Replaces=old@*.service;Ports=80 81")
	var took []string
	txns := map[int]bool{}
	for _, a := range w.step() {
		if a.Kind == Place || a.Kind == Move || a.Kind == Unplace {
			took = append(took, fmt.Sprint(a.Kind, " ", a.Unit, " ", a.Machine))
			txns[a.Txn] = true
		}
	}
	require.Equal(t, []string{"Place new.service m1", "Move old@1.service m2", "Unplace old@2.service m1"}, took)
	require.Len(t, txns, 1)
}

// TestGlobalUnitWithoutRoom: if a new machine has no room for a global unit, the unit's explanation says so.
func TestGlobalUnitWithoutRoom(t *testing.T) {
	w := three(t)
	w.add(t, "g.service Global=true;CPU=1000m")
	w.converge()
	require.Equal(t, []string{"m1/g.service", "m2/g.service", "m3/g.service"}, w.where())
	require.Empty(t, w.unplaced)
	w.setMachine(index.MachineSpec{ID: "m4", Capacity: v1.Capacity{CPU: 500}})
	w.converge()
	require.Len(t, w.where(), 3)
	require.Equal(t, "1 of the 4 machines that match has no room: 1 has too little CPU left (CPU=1, the most that is left is 0.5)", w.unplaced["g.service"].Message)
	w.setMachine(index.MachineSpec{ID: "m4", Capacity: v1.Capacity{CPU: 1000}})
	w.converge()
	require.Len(t, w.where(), 4)
	require.Empty(t, w.unplaced)
}

// TestGlobalUnitOnNoMachine: where none matches, that is said also if machines come after the unit; a machine that gets no new units
// and has the unit matches.
func TestGlobalUnitOnNoMachine(t *testing.T) {
	w := newWorld(t)
	w.add(t, "g.service Global=true;Ports=80")
	require.Empty(t, w.converge())
	w.setMachine(index.MachineSpec{ID: "m1", Stuck: true})
	w.converge()
	require.Equal(t, "no machine matches: 1 starts and stops no units now (list-machines says why)", w.unplaced["g.service"].Message)
	w.setMachine(index.MachineSpec{ID: "m1"})
	w.converge()
	require.Equal(t, []string{"m1/g.service"}, w.where())
	w.setConfig("m1", v1.MachineConfig{Cordoned: true})
	require.Empty(t, w.converge())
	require.Empty(t, Plan(Input{Index: w.rebuilt(), Now: w.now, Limits: w.limits}).Actions, "nor has a new leader anything to say")
}

// TestConflictsInOneOrder: several patterns that name a unit, of units on as many machines, are told in the same order by all leaders.
func TestConflictsInOneOrder(t *testing.T) {
	w := newWorld(t)
	w.setMachine(index.MachineSpec{ID: "m1"})
	w.setMachine(index.MachineSpec{ID: "m2"})
	w.add(t, "a@1.service", "z.service Conflicts=a@*.service", "b.service Conflicts=*@1.service;Conflicts=z.service")
	w.deleteUnit("a@1.service")
	w.converge()
	w.add(t, "a@1.service")
	w.converge()
	require.Equal(t, "0 of 2 machines fit: 1 runs a unit that conflicts (Conflicts=*@1.service of b.service), 1 runs a unit that conflicts (Conflicts=a@*.service of z.service)", w.unplaced["a@1.service"].Message)
	for range 10 {
		require.Empty(t, Plan(Input{Index: w.rebuilt(), Now: w.now, Limits: w.limits}).Actions)
	}
}

// TestTiedUnitsAreNotPreempted: a unit that follows another, or is followed, is not preempted.
func TestTiedUnitsAreNotPreempted(t *testing.T) {
	w := newWorld(t)
	w.setMachine(index.MachineSpec{ID: "m1"})
	w.add(t, "old.service", "with.service MachineOf=old.service")
	w.converge()
	w.add(t, "new.service Replaces=old.service")
	w.converge()
	require.Equal(t, []string{"m1/old.service", "m1/with.service"}, w.where())
	require.Contains(t, w.unplaced, "new.service")
}

// TestImpossibleGroups: units that MachineOf= requires on one machine and that cannot share one. Contradictions within one
// file are rejected earlier.
func TestImpossibleGroups(t *testing.T) {
	follows := []string{"a.service"}
	for _, tt := range []struct {
		a, b unitfile.Fleet
		want string
	}{
		{unitfile.Fleet{}, unitfile.Fleet{MachineOf: follows, Replaces: follows}, "b.service replaces a.service (Replaces=a.service), and MachineOf= wants them on one machine"},
		{unitfile.Fleet{Ports: []int{80}}, unitfile.Fleet{MachineOf: follows, Ports: []int{80}}, "a.service and b.service both use port 80, and MachineOf= wants them on one machine"},
		{unitfile.Fleet{}, unitfile.Fleet{MachineOf: follows, Conflicts: follows}, "a.service conflicts with b.service (Conflicts=a.service of b.service), and MachineOf= wants them on one machine"},
		{unitfile.Fleet{Ports: []int{81}}, unitfile.Fleet{MachineOf: follows, Conflicts: []string{"b.service"}, Replaces: []string{"b.service"}, Ports: []int{80}}, ""},
	} {
		w := newWorld(t)
		w.setUnit(launched("a.service", tt.a))
		w.setUnit(launched("b.service", tt.b))
		w.setMachine(index.MachineSpec{ID: "m1"})
		w.converge()
		if tt.want == "" {
			require.Equal(t, []string{"m1/a.service", "m1/b.service"}, w.where(), "a unit is in the way of others, not of itself")
			continue
		}
		require.Empty(t, w.where())
		require.Equal(t, tt.want, w.unplaced["a.service"].Message)
		require.Equal(t, []v1.Refusal{{Reason: rule.ReasonMachineOf, Message: tt.want}}, w.unplaced["a.service"].Reasons)
	}
}

func TestSameUnplaced(t *testing.T) {
	is := func() *v1.Unplaced {
		return &v1.Unplaced{Message: "no room", Reasons: []v1.Refusal{{Reason: "CPU", Message: "has too little", Count: 2, Machines: []string{"m1", "m2"}}}}
	}
	require.True(t, sameUnplaced(is(), is()))
	for name, change := range map[string]func(u *v1.Unplaced){
		"message":         func(u *v1.Unplaced) { u.Message = "x" },
		"reason":          func(u *v1.Unplaced) { u.Reasons[0].Reason = "Memory" },
		"reason's words":  func(u *v1.Unplaced) { u.Reasons[0].Message = "x" },
		"count":           func(u *v1.Unplaced) { u.Reasons[0].Count = 3 },
		"machines":        func(u *v1.Unplaced) { u.Reasons[0].Machines[1] = "m3" },
		"another reason":  func(u *v1.Unplaced) { u.Reasons = append(u.Reasons, v1.Refusal{}) },
		"not any reasons": func(u *v1.Unplaced) { u.Reasons = nil },
	} {
		other := is()
		change(other)
		require.False(t, sameUnplaced(is(), other), name)
		require.False(t, sameUnplaced(other, is()), name)
	}
}

// TestExplanationsOfThoseThatStay: two instances of a template that stay on different machines for now have different
// explanations.
func TestExplanationsOfThoseThatStay(t *testing.T) {
	w := three(t)
	w.add(t, "app@1.service MachineMetadata=zone=a;CPU=1000m", "app@2.service MachineMetadata=zone=a;CPU=1000m")
	w.converge()
	w.setConfig("m1", v1.MachineConfig{Drain: true})
	w.converge()
	for _, unit := range []string{"app@1.service", "app@2.service"} {
		require.Contains(t, w.unplaced[unit].Message, "it stays on m1 for now (m1 is being drained): ", unit)
	}
	require.Equal(t, []string{"m1/app@1.service", "m1/app@2.service"}, w.where())
}

// TestControllerKeepsWhatIsActive: of a unit's two placements, the one that does not run is removed.
func TestControllerKeepsWhatIsActive(t *testing.T) {
	eachStore(t, func(b *bench) {
		b.machine("m1", "a")
		b.machine("m2", "a")
		b.unit("a.service", "[Service]\n")
		b.await("m1/a.service launched")
		b.put(b.keys.States().Key("m2/a.service"), `{"activeState":"active"}`)
		value, _, _, err := b.store.Get(b.ctx, b.keys.Placements().Key("m1/a.service"))
		require.NoError(b.t, err)
		b.put(b.keys.Placements().Key("m2/a.service"), string(value.Value))
		b.await("m2/a.service launched")
		require.Eventually(b.t, func() bool { // the event is written later
			b.mu.Lock()
			defer b.mu.Unlock()
			return slices.ContainsFunc(b.events, func(e string) bool {
				return strings.HasPrefix(e, "Unit a.service Normal Duplicate taken off m1: ")
			})
		}, 10*time.Second, 5*time.Millisecond)
	})
}

// TestControllerReportsWhatFitsNowhere by a warning.
func TestControllerReportsWhatFitsNowhere(t *testing.T) {
	b := start(t, memstore.New(memstore.Options{}))
	b.machine("m1", "a")
	b.unit("a.service", "[X-Fleet]\nMachineMetadata=zone=b\n")
	b.await("a.service: 0 of 1 machine fits: 1 has no metadata zone=b")
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return slices.Contains(b.events, "Unit a.service Warning NoMachineFits 0 of 1 machine fits: 1 has no metadata zone=b")
	}, 10*time.Second, 5*time.Millisecond)
}

// TestWrittenIsNotSeen: a write that is not seen in time is an error: the next plan waits until it is.
func TestWrittenIsNotSeen(t *testing.T) {
	s := memstore.New(memstore.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := New(Options{Env: cluster.Env{Store: &onCommit{s, cancel}, Cluster: cluster.New(s, keyspace.New(""), logr.Discard())}}) // which never runs, so it sees nothing
	ended, end := context.WithCancel(t.Context())
	end()
	_ = c.Run(ended) // shuts down the queue
	write := []Action{{Kind: SetUnplaced, Unit: "a.service", Unplaced: &v1.Unplaced{}}}
	require.ErrorIs(t, c.apply(ctx, write), context.Canceled)
	require.NotZero(t, s.Revision())

	known, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Cluster.Run(known) }()
	defer func() { stop(); <-done }()
	require.NoError(t, c.Cluster.WaitForSync(known))
	require.NoError(t, c.apply(t.Context(), write))
	_, there := c.Cluster.Unplaced.Get("a.service")
	require.True(t, there)
}

// onCommit calls a function with each transaction that is written.
type onCommit struct {
	store.Interface
	do func()
}

func (o *onCommit) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	revision, err := o.Interface.Commit(ctx, txn)
	o.do()
	return revision, err
}

// TestLeastLoadedOfThoseThatFit: if the least loaded machines have no room, and loads differ much, the least loaded of the
// others is found, the first among equals, be they few or many.
func TestLeastLoadedOfThoseThatFit(t *testing.T) {
	for _, tt := range []struct {
		from int // machines with at least that many units have the port free
		want []string
	}{
		{24, []string{"m024", "m049", "m074", "m099", "m124", "m149"}},
		{20, []string{"m020", "m045", "m070", "m095", "m120", "m145", "m021", "m046"}},
		{10, []string{"m010", "m035", "m060", "m085", "m110", "m135", "m011"}},
	} {
		w := newWorld(t)
		for i := range 150 {
			id := fmt.Sprintf("m%03d", i)
			w.setMachine(index.MachineSpec{ID: id})
			for n := range i % 25 {
				name := fmt.Sprintf("f%d@%d.service", n, i)
				section := "MachineID=" + id
				if n == 0 && i%25 < tt.from {
					section += ";Ports=80"
				}
				w.put(id, name, v1.Placement{Hash: "1", DesiredState: v1.Launched})
				w.add(t, name+" "+section)
			}
			if i%25 == 0 { // a least loaded one
				name := fmt.Sprintf("p@%d.service", i)
				w.put(id, name, v1.Placement{Hash: "1", DesiredState: v1.Launched})
				w.add(t, name+" MachineID="+id+";Ports=80")
			}
		}
		require.Empty(t, w.converge())
		for n, want := range tt.want {
			w.add(t, fmt.Sprintf("new%d.service Ports=80", n))
			require.Equal(t, []string{fmt.Sprintf("Place new%d.service on %s: Placed: of the machines that fit, this one runs least", n, want)}, w.converge())
		}
	}
}
