package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/change"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// pastReader reads what apps were, and compares it.
type pastReader struct{ *reader }

// past is what is stored of an app's past.
type past struct {
	name string
	// app is the manifest; without one, the app is deleted and its revisions are not collected yet.
	app    store.KV
	exists bool
	// spec is the manifest's, nil if it is not valid; then invalid says why.
	spec    *v1.AppSpec
	invalid error
	// revisions are the app's own that can be read, by number.
	revisions []v1.Revision
	status    *v1.AppStatus
	// applies are those that wrote the manifests, by the revision at which they did.
	applies map[int64]applied
}

// applied is an apply with its ID.
type applied struct {
	id string
	v1.Apply
}

// past reads an app's past.
func (r *pastReader) past(ctx context.Context, name string) (*past, error) {
	p := &past{name: name}
	var err error
	if p.app, p.exists, _, err = r.store.Get(ctx, r.keys.Apps().Key(name)); err != nil {
		return nil, err
	}
	if p.exists {
		app, err := v1.ParseAppNamed(name, p.app.Value)
		if p.invalid = err; err == nil {
			p.spec = &app.Spec
		}
	}
	if err := r.revisionsOf(ctx, p); err != nil {
		return nil, err
	}
	if !p.exists && len(p.revisions) == 0 {
		return nil, r.apps.notFound(name)
	}
	kv, ok, _, err := r.store.Get(ctx, r.keys.Status().Key(name))
	if err != nil {
		return nil, err
	}
	if status := decoded(r.keys.Status(), kv, !ok); p.exists && status != nil && status.Of(p.app.CreateRevision) {
		p.status = status
	}
	return p, nil
}

// revisionsOf reads the revisions of the app or, if it is deleted, of the last one of that name.
func (r *pastReader) revisionsOf(ctx context.Context, p *past) error {
	rows := r.keys.Revisions()
	err := r.apps.scan(ctx, rows.Key(p.name+"/"), store.ListOptions{}, func(kv store.KV) bool {
		name, ok := rows.Name(kv.Key)
		_, number, _ := keyspace.ParseRevisionName(name)
		revision, err := rows.Decode(kv.Value)
		if ok && err == nil && revision.Number == number {
			p.revisions = append(p.revisions, revision)
		}
		return true
	})
	if len(p.revisions) == 0 {
		return err
	}
	uid := p.revisions[len(p.revisions)-1].AppUID
	if p.exists {
		uid = p.app.CreateRevision
	}
	p.revisions = slices.DeleteFunc(p.revisions, func(revision v1.Revision) bool { return !revision.Of(uid) })
	return err
}

// readApplies reads the applies that wrote the manifests of the app. They are found by the revision at which they were written,
// without their values: there may be thousands.
func (r *pastReader) readApplies(ctx context.Context, p *past) error {
	wanted := map[int64]bool{p.app.ModRevision: p.exists}
	for _, revision := range p.revisions {
		wanted[revision.ManifestRevision] = true
	}
	rows, names := r.keys.Applies(), map[int64]string{}
	if err := r.apps.scan(ctx, rows.Prefix(), store.ListOptions{KeysOnly: true}, func(kv store.KV) bool {
		if name, ok := rows.Name(kv.Key); ok && wanted[kv.ModRevision] {
			names[kv.ModRevision] = name
		}
		return true
	}); err != nil {
		return err
	}
	p.applies = map[int64]applied{}
	for revision, id := range names {
		kv, ok, _, err := r.store.Get(ctx, rows.Key(id))
		if err != nil {
			return err
		}
		if apply := decoded(rows, kv, !ok); apply != nil {
			p.applies[revision] = applied{id, *apply}
		}
	}
	return nil
}

// runs reports whether the manifest asks for that revision.
func (p *past) runs(revision *v1.Revision) bool {
	return p.exists && (p.app.ModRevision == revision.ManifestRevision || p.spec != nil && v1.SameSpec(p.spec, &revision.Spec))
}

// history answers with the app's revisions, the oldest first, and with the manifest if it is none of them.
func (r *pastReader) history(w http.ResponseWriter, req *http.Request) error {
	p, err := r.past(req.Context(), req.PathValue("name"))
	if err == nil {
		err = r.readApplies(req.Context(), p)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, wire.List[wire.Revision]{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: "RevisionList"},
		Metadata: wire.ListMeta{ResourceVersion: strconv.FormatInt(p.app.ModRevision, 10)}, Items: p.lines(),
	})
}

// lines returns the history.
func (p *past) lines() []wire.Revision {
	lines := []wire.Revision{}
	var before *v1.AppSpec
	for i := range p.revisions {
		revision := &p.revisions[i]
		line := p.line(revision.ManifestRevision)
		line.Number, line.Time, line.Spec, line.Kept = revision.Number, revision.AcceptedAt, &revision.Spec, revision.Manifest != ""
		line.Change = change.Summary(before, &revision.Spec)
		if i > 0 && revision.ManifestRevision == p.revisions[i-1].ManifestRevision {
			line.Change, line.Note = "unit files generated anew: theirs were lost", ""
		} else if i > 0 && v1.SameSpec(before, &revision.Spec) {
			line.Change = "only the text of the manifest"
		}
		line.Outcome, line.Message = p.outcome(i)
		lines, before = append(lines, line), &revision.Spec
	}
	if outcome, message := p.unaccepted(); outcome != "" {
		line := p.line(p.app.ModRevision)
		line.Time, line.Outcome, line.Message = p.applies[p.app.ModRevision].Time, outcome, message
		if line.Change = "not valid"; p.spec != nil {
			line.Change = change.Summary(before, p.spec)
		}
		lines = append(lines, line)
	}
	return lines
}

