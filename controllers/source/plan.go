// Package source applies the manifests of Git repositories: whole commits or nothing.
package source

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/repository"
)

// Input is all that a decision about one source needs.
type Input struct {
	Now  time.Time
	Name string
	// Source is its manifest; nil: it was deleted.
	Source *Manifest
	// Status is what it has applied; nil: nothing yet. StatusRevision is the key's ModRevision, 0 if there is none.
	Status         *v1.SourceStatus
	StatusRevision int64
	Wish           v1.SourceWish
	// Fetched is what is known of the repository.
	Fetched Fetched
	// Recalled is the commit that was applied last.
	Recalled Recalled
	// Reporting is what is known of the last report to the Git server.
	Reporting Reporting
	// Children are the sources that have the names of previews, by name. Parent is set for one that is a preview.
	Children map[string]*Child
	Parent   *Parent
	// Current are the objects that the commit or the inventory names, as they are stored.
	Current map[Key]Current
	// Others are the sources that other objects belong to.
	Others map[Key]string
	// Hosts are the host names that apps are served under, with the app.
	Hosts map[string]string
	// Taken are the units that an app of the commit may want and that are another's, by app: see v1.NameTakenMessage.
	Taken map[string]map[string]string
	// Waits are sources of dependsOn that are not ready, with the reason.
	Waits []string
}

// Manifest is the stored manifest of a source.
type Manifest struct {
	Spec v1.SourceSpec
	// Fault is why it cannot be read.
	Fault error
	// Revision is its ModRevision, UID its CreateRevision.
	Revision, UID int64
}

// Current is an object as it is stored.
type Current struct {
	Hash string // of its text
	// Revision is its ModRevision.
	Revision int64
	// Paused: it has the annotation fleet/sync: paused.
	Paused bool
	// Undone is who put another text back than the source's, and when; empty: it was not undone.
	Undone string
	// Gone: it was deleted; only Undone is set.
	Gone bool
	// NotReady is why an app is not ready; empty: it is, or it is no app.
	NotReady string
	// Rejected: its roll-out was taken back; NotReady says why.
	Rejected bool
}

// Fetched is what the last look at a repository found.
type Fetched struct {
	// For is the revision of the source's manifest and the request that it was for.
	For Ask
	// At is when it ended; zero: there was none yet. Running: another one is under way.
	At      time.Time
	Running bool
	// Manifests are those of the newest commit that could be read; nil: there is none.
	Manifests *Manifests
	// Newest is the hash of the newest commit, which may be one that could not be read; empty: the server did not say.
	Newest string
	// Reason and Message are why the last look failed; empty: it did not.
	Reason, Message string
	// Listing are the branches of previews.
	Listing Listing
}

// Ask is what a look at a repository is for.
type Ask struct {
	// Revision is that of the source's manifest.
	Revision int64
	// Request is the wish's RequestedAt.
	Request string
	// Commit is the commit to read; empty: the newest one.
	Commit string
	// Seen is the newest commit of a preview's branch, as its source saw it.
	Seen string
}

// Change writes or deletes one object.
type Change struct {
	Key
	// Raw is the text; nil deletes.
	Raw []byte
	// Revision is the ModRevision that it has to have still; 0: it does not exist.
	Revision int64
	Reason   string
	// File is where the text is in the commit; empty: it is not in it.
	File string
}

// Event is what is told about a source or, if that is set, about an app.
type Event struct{ Type, Reason, Message, App string }

// Decision is what to do.
type Decision struct {
	// Fetch has the repository looked at; nil: not now.
	Fetch *Ask
	// Recall is the applied commit, to be read again; empty: not now.
	Recall string
	// Changes belong together, in this order. Status is stored with them; nil: it stays.
	Changes []Change
	Status  *v1.SourceStatus
	// Commit is what the changes come from. PutBack: it is applied, and each of the changes puts an object back to it.
	Commit  *v1.SourceCommit
	PutBack bool
	// Refused is why nothing is applied; zero: all of the commit is.
	Refused Refusal
	// Forget deletes the status, with the changes: the source is gone, or a preview that has ended. Note is what is noted of them.
	Forget bool
	Note   string
	// Previews are the sources of previews to store, with the status.
	Previews []Change
	Events   []Event
	// Report is what the Git server is told once all of that is stored; nil: nothing now.
	Report *v1.CommitReport
	// After is when to look again.
	After time.Duration
}

// Refusal is why a source applies nothing: the reason of its condition Synced, and a message.
type Refusal struct{ Reason, Message string }

