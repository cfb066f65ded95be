package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/change"
	"github.com/fleet-starter/fleet/internal/generate"
	"github.com/fleet-starter/fleet/internal/store"
)

// diffApp answers with what differs between two revisions of an app. Without ?to= it is the last one, without ?from= the one
// before that.
func (r *pastReader) diffApp(w http.ResponseWriter, req *http.Request) error {
	p, err := r.past(req.Context(), req.PathValue("name"))
	if err != nil {
		return err
	}
	if len(p.revisions) == 0 {
		return wire.Fail(wire.ReasonNotFound, "app/%s has no revision yet", p.name)
	}
	q, to := req.URL.Query(), len(p.revisions)-1
	if q.Get("to") != "" {
		if to, err = p.numbered(q.Get("to"), "to"); err != nil {
			return err
		}
	}
	from := to - 1
	if q.Get("from") != "" {
		if from, err = p.numbered(q.Get("from"), "from"); err != nil {
			return err
		}
	}
	if from < 0 {
		return wire.Fail(wire.ReasonNotFound, "app/%s has no revision before %d", p.name, p.revisions[to].Number)
	}
	before, err := r.ofRevision(req.Context(), &p.revisions[from])
	if err != nil {
		return err
	}
	after, err := r.ofRevision(req.Context(), &p.revisions[to])
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, wire.Diff{From: fmt.Sprintf("revision %d", p.revisions[from].Number),
		To: fmt.Sprintf("revision %d", p.revisions[to].Number), Files: change.Files(before, after)})
}

// ofRevision returns the texts of a revision: its fields, and the unit files that its instances have.
func (r *pastReader) ofRevision(ctx context.Context, revision *v1.Revision) ([]change.Text, error) {
	unit, stored, err := r.unitFile(ctx, revision.UnitFile)
	if err != nil {
		return nil, err
	}
	sidekick, alsoStored, err := r.unitFile(ctx, revision.SidekickFile)
	if err != nil {
		return nil, err
	}
	files := generate.Files{Unit: unit, Sidekick: sidekick}
	if !stored || !alsoStored && revision.SidekickFile != "" { // lost: the leader generates them anew, too
		if files, err = generate.Units(revision.Metadata.Name, &revision.Spec); err != nil {
			return nil, err
		}
	}
	return appTexts(revision.Metadata, &revision.Spec, files)
}

// unitFile returns the stored text of that hash.
func (r *pastReader) unitFile(ctx context.Context, hash string) (text string, ok bool, err error) {
	if hash == "" {
		return "", false, nil
	}
	kv, ok, _, err := r.store.Get(ctx, r.keys.UnitFiles().Key(hash))
	return string(kv.Value), ok, err
}

func appTexts(meta v1.ObjectMeta, spec *v1.AppSpec, files generate.Files) ([]change.Text, error) {
	fields, err := change.Fields(meta, spec)
	if err != nil {
		return nil, err
	}
	texts := []change.Text{{Name: "app/" + meta.Name, Text: fields}}
	instance := "@.service"
	if spec.Global {
		instance = ".service"
	}
	unit, sidekick := v1.AppUnit(meta.Name, 0), v1.SidekickUnit(meta.Name, 0)
	for _, f := range []change.Text{{Name: unit, Text: files.Unit}, {Name: sidekick, Text: files.Sidekick}} {
		if f.Text != "" {
			texts = append(texts, change.Text{Name: strings.TrimSuffix(f.Name, ".service") + instance, Text: f.Text})
		}
	}
	return texts, nil
}

// diffOf returns what a document would change.
func (r *pastReader) diffOf(ctx context.Context, d *document, kv store.KV, exists bool) ([]wire.DiffFile, error) {
	switch {
	case d.unit != nil:
		return r.diffOfUnit(ctx, d, exists)
	case d.source != nil:
		return change.Files([]change.Text{{Name: d.what(), Text: string(kv.Value)}}, []change.Text{{Name: d.what(), Text: string(d.source)}}), nil
	}
	var before []change.Text
	var last *v1.Revision
	if exists {
		p, err := r.past(ctx, d.name)
		if err != nil {
			return nil, err
		}
		if n := len(p.revisions); n > 0 {
			last = &p.revisions[n-1]
		}
		if before, err = r.stored(ctx, d.name, kv, last); err != nil {
			return nil, err
		}
	}
	after, err := r.ofApp(ctx, d.app, last)
	return change.Files(before, after), err
}

// stored returns the texts of the stored app: the fields of its manifest, and the unit files that its instances have, or will
// have. Where the manifest is not valid, they are those of its last revision.
func (r *pastReader) stored(ctx context.Context, name string, kv store.KV, last *v1.Revision) ([]change.Text, error) {
	app, err := v1.ParseAppNamed(name, kv.Value)
	switch {
	case err != nil && last == nil:
		return []change.Text{{Name: "app/" + name, Text: string(kv.Value)}}, nil
	case err != nil:
		return r.ofRevision(ctx, last)
	}
	return r.ofApp(ctx, app, last)
}

// ofApp returns the texts of an app: its unit files are those of its last revision if only fields that concern no instance differ,
// else new ones. The app controller does the same.
func (r *pastReader) ofApp(ctx context.Context, app *v1.App, last *v1.Revision) ([]change.Text, error) {
	if last != nil && generate.SameUnits(&last.Spec, &app.Spec) {
		texts, err := r.ofRevision(ctx, last)
		if err != nil {
			return nil, err
		}
		texts[0].Text, err = change.Fields(app.Metadata, &app.Spec)
		return texts, err
	}
	files, err := generate.Units(app.Metadata.Name, &app.Spec)
	if err != nil {
		return nil, err
	}
	return appTexts(app.Metadata, &app.Spec, files)
}

func (r *pastReader) diffOfUnit(ctx context.Context, d *document, exists bool) ([]wire.DiffFile, error) {
	var before []change.Text
	if exists {
		old, err := r.units.read(ctx, d.name)
		if err != nil {
			return nil, err
		}
		text, err := r.text(ctx, old, map[string]string{})
		if err != nil {
			return nil, err
		}
		if before, err = unitTexts(old, text); err != nil {
			return nil, err
		}
	}
	text := d.unit.Spec.Contents
	if text == "" {
		var err error
		if text, err = r.text(ctx, d.unit, map[string]string{}); err != nil {
			return nil, err
		}
	}
	after, err := unitTexts(d.unit, text)
	return change.Files(before, after), err
}

func unitTexts(unit *v1.Unit, text string) ([]change.Text, error) {
	fields, err := change.Fields(unit.Metadata, v1.UnitSpec{DesiredState: unit.Spec.DesiredState})
	return []change.Text{{Name: "unit/" + unit.Metadata.Name, Text: fields}, {Name: unit.Metadata.Name, Text: text}}, err
}
