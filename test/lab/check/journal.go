package check

import (
	"cmp"
	"slices"
	"time"
)

// Entry is what a journal says of a unit, or that the power of a machine was cut.
type Entry struct {
	At      time.Time
	Machine string
	Unit    string
	Kind    Kind
}

// Kind is what an entry says.
type Kind string

// The kinds of entries.
const (
	Started Kind = "started"
	// Ended: the process ended, was stopped or failed.
	Ended Kind = "ended"
	// PowerCut ends all that the machine ran; no journal has it.
	PowerCut Kind = "power cut"
)

// Kinds are the kinds of systemd's messages, by their IDs (systemd's catalog).
var Kinds = map[string]Kind{
	"39f53479d3a045ac8e11786248231fbf": Started,
	"98e322203f7a4ed290d09fe03c09fe15": Ended, // main process exited
	"7ad2d189f7e94e70a38c781354912448": Ended, // deactivated successfully
	"d9b373ed55a64feb8242e02dbe79a49c": Ended, // failed
	"9d1aaa27d60140bd96365438aad20286": Ended, // stopped
}

// Run is a time in which a unit ran.
type Run struct {
	Unit Unit
	Window
}

// Runs are the times in which units ran; those that still do end with the recording.
func Runs(entries []Entry, until time.Time) (runs []Run) {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b Entry) int { return a.At.Compare(b.At) })
	open := map[Unit]time.Time{}
	end := func(u Unit, at time.Time) {
		if from, ok := open[u]; ok {
			runs = append(runs, Run{u, Window{from, at}})
			delete(open, u)
		}
	}
	for _, e := range entries {
		u := Unit{e.Machine, e.Unit}
		switch e.Kind {
		case Started:
			if _, ok := open[u]; !ok {
				open[u] = e.At
			}
		case Ended:
			end(u, e.At)
		case PowerCut:
			for other := range open {
				if other.Machine == e.Machine {
					end(other, e.At)
				}
			}
		}
	}
	for u := range open {
		end(u, until)
	}
	slices.SortFunc(runs, func(a, b Run) int {
		return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Unit.Machine, b.Unit.Machine), cmp.Compare(a.Unit.Name, b.Unit.Name))
	})
	return runs
}

// etcdUnit is what members of etcd run.
const etcdUnit = "etcd.service"

// noQuorum are the times in which etcd had no majority of its members: those machines that ever ran it.
func noQuorum(runs []Run, until time.Time) (windows []Window) {
	type change struct {
		at   time.Time
		what int
	}
	var changes []change
	members := map[string]bool{}
	for _, r := range runs {
		if r.Unit.Name == etcdUnit {
			members[r.Unit.Machine] = true
			changes = append(changes, change{r.From, 1}, change{r.To, -1})
		}
	}
	slices.SortStableFunc(changes, func(a, b change) int { return a.at.Compare(b.at) })
	n, lost := 0, true
	var since time.Time
	for _, c := range changes {
		n += c.what
		switch quorum := n > len(members)/2; {
		case lost && quorum:
			windows, lost = append(windows, Window{since, c.at}), false
		case !lost && !quorum && c.at.Before(until):
			since, lost = c.at, true
		}
	}
	if lost && len(members) > 0 {
		windows = append(windows, Window{since, until})
	}
	return windows
}
