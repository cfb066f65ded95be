// Package check says what went wrong in a cluster, from two histories that are not fleet's own words: all writes of etcd, and what the
// journals of the machines have of their units. It decides only; the tests of the lab record.
//
// What it looks for: units on one machine that keep each other away, by placement or by what ran; two copies of a unit; an endpoint
// without an instance that runs; a container that no unit accounts for.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Input is what was recorded.
type Input struct {
	Machines []Machine
	// Writes are etcd's, in order of their revisions.
	Writes []Write
	// Entries are those of all journals, in any order.
	Entries []Entry
	// Cuts are the times in which the network was not whole.
	Cuts []Window
	// Containers are those that exist in the end, and Running the units that are not inactive then.
	Containers []Container
	Running    []Unit
	// Until is when the recording ended.
	Until  time.Time
	Limits Limits
}

// Machine is one machine.
type Machine struct{ Name, ID, Address string }

// Write is one key of a revision of etcd.
type Write struct {
	Revision int64
	// At is when the recorder heard of it.
	At      time.Time
	Key     string
	Value   string
	Deleted bool
}

// Window is a time.
type Window struct{ From, To time.Time }

func (w Window) length() time.Duration { return w.To.Sub(w.From) }

// Unit is a unit of a machine.
type Unit struct{ Machine, Name string }

// Container is a container of a machine. Unit is its label fleet.unit, empty without one.
type Container struct{ Machine, Name, Unit string }

// Limits are how long something may last that ends by itself.
type Limits struct {
	// Overlap is how long a unit that moves may run in both places: each machine starts and stops by itself.
	Overlap time.Duration
	// Health is how long an endpoint may outlive its instance where its machine and etcd are well.
	Health time.Duration
	// Lease is how long it may do so where they are not, from when they are well again, or the machine has lost its power: the lease of
	// the endpoint, and a new one from a new leader of etcd.
	Lease time.Duration
	// CatchUp is how long a machine that is back may run what was moved away from it.
	CatchUp time.Duration
}

// Problem is something that must not happen.
type Problem struct {
	At   time.Time
	What string
}

func (p Problem) String() string { return p.At.Format("15:04:05.000") + " " + p.What }

// Problems returns what is wrong, in order of time.
func Problems(in Input) (problems []Problem) {
	c := newChecker(in)
	problems = slices.Concat(c.placements(), c.sharedMachines(), c.copies(), c.endpoints(), c.containers())
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.What, b.What)) })
	return problems
}

type checker struct {
	Input
	runs  []Run
	files files
	// placed are the placements of a unit's files, the first one first.
	placed map[Unit][]placement
	cut    []Window // Cuts, and what a machine takes to catch up
}

func newChecker(in Input) *checker {
	c := &checker{Input: in, files: files{}, placed: map[Unit][]placement{}}
	c.runs = Runs(in.Entries, in.Until)
	for _, w := range in.Cuts {
		c.cut = append(c.cut, Window{w.From, w.To.Add(in.Limits.CatchUp)})
	}
	c.history()
	return c
}

// without returns what is left of a window, the longest piece, where others are taken out.
func without(w Window, others []Window) (longest Window) {
	others = slices.Clone(others)
	slices.SortFunc(others, func(a, b Window) int { return a.From.Compare(b.From) })
	left := w.From
	take := func(to time.Time) {
		if piece := (Window{left, to}); piece.length() > longest.length() {
			longest = piece
		}
	}
	for _, o := range others {
		if !o.To.After(left) {
			continue
		}
		if !o.From.Before(w.To) {
			break
		}
		take(o.From)
		left = o.To
	}
	if left.Before(w.To) {
		take(w.To)
	}
	return longest
}

func overlap(a, b Window) Window {
	w := Window{a.From, a.To}
	if b.From.After(w.From) {
		w.From = b.From
	}
	if b.To.Before(w.To) {
		w.To = b.To
	}
	return w
}

// copies are units that ran on two machines at once, outside the time in which the network was cut.
func (c *checker) copies() (problems []Problem) {
	singles := c.singles()
	for i, a := range c.runs {
		for _, b := range c.runs[i+1:] {
			if a.Unit.Name != b.Unit.Name || a.Unit.Machine == b.Unit.Machine || !singles[a.Unit.Name] {
				continue
			}
			if both := without(overlap(a.Window, b.Window), c.cut); both.length() > c.Limits.Overlap {
				problems = append(problems, Problem{both.From, fmt.Sprintf("%s ran on %s and on %s for %.1f s", a.Unit.Name, a.Unit.Machine, b.Unit.Machine, both.length().Seconds())})
			}
		}
	}
	return problems
}

// sharedMachines are units that ran on one machine although one keeps the other away.
func (c *checker) sharedMachines() (problems []Problem) {
	for i, a := range c.runs {
		for _, b := range c.runs[i+1:] {
			if a.Unit.Machine != b.Unit.Machine || a.Unit.Name == b.Unit.Name {
				continue
			}
			both := without(overlap(a.Window, b.Window), c.cut)
			if both.length() <= c.Limits.Overlap {
				continue
			}
			if why := clash(c.fileAt(a.Unit, both.From), c.fileAt(b.Unit, both.From)); why != "" {
				problems = append(problems, Problem{both.From, fmt.Sprintf("%s and %s ran on %s for %.1f s: %s", a.Unit.Name, b.Unit.Name, a.Unit.Machine, both.length().Seconds(), why)})
			}
		}
	}
	return problems
}
