package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/applies"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/repository"
	"github.com/fleet-starter/fleet/internal/store"
)

// maxApplyBytes bounds the keys and values of one apply: etcd's limit of a request (1.5 MiB by default, --max-request-bytes) less
// its encoding.
const maxApplyBytes = 1_450_000

// applier stores manifests, all of a request in one transaction, and records in it who did so and what was there before.
type applier struct {
	*writer
	keys   keyspace.Keys
	now    func() time.Time
	reader *pastReader
	apps   *appWriter
	units  *unitWriter
	events events.Interface
}

// newApplier returns one that writes to the options' store, with what it is made of.
func newApplier(o Options) *applier {
	read, write := newReader(o), &writer{store: o.Store, log: o.Log}
	return &applier{
		writer: write, keys: o.Keys, now: o.Now, reader: &pastReader{read},
		apps:  &appWriter{writer: write, keys: o.Keys, now: o.Now, reader: read},
		units: &unitWriter{writer: write, keys: o.Keys, now: o.Now, reader: read, timeout: o.RequestTimeout}, events: o.Events,
	}
}

// document is an object to change.
type document struct {
	kind, name string
	// version is the resourceVersion that its manifest names, want the one that is required; 0 if none is.
	version string
	want    int64
	// planned is the version that a plan was made for, 0 if the object did not exist; nil if there is no plan.
	planned  *int64
	warnings []wire.Cause
	// managed: the warnings name the source that it belongs to.
	managed bool
	// change returns the operations, of which the first is on the object's key; none if there is nothing to change.
	change func(kv store.KV, exists bool) ([]store.Op, error)
	// app is the new app; nil for a unit, and for one that is deleted.
	app  *v1.App
	unit *v1.Unit
	// source is the new manifest of a source; nil for all else.
	source []byte
	// file is where it is in a commit.
	file string
}

func (d *document) what() string { return strings.ToLower(d.kind) + "/" + d.name }

// applyOptions say how to apply.
type applyOptions struct {
	dryRun, diff bool
	// lasting refuses to delete what its source would create again.
	lasting bool
}

// postApply stores the manifests of an ApplyRequest, all or none.
func (a *applier) postApply(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var request wire.ApplyRequest
	if err := strictJSON(body, &request); err != nil {
		return wire.Fail(wire.ReasonBadRequest, `%v: write {"manifests": ["...", "..."]}`, err)
	}
	if err := checkNote(request.Note); err != nil {
		return err
	}
	if len(request.Manifests) == 0 {
		return wire.Fail(wire.ReasonBadRequest, `no manifest: write {"manifests": ["...", "..."]}`)
	}
	docs, faults := a.documents(r.Context(), request.Manifests)
	if faults != nil {
		return refused(faults)
	}
	q, record := r.URL.Query(), a.record(r, request.Note)
	if err := ofCommit(docs, request.Git, &record); err != nil {
		return err
	}
	answer, err := a.apply(r.Context(), docs, record, applyOptions{dryRun: flag(q.Get("dryRun")) || flag(q.Get("diff")), diff: flag(q.Get("diff"))})
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
}

func checkNote(note string) error {
	if len(note) > wire.MaxNote {
		return wire.Fail(wire.ReasonBadRequest, "the note has %d bytes: write at most %d", len(note), wire.MaxNote)
	}
	return nil
}

// documents reads manifests; faults has an answer for each if one cannot be read.
func (a *applier) documents(ctx context.Context, manifests []string) (docs []*document, faults []*wire.Status) {
	faults = make([]*wire.Status, len(manifests))
	seen, bad := map[string]bool{}, false
	for i, text := range manifests {
		d, err := a.document(ctx, []byte(text))
		if err == nil && seen[d.what()] {
			err = wire.Fail(wire.ReasonBadRequest, "%s is in the request twice: write each object once", d.what())
		}
		if err != nil {
			faults[i], bad = toStatus(err), true
			continue
		}
		seen[d.what()] = true
		docs = append(docs, d)
	}
	if !bad {
		return docs, nil
	}
	return nil, faults
}

