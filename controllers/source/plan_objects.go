package source

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/repository"
)

// fault is why a commit cannot be applied.
type fault struct{ reason, message string }

// summary is all faults, one a line, the first ten of them.
func summary(faults []fault) string {
	var errs v1.ManifestErrors
	for _, f := range faults {
		errs = append(errs, &v1.ManifestError{Message: f.message})
	}
	return v1.Summary(errs)
}

func (p *planner) fault(reason, format string, args ...any) {
	p.faults = append(p.faults, fault{reason, fmt.Sprintf(format, args...)})
}

// objects decides about each object of the commit, and about those that are no longer in it.
func (p *planner) objects(m *Manifests) {
	p.kept, p.held = nil, nil
	wanted := make(map[Key]bool, len(m.Objects))
	p.hosts(m.Objects, p.goes)
	for i := range m.Objects {
		o := &m.Objects[i]
		wanted[o.Key] = true
		p.object(o)
	}
	p.prune(m, wanted)
	slices.SortFunc(p.kept, func(a, b v1.SourceObject) int {
		return repository.KeyOf(a).Compare(repository.KeyOf(b))
	})
}

func (p *planner) object(o *Object) {
	if slices.Contains(p.in.Wish.Disown, o.String()) {
		return
	}
	before, mine := p.inventory[o.Key]
	current, exists := p.in.Current[o.Key]
	exists = exists && !current.Gone
	same := exists && current.Hash == o.Hash
	if owner := p.in.Others[o.Key]; owner != "" {
		p.fault(NotOwned, "%s: %s belongs to source/%s: remove it from one of the two repositories, or fleetctl disown source/%s %s", o.Place(), o.Key, owner, owner, o.Key)
		return
	}
	if exists && !mine && !same && !slices.Contains(p.in.Wish.Adopt, o.String()) {
		p.fault(NotOwned, "%s: %s exists, and was not applied by this source: fleetctl adopt source/%s %s has the repository's replace it", o.Place(), o.Key, p.in.Name, o.Key)
		return
	}
	if o.App != nil {
		p.names(o)
	}
	entry := v1.SourceObject{Kind: o.Kind, Name: o.Name, Path: o.Path, Line: o.Line, Blob: o.Blob, Hash: o.Hash}
	unchanged := mine && before.Hash == o.Hash
	switch {
	case same:
	case exists && current.Paused && !(mine && current.Hash == before.Hash): // people have set it, not the repository
		entry.Held = heldByPause
	case unchanged && held(before, current, exists) != "":
		entry.Held = held(before, current, exists)
	default:
		p.change(o, exists, mine, unchanged, current.Revision)
	}
	if entry.Held != "" {
		p.held = append(p.held, fmt.Sprintf("%s is not as in the repository: %s", o.Key, entry.Held))
	}
	p.kept = append(p.kept, entry)
}

// Why people's text stays: undonePrefix begins Held where it was an undo, heldByPause is Held where it was the annotation.
const (
	undonePrefix = "it was undone"
	heldByPause  = "its annotation " + v1.AnnotationSync + " is " + v1.SyncPaused
)

func (p *planner) change(o *Object, exists, mine, unchanged bool, revision int64) {
	reason := Configured
	switch {
	case unchanged:
		reason = DriftReverted
	case !exists && !mine:
		reason = Created
	}
	if !exists {
		revision = 0
	}
	p.plan.Changes = append(p.plan.Changes, Change{Key: o.Key, Raw: o.Raw, Revision: revision, Reason: reason, File: o.Place()})
}

// names refuses an app whose units are another's: it would not be accepted.
func (p *planner) names(o *Object) {
	if why := o.TakenName(p.in.Taken[o.Name]); why != "" {
		p.fault(NotOwned, "%s: %s: %s", o.Place(), o.Key, why)
	}
}

