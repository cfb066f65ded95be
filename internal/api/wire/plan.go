package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
	"unicode/utf8"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// PlanRequest is the body of POST /plans: what to foresee. Nothing of it is stored.
type PlanRequest struct {
	// Manifests are those of an ApplyRequest.
	Manifests []string `json:"manifests,omitempty"`
	// Delete are objects that are deleted: app/NAME or unit/NAME.
	Delete []string `json:"delete,omitempty"`
	WhatIf WhatIf   `json:"whatIf,omitzero"`
	// Git is that of an ApplyRequest; nothing is deleted then.
	Git *FromCommit `json:"git,omitempty"`
}

// WhatIf is what else is supposed to happen to the cluster.
type WhatIf struct {
	// Drain and Lose are IDs of machines: those that are drained, and those that vanish.
	Drain []string `json:"drain,omitempty"`
	Lose  []string `json:"lose,omitempty"`
	// LoseMetadata are metadata: all machines with any of these pairs vanish.
	LoseMetadata map[string]string `json:"loseMetadata,omitempty"`
	// Add are machines that join.
	Add []NewMachine `json:"add,omitempty"`
	// Source is a source whose repository has other files; nil: none has.
	Source *SourceFiles `json:"source,omitempty"`
}

// IsZero reports whether nothing else is supposed to happen.
func (w WhatIf) IsZero() bool {
	return len(w.Drain)+len(w.Lose)+len(w.LoseMetadata)+len(w.Add) == 0 && w.Source == nil
}

// SourceFiles are all the manifests that the repository of a source is supposed to have.
type SourceFiles struct {
	Name string `json:"name"`
	// Commit is the commit that has the files; nil: none has.
	Commit *v1.SourceCommit `json:"commit,omitempty"`
	Files  []SourceFile     `json:"files"`
	// AllowPrune supposes, too, that people allow it to delete more than half of what the source has applied.
	AllowPrune bool `json:"allowPrune,omitempty"`
}

// SourceFile is one file of a repository.
type SourceFile struct {
	Path string `json:"path"`
	Text string `json:"text,omitempty"`
	// Data is the content instead, if it is not UTF-8: JSON would change it.
	Data []byte `json:"data,omitempty"`
	// Built is the object that kustomize has built, such as app/web; Fault is why it could not. Path is the kustomization's then.
	Built string `json:"built,omitempty"`
	Fault string `json:"fault,omitempty"`
}

// SetContent stores the very bytes of the file.
func (f *SourceFile) SetContent(data []byte) {
	if utf8.Valid(data) {
		f.Text = string(data)
	} else {
		f.Data = data
	}
}

// Content are the bytes of the file.
func (f *SourceFile) Content() []byte {
	if f.Data != nil {
		return f.Data
	}
	return []byte(f.Text)
}

// NewMachine is a machine that is supposed to join.
type NewMachine struct {
	Capacity v1.Capacity       `json:"capacity"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// PlanKind is the kind of a Plan.
const PlanKind = "Plan"

// Plan is what would happen. Saved in a file, it can be applied: see ApplyPlanRequest.
type Plan struct {
	v1.TypeMeta `json:",inline"`
	// Version is the version of the fleetd that made it, Cluster the ID of its cluster, Revision etcd's revision that it was made
	// from, at Time.
	Version  string    `json:"version"`
	Cluster  string    `json:"cluster"`
	Revision int64     `json:"revision"`
	Time     time.Time `json:"time"`
	// Request is what it was asked for.
	Request PlanRequest `json:"request"`
	Foreseen
	// Digest is that of all else: see Sign.
	Digest string `json:"digest"`
}

// Foreseen is what the controllers would do.
type Foreseen struct {
	// Changes are the objects that an apply, or the source that was asked about, would change.
	Changes []PlanChange `json:"changes"`
	// Notes are what else people should know of the objects: that a source would not leave them so, or leaves them as they are.
	Notes []string `json:"notes,omitempty"`
	// Actions are what they would do, in this order. Nothing waits for the end of an instance that is removed (remove, take off), which
	// comes when its machine is done with it, nor for the report that a unit fits nowhere (refuse).
	Actions []PlanAction `json:"actions"`
	// Unplaced are the units that no machine would fit in the end, and that were placed, or did not exist, before.
	Unplaced []PlanUnplaced `json:"unplaced,omitempty"`
	// Routes are the hosts of each app that get other ones.
	Routes []PlanRoute `json:"routes,omitempty"`
	// Missed are the machines that were away before, and are waited for.
	Missed []string `json:"missed,omitempty"`
}

// PlanChange is one object that is changed.
type PlanChange struct {
	// Object is app/NAME, unit/NAME or source/NAME. Reason is ReasonCreated, ReasonConfigured or ReasonDeleted, or that of the source;
	// Message says what the source does, if it is another thing.
	Object  string `json:"object"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
	// ResourceVersion is that of the object that is changed; empty if it is created.
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// Ends is what ends with an app that is deleted.
	Ends *PlanEnds `json:"ends,omitempty"`
}

