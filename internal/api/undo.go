package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
)

// undoApp stores the manifest of an earlier revision again, byte for byte. That becomes a new revision.
func (a *applier) undoApp(w http.ResponseWriter, r *http.Request) error {
	request, err := readUndo(w, r)
	if err != nil {
		return err
	}
	name, dryRun := r.PathValue("name"), flag(r.URL.Query().Get("dryRun"))
	answer, err := again(func() (*wire.Status, error) { return a.undoAppOnce(r, name, request, dryRun) })
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
}

func readUndo(w http.ResponseWriter, r *http.Request) (request wire.UndoRequest, err error) {
	body, err := readBody(w, r)
	if err != nil {
		return request, err
	}
	if len(body) > 0 {
		if err := strictJSON(body, &request); err != nil {
			return request, wire.Fail(wire.ReasonBadRequest, `%v: write {"to": 3}, or {} for the revision before`, err)
		}
	}
	return request, checkNote(request.Note)
}

func (a *applier) undoAppOnce(r *http.Request, name string, request wire.UndoRequest, dryRun bool) (*wire.Status, error) {
	past, err := a.reader.past(r.Context(), name)
	if err != nil {
		return nil, err
	}
	to, err := past.target(request.To)
	if err != nil {
		return nil, err
	}
	if to.Manifest == "" {
		return nil, wire.Fail(wire.ReasonNotKept, "revision %d of app/%s keeps no manifest (it was larger than %d bytes, or accepted by an older fleetd): "+
			"fleetctl diff app/%s --revision %d shows what differs", to.Number, name, v1.MaxKeptManifest, name, to.Number)
	}
	d, err := a.appDocument(name, []byte(to.Manifest))
	if err != nil {
		return nil, err
	}
	change := d.change
	d.change = func(kv store.KV, exists bool) ([]store.Op, error) {
		if kv.ModRevision != past.app.ModRevision {
			return nil, store.ErrConflict // the revision was chosen for another manifest
		}
		return change(kv, exists)
	}
	note := fmt.Sprintf("undo to revision %d", to.Number)
	if request.Note != "" {
		note += ": " + request.Note
	}
	answer, err := a.applyOnce(r.Context(), []*document{d}, undoing(a.record(r, note)), applyOptions{dryRun: dryRun})
	if err != nil {
		return nil, err
	}
	item := answer.Items[0]
	item.Message += fmt.Sprintf(": it has the manifest of revision %d", to.Number)
	return item, nil
}

// undoing is the record of an undo. A source does not apply again what it takes back.
func undoing(record v1.Apply) v1.Apply {
	record.Undo = true
	return record
}

// target chooses the revision to return to: the one of that number or, for 0, the one before the last change.
func (p *past) target(number int64) (*v1.Revision, error) {
	if len(p.revisions) == 0 {
		return nil, wire.Fail(wire.ReasonNotFound, "app/%s has no revision yet: there is nothing to return to", p.name)
	}
	if number != 0 {
		i := slices.IndexFunc(p.revisions, func(r v1.Revision) bool { return r.Number == number })
		if i < 0 {
			return nil, p.noRevision(number)
		}
		return &p.revisions[i], nil
	}
	last := &p.revisions[len(p.revisions)-1]
	if !p.runs(last) { // it was changed, or deleted, since
		return last, nil
	}
	for i := len(p.revisions) - 2; i >= 0; i-- {
		if before := &p.revisions[i]; !v1.SameSpec(&before.Spec, &last.Spec) || before.Manifest != last.Manifest && before.Manifest != "" {
			return &p.revisions[i], nil
		}
	}
	return nil, wire.Fail(wire.ReasonNotFound, "app/%s has no revision that differs from %d, its last one: there is nothing to return to", p.name, last.Number)
}

func (p *past) noRevision(number int64) error {
	there := make([]string, len(p.revisions))
	for i, r := range p.revisions {
		there[i] = fmt.Sprint(r.Number)
	}
	return wire.Fail(wire.ReasonNotFound, "app/%s has no revision %d: there are %s; older ones are collected", p.name, number, strings.Join(there, ", "))
}

