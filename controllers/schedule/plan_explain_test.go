package schedule

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

// explanations are worlds in which units fit nowhere. Their explanations are in testdata.
var explanations = []struct {
	name  string
	world func(t *testing.T, w *world)
}{
	{"conflicts-and-metadata", func(t *testing.T, w *world) {
		w.add(t, "app@1.service "+appConflict, "app@2.service "+appConflict)
		w.converge()
		w.add(t, "app@3.service MachineMetadata=zone=a;MachineMetadata=zone=b;"+appConflict)
	}},
	{"conflict-of-the-other", func(t *testing.T, w *world) {
		w.add(t, "db.service Conflicts=web@*.service;MachineMetadata=zone=a")
		w.converge()
		w.add(t, "web@1.service MachineMetadata=zone=a")
	}},
	{"ports", func(t *testing.T, w *world) {
		w.add(t, "a.service Ports=80", "b.service Ports=80", "c.service Ports=80 81")
		w.converge()
		w.add(t, "d.service Ports=80 81")
	}},
	{"auto-ports", func(t *testing.T, w *world) {
		w.deleteMachine("m3")
		w.setMachine(index.MachineSpec{ID: "m1", PortRange: v1.PortRange{First: 9000, Last: 9002}})
		w.setMachine(index.MachineSpec{ID: "m2", PortRange: v1.PortRange{First: 9000, Last: 9001}})
		w.setMachine(index.MachineSpec{ID: "m0"}) // with an older fleetd
		w.add(t, "a.service AutoPorts=http admin;MachineID=m1", "b.service AutoPorts=http;MachineID=m2")
		w.converge()
		w.add(t, "c.service AutoPorts=http admin")
		port := w.placements["m2/b.service"].Value.Assigned.Get("http")
		w.add(t, fmt.Sprintf("d.service MachineID=m2;Ports=%d", port))
	}},
	{"crowd", func(t *testing.T, w *world) { // IDs in a different order than names
		for i := range 12 {
			w.setMachine(index.MachineSpec{ID: fmt.Sprintf("%x", 15-i), Metadata: map[string]string{"zone": "x", "n": fmt.Sprint(i)}})
			w.add(t, fmt.Sprintf("app@%d.service MachineMetadata=n=%d;Ports=80;%s", i+1, i, appConflict))
			w.setActive(fmt.Sprintf("%x", 15-i), fmt.Sprintf("app@%d.service", i+1), true)
		}
		w.converge()
		w.setConfig("f", v1.MachineConfig{Drain: true})
		for _, name := range []string{"app@1.service", "app@77.service", "app@78.service"} {
			w.add(t, name+" MachineMetadata=zone=x;Ports=80;"+appConflict)
		}
		w.add(t, "side@77.service "+beside, "side@78.service "+beside, "proxy.service Global=true;MachineMetadata=zone=x;Ports=80")
	}},
	{"resources", func(t *testing.T, w *world) {
		w.add(t, "a.service CPU=3", "b.service Memory=8G", "c.service Memory=8G;CPU=2.5")
	}},
	{"machine-id", func(t *testing.T, w *world) {
		w.add(t, "a.service Ports=80;MachineID=m2")
		w.converge()
		w.add(t, "b.service MachineID=m9", "c.service MachineID=m2;Ports=80")
	}},
	{"cordon-and-drain", func(t *testing.T, w *world) {
		w.setConfig("m1", v1.MachineConfig{Cordoned: true})
		w.setConfig("m2", v1.MachineConfig{Drain: true})
		w.setMachine(index.MachineSpec{ID: "m3", Problem: "broken"})
		w.add(t, "a.service")
	}},
	{"stuck", func(t *testing.T, w *world) {
		w.setMachine(index.MachineSpec{ID: "m1", Stuck: true})
		w.setMachine(index.MachineSpec{ID: "m3", Stuck: true})
		w.add(t, "a.service", "b.service MachineID=m3", "g.service Global=true") // a.service and one g.service go to m2
	}},
	{"drained-and-stays", func(t *testing.T, w *world) {
		w.add(t, "app@1.service MachineMetadata=zone=a")
		w.converge()
		w.setConfig("m1", v1.MachineConfig{Drain: true})
	}},
	{"group", func(t *testing.T, w *world) {
		w.add(t, "x.service Ports=9;MachineID=m1", "y.service Ports=9;MachineID=m2")
		w.converge()
		w.add(t, "app@1.service MachineMetadata=zone=a;MachineMetadata=zone=b", "side@1.service Ports=9;"+beside)
	}},
	{"follower", func(t *testing.T, w *world) {
		w.add(t, "app@1.service Ports=80")
		w.converge()
		w.add(t, "side@1.service Ports=80;"+beside, "lonely.service MachineOf=missing.service")
	}},
	{"contradiction", func(t *testing.T, w *world) { w.add(t, "app@1.service Ports=80", "side@1.service Ports=80;"+beside) }},
	{"circle", func(t *testing.T, w *world) {
		w.add(t, "a.service MachineOf=b.service", "b.service MachineOf=c.service", "c.service MachineOf=a.service", "d.service MachineOf=c.service")
	}},
	{"global", func(t *testing.T, w *world) {
		w.add(t, "a.service Ports=80;MachineID=m2")
		w.converge()
		w.add(t, "g.service Global=true;Ports=80", "h.service Global=true;MachineMetadata=zone=x")
	}},
	{"no-machines", func(t *testing.T, w *world) {
		for _, id := range []string{"m1", "m2", "m3"} {
			w.deleteMachine(id)
		}
		w.add(t, "a.service")
	}},
	{"unit-file", func(t *testing.T, w *world) {
		u := launched("a.service", unitfile.Fleet{})
		u.Problem = "line 3: [X-Fleet] Ports: port \"x\": write numbers from 1 to 65535"
		w.setUnit(u)
	}},
}