// PlanEnds is what ends with an app.
type PlanEnds struct {
	// Instances is the number of those that lose their machine.
	Instances int `json:"instances"`
	// Hosts are those that are no longer routed; "" stands for <app>.<domain of the router>.
	Hosts []string `json:"hosts,omitempty"`
}

// EndsOf is what ends with an app, by what was foreseen.
func (f *Foreseen) EndsOf(app string) *PlanEnds {
	ends := &PlanEnds{}
	for _, a := range f.Actions {
		if a.App == app && a.Action == ActionTakeOff && !a.Detail {
			ends.Instances++
		}
	}
	for _, r := range f.Routes {
		if r.App == app {
			ends.Hosts = r.Before
		}
	}
	return ends
}

// Same reports whether two changes are of the same object at the same version.
func (c PlanChange) Same(other PlanChange) bool {
	c.Ends, other.Ends = nil, nil
	return c == other
}

// PlanAction is one thing that a controller would do.
type PlanAction struct {
	// Action is what is done, one of the constants below.
	Action string `json:"action"`
	// App is the app that it is done for; empty for a unit of no app.
	App string `json:"app,omitempty"`
	// Unit is the unit that it is done to; empty for what concerns the app.
	Unit string `json:"unit,omitempty"`
	// Machine is where the unit is placed, or what it is taken off; From is where it is moved from.
	Machine string `json:"machine,omitempty"`
	From    string `json:"from,omitempty"`
	// Revision is the number of the app's revision that is accepted, File the hash of the file that the unit gets.
	Revision int64  `json:"revision,omitempty"`
	File     string `json:"file,omitempty"`
	// Reason is the controller's, Message says more.
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
	// Detail: it is bookkeeping, or done to an instance's sidekick.
	Detail bool `json:"detail,omitempty"`
}

// What is done.
const (
	ActionAccept   = "accept"   // a manifest becomes a revision
	ActionRoute    = "route"    // routers are told of an app's hosts
	ActionUnroute  = "unroute"  // routers forget an app
	ActionCreate   = "create"   // an instance is created
	ActionSurge    = "surge"    // an instance is created beside the others, for a roll-out
	ActionPrepare  = "prepare"  // a machine prepares the next start: it pulls the image
	ActionWithdraw = "withdraw" // an instance is taken out of the routers
	ActionReplace  = "replace"  // an instance gets the new files
	ActionStop     = "stop"     // a unit is stopped
	ActionStart    = "start"    // a unit is started
	ActionReturn   = "return"   // an instance returns to the routers
	ActionLetGo    = "let go"   // an instance may leave its machine
	ActionDone     = "done"     // a roll-out is done with an instance
	ActionRemove   = "remove"   // a unit is deleted
	ActionWrite    = "write"    // a unit is changed in another way
	ActionPlace    = "place"    // a unit gets a machine
	ActionMove     = "move"     // a unit goes to another machine
	ActionTakeOff  = "take off" // a unit loses its machine
	ActionTell     = "tell"     // a machine is told of a change
	ActionRefuse   = "refuse"   // a unit fits on no machine
	ActionFreeze   = "freeze"   // moves are frozen
	ActionUnfreeze = "unfreeze" // moves are not frozen any more
	ActionWarn     = "warn"     // a controller warns
)

// Same reports whether two actions do the same, whatever words explain them.
func (a PlanAction) Same(b PlanAction) bool {
	a.Message, b.Message = "", ""
	return a == b
}

// PlanUnplaced is a unit that no machine fits.
type PlanUnplaced struct {
	Unit    string `json:"unit"`
	Message string `json:"message"`
}

// PlanRoute are the hosts of an app.
type PlanRoute struct {
	App string `json:"app"`
	// Before and After are its hosts; "" stands for <app>.<domain of the router>.
	Before []string `json:"before"`
	After  []string `json:"after"`
	// Refused is which of them routers would not give to it, and why: another app asked for a host first.
	Refused []string `json:"refused,omitempty"`
}

// ApplyPlanRequest is the body of POST /plans/apply.
type ApplyPlanRequest struct {
	Plan Plan   `json:"plan"`
	Note string `json:"note,omitempty"`
}

// Sign sets the digest.
func (p *Plan) Sign() error {
	digest, err := p.digest()
	p.Digest = digest
	return err
}

// Signed reports whether the plan is as it was when it was signed.
func (p *Plan) Signed() bool {
	digest, err := p.digest()
	return err == nil && p.Digest == digest
}

func (p *Plan) digest() (string, error) {
	plain := *p
	plain.Digest = ""
	data, err := json.Marshal(plain)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), err
}

// Changed reports whether anything would happen.
func (p *Plan) Changed() bool { return len(p.Changes)+len(p.Actions) > 0 }

// Visible are the actions that are no details.
func (p *Plan) Visible() []PlanAction {
	return slices.DeleteFunc(slices.Clone(p.Actions), func(a PlanAction) bool { return a.Detail })
}