// line begins the line of the manifest that was written at a revision.
func (p *past) line(manifest int64) wire.Revision {
	apply := p.applies[manifest]
	line := wire.Revision{User: apply.User, From: apply.From, Apply: apply.id, Note: apply.Note}
	if c := apply.Commit; c != nil {
		line.Commit, line.Author, line.Subject, line.File = c.Hash, c.Author, c.Subject, fileOf(apply.Apply, p.name)
		if c.Source != "" {
			line.User, line.From = c.Author, "source/"+c.Source
		}
	}
	return line
}

// fileOf is where an app's manifest is in the commit of an apply.
func fileOf(apply v1.Apply, app string) string {
	for _, o := range apply.Objects {
		if o.Kind == v1.KindApp && o.Name == app {
			return o.File
		}
	}
	return ""
}

// outcome says what became of the i-th revision.
func (p *past) outcome(i int) (outcome, message string) {
	switch rejected := p.revisions[i].Rejected; {
	case rejected != nil:
		return wire.Rejected, rejected.Message
	case i < len(p.revisions)-1 && !p.revisions[i].Complete.IsZero():
		return wire.Complete, ""
	case i < len(p.revisions)-1:
		return wire.Superseded, ""
	case !p.exists:
		return wire.Superseded, "the app was deleted"
	case p.revisions[i].Releasing() && p.status != nil:
		if c := v1.FindCondition(p.status.Conditions, v1.Progressing); c != nil && c.Reason == v1.ReasonReleasing {
			message = c.Message
		}
		return wire.InProgress, message
	case p.revisions[i].OnTrial() && p.status != nil:
		if progressing := v1.FindCondition(p.status.Conditions, v1.Progressing); progressing != nil && progressing.Reason == v1.ReasonCanary {
			return wire.InProgress, progressing.Message
		}
		return wire.InProgress, ""
	case p.status == nil || p.status.AcceptedRevision != p.revisions[i].Number:
		return wire.InProgress, ""
	}
	ready, progressing := v1.FindCondition(p.status.Conditions, v1.Ready), v1.FindCondition(p.status.Conditions, v1.Progressing)
	switch {
	case progressing != nil && progressing.Reason == v1.ReasonRolloutStalled:
		return wire.Stalled, progressing.Message
	case ready != nil && ready.Status == v1.ConditionTrue && p.status.Replicas.Updated >= p.status.Replicas.Desired:
		return wire.Complete, ""
	case progressing != nil && progressing.Status == v1.ConditionTrue:
		return wire.InProgress, progressing.Message
	case ready != nil:
		return wire.InProgress, ready.Message
	}
	return wire.InProgress, ""
}

// unaccepted says why the manifest is none of the revisions; "" if it is one.
func (p *past) unaccepted() (outcome, message string) {
	if !p.exists || len(p.revisions) > 0 && p.runs(&p.revisions[len(p.revisions)-1]) {
		return "", ""
	}
	if p.invalid != nil {
		return wire.Rejected, oneLine(p.invalid)
	}
	if p.status != nil && p.status.ObservedRevision == p.app.ModRevision {
		if c := v1.FindCondition(p.status.Conditions, v1.Accepted); c != nil && c.Status == v1.ConditionFalse {
			return wire.Rejected, strings.ReplaceAll(c.Message, "\n", "; ")
		}
	}
	return wire.Pending, ""
}

// oneRevision answers with one revision and its manifest or, with "Accept: application/yaml", with the manifest's bytes.
func (r *pastReader) oneRevision(w http.ResponseWriter, req *http.Request) error {
	p, err := r.past(req.Context(), req.PathValue("name"))
	if err == nil {
		err = r.readApplies(req.Context(), p)
	}
	if err != nil {
		return err
	}
	i, err := p.numbered(req.PathValue("number"), "")
	if err != nil {
		return err
	}
	if !strings.Contains(req.Header.Get("Accept"), wire.YAML) {
		line := p.lines()[i]
		line.Manifest = p.revisions[i].Manifest
		return writeJSON(w, http.StatusOK, line)
	}
	if p.revisions[i].Manifest == "" {
		return wire.Fail(wire.ReasonNotKept, "revision %d of app/%s keeps no manifest: it was larger than %d bytes, or accepted by an older fleetd",
			p.revisions[i].Number, p.name, v1.MaxKeptManifest)
	}
	return writeText(w, wire.YAML, []byte(p.revisions[i].Manifest))
}

// numbered finds a revision by its number, written as in the query's parameter of that name.
func (p *past) numbered(text, parameter string) (i int, err error) {
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil || number <= 0 {
		if parameter != "" {
			parameter = "?" + parameter + "="
		}
		return 0, wire.Fail(wire.ReasonBadRequest, "%s%s: write the number of a revision", parameter, text)
	}
	i = slices.IndexFunc(p.revisions, func(revision v1.Revision) bool { return revision.Number == number })
	if i < 0 {
		return 0, p.noRevision(number)
	}
	return i, nil
}
