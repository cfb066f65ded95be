package app

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/generate"
	"github.com/fleet-starter/fleet/internal/instance"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// A revision with a release command is not rolled out before that has ended with success: what ran before goes on (v1.Runs). The
// command is a unit of the app that is placed like any other, one for all revisions, so that two never run at a time. A new revision
// waits for the end of the command of an earlier one, which may be in the middle of a migration. When nothing is left to do the unit is
// loaded, so that its log can be read where it ran.

// instanceOfRelease groups what is written to the unit of the release command.
const instanceOfRelease = -1

// releaseRun is the run that a new revision needs; nil for none. Where the newest revision has the same command and the same instances,
// and waits for its run, that run counts.
func (p *planner) releaseRun(r *v1.Revision) (*v1.ReleaseRun, error) {
	runs, latest := p.in.runs(), p.in.Latest
	if !r.NeedsRelease(runs) {
		return nil, nil
	}
	text, err := p.releaseFile(&r.Spec)
	if err != nil {
		return nil, err
	}
	run := &v1.ReleaseRun{Revision: r.Number, File: unitfile.Hash(text)}
	if runs != nil {
		run.Meanwhile = runs.Number
	}
	if latest != nil && latest.Releasing() && latest.Rejected == nil && latest.UnitFile == r.UnitFile && latest.Release.File == run.File {
		run.Revision = latest.Release.Revision
	}
	return run, nil
}

// releaseFile is the unit file of the release command.
func (p *planner) releaseFile(spec *v1.AppSpec) (string, error) {
	return generate.Release(p.in.App, spec)
}

// release runs the release command that the newest revision waits for, and puts an end to others.
func (p *planner) release() {
	u, exists := p.in.Units[v1.ReleaseUnit(p.in.App)]
	latest := p.in.Latest
	waits := latest != nil && latest.Releasing() && latest.Rejected == nil
	switch {
	case waits && p.in.Wish.Aborted == latest.Number:
		p.rejectRelease(v1.Rejection{At: p.in.Now.UTC(), Message: "fleetctl rollout abort asked for that"})
	case exists && p.in.Manifest == nil:
		p.removeRelease(u, AppDeleted)
	case !exists && waits:
		p.beginRelease(nil)
	case !exists:
	case waits && p.runsFor(u, latest) && u.Spec.DesiredState == v1.Launched:
		p.watchRelease(u)
	case waits && p.idle(u):
		p.beginRelease(&u)
	case u.Spec.DesiredState == v1.Launched && p.releaseEnds(u):
		p.putRelease(&u, ReleaseOver, u.Spec.Hash, v1.Loaded, u.Spec.RequestedAt, u.Metadata.Annotations)
	case !waits && p.idle(u) && !p.hasRelease():
		p.removeRelease(u, ReleaseOver)
	}
}

// runsFor reports whether the unit runs, or ran, the release command that a revision waits for.
func (p *planner) runsFor(u StoredUnit, r *v1.Revision) bool {
	return u.ownedBy(p.in.Manifest.UID) && u.Metadata.Annotations[v1.AnnotationRelease] == strconv.FormatInt(r.Release.Revision, 10)
}

// idle reports whether the unit is to be loaded, and runs nowhere.
func (p *planner) idle(u StoredUnit) bool {
	pair := p.pair(v1.ReleaseUnit(p.in.App), "")
	return u.Spec.DesiredState != v1.Launched && !pair.up() && p.answered(&pair)
}

// releaseEnds reports whether nothing keeps the unit that is launched: its command has ended, was not started yet, or is of a revision
// that is rejected. One of a revision that was replaced meanwhile runs to its end.
func (p *planner) releaseEnds(u StoredUnit) bool {
	latest := p.in.Latest
	rejected := latest != nil && latest.Release != nil && latest.Rejected != nil && p.runsFor(u, latest)
	pair := p.pair(v1.ReleaseUnit(p.in.App), "")
	if rejected || !pair.up() && !p.in.Places[pair.name].Away {
		return true
	}
	return p.late(u, 0)
}

// hasRelease reports whether the app has a release command, whose log may be read.
func (p *planner) hasRelease() bool {
	return slices.ContainsFunc([]*v1.Revision{p.in.Latest, p.in.runs()}, func(r *v1.Revision) bool { return r != nil && r.Spec.Release != nil })
}