// document reads one manifest.
func (a *applier) document(ctx context.Context, raw []byte) (d *document, err error) {
	objects, err := v1.ParseManifests(raw)
	switch {
	case err != nil:
		return nil, wire.Invalid("the manifest", causes(err))
	case len(objects) != 1:
		return nil, wire.Fail(wire.ReasonBadRequest, "%d documents in one manifest: send each by itself", len(objects))
	case objects[0].App != nil:
		d = a.ofApp(objects[0].App, raw)
	case objects[0].Source != nil:
		d = sourceDocument(a.keys, objects[0].Source, raw)
	default:
		if d, err = a.ofUnit(ctx, objects[0].Unit); err != nil {
			return nil, err
		}
	}
	d.want, err = version(d.version, "metadata.resourceVersion")
	return d, err
}

// appDocument reads the manifest of the app of that name.
func (a *applier) appDocument(name string, raw []byte) (*document, error) {
	app, err := v1.ParseAppNamed(name, raw)
	if err != nil {
		return nil, wire.Invalid("app/"+name, causes(err))
	}
	return a.ofApp(app, raw), nil
}

func (a *applier) ofApp(app *v1.App, raw []byte) *document {
	d := &document{kind: v1.KindApp, name: app.Metadata.Name, version: app.Metadata.ResourceVersion, app: app}
	if warnings := app.Warnings(); len(warnings) > 0 {
		d.warnings = causes(warnings)
	}
	d.change = verbatim(a.key(d), raw)
	return d
}

// verbatim stores a manifest byte for byte.
func verbatim(key string, raw []byte) func(store.KV, bool) ([]store.Op, error) {
	return func(kv store.KV, _ bool) ([]store.Op, error) {
		if bytes.Equal(kv.Value, raw) {
			return nil, nil
		}
		return []store.Op{{Key: key, Value: raw}}, nil
	}
}

func (a *applier) ofUnit(ctx context.Context, unit *v1.Unit) (*document, error) {
	warnings, err := a.units.checkUnit(ctx, unit)
	if err != nil {
		return nil, err
	}
	return &document{kind: v1.KindUnit, name: unit.Metadata.Name, version: unit.Metadata.ResourceVersion, warnings: warnings, unit: unit,
		change: a.units.replaced(unit)}, nil
}

// deletion is the document of an object that is to be deleted.
func (a *applier) deletion(ctx context.Context, kind, name string) *document {
	d := &document{kind: kind, name: name}
	d.change = func(kv store.KV, exists bool) ([]store.Op, error) {
		if !exists {
			return nil, nil
		}
		ops := []store.Op{{Key: a.key(d)}}
		switch kind {
		case v1.KindUnit:
			return ops, a.units.removable(kv, name)
		case v1.KindSource:
			return append(ops, store.Op{Key: a.keys.SourceWishes().Key(name)}), nil
		}
		overrides, err := a.apps.overridesOf(ctx, name)
		return append(ops, overrides...), err
	}
	return d
}

func (a *applier) key(d *document) string { return a.keys.ManifestKey(d.kind, d.name) }

// record begins the record of a request's apply.
func (a *applier) record(r *http.Request, note string) v1.Apply {
	user, from := caller(r)
	return v1.Apply{Time: a.now().UTC().Truncate(time.Second), User: user, From: from, Note: note}
}

// caller returns who sent a request, as far as that is known: over the unix socket the server's listener says which user it is, in
// the remote address (@alice); over TCP only the address is known.
func caller(r *http.Request) (user, from string) {
	if user, unix := strings.CutPrefix(r.RemoteAddr, "@"); unix {
		return user, ""
	}
	return "", clientOf(r)
}

// apply changes the documents' objects, all or none. Where another client was faster, it looks again.
func (a *applier) apply(ctx context.Context, docs []*document, record v1.Apply, o applyOptions) (*wire.Status, error) {
	return again(func() (*wire.Status, error) { return a.applyOnce(ctx, docs, record, o) })
}

