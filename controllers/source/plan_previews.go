package source

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/repository"
)

// A source with previews keeps a list of them in its status, and one source for each: they are read, checked and applied as any other.
// A preview that is not in that list, or whose source is gone, ends itself: it deletes all that it has applied, its own source and
// its status, in one transaction if etcd takes it.

// Branch is a branch of a repository.
type Branch struct{ Name, Hash string }

// Listing is what the last look found of the branches of previews.
type Listing struct {
	// Known: they were listed. A listing that failed ends no preview.
	Known    bool
	Branches []Branch
	// Reason and Message are why it failed; empty: it did not.
	Reason, Message string
}

// Child is a stored source with the name of a preview.
type Child struct {
	Raw      []byte
	Revision int64
	// Of is what it is a preview of; nil: it is none.
	Of *v1.PreviewOf
}

// Parent is what the source knows of the preview that is decided about.
type Parent struct {
	// Ended is why it is over; empty: it is not.
	Ended string
	// Commit is the branch's newest commit as the source saw it: another one is looked at now.
	Commit string
}

// The reasons of previews.
const (
	PreviewBegun   = "PreviewBegun"   // a branch has a preview now
	PreviewEnded   = "PreviewEnded"   // a preview's branch is gone, or had no new commit for its ttl: its apps are deleted
	PreviewChanged = "PreviewChanged" // the source of a preview is as its own source says, again
	PreviewsListed = "PreviewsListed" // of Previews: each branch that matches has its preview, or had it for its ttl
	PreviewRefused = "PreviewRefused" // of Previews: a branch that matches has no preview, because of its name, another one's or the limit
)

// end deletes all of a preview. What people have paused stays theirs.
func (p *planner) end(why string) {
	in := p.in
	p.plan.Forget = true
	if in.Status != nil {
		p.status = *in.Status
		p.plan.Commit = in.Status.Applied
		if p.plan.Commit == nil {
			p.plan.Commit = in.Status.Staged
		}
	}
	if p.plan.Commit == nil {
		p.plan.Commit = &v1.SourceCommit{}
	}
	for _, o := range p.status.Inventory {
		key := repository.KeyOf(o)
		current, exists := in.Current[key]
		if exists && !current.Gone && !current.Paused && in.Others[key] == "" && !slices.Contains(in.Wish.Disown, key.String()) {
			p.plan.Changes = append(p.plan.Changes, Change{Key: key, Revision: current.Revision, Reason: PreviewEnded})
		}
	}
	if in.Source != nil {
		p.plan.Changes = append(p.plan.Changes, Change{Key: Key{Kind: v1.KindSource, Name: in.Name}, Revision: in.Source.Revision, Reason: PreviewEnded})
	}
	p.plan.Note = "the preview has ended: " + why
	p.status.Inventory = nil
	p.plan.Status = &p.status
	p.plan.Events = []Event{{Type: v1.EventNormal, Reason: PreviewEnded, Message: why}}
}

// previews decides which branches have a preview.
func (p *planner) previews() {
	source := p.in.Source
	switch {
	case source.Fault != nil:
		return
	case source.Spec.Previews == nil:
		p.status.Previews = nil
		p.status.Conditions = slices.DeleteFunc(p.status.Conditions, func(c v1.Condition) bool { return c.Type == v1.Previews })
		return
	case len(p.plan.Changes) > 0: // they are stored first
		return
	}
	listing, suspended := p.in.Fetched.Listing, source.Spec.Suspend || p.in.Wish.Suspended
	if p.in.Fetched.For.Revision != source.Revision || suspended {
		listing = Listing{}
	}
	var refused []string
	if listing.Known {
		p.status.Previews, refused = p.branches(listing.Branches)
	}
	p.children()
	switch {
	case listing.Reason != "":
		p.condition(v1.Previews, v1.ConditionFalse, listing.Reason, listing.Message)
	case len(refused) > 0:
		p.condition(v1.Previews, v1.ConditionFalse, PreviewRefused, strings.Join(refused, "; "))
	case listing.Known:
		p.condition(v1.Previews, v1.ConditionTrue, PreviewsListed, fmt.Sprintf("previews: %d", active(p.status.Previews)))
	}
}

// active is how many previews there are.
func active(previews []v1.SourcePreview) (n int) {
	for i := range previews {
		if !previews[i].Ended {
			n++
		}
	}
	return n
}

