// Package collect deletes what nothing refers to any more.
package collect

import (
	"cmp"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Keep is how many revisions of an app are kept; KeepApplies is how many applies are, besides those that made a revision that is
// kept.
const (
	Keep        = 10
	KeepApplies = 100
)

// Object is a stored key: its name within its row, and its ModRevision.
type Object struct {
	Name     string
	Revision int64
}

// Revision is a stored revision of an app.
type Revision struct {
	Object
	App string
	// Unreadable ones cannot be rolled back to.
	Unreadable bool
	// Foreign ones belong to a deleted app of the same name as an existing one.
	Foreign bool
	// Files are the hashes of its unit files.
	Files []string
	// Manifest is the ModRevision of its manifest.
	Manifest int64
	// Number is its number, and Needs are those of the revisions that run while it does not, or would if it failed: see
	// v1.Revision.Fallback.
	Number int64
	Needs  []int64
}

// State is a stored state.
type State struct {
	Object
	Machine, Unit string
}

// UnitFile is a stored unit file.
type UnitFile struct {
	Object
	// Forged: its text does not match the hash in its name. Only checked for files that were found unused before.
	Forged bool
}

// StoredUnit is a stored unit.
type StoredUnit struct {
	Name, Owner, Hash string
	// UID is its CreateRevision.
	UID int64
}

// Placement is a stored placement.
type Placement struct {
	Machine, Unit, Hash string
}

// Input is everything that refers to anything. Revisions are sorted by name: by app, then number; Applies by time.
type Input struct {
	Now time.Time
	// Grace is how long something has to be unused before it is deleted.
	Grace      time.Duration
	Apps       map[string]int64 // their UIDs
	Machines   map[string]bool
	Units      []StoredUnit
	Placements []Placement
	Revisions  []Revision
	Applies    []Object
	UnitFiles  []UnitFile
	Overrides  []Object
	Rollouts   []Object
	// Sources are the UIDs of sources, Wishes what people ask of them.
	Sources map[string]int64
	Wishes  []Object
	Status  []Object
	States  []State
	// Unused is what an earlier plan found unused. If it is lost, the grace period starts over.
	Unused map[Candidate]time.Time
}

// Kind is the row of a key.
type Kind string

// The rows that are collected.
const (
	UnitFiles Kind = "unitfiles"
	Revisions Kind = "revisions"
	Applies   Kind = "applies"
	Overrides Kind = "overrides"
	Rollouts  Kind = "rollouts"
	Wishes    Kind = "sourcewishes"
	Status    Kind = "status"
	States    Kind = "states"
)

// The reasons of deletions.
const (
	NotReferenced = "NotReferenced" // no unit, placement or revision refers to the unit file
	Forged        = "Forged"        // the unit file's text does not match the hash that it is stored under, so nothing can refer to it
	TooOld        = "TooOld"        // the revision or the apply is older than the ones to keep
	AppGone       = "AppGone"       // the app that it belongs to was deleted
	UnitGone      = "UnitGone"      // the unit that the override is for was deleted
	SourceGone    = "SourceGone"    // the source that the wish is for was deleted
	MachineGone   = "MachineGone"   // the machine is gone, and nothing is placed on it
	NotPlaced     = "NotPlaced"     // the unit is not placed on that machine
)

// Candidate is a key at the revision at which it was found unused. Written again, it is a different candidate.
type Candidate struct {
	Kind Kind
	Object
}

// Action deletes a candidate if it has not been written since.
type Action struct {
	Candidate
	Reason string
}

// Decision is what to delete, and what to remember.
type Decision struct {
	Actions []Action
	Unused  map[Candidate]time.Time
	// After is when the next grace period ends; 0 if none is running.
	After time.Duration
}

// Plan finds keys that nothing refers to.
func Plan(in Input) Decision {
	p := planner{in: in, plan: Decision{Unused: map[Candidate]time.Time{}}}
	p.revisions()
	p.applies()
	p.unitFiles()
	p.ofUnits()
	p.states()
	slices.SortFunc(p.plan.Actions, func(a, b Action) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return p.plan
}

type planner struct {
	in   Input
	plan Decision
}

// unused deletes a key that has been unused for long enough, or remembers it.
func (p *planner) unused(kind Kind, o Object, reason string) {
	c := Candidate{Kind: kind, Object: o}
	since, known := p.in.Unused[c]
	if !known {
		since = p.in.Now
	}
	left := p.in.Grace - p.in.Now.Sub(since)
	if left <= 0 {
		p.plan.Actions = append(p.plan.Actions, Action{Candidate: c, Reason: reason})
		return
	}
	p.plan.Unused[c] = since
	if p.plan.After == 0 || left < p.plan.After {
		p.plan.After = left
	}
}

// revisions keeps the last ones of each app, and what its newest one needs, however many were accepted or rejected since; and all of a
// deleted app's while it still has units.
func (p *planner) revisions() {
	owners := map[string]bool{}
	for _, u := range p.in.Units {
		owners[u.Owner] = true
	}
	count, needs := map[string]int{}, map[string][]int64{}
	for _, r := range slices.Backward(p.in.Revisions) {
		_, exists := p.in.Apps[r.App]
		if !r.Unreadable && !r.Foreign {
			if count[r.App]++; count[r.App] == 1 {
				needs[r.App] = r.Needs
			}
		}
		switch {
		case !exists && !owners[r.App], r.Foreign:
			p.unused(Revisions, r.Object, AppGone)
		case count[r.App] > Keep && !slices.Contains(needs[r.App], r.Number):
			p.plan.Actions = append(p.plan.Actions, Action{Candidate: Candidate{Kind: Revisions, Object: r.Object}, Reason: TooOld})
		}
	}
}

// applies keeps the last ones, and those that wrote the manifest of a revision that is kept.
func (p *planner) applies() {
	made := map[int64]bool{}
	for _, r := range p.in.Revisions {
		made[r.Manifest] = true
	}
	for i, o := range p.in.Applies {
		if i < len(p.in.Applies)-KeepApplies && !made[o.Revision] {
			p.unused(Applies, o, TooOld)
		}
	}
}

// unitFiles keeps the files of every revision that is kept, for rollbacks.
func (p *planner) unitFiles() {
	used := map[string]bool{}
	for _, u := range p.in.Units {
		used[u.Hash] = true
	}
	for _, placement := range p.in.Placements {
		used[placement.Hash] = true
	}
	for _, r := range p.in.Revisions {
		for _, hash := range r.Files {
			used[hash] = true
		}
	}
	for _, f := range p.in.UnitFiles {
		switch {
		case used[f.Name]:
		case f.Forged:
			p.unused(UnitFiles, f.Object, Forged)
		default:
			p.unused(UnitFiles, f.Object, NotReferenced)
		}
	}
}

func (p *planner) ofUnits() {
	units := make(map[string]StoredUnit, len(p.in.Units))
	for _, u := range p.in.Units {
		units[u.Name] = u
	}
	for _, o := range p.in.Overrides {
		if u, exists := units[o.Name]; !exists || !v1.OverrideCounts(o.Revision, u.UID, p.in.Apps[u.Owner]) {
			p.unused(Overrides, o, UnitGone)
		}
	}
	for _, o := range p.in.Rollouts {
		if uid, exists := p.in.Apps[o.Name]; !exists || o.Revision < uid {
			p.unused(Rollouts, o, AppGone)
		}
	}
	for _, o := range p.in.Wishes {
		if uid, exists := p.in.Sources[o.Name]; !exists || o.Revision < uid {
			p.unused(Wishes, o, SourceGone)
		}
	}
	for _, o := range p.in.Status {
		if _, exists := p.in.Apps[o.Name]; !exists {
			p.unused(Status, o, AppGone)
		}
	}
}

// states collects what machines left behind when they disappeared or were cut off. A live machine deletes its own.
func (p *planner) states() {
	type place struct{ machine, unit string }
	placed := make(map[place]bool, len(p.in.Placements))
	for _, placement := range p.in.Placements {
		placed[place{placement.Machine, placement.Unit}] = true
	}
	for _, s := range p.in.States {
		switch {
		case !p.in.Machines[s.Machine]:
			p.unused(States, s.Object, MachineGone)
		case !placed[place{s.Machine, s.Unit}]:
			p.unused(States, s.Object, NotPlaced)
		}
	}
}