func (a *applier) applyOnce(ctx context.Context, docs []*document, record v1.Apply, o applyOptions) (*wire.Status, error) {
	if err := (ownership{a}).check(ctx, docs, record, o); err != nil {
		return nil, err
	}
	b := batch{items: make([]*wire.Status, len(docs)), record: record, put: map[string]bool{}}
	for i, d := range docs {
		kv, exists, _, err := a.store.Get(ctx, a.key(d))
		if err != nil {
			return nil, err
		}
		before := ""
		if exists {
			if before, err = a.manifestOf(ctx, d, kv); err != nil {
				return nil, err
			}
		}
		item, err := b.add(d, kv, exists, before)
		switch {
		case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrConflict):
			return nil, err
		case err != nil:
			b.items[i], b.refused = toStatus(err), true
			continue
		case o.diff:
			if item.Diff, err = a.reader.diffOf(ctx, d, kv, exists); err != nil {
				return nil, err
			}
		}
		b.items[i] = item
	}
	if b.refused {
		return nil, refused(b.items)
	}
	return a.commit(ctx, &b, o)
}

// batch is what one apply writes.
type batch struct {
	items   []*wire.Status
	refused bool
	record  v1.Apply
	ops     []store.Op
	put     map[string]bool // keys in ops: units may have one file in common
	changed []*wire.Status
}

// add adds the change of one object, and returns the answer for it.
func (b *batch) add(d *document, kv store.KV, exists bool, before string) (*wire.Status, error) {
	ops, err := d.change(kv, exists)
	if err != nil {
		return nil, err
	}
	reason := wire.ReasonConfigured
	switch {
	case len(ops) == 0:
		item := done(wire.ReasonUnchanged, d.what(), kv.ModRevision)
		item.Warnings = d.warnings
		return item, nil
	case d.want != 0 && d.want != kv.ModRevision:
		return nil, stale(write{what: d.what(), want: d.want}, kv, exists)
	case d.planned != nil && *d.planned != kv.ModRevision:
		return nil, wire.Fail(wire.ReasonPlanOutdated, "%s changed while the plan was applied: nothing was stored: plan again", d.what())
	case ops[0].Value == nil:
		reason = wire.ReasonDeleted
	case !exists:
		reason = wire.ReasonCreated
	}
	ops[0].If = condition(kv, exists)
	for _, op := range ops {
		if !b.put[op.Key] {
			b.put[op.Key] = true
			b.ops = append(b.ops, op)
		}
	}
	b.record.Objects = append(b.record.Objects, v1.AppliedObject{Kind: d.kind, Name: d.name, Before: before, File: d.file,
		Created: reason == wire.ReasonCreated, Deleted: reason == wire.ReasonDeleted})
	item := done(reason, d.what(), kv.ModRevision)
	item.Warnings = d.warnings
	b.changed = append(b.changed, item)
	return item, nil
}

// manifestOf returns the manifest of what is stored, as far as it is kept.
func (a *applier) manifestOf(ctx context.Context, d *document, kv store.KV) (string, error) {
	if d.kind != v1.KindUnit {
		return v1.KeptManifest(kv.Value), nil
	}
	unit, err := a.keys.Units().Decode(kv.Value)
	if err != nil {
		return "", nil // it cannot be read, so it cannot be put back
	}
	unit.Metadata.Name = d.name
	text, err := a.reader.text(ctx, &unit, map[string]string{})
	if err != nil || text == "" {
		return "", err
	}
	data, err := json.Marshal(v1.Unit{TypeMeta: typeOf(v1.KindUnit),
		Metadata: v1.ObjectMeta{Name: d.name, Labels: unit.Metadata.Labels, Annotations: unit.Metadata.Annotations},
		Spec:     v1.UnitSpec{Contents: text, DesiredState: unit.Spec.DesiredState}})
	return v1.KeptManifest(data), err
}

