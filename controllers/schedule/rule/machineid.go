package rule

import (
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// ReasonMachineID is the reason of MachineID=.
const ReasonMachineID = "MachineID" // MachineID= names another machine

// machineID is MachineID=: the unit runs only on that machine.
type machineID struct{ base }

// Key is the ID.
func (r *machineID) Key(b []byte, f *unitfile.Fleet) []byte { return append(b, f.MachineID...) }

// Mismatch names both machines.
func (r *machineID) Mismatch(u *index.Unit, m *index.Machine) (Refusal, bool) {
	if id := u.Fleet.MachineID; id != "" && id != m.ID {
		return Refusal{Reason: ReasonMachineID, Message: "MachineID=" + id + " is not " + m.ID}, true
	}
	return Refusal{}, false
}

// Filter leaves one machine, which explanations are then about.
func (r *machineID) Filter(q *Search) {
	for _, u := range q.Members {
		if id := u.Fleet.MachineID; id != "" {
			q.pin(Pin{Machine: r.x.Machine(id), by: r, unit: u})
		}
	}
}

func (r *machineID) pinned(p Pin) string {
	return "machine " + p.unit.Fleet.MachineID + " (MachineID=) does not fit: it "
}

func (r *machineID) absent(p Pin) (reason, message string) {
	return ReasonMachineID, "machine " + p.unit.Fleet.MachineID + " (MachineID=) is not present"
}