// TestExplanations compares the explanations of units that fit nowhere with the golden files in testdata.
func TestExplanations(t *testing.T) {
	for _, tc := range explanations {
		t.Run(tc.name, func(t *testing.T) {
			w := three(t)
			tc.world(t, w)
			w.converge()
			golden(t, tc.name, w.explained())
		})
	}
}

// TestExplanationsAreShared: what the explanations of a thousand instances have in common is stored once.
func TestExplanationsAreShared(t *testing.T) {
	w := three(t)
	w.add(t, "x.service Ports=80;MachineID=m1", "y.service Ports=80;MachineID=m2", "z.service Ports=80;MachineID=m3")
	w.converge()
	w.add(t, "app@1.service Ports=80", "side@1.service "+beside, "app@2.service Ports=80", "side@2.service "+beside)
	var reasons []*v1.Refusal
	for _, a := range w.step() {
		require.Equal(t, SetUnplaced, a.Kind)
		reasons = append(reasons, &a.Unplaced.Reasons[0])
	}
	require.Len(t, reasons, 4)
	for _, r := range reasons {
		require.Same(t, reasons[0], r)
	}
}

// TestExplanationsOfBadBytes: invalid UTF-8 from etcd is stored as it will be read back, so that it is not written
// repeatedly.
func TestExplanationsOfBadBytes(t *testing.T) {
	w := newWorld(t)
	w.setMachine(index.MachineSpec{ID: "m\xff"})
	w.setUnit(index.UnitSpec{Name: "a\xff.service", Hash: "1", DesiredState: v1.Launched, Fleet: unitfile.Fleet{Ports: []int{80}}})
	w.converge()
	w.setUnit(index.UnitSpec{Name: "b.service", Hash: "1", DesiredState: v1.Launched, Fleet: unitfile.Fleet{Ports: []int{80}}})
	w.setUnit(index.UnitSpec{Name: "c.service", Hash: "1", DesiredState: v1.Launched, Fleet: unitfile.Fleet{MachineID: "\xfe"}})
	w.converge()
	require.Len(t, w.unplaced, 2)
	for _, why := range w.unplaced {
		data, err := json.Marshal(why)
		require.NoError(t, err)
		var back v1.Unplaced
		require.NoError(t, json.Unmarshal(data, &back))
		require.Equal(t, back, why)
	}
}

// explained returns all explanations, as text.
func (w *world) explained() string {
	var b strings.Builder
	for _, name := range sortedKeys(w.unplaced) {
		value := w.unplaced[name]
		fmt.Fprintf(&b, "%s: %s\n", name, value.Message)
		for _, r := range value.Reasons {
			fmt.Fprintf(&b, "    %s x%d %v: %s\n", r.Reason, r.Count, r.Machines, r.Message)
		}
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	path := filepath.Join("testdata", name+".txt")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}