// beginRelease starts the release command of the newest revision.
func (p *planner) beginRelease(u *StoredUnit) {
	r := p.in.Latest
	if p.in.Wish.Paused {
		return
	}
	if owner, taken := p.in.Taken[v1.ReleaseUnit(p.in.App)]; taken {
		p.report(v1.EventWarning, NameTaken, v1.NameTakenMessage(v1.ReleaseUnit(p.in.App), owner))
		return
	}
	hash := r.Release.File
	text, stored := p.in.Texts[hash]
	if !stored { // where this fleetd writes it differently than the one that has accepted the revision, that is all the same
		var err error
		if text, err = p.releaseFile(&r.Spec); err != nil {
			p.report(v1.EventWarning, InvalidManifest, err.Error())
			return
		}
		hash = unitfile.Hash(text)
	}
	p.first = append(p.first, Action{Kind: PutUnitFile, Reason: Referenced, Name: hash, Text: text})
	p.putRelease(u, Releasing, hash, v1.Launched, p.in.Now.UTC().Format(time.RFC3339Nano),
		map[string]string{v1.AnnotationRelease: strconv.FormatInt(r.Release.Revision, 10)})
	p.report(v1.EventNormal, Releasing, fmt.Sprintf("revision %d: its release command is started, as %s", r.Number, v1.ReleaseUnit(p.in.App)))
}

// watchRelease looks how far the command is that the newest revision waits for.
func (p *planner) watchRelease(u StoredUnit) {
	r := *p.in.Latest
	how, machine := p.howRelease(u)
	switch {
	case how.Ended:
		run := *r.Release
		run.Ended = p.in.Now.UTC()
		r.Release, r.Before = &run, p.lastComplete()
		p.first = append(p.first, Action{Kind: PutRevision, Reason: Released, Name: p.in.App, NewRevision: &r, If: p.in.LatestAt})
		p.report(v1.EventNormal, Released, fmt.Sprintf("revision %d: its release command has ended with success", r.Number))
		return
	case how.Failed:
	case how.Stuck && p.late(u, r.Spec.Update.HealthyDeadline.Std()):
		how.Why += ", for " + r.Spec.Update.HealthyDeadline.String()
	case p.late(u, 0):
		how.Why += ", and has not ended within " + p.releasePatience().String()
	default:
		return
	}
	rejection := v1.Rejection{At: p.in.Now.UTC(), Message: "its release command " + how.Why, Unit: v1.ReleaseUnit(p.in.App), Machine: machine}
	if how.State != nil {
		rejection.Output = how.State.Output
	}
	p.rejectRelease(rejection)
}

// rejectRelease rejects the revision that waits for its release command: nothing of it has been started.
func (p *planner) rejectRelease(rejection v1.Rejection) {
	goesOn := "nothing of it is started"
	if p.in.Before != nil {
		goesOn = fmt.Sprintf("revision %d goes on", p.in.Before.Number)
	}
	p.takeBack(p.in.Latest, rejection, "is rejected", goesOn)
}

// howRelease is how far the run is that the unit asks for, and on which machine.
func (p *planner) howRelease(u StoredUnit) (how instance.Release, machine string) {
	name := v1.ReleaseUnit(p.in.App)
	place := p.in.Places[name]
	in := instance.Input{Now: p.in.Now, Unit: u.Unit, Away: place.Away, Placed: place.Away || len(place.Machines) > 0, Unplaced: place.Unplaced}
	if len(place.Machines) > 0 {
		machine = place.Machines[0]
	}
	for _, s := range p.in.States[name] {
		if s.Machine == machine {
			in.State = s.UnitState
		}
	}
	return instance.OfRelease(in, machine), machine
}

// late reports whether a run has taken too long: more than d since it was asked for, or with 0 more than it may in all.
func (p *planner) late(u StoredUnit, d time.Duration) bool {
	since, err := time.Parse(time.RFC3339Nano, u.Spec.RequestedAt)
	if d == 0 {
		d = p.releasePatience()
	}
	return err != nil || p.expired(since, d)
}

// releasePatience is how long a release command may take in all, until it has ended with success: with the time that it takes to find
// it a machine and to pull its image, and also where that machine is lost and it is run again.
func (p *planner) releasePatience() time.Duration {
	spec := v1.AppSpec{Release: &v1.Release{}}
	if latest := p.in.Latest; latest != nil && latest.Spec.Release != nil {
		spec = latest.Spec
	}
	defaulted := v1.App{Spec: spec}
	defaulted.Default()
	return defaulted.Spec.Release.Timeout.Std() + defaulted.Spec.Update.HealthyDeadline.Std()
}

func (p *planner) removeRelease(u StoredUnit, reason string) {
	p.actions = append(p.actions, Action{Kind: DeleteUnit, Reason: reason, Instance: instanceOfRelease, Name: v1.ReleaseUnit(p.in.App), If: u.Revision})
}

// putRelease writes the unit of the release command.
func (p *planner) putRelease(u *StoredUnit, reason, hash string, desired v1.DesiredState, request string, annotations map[string]string) {
	action := Action{Kind: PutUnit, Reason: reason, Instance: instanceOfRelease, Name: v1.ReleaseUnit(p.in.App)}
	if u != nil {
		action.If = u.Revision
	}
	action.Unit = &v1.Unit{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindUnit},
		Metadata: v1.ObjectMeta{Owner: p.in.App, OwnerUID: strconv.FormatInt(p.in.Manifest.UID, 10), Annotations: annotations},
		Spec:     v1.UnitSpec{Hash: hash, DesiredState: desired, RequestedAt: request},
	}
	p.actions = append(p.actions, action)
}