// hosts refuses an app that asks for a host that another app has, and goes on having.
func (p *planner) hosts(objects []Object, gone func(app string) bool) {
	for _, f := range repository.TakenHosts(objects, p.in.Hosts, gone) {
		p.fault(HostTaken, "%s: %s: %s", f.Object.Place(), f.Field, f.Message)
	}
}

// goes reports whether an app that is not in the commit is deleted by it.
func (p *planner) goes(app string) bool {
	_, mine := p.inventory[Key{Kind: v1.KindApp, Name: app}]
	return mine && p.in.Source.Spec.Prune
}

// prune deletes what is no longer in the repository. More than half of all at once needs to be allowed: a merge that went wrong looks
// the same.
func (p *planner) prune(m *Manifests, wanted map[Key]bool) {
	var gone []Key
	for key := range p.inventory {
		if !wanted[key] {
			gone = append(gone, key)
		}
	}
	slices.SortFunc(gone, Key.Compare)
	var deleted []string
	for _, key := range gone {
		current, exists := p.in.Current[key]
		switch {
		case !exists || current.Gone:
		case !p.in.Source.Spec.Prune:
			p.plan.Events = append(p.plan.Events, Event{Type: v1.EventNormal, Reason: Released,
				Message: key.String() + " is no longer in the repository, and goes on: prune is not set"})
		case current.Paused:
			entry := p.inventory[key]
			entry.Held = heldByPause
			p.kept = append(p.kept, entry)
			p.held = append(p.held, fmt.Sprintf("%s is no longer in the repository, but %s", key, entry.Held))
		default:
			deleted = append(deleted, key.String())
			p.plan.Changes = append(p.plan.Changes, Change{Key: key, Revision: current.Revision, Reason: Pruned})
		}
	}
	if 2*len(deleted) > len(p.inventory) && p.in.Wish.AllowPrune != m.Commit.Hash {
		p.fault(PruneRefused, "%d of %d objects would be deleted (%s): fleetctl sync source/%s --allow-prune does so",
			len(deleted), len(p.inventory), some(deleted), p.in.Name)
	}
}

// some lists at most five names.
func some(names []string) string {
	if len(names) > 5 {
		return strings.Join(names[:5], ", ") + fmt.Sprintf(" and %d more", len(names)-5)
	}
	return strings.Join(names, ", ")
}

// apply is the status once the changes are stored.
func (p *planner) apply() {
	commit := p.in.Fetched.Manifests.Commit
	p.plan.Commit = &commit
	p.status.Applied, p.status.Failed, p.status.Staged = &commit, nil, nil
	p.status.Inventory = p.kept
	message := fmt.Sprintf("%s: %s", named(&commit), commit.Subject)
	if len(p.held) > 0 {
		message += "; " + strings.Join(p.held[:min(len(p.held), 3)], "; ")
	}
	p.condition(v1.Synced, v1.ConditionTrue, Applied, message)
	p.tellChanges(&commit)
}

// tellChanges tells the source, and each app, which commit changes it.
func (p *planner) tellChanges(commit *v1.SourceCommit) {
	changes := make([]repository.Change, len(p.plan.Changes))
	for i, c := range p.plan.Changes {
		changes[i] = repository.Change{Key: c.Key, Reason: c.Reason, File: c.File}
	}
	for _, e := range repository.Events(commit, p.in.Name, changes) {
		told := Event{Type: e.Type, Reason: e.Reason, Message: e.Message}
		if e.Kind == v1.KindApp {
			told.App = e.Name
		}
		p.plan.Events = append(p.plan.Events, told)
	}
}

// same reports whether two statuses say the same.
func same(a, b *v1.SourceStatus) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// keys are all objects that a decision looks at.
func keys(m *Manifests, status *v1.SourceStatus) []Key {
	all := map[Key]bool{}
	if m != nil {
		for _, o := range m.Objects {
			all[o.Key] = true
		}
	}
	if status != nil {
		for _, o := range status.Inventory {
			all[repository.KeyOf(o)] = true
		}
	}
	return slices.SortedFunc(maps.Keys(all), Key.Compare)
}