// undoApply puts back everything that an apply changed, or nothing: what has changed since is not overwritten.
func (a *applier) undoApply(w http.ResponseWriter, r *http.Request) error {
	request, err := readUndo(w, r)
	if err != nil {
		return err
	}
	if request.To != 0 {
		return wire.Fail(wire.ReasonBadRequest, "an apply is undone as a whole: leave out to")
	}
	id := r.PathValue("name")
	kv, ok, _, err := a.store.Get(r.Context(), a.keys.Applies().Key(id))
	if err != nil {
		return err
	}
	if !ok {
		return wire.Fail(wire.ReasonNotFound, "apply %s does not exist: fleetctl history app/NAME -o wide shows the IDs that are kept", id)
	}
	apply, err := a.keys.Applies().Decode(kv.Value)
	if err != nil {
		return wire.Fail(wire.ReasonInternal, "the stored apply %s cannot be read: %v", id, err)
	}
	docs, err := a.undone(r.Context(), id, apply, kv.ModRevision)
	if err != nil {
		return err
	}
	note := "undo of apply " + id
	if request.Note != "" {
		note += ": " + request.Note
	}
	answer, err := a.apply(r.Context(), docs, undoing(a.record(r, note)), applyOptions{dryRun: flag(r.URL.Query().Get("dryRun"))})
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
}

// undone returns the documents that undo an apply, or every reason why it cannot be undone.
func (a *applier) undone(ctx context.Context, id string, apply v1.Apply, revision int64) ([]*document, error) {
	var docs []*document
	var faults []wire.Cause
	for _, object := range apply.Objects {
		d, err := a.undoneObject(ctx, object)
		if err != nil && toStatus(err).Code >= http.StatusInternalServerError {
			return nil, err
		}
		what := strings.ToLower(object.Kind) + "/" + object.Name
		if err != nil {
			faults = append(faults, wire.Cause{Field: what, Message: err.Error()})
			continue
		}
		kv, exists, _, err := a.store.Get(ctx, a.key(d))
		if err != nil {
			return nil, err
		}
		if exists && kv.ModRevision != revision || exists == object.Deleted {
			faults = append(faults, wire.Cause{Field: what, Message: changedSince(object, kv, exists)})
			continue
		}
		d.change = onlyAt(kv.ModRevision, d.change)
		docs = append(docs, d)
	}
	if len(faults) > 0 {
		answer := wire.Fail(wire.ReasonConflict, "apply %s cannot be undone as a whole: nothing was changed", id)
		answer.Causes = faults
		return nil, answer
	}
	return docs, nil
}

func changedSince(object v1.AppliedObject, kv store.KV, exists bool) string {
	switch {
	case !exists:
		return "it was deleted since"
	case object.Kind == v1.KindApp:
		return fmt.Sprintf("it was changed since, at version %d: fleetctl history app/%s shows by what; undo that first, or fleetctl undo app/%s --to REVISION",
			kv.ModRevision, object.Name, object.Name)
	}
	return fmt.Sprintf("it was changed, started or stopped since, at version %d", kv.ModRevision)
}

// onlyAt refuses the change of an object that was changed after that revision.
func onlyAt(revision int64, change func(store.KV, bool) ([]store.Op, error)) func(store.KV, bool) ([]store.Op, error) {
	return func(kv store.KV, exists bool) ([]store.Op, error) {
		if kv.ModRevision != revision {
			return nil, store.ErrConflict
		}
		return change(kv, exists)
	}
}

func (a *applier) undoneObject(ctx context.Context, object v1.AppliedObject) (*document, error) {
	switch {
	case object.Created:
		return a.deletion(ctx, object.Kind, object.Name), nil
	case object.Before == "":
		return nil, wire.Fail(wire.ReasonNotKept, "what it was before is not kept, because it was too large: apply it from its file")
	case object.Kind == v1.KindApp:
		return a.appDocument(object.Name, []byte(object.Before))
	case object.Kind == v1.KindSource:
		source, err := v1.ParseSource(object.Name, []byte(object.Before))
		if err != nil {
			return nil, wire.Invalid("source/"+object.Name, causes(err))
		}
		return sourceDocument(a.keys, source, []byte(object.Before)), nil
	}
	unit, err := v1.ParseUnit([]byte(object.Before))
	if err != nil {
		return nil, wire.Invalid("unit/"+object.Name, causes(err))
	}
	return a.ofUnit(ctx, unit)
}