// The reasons of changes, conditions and events.
const (
	Created       = "Created"       // the object is new in the repository
	Configured    = "Configured"    // the object changed in the repository
	DriftReverted = "DriftReverted" // the object was edited or deleted past Git, and is put back
	Pruned        = "Pruned"        // the object is no longer in the repository
	Released      = "Released"      // the object is no longer in the repository, and belongs to the source no more, because it does not prune
	Applied       = "Applied"       // of Synced: all of the commit is applied
	Suspended     = "Suspended"     // of Synced: the source is suspended, in its manifest or with fleetctl suspend
	InvalidCommit = "InvalidCommit" // of Synced: a manifest of the commit is wrong, so that nothing of it is applied
	NotOwned      = "NotOwned"      // of Synced: an object of the commit belongs to another source, or to people
	HostTaken     = "HostTaken"     // of Synced: an app of the commit asks for a host that another app has, or two do
	PruneRefused  = "PruneRefused"  // of Synced: the commit would delete more than half of the source's objects
	ReferenceGone = "ReferenceGone" // of Synced: the branch, tag or commit is not in the repository, or no tag is in the range of versions; nothing is deleted
	Progressing   = "Progressing"   // of Ready: an app of the source is not ready
)

// Plan decides about one source.
func Plan(in Input) Decision {
	p := &planner{in: in}
	if in.Source == nil {
		if in.Status != nil && in.Status.Preview != "" {
			p.end("its source was deleted")
		}
		p.plan.Forget = in.StatusRevision != 0
		return p.plan
	}
	p.begin()
	if in.Parent != nil && in.Parent.Ended != "" {
		p.end(in.Parent.Ended)
		return p.plan
	}
	if reason, message := p.decide(); reason != Applied {
		p.plan.Refused = Refusal{reason, message}
		p.refuse(reason, message)
	} else {
		p.apply()
	}
	p.conclude()
	return p.plan
}

type planner struct {
	in     Input
	plan   Decision
	status v1.SourceStatus
	// inventory is what the source has, kept what it will have, held why some of that is not as in the repository.
	inventory map[Key]v1.SourceObject
	kept      []v1.SourceObject
	held      []string
	faults    []fault
	// why is why the newest commit is not applied, ofCommit: because of what is in it.
	why      string
	ofCommit bool
}

// begin copies the status, without what people took from the source. That of another source of the same name does not count.
func (p *planner) begin() {
	preview := ""
	if of := p.in.Source.Spec.Preview; of != nil {
		preview = of.Source
	}
	if s := p.in.Status; s != nil && (s.UID == p.in.Source.UID || preview != "" && s.Preview == preview) {
		p.status = *s
		p.status.Conditions = slices.Clone(s.Conditions)
		p.status.Inventory = slices.DeleteFunc(slices.Clone(s.Inventory), func(o v1.SourceObject) bool {
			return slices.Contains(p.in.Wish.Disown, repository.KeyOf(o).String())
		})
	}
	p.status.UID, p.status.ObservedRevision, p.status.Preview = p.in.Source.UID, p.in.Source.Revision, preview
	p.inventory = make(map[Key]v1.SourceObject, len(p.status.Inventory))
	for _, o := range p.status.Inventory {
		p.inventory[repository.KeyOf(o)] = o
	}
}

// decide returns Applied if the commit can be applied now, or why not.
func (p *planner) decide() (reason, message string) {
	in := p.in
	if in.Source.Fault != nil {
		p.status.Handled = in.Wish.RequestedAt // there is nothing to look at
		return v1.ReasonInvalidManifest, v1.Summary(in.Source.Fault)
	}
	ask := p.ask()
	due := in.Fetched.At.Add(in.Source.Spec.Interval.Std())
	suspended := in.Source.Spec.Suspend || in.Wish.Suspended
	if !in.Fetched.Running && !suspended {
		if in.Fetched.For != ask || in.Fetched.At.IsZero() || !due.After(in.Now) {
			p.plan.Fetch = &ask
		} else {
			p.after(due.Sub(in.Now))
		}
	}
	if in.Fetched.For == ask && !in.Fetched.At.IsZero() && !in.Fetched.Running {
		p.status.Handled = in.Wish.RequestedAt
	}
	m := in.Fetched.Manifests
	switch {
	case suspended:
		return Suspended, "the source is suspended: nothing is applied: fleetctl resume source/" + in.Name
	case in.Fetched.Reason != "" && in.Fetched.For.Revision == ask.Revision:
		return in.Fetched.Reason, in.Fetched.Message
	case m == nil || in.Fetched.For.Revision != ask.Revision:
		return v1.ReasonFetching, "the repository has not been read yet"
	case m.Fault != nil:
		return InvalidCommit, v1.Summary(m.Fault)
	case len(in.Waits) > 0:
		return v1.ReasonWaiting, strings.Join(in.Waits, "; ")
	}
	p.objects(m)
	if len(p.faults) > 0 {
		return p.faults[0].reason, summary(p.faults)
	}
	return Applied, ""
}

