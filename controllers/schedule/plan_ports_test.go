package schedule

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// with is one machine with a range of ports.
func with(t testing.TB, first, last int) *world {
	w := newWorld(t)
	w.setMachine(index.MachineSpec{ID: "m1", PortRange: v1.PortRange{First: first, Last: last}})
	return w
}

func (w *world) portsOf(machine, unit string) v1.Assignment {
	return w.placements[machine+"/"+unit].Value.Assigned
}

// TestAutoPortsOfInstances: instances share a machine, each with ports of its own.
func TestAutoPortsOfInstances(t *testing.T) {
	w := with(t, 9000, 9003)
	w.add(t, "web@1.service AutoPorts=http admin", "web@2.service AutoPorts=http admin")
	w.converge()
	seen := map[int]bool{}
	for _, unit := range []string{"web@1.service", "web@2.service"} {
		for _, port := range w.portsOf("m1", unit).All {
			seen[port] = true
		}
	}
	require.Len(t, seen, 4)
	w.add(t, "web@3.service AutoPorts=http")
	w.converge()
	require.Contains(t, w.unplaced, "web@3.service")
	w.deleteUnit("web@1.service")
	w.converge()
	require.NotContains(t, w.unplaced, "web@3.service")
	require.Equal(t, v1.Assignment(""), w.portsOf("m1", "web@1.service"))
}

// TestAutoPortsStay: a unit has its ports as long as it has its placement, and gets those that a new file adds.
func TestAutoPortsStay(t *testing.T) {
	w := with(t, 9000, 9009)
	w.add(t, "a.service AutoPorts=http")
	w.converge()
	http := w.portsOf("m1", "a.service").Get("http")
	require.True(t, 9000 <= http && http <= 9009)
	for i, tc := range []struct {
		ports string
		names []string
	}{{"AutoPorts=admin http", []string{"admin", "http"}}, {"AutoPorts=http;CPU=1", []string{"http"}}, {"Ports=80", nil}} {
		w.add(t, "a.service "+tc.ports)
		u := w.units["a.service"]
		u.Hash = fmt.Sprint("file ", i)
		w.setUnit(u)
		w.converge()
		var names []string
		for name := range w.portsOf("m1", "a.service").All {
			names = append(names, name)
		}
		require.Equal(t, tc.names, names)
		if tc.names != nil {
			require.Equal(t, http, w.portsOf("m1", "a.service").Get("http"))
		}
	}
	w.setMachine(index.MachineSpec{ID: "m1", PortRange: v1.PortRange{First: 1, Last: 1}})
	w.converge()
	require.Len(t, w.placements, 1, "a unit without automatic ports does not care")
}

// TestAutoPortsOfAnotherRange: the range changes, or the machine gets an older fleetd: what is placed keeps its ports.
func TestAutoPortsOfAnotherRange(t *testing.T) {
	w := with(t, 9000, 9009)
	w.add(t, "a.service AutoPorts=http")
	w.converge()
	had := w.portsOf("m1", "a.service")
	for _, ports := range []v1.PortRange{{First: 1, Last: 1}, {}} {
		w.setMachine(index.MachineSpec{ID: "m1", PortRange: ports})
		require.Empty(t, w.converge())
		require.Equal(t, had, w.portsOf("m1", "a.service"))
	}
	w.add(t, "a.service AutoPorts=http admin")
	u := w.units["a.service"]
	u.Hash = "2"
	w.setUnit(u)
	w.converge()
	require.Equal(t, "1", w.placements["m1/a.service"].Value.Hash, "it keeps its former file")
	require.Equal(t, had, w.portsOf("m1", "a.service"))
	require.Contains(t, w.unplaced["a.service"].Message, "m1 has too few free ports for AutoPorts=")
}

// TestAutoPortsBesideFixedOnes: a fixed port and an assigned one are the same resource.
func TestAutoPortsBesideFixedOnes(t *testing.T) {
	w := with(t, 9000, 9001)
	w.add(t, "fixed.service Ports=9000")
	w.converge()
	w.add(t, "a.service AutoPorts=http")
	w.converge()
	require.Equal(t, v1.Assignment("http=9001"), w.portsOf("m1", "a.service"))
	w.add(t, "late.service Ports=9001")
	w.converge()
	require.Contains(t, w.unplaced["late.service"].Message, "has assigned port 9001")

	u := w.units["fixed.service"] // the first comer keeps it
	u.Hash, u.Fleet.Ports = "2", []int{9001}
	w.setUnit(u)
	w.converge()
	require.Equal(t, []string{"m1/a.service"}, w.where())
	require.Contains(t, w.unplaced, "fixed.service")
	w.deleteUnit("a.service")
	w.converge()
	require.Equal(t, []string{"m1/fixed.service"}, w.where())
}

// TestPortsThatAFileDoesNotName: a unit whose file is broken stays with all that its placement holds, as edited by another client too.
func TestPortsThatAFileDoesNotName(t *testing.T) {
	w := three(t)
	w.add(t, "a.service MachineID=m1", "b.service Ports=3")
	w.put("m1", "b.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
	w.converge()
	change(w, "a.service", func(u *index.UnitSpec) { u.Problem = "line 3: broken" })
	w.converge()
	w.put("m1", "a.service", v1.Placement{Hash: "1", DesiredState: v1.Launched, Assigned: "http=3"})
	require.Equal(t, []string{"Move b.service from m1 to m2: Ports: b.service and a.service both use port 3; a.service was on m1 first"}, w.converge())
}

// TestAutoPortsComeTogether: a unit gets no port that another one, placed with it, has as a fixed one.
func TestAutoPortsComeTogether(t *testing.T) {
	w := with(t, 9000, 9001)
	w.add(t, "a.service AutoPorts=http", "b.service Ports=9000 9001;MachineOf=a.service")
	w.converge()
	require.Empty(t, w.where())
	w.add(t, "b.service Ports=9000;MachineOf=a.service")
	w.converge()
	require.Equal(t, v1.Assignment("http=9001"), w.portsOf("m1", "a.service"))
}

// TestAutoPortsAreNotReserved: etcd's port is not given away, whatever the range says.
func TestAutoPortsAreNotReserved(t *testing.T) {
	w := with(t, 2379, 2379)
	w.add(t, "a.service AutoPorts=http")
	w.converge()
	require.Empty(t, w.where())
}

// TestAutoPortsReturn: an instance that returns to a machine has the port that it had, and another one does not get it at once.
func TestAutoPortsReturn(t *testing.T) {
	w := with(t, 20000, 29999)
	w.add(t, "a.service AutoPorts=http")
	w.converge()
	had := w.portsOf("m1", "a.service")
	w.deleteUnit("a.service")
	w.converge()
	w.add(t, "b.service AutoPorts=http")
	w.converge()
	require.NotEqual(t, had, w.portsOf("m1", "b.service"))
	w.add(t, "a.service AutoPorts=http")
	w.converge()
	require.Equal(t, had, w.portsOf("m1", "a.service"))
}
