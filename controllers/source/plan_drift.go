package source

import (
	"fmt"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/repository"
)

// Recalled is the commit that was applied last, with its texts: what drift goes back to while no newer commit can be applied. The
// leader that applied it has it still; another one reads it again.
type Recalled struct {
	// Hash is the commit, Revision that of the source's manifest by which it was read. Empty: none was. Running: one is being read.
	Hash     string
	Revision int64
	Running  bool
	// At is when it was read; Manifests are nil if that failed, Reason and Message say why.
	At              time.Time
	Manifests       *Manifests
	Reason, Message string
}

// putBack has drift go back to the commit that is applied, while a newer one is refused or cannot be read. It returns what people
// have to know, empty: nothing is amiss.
func (p *planner) putBack() string {
	if p.status.Applied == nil || p.status.Staged != nil {
		return ""
	}
	objects, missing := p.drifted()
	p.recall(len(missing) > 0)
	p.plan.Changes, p.faults = nil, nil
	p.hosts(objects, func(app string) bool { _, mine := p.inventory[Key{Kind: v1.KindApp, Name: app}]; return mine })
	for i := range objects {
		if o := &objects[i]; o.App != nil {
			p.names(o)
		}
		current, exists := p.in.Current[objects[i].Key]
		p.change(&objects[i], exists && !current.Gone, true, true, current.Revision)
	}
	applied := p.status.Applied.Short()
	if len(p.faults) > 0 {
		p.plan.Changes = nil
		return fmt.Sprintf("what is not as in commit %s is not put back: %s", applied, p.faults[0].message)
	}
	if len(p.plan.Changes) > 0 {
		p.plan.Commit, p.plan.PutBack = p.status.Applied, true
		p.tellChanges(p.status.Applied)
	}
	if r := p.in.Recalled; len(missing) > 0 && r.Hash == p.status.Applied.Hash {
		why := r.Message
		if why == "" {
			why = "this source's path does not have the text"
		}
		return fmt.Sprintf("%s cannot be put back to what commit %s says: %s", some(missing), applied, why)
	}
	return ""
}

// drifted are the objects of the inventory that are not stored as they were applied, with those texts; missing are those whose text
// is not known. What people hold is noted, and left.
func (p *planner) drifted() (objects []Object, missing []string) {
	texts := p.texts()
	for i := range p.status.Inventory {
		entry := &p.status.Inventory[i]
		key := repository.KeyOf(*entry)
		current, exists := p.in.Current[key]
		exists = exists && !current.Gone
		text := texts[key]
		drifted := !exists || current.Hash != entry.Hash
		why := ""
		if drifted {
			why = held(*entry, current, exists)
		}
		if text != nil || why != "" { // else it may be what people keep from being deleted, and no longer in the commit
			entry.Held = why
		}
		switch {
		case !drifted || entry.Held != "" || p.in.Others[key] != "":
		case text != nil:
			objects = append(objects, *text)
		default:
			missing = append(missing, key.String())
		}
	}
	return objects, missing
}

// texts are the known texts of the commit that is applied, by object. Of one that was refused, many are the same.
func (p *planner) texts() map[Key]*Object {
	texts := map[Key]*Object{}
	for _, m := range []*Manifests{p.in.Fetched.Manifests, p.in.Recalled.Manifests} {
		if m == nil {
			continue
		}
		for i := range m.Objects {
			o := &m.Objects[i]
			if entry, mine := p.inventory[o.Key]; mine && entry.Hash == o.Hash {
				texts[o.Key] = o
			}
		}
	}
	return texts
}

// recall has the applied commit read, unless it is known: before it is needed, because the server may be away then. One that could not
// be read is tried again after each look that did not fail for the same reason.
func (p *planner) recall(needed bool) {
	f, r, applied := p.in.Fetched, p.in.Recalled, p.status.Applied.Hash
	if r.Running || f.Manifests != nil && f.Manifests.Fault == nil && f.Manifests.Commit.Hash == applied {
		return
	}
	if r.Hash == applied {
		known := r.Manifests != nil && (!needed || r.Revision == p.in.Source.Revision) // by another path, it may have other texts
		again := r.Manifests != nil || f.At.After(r.At) && f.Reason != r.Reason
		if known || !again {
			return
		}
	}
	p.plan.Recall = applied
}

// held is why people's text stays instead of the one of an unchanged file; empty: it does not.
func held(before v1.SourceObject, current Current, exists bool) string {
	switch {
	case exists && current.Paused && current.Hash != before.Hash: // people have set it, not the repository
		return heldByPause
	case current.Undone != "":
		return current.Undone
	case before.Held != "" && exists && !current.Paused && strings.HasPrefix(before.Held, undonePrefix):
		return before.Held // the record of the undo may be collected by now
	}
	return ""
}
