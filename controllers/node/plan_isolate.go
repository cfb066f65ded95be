package node

import (
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// While a machine is cut off from etcd the cluster takes it for gone, and starts its units elsewhere. What must not run twice has
// OnPartition=stop: the machine stops it before that, and starts it again when etcd has said that it is still placed here.

// isolatedAgain is when to look again at a unit that waits for etcd.
const isolatedAgain = time.Second

// isolated is why a unit with OnPartition=stop must not run now; "" if it may.
func (p *planner) isolated(name string, pl v1.Placement, rec Record, unit SystemdUnit) string {
	if !p.in.Relations[name].Isolates || pl.DesiredState != v1.Launched || p.in.CutOffAt.IsZero() {
		return ""
	}
	left := p.in.CutOffAt.Sub(p.in.Now)
	switch {
	case left <= 0:
		p.lookAgain(isolatedAgain)
		return "stopped: this machine is cut off from etcd, and the unit has OnPartition=stop"
	case rec.Isolated && !p.in.Confirmed[name]:
		p.lookAgain(isolatedAgain)
		return "stopped while this machine was cut off from etcd (OnPartition=stop): waits until etcd says that it is still placed here"
	case !p.in.FromStore && rec.Launched == "" && !unit.up():
		return "not started: this machine has not reached etcd since it booted, and the unit has OnPartition=stop"
	}
	p.lookAgain(left)
	return ""
}

// isolate stops a unit that must not run now.
func (p *planner) isolate(name string, rec Record, unit SystemdUnit) Record {
	want := rec
	want.Launched, want.Pending, want.Stopped, want.Isolated = "", false, true, true
	want.JobResult, want.Failing, want.Message = "", false, ""
	switch {
	case unit.up() && !unit.stopping():
		p.act(Action{Kind: Stop, Unit: name, Record: want, Reason: CutOff})
	case rec.Launched != "":
		p.act(Action{Kind: Note, Unit: name, Record: want, Reason: CutOff})
	default:
		return rec
	}
	return want
}