// commit writes a batch and its record.
func (a *applier) commit(ctx context.Context, b *batch, o applyOptions) (*wire.Status, error) {
	if len(b.changed) == 0 {
		answer := wire.Done(wire.ReasonUnchanged, "nothing changed")
		answer.Items = b.items
		return answer, nil
	}
	answer := wire.Done(wire.ReasonConfigured, "%s changed", count(len(b.changed), "object"))
	answer.Items = b.items
	id, op, err := a.recordOp(b)
	if err != nil || o.dryRun {
		return answer, err
	}
	names := make([]string, len(b.record.Objects))
	for i, object := range b.record.Objects {
		names[i] = strings.ToLower(object.Kind) + "/" + object.Name
	}
	a.log.Info("applying", "reason", answer.Reason, "apply", id, "objects", strings.Join(names, " "), "user", b.record.User, "from", b.record.From)
	revision, err := a.store.Commit(ctx, store.Txn{Ops: append(b.ops, op)})
	if err != nil {
		return nil, err
	}
	answer.Apply, answer.ResourceVersion = id, strconv.FormatInt(revision, 10)
	for _, item := range b.changed {
		item.Apply, item.ResourceVersion = id, answer.ResourceVersion
	}
	b.tell(a.events)
	return answer, nil
}

// tell records which commit has changed the objects, as the source controller does for those of sources.
func (b *batch) tell(to events.Interface) {
	if to == nil || b.record.Commit == nil {
		return
	}
	changes := make([]repository.Change, len(b.changed))
	for i, o := range b.record.Objects {
		changes[i] = repository.Change{Key: repository.Key{Kind: o.Kind, Name: o.Name}, Reason: b.changed[i].Reason, File: o.File}
	}
	for _, e := range repository.Events(b.record.Commit, "", changes) {
		to.Record(e.Kind, e.Name, e.Type, e.Reason, e.Message)
	}
}

// recordOp returns the operation that writes the record. An apply that fits into a transaction only without what was before is
// stored without it, and cannot be undone as a whole.
func (a *applier) recordOp(b *batch) (id string, op store.Op, err error) {
	if n := len(b.ops) + 1; n > store.MaxTxnOps {
		return "", op, wire.Fail(wire.ReasonTooLarge, "%s are %d operations, and one transaction of etcd has at most %d: %s",
			count(len(b.changed), "object"), n, store.MaxTxnOps, fewer(b.record))
	}
	size := 0
	for _, op := range b.ops {
		size += len(op.Key) + len(op.Value)
	}
	var random [3]byte
	_, _ = rand.Read(random[:]) // it never fails
	id, op, err = applies.Op(a.keys, b.record, maxApplyBytes-size, hex.EncodeToString(random[:]))
	if size += len(op.Value); size > maxApplyBytes {
		return "", op, wire.Fail(wire.ReasonTooLarge, "%s are %d bytes, and one transaction of etcd has at most %d: %s",
			count(len(b.changed), "object"), size, maxApplyBytes, fewer(b.record))
	}
	return id, op, err
}

// fewer is what to do about an apply that is too large.
func fewer(record v1.Apply) string {
	if record.Commit != nil {
		return "a Source applies larger commits, too"
	}
	return "apply fewer at once, or with --in-parts"
}

// refused is the answer to an apply of which some manifests are not accepted: that of the manifest if it is the only one.
func refused(items []*wire.Status) error {
	if len(items) == 1 {
		return items[0]
	}
	n, first := 0, (*wire.Status)(nil)
	for i, item := range items {
		switch {
		case item == nil:
			items[i] = wire.Done(wire.ReasonUnchanged, "not stored, because of another manifest")
		case item.Status == wire.Failure:
			if n++; first == nil {
				first = item
			}
		}
	}
	answer := wire.Fail(first.Reason, "%d of %d manifests are not accepted: nothing was stored", n, len(items))
	answer.Items = items
	return answer
}

// count is "1 object", "2 objects".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
