package app

import (
	"fmt"
	"maps"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/generate"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// accept decides which revision should run: the latest one, or a new one if the manifest is valid and differs. A rejected
// manifest changes nothing.
func (p *planner) accept() {
	in := p.in
	if in.Manifest == nil {
		return
	}
	p.revision, p.texts = in.runs(), in.Texts
	if in.Latest != nil && in.Latest.OnTrial() && p.revision != in.Latest {
		p.candidate = in.Latest
	}
	if in.Latest != nil && in.Latest.ManifestRevision == in.Manifest.Revision {
		return
	}
	app, err := v1.ParseAppNamed(in.App, in.Manifest.Raw)
	if err != nil {
		p.report(v1.EventWarning, InvalidManifest, v1.Summary(err))
		return
	}
	if taken := v1.TakenUnit(app, func(unit string) bool { _, taken := in.Taken[unit]; return taken }); taken != "" {
		p.reportTaken(taken)
		return
	}
	if in.Latest != nil && v1.SameSpec(&in.Latest.Spec, &app.Spec) {
		p.reword(app)
		return
	}
	revision, texts, err := p.newRevision(app)
	if err != nil {
		p.report(v1.EventWarning, InvalidManifest, err.Error())
		return
	}
	if p.candidate = nil; !revision.Releasing() {
		p.revision, p.texts = revision, texts
	}
	p.try(revision)
	if p.restoresFirst(revision) {
		return
	}
	p.first = append(p.first, Action{Kind: PutRevision, Reason: Accepted, Name: in.App, NewRevision: revision})
	p.report(v1.EventNormal, Accepted, fmt.Sprintf("revision %d accepted", revision.Number))
	if warnings := app.Warnings(); len(warnings) > 0 {
		p.report(v1.EventWarning, DoubtfulManifest, v1.Summary(warnings))
	}
}

// reword makes a revision of a manifest of which only the text has changed, such as its comments, so that undo can return to it. All that
// was found out about the one before holds for it, too, and its files are the same. Nothing else is decided in this plan.
func (p *planner) reword(app *v1.App) {
	if is := p.in.Latest.Manifest; is == "" || is == v1.KeptManifest(p.in.Manifest.Raw) { // of one that keeps none, nothing is known
		return
	}
	reworded := *p.in.Latest
	reworded.Number, reworded.ManifestRevision, reworded.Manifest = p.in.LastNumber+1, p.in.Manifest.Revision, v1.KeptManifest(p.in.Manifest.Raw)
	reworded.Metadata.Labels, reworded.Metadata.Annotations = app.Metadata.Labels, app.Metadata.Annotations
	reworded.AcceptedAt = p.in.Now.UTC().Truncate(time.Second)
	p.first = append(p.first, Action{Kind: PutRevision, Reason: Reworded, Name: p.in.App, NewRevision: &reworded})
	p.report(v1.EventNormal, Reworded, fmt.Sprintf("revision %d: only the text of the manifest has changed", reworded.Number))
	p.reworded = true
}

// newRevision numbers a spec and fixes its files. If only fields that concern no instance have changed, it keeps the previous
// files, so that an instance is never replaced just because another version of fleetd words its files differently.
func (p *planner) newRevision(app *v1.App) (*v1.Revision, map[string]string, error) {
	revision := &v1.Revision{
		Number: p.in.LastNumber + 1, AppUID: p.in.Manifest.UID, ManifestRevision: p.in.Manifest.Revision, Spec: app.Spec,
		Metadata:   v1.ObjectMeta{Name: app.Metadata.Name, Labels: app.Metadata.Labels, Annotations: app.Metadata.Annotations},
		AcceptedAt: p.in.Now.UTC().Truncate(time.Second), Manifest: v1.KeptManifest(p.in.Manifest.Raw),
	}
	revision.Before = p.lastComplete()
	revision.HostsSince = hostsSince(p.in.Latest, revision)
	texts := p.in.Texts
	if latest := p.in.Latest; latest != nil && latest.UnitFile != "" && generate.SameUnits(&latest.Spec, &app.Spec) {
		revision.UnitFile, revision.SidekickFile = latest.UnitFile, latest.SidekickFile
	} else {
		files, err := p.generate(app.Metadata.Name, &app.Spec)
		if err != nil {
			return nil, nil, err
		}
		texts = map[string]string{}
		revision.UnitFile = addText(texts, files.Unit)
		revision.SidekickFile = addText(texts, files.Sidekick)
	}
	var err error
	revision.Release, err = p.releaseRun(revision)
	return revision, texts, err
}

func (p *planner) generate(name string, spec *v1.AppSpec) (generate.Files, error) {
	if p.in.Generate != nil {
		return p.in.Generate(name, spec)
	}
	return generate.Units(name, spec)
}

// hostsSince notes since when the app has asked for each of its hosts without interruption.
func hostsSince(before, revision *v1.Revision) map[string]int64 {
	var since map[string]int64
	for _, host := range revision.Spec.RouteHosts() {
		if since == nil {
			since = map[string]int64{}
		}
		since[host] = revision.ManifestRevision
		if before != nil && slices.Contains(before.Spec.RouteHosts(), host) {
			since[host] = before.Since(host)
		}
	}
	return since
}

func addText(texts map[string]string, text string) (hash string) {
	if text == "" {
		return ""
	}
	hash = unitfile.Hash(text)
	texts[hash] = text
	return hash
}

// putFiles puts the texts that no unit refers to yet: an unreferenced file may be collected at any moment, and putting it
// again keeps it. A text that was deleted while in use is put back.
func (p *planner) putFiles() {
	referenced := map[string]bool{}
	for _, u := range p.in.Units {
		referenced[u.Spec.Hash] = true
	}
	var wanted []string
	for hash := range p.texts {
		if _, stored := p.in.Texts[hash]; !stored && referenced[hash] {
			wanted = append(wanted, hash)
		}
	}
	for _, a := range p.actions {
		if a.Kind != PutUnit || a.Instance == instanceOfRelease {
			continue
		}
		for _, hash := range []string{a.Unit.Spec.Hash, a.Unit.Next.Hash} {
			if hash != "" && !referenced[hash] {
				referenced[hash] = true
				wanted = append(wanted, hash)
			}
		}
	}
	slices.Sort(wanted)
	for _, hash := range wanted {
		p.first = append(p.first, Action{Kind: PutUnitFile, Reason: Referenced, Name: hash, Text: p.texts[hash]})
	}
}

// restore regenerates texts that are not stored: those of what runs, and of what a canary tries, which may begin long after it was
// accepted. If this fleetd would write them differently, they become a new revision.
func (p *planner) restore() {
	before := p.revision
	if p.revision = p.restored(p.revision); p.revision != before || p.candidate == nil {
		return
	}
	p.candidate = p.restored(p.candidate)
}

// restoresFirst gives what goes on while a new revision is tried, or its release command runs, its files and the next number if these
// are lost. The new revision is accepted after that: two cannot have one number.
func (p *planner) restoresFirst(revision *v1.Revision) bool {
	if p.revision == nil || p.revision == revision {
		return false
	}
	restored := p.restored(p.revision)
	if restored == p.revision {
		return false
	}
	p.revision, p.candidate = restored, nil
	return true
}

// restored is the revision with its texts, or the one that replaces it.
func (p *planner) restored(r *v1.Revision) *v1.Revision {
	_, unit := p.texts[r.UnitFile]
	_, sidekick := p.texts[r.SidekickFile]
	if unit && (sidekick || r.SidekickFile == "") {
		return r
	}
	files, err := p.generate(p.in.App, &r.Spec)
	if err != nil {
		p.report(v1.EventWarning, InvalidManifest, err.Error())
		return r
	}
	restored := *r
	p.texts = maps.Clone(p.texts)
	restored.UnitFile, restored.SidekickFile = addText(p.texts, files.Unit), addText(p.texts, files.Sidekick)
	if restored.UnitFile == r.UnitFile && restored.SidekickFile == r.SidekickFile {
		return r
	}
	if latest := p.in.Latest; latest != nil && latest.Rejected != nil && latest.ManifestRevision == p.in.Manifest.Revision { // it is not tried again
		restored.ManifestRevision = p.in.Manifest.Revision
	}
	restored.Rejected = nil
	restored.Number, restored.AcceptedAt = max(r.Number, p.in.LastNumber)+1, p.in.Now.UTC().Truncate(time.Second)
	p.first = append(p.first, Action{Kind: PutRevision, Reason: FileLost, Name: p.in.App, NewRevision: &restored})
	return &restored
}

// reportTaken reports once that a unit has another owner. It stays theirs until they give it up, which triggers this app's
// next plan.
func (p *planner) reportTaken(unit string) {
	if !p.taken {
		p.taken = true
		p.report(v1.EventWarning, NameTaken, v1.NameTakenMessage(unit, p.in.Taken[unit]))
	}
}