// branches are the previews by the branches that there are, sorted by branch; refused says why others have none.
func (p *planner) branches(branches []Branch) (previews []v1.SourcePreview, refused []string) {
	now := p.in.Now.UTC().Truncate(time.Second)
	before := map[string]v1.SourcePreview{}
	for _, preview := range p.status.Previews {
		before[preview.Branch] = preview
	}
	var fresh []Branch
	for _, b := range branches {
		preview, known := before[b.Name]
		delete(before, b.Name)
		switch {
		case !known || preview.Ended && preview.Commit != b.Hash:
			fresh = append(fresh, b)
			continue
		case preview.Commit != b.Hash:
			preview.Commit, preview.Since = b.Hash, now
		}
		previews = append(previews, p.expired(preview))
	}
	for _, preview := range p.status.Previews {
		if _, gone := before[preview.Branch]; gone && !preview.Ended {
			p.tell(PreviewEnded, preview, "the branch is gone")
		}
	}
	for _, b := range fresh {
		preview := v1.SourcePreview{Branch: b.Name, Suffix: v1.PreviewSuffix(b.Name), Commit: b.Hash, Since: now}
		preview.Source = p.in.Name + "-" + preview.Suffix
		if why := p.refusesPreview(preview, previews); why != "" {
			refused = append(refused, why)
			continue
		}
		p.tell(PreviewBegun, preview, "commit "+v1.ShortHash(b.Hash))
		previews = append(previews, p.expired(preview))
	}
	slices.SortFunc(previews, func(a, b v1.SourcePreview) int { return strings.Compare(a.Branch, b.Branch) })
	if most := 3; len(refused) > most {
		refused = append(refused[:most:most], fmt.Sprintf("and %d more", len(refused)-most))
	}
	return previews, refused
}

// expired ends a preview whose time is over.
func (p *planner) expired(preview v1.SourcePreview) v1.SourcePreview {
	ttl := p.in.Source.Spec.Previews.TTL.Std()
	if ttl == 0 || preview.Ended {
		return preview
	}
	if left := preview.Since.Add(ttl).Sub(p.in.Now); left > 0 {
		p.after(left)
		return preview
	}
	preview.Ended = true
	p.tell(PreviewEnded, preview, "the branch had no new commit for "+p.in.Source.Spec.Previews.TTL.String())
	return preview
}

func (p *planner) tell(reason string, preview v1.SourcePreview, what string) {
	p.plan.Events = append(p.plan.Events, Event{Type: v1.EventNormal, Reason: reason, Message: fmt.Sprintf("source/%s of branch %s: %s", preview.Source, preview.Branch, what)})
}

// refusesPreview says why a branch gets no preview beside the others; empty: it gets one.
func (p *planner) refusesPreview(preview v1.SourcePreview, others []v1.SourcePreview) string {
	what := "branch " + preview.Branch + " has no preview: "
	switch child := p.in.Children[preview.Source]; {
	case !v1.IsBranch(preview.Branch) || preview.Suffix == "":
		return what + "its name cannot be a part of a host name: rename it"
	case !v1.IsLabel(preview.Source):
		return fmt.Sprintf("%sits source %s would have a name of more than 63 characters: give this source a shorter one", what, preview.Source)
	case child != nil && !p.owns(child):
		return fmt.Sprintf("%ssource/%s exists, and is no preview of this source: rename one of them", what, preview.Source)
	}
	for _, other := range others {
		if !other.Ended && other.Suffix == preview.Suffix {
			return fmt.Sprintf("%sit would be called %s, as the one of branch %s is: rename one of them", what, preview.Suffix, other.Branch)
		}
	}
	if limit := p.in.Source.Spec.Previews.Limit; active(others) >= int(limit) {
		return fmt.Sprintf("%sthere are %d, the limit: end one, or set previews.limit", what, limit)
	}
	return ""
}

// owns reports whether a source is a preview of this one.
func (p *planner) owns(child *Child) bool {
	return child.Of != nil && child.Of.Source == p.in.Name && child.Of.UID == p.in.Source.UID
}

// children has each preview's source be as this one says.
func (p *planner) children() {
	for _, preview := range p.status.Previews {
		if preview.Ended {
			continue
		}
		change := Change{Key: Key{Kind: v1.KindSource, Name: preview.Source}, Raw: p.child(preview), Reason: PreviewBegun}
		if child := p.in.Children[preview.Source]; child != nil {
			if child.Of != nil && !p.owns(child) || bytes.Equal(child.Raw, change.Raw) {
				continue
			}
			change.Revision, change.Reason = child.Revision, PreviewChanged
		}
		p.plan.Previews = append(p.plan.Previews, change)
	}
}

// child is the manifest of a preview's source: what this one says, for that branch.
func (p *planner) child(preview v1.SourcePreview) []byte {
	source := v1.Source{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindSource}, Metadata: v1.ObjectMeta{Name: preview.Source}, Spec: p.in.Source.Spec}
	spec := &source.Spec
	spec.Git = v1.GitSource{URL: spec.Git.URL, Path: spec.Git.Path, Branch: preview.Branch}
	spec.Preview = &v1.PreviewOf{Source: p.in.Name, UID: p.in.Source.UID, Suffix: preview.Suffix, Host: spec.Previews.Host}
	spec.Previews, spec.Webhook, spec.Prune = nil, nil, true
	spec.Suspend = spec.Suspend || p.in.Wish.Suspended
	raw, err := json.MarshalIndent(source, "", "  ")
	if err != nil {
		return nil // no type in it can fail
	}
	return append(raw, '\n')
}