// ask is what the next look is for. A commit that was begun is finished first, unless the server has it no more.
func (p *planner) ask() Ask {
	in := p.in
	ask := Ask{Revision: in.Source.Revision, Request: in.Wish.RequestedAt}
	if in.Parent != nil {
		ask.Seen = in.Parent.Commit
	}
	if p.status.Staged == nil || refusedBefore(&p.status) {
		return ask
	}
	ask.Commit = p.status.Staged.Hash
	if in.Fetched.For == ask && in.Fetched.Reason == ReferenceGone {
		gone := *p.status.Staged // it stays begun until another one is applied: the inventory is of both
		p.status.Failed, ask.Commit = &gone, ""
	}
	return ask
}

// refusedBefore reports whether the commit that was begun cannot be finished, because of what happened meanwhile: then a newer one may
// be applied instead.
func refusedBefore(s *v1.SourceStatus) bool {
	return s.Staged != nil && s.Failed != nil && s.Failed.Hash == s.Staged.Hash
}

func (p *planner) after(d time.Duration) {
	if p.plan.After == 0 || d < p.plan.After {
		p.plan.After = max(d, time.Millisecond)
	}
}

// refuse leaves the commit that is applied as it is, and says why. A look that is under way says nothing new.
func (p *planner) refuse(reason, message string) {
	p.plan.Changes, p.plan.Events, p.held = nil, nil, nil
	p.why, p.ofCommit = message, reason == InvalidCommit || len(p.faults) > 0
	switch m := p.in.Fetched.Manifests; {
	case m == nil || reason == Suspended || reason == v1.ReasonFetching || reason == v1.ReasonWaiting || reason == p.in.Fetched.Reason:
	case p.status.Applied != nil && m.Commit.Hash == p.status.Applied.Hash:
		p.status.Failed = nil
	default:
		if !refusedBefore(&p.status) {
			failed := m.Commit
			p.status.Failed = &failed
		}
		message = named(&m.Commit) + ": " + message
	}
	if reason == v1.ReasonFetching && v1.FindCondition(p.status.Conditions, v1.Synced) != nil {
		return // what was said before counts until there is an answer
	}
	if reason != Suspended && reason != v1.ReasonFetching && reason != v1.ReasonInvalidManifest { // else it may be meant to be as it is
		if note := p.putBack(); note != "" {
			message += "; " + note
		}
	}
	p.condition(v1.Synced, v1.ConditionFalse, reason, message)
}

// named is how people are told of a commit.
func named(c *v1.SourceCommit) string {
	if c.Tag != "" {
		return "tag " + c.Tag + ", commit " + c.Short()
	}
	return "commit " + c.Short()
}

// conclude adds Ready, and the status if it has changed.
func (p *planner) conclude() {
	synced := v1.FindCondition(p.status.Conditions, v1.Synced)
	switch waits := p.notReady(); {
	case synced == nil:
	case synced.Status != v1.ConditionTrue:
		p.condition(v1.Ready, v1.ConditionFalse, synced.Reason, synced.Message)
	case len(waits) > 0:
		p.condition(v1.Ready, v1.ConditionFalse, Progressing, strings.Join(waits, "; "))
	default:
		p.condition(v1.Ready, v1.ConditionTrue, Applied, synced.Message)
	}
	p.previews()
	p.report()
	if before := p.in.Status; before == nil || !same(before, &p.status) || len(p.plan.Changes) > 0 || len(p.plan.Previews) > 0 {
		p.plan.Status = &p.status
	}
}

// notReady says what the apps of the inventory lack, of at most three.
func (p *planner) notReady() (waits []string) {
	more := 0
	for _, o := range p.status.Inventory {
		key := repository.KeyOf(o)
		reason := p.in.Current[key].NotReady
		if slices.ContainsFunc(p.plan.Changes, func(c Change) bool { return c.Key == key && key.Kind == v1.KindApp }) {
			reason = "just applied"
		}
		switch {
		case reason == "":
		case len(waits) == 3:
			more++
		default:
			waits = append(waits, key.String()+": "+reason)
		}
	}
	if more > 0 {
		waits = append(waits, fmt.Sprintf("and %d more", more))
	}
	return waits
}

func (p *planner) condition(kind, status, reason, message string) {
	before := v1.FindCondition(p.status.Conditions, kind)
	if kind == v1.Synced && (before == nil || before.Status != status || before.Reason != reason || before.Message != message) {
		eventType := v1.EventNormal
		if status == v1.ConditionFalse && reason != Suspended && reason != v1.ReasonFetching && reason != v1.ReasonWaiting {
			eventType = v1.EventWarning
		}
		p.plan.Events = append(p.plan.Events, Event{Type: eventType, Reason: reason, Message: message})
	}
	p.status.Conditions = v1.SetCondition(p.status.Conditions, v1.Condition{Type: kind, Status: status, Reason: reason, Message: message,
		ObservedRevision: p.in.Source.Revision}, p.in.Now.UTC().Truncate(time.Second))
}
