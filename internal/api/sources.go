package api

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/repository"
	"github.com/fleet-starter/fleet/internal/store"
)

// sourceWriter changes sources.
type sourceWriter struct{ *applier }

// sourceDocument stores a source, byte for byte as it was sent.
func sourceDocument(keys keyspace.Keys, source *v1.Source, raw []byte) *document {
	d := &document{kind: v1.KindSource, name: source.Metadata.Name, version: source.Metadata.ResourceVersion, source: raw}
	d.change = verbatim(keys.Sources().Key(d.name), raw)
	return d
}

// deleteSource deletes a source. What becomes of its objects has to be said: they stay, or are deleted with it, all at once.
func (a *sourceWriter) deleteSource(w http.ResponseWriter, r *http.Request) error {
	name, objects := r.PathValue("name"), r.URL.Query().Get("objects")
	if objects != wire.ObjectsKeep && objects != wire.ObjectsPrune {
		return wire.Fail(wire.ReasonBadRequest, "?objects=%s: write keep, and what source/%s has applied stays, or prune, and it is deleted, too", objects, name)
	}
	source, err := a.apps.reader.sources.read(r.Context(), name)
	if err != nil {
		return err
	}
	if of := source.Spec.Preview; of != nil {
		return wire.Fail(wire.ReasonConflict, "source/%s is a preview of source/%s, which would make it again: delete the branch %s, or change previews of source/%s", name, of.Source,
			source.Spec.Git.Branch, of.Source)
	}
	d := a.deletion(r.Context(), v1.KindSource, name)
	if d.want, err = precondition(r, source.Metadata.ResourceVersion); err != nil {
		return err
	}
	docs := []*document{d}
	if objects == wire.ObjectsPrune && source.Status != nil {
		for _, o := range source.Status.Inventory {
			if key := strings.ToLower(o.Kind) + "/" + o.Name; key != d.what() && (source.Wish == nil || !slices.Contains(source.Wish.Disown, key)) {
				object := a.deletion(r.Context(), o.Kind, o.Name)
				object.managed = true // by the source that goes with it
				docs = append(docs, object)
			}
		}
	}
	answer, err := a.apply(r.Context(), docs, a.record(r, ""), applyOptions{dryRun: flag(r.URL.Query().Get("dryRun"))})
	if err != nil {
		return err
	}
	item := answer.Items[0]
	if n := len(docs) - 1; n > 0 {
		item.Message += fmt.Sprintf(", with %s", count(n, "object"))
	}
	return writeJSON(w, item.Code, item)
}

// changeWish stores what people ask of a source; the leader acts on it.
func (a *sourceWriter) changeWish(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var request wire.SourceRequest
	if err := strictJSON(body, &request); err != nil {
		return wire.Fail(wire.ReasonBadRequest, `%v: write {"action": "sync"}, suspend, resume, adopt or disown`, err)
	}
	answer, err := again(func() (*wire.Status, error) { return a.changeWishOnce(r, request) })
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
}

func (a *sourceWriter) changeWishOnce(r *http.Request, request wire.SourceRequest) (*wire.Status, error) {
	source, err := a.apps.reader.sources.read(r.Context(), r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return a.storeWish(r, source.Metadata.Name, request, func(is v1.SourceWish) (v1.SourceWish, string, error) {
		return wanted(source, is, request, a.now())
	})
}

// storeWish stores the wish that change makes of the present one, and answers with its message.
func (a *sourceWriter) storeWish(r *http.Request, name string, request wire.SourceRequest, change func(v1.SourceWish) (v1.SourceWish, string, error)) (*wire.Status, error) {
	key, what := a.keys.SourceWishes().Key(name), "source/"+name
	kv, exists, _, err := a.store.Get(r.Context(), key)
	if err != nil {
		return nil, err
	}
	is, _ := a.keys.SourceWishes().Decode(kv.Value) // an unreadable one is overwritten
	if !exists {
		is = v1.SourceWish{}
	}
	shall, message, err := change(is)
	if err != nil {
		return nil, err
	}
	if reflect.DeepEqual(is, shall) {
		return wire.Done(wire.ReasonUnchanged, "%s %s", what, message), nil
	}
	op := store.Op{Key: key, If: condition(kv, exists)}
	if op.Value, err = a.keys.SourceWishes().Encode(shall); err != nil {
		return nil, err
	}
	user, from := caller(r)
	a.log.Info("changing a source", "reason", request.Action, "object", what, "objects", strings.Join(request.Objects, " "), "user", user, "from", from)
	revision, err := a.store.Commit(r.Context(), store.Txn{Ops: []store.Op{op}})
	if err != nil {
		return nil, err
	}
	answer := done(wire.ReasonConfigured, what, revision)
	answer.Message = what + " " + message
	return answer, nil
}

// wanted is the wish after an action, and what to say of it.
func wanted(source *wire.Source, is v1.SourceWish, request wire.SourceRequest, now time.Time) (shall v1.SourceWish, message string, err error) {
	shall = is
	objects, err := objectsOf(request)
	if err != nil {
		return shall, "", err
	}
	switch request.Action {
	case wire.Sync:
		if source.Spec.Suspend || is.Suspended {
			return shall, "", wire.Fail(wire.ReasonConflict, "source/%s is suspended: fleetctl resume source/%s", source.Metadata.Name, source.Metadata.Name)
		}
		if request.AllowPrune {
			if source.Status == nil || source.Status.Failed == nil {
				return shall, "", wire.Fail(wire.ReasonConflict, "source/%s has no commit that is refused: there is nothing to allow", source.Metadata.Name)
			}
			shall.AllowPrune = source.Status.Failed.Hash
		}
		shall.RequestedAt, message = now.UTC().Format(time.RFC3339Nano), "is looked at now"
	case wire.Suspend:
		shall.Suspended, message = true, "suspended: nothing is applied until fleetctl resume"
	case wire.Resume:
		if source.Spec.Suspend {
			return shall, "", wire.Fail(wire.ReasonConflict, "source/%s has suspend: true in its manifest: change it there", source.Metadata.Name)
		}
		shall.Suspended, message = false, "resumed"
	case wire.Adopt:
		shall.Adopt = merged(is.Adopt, objects)
		shall.Disown = slices.DeleteFunc(slices.Clone(is.Disown), func(o string) bool { return slices.Contains(objects, o) })
		message = "may take over " + strings.Join(objects, ", ")
	case wire.Disown:
		shall.Disown = merged(is.Disown, objects)
		shall.Adopt = slices.DeleteFunc(slices.Clone(is.Adopt), func(o string) bool { return slices.Contains(objects, o) })
		message = "gives up " + strings.Join(objects, ", ")
	default:
		err = wire.Fail(wire.ReasonBadRequest, "action %q: use sync, suspend, resume, adopt or disown", request.Action)
	}
	return shall, message, err
}

// objectsOf checks the objects of a request.
func objectsOf(request wire.SourceRequest) ([]string, error) {
	takes := request.Action == wire.Adopt || request.Action == wire.Disown
	if takes != (len(request.Objects) > 0) {
		return nil, wire.Fail(wire.ReasonBadRequest, "action %s: objects belong to adopt and disown: write them as app/NAME", request.Action)
	}
	for _, o := range request.Objects {
		kind, name, ok := strings.Cut(o, "/")
		if !ok || kind != "app" && kind != "source" || !v1.IsLabel(name) {
			return nil, wire.Fail(wire.ReasonBadRequest, "%q is not an object that a source applies: write app/NAME or source/NAME", o)
		}
	}
	return request.Objects, nil
}

func merged(a, b []string) []string {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}

// sourceView joins manifests, statuses and wishes.
type sourceView struct {
	keys    keyspace.Keys
	sources map[string]*wire.Source
	status  map[string]*v1.SourceStatus
	wishes  map[string]*v1.SourceWish
}

func (v *sourceView) apply(i int, name string, kv store.KV, deleted bool) []string {
	switch {
	case i == 1:
		set(&v.status, name, decoded(v.keys.SourceStatus(), kv, deleted))
	case i == 2:
		set(&v.wishes, name, decoded(v.keys.SourceWishes(), kv, deleted))
	case deleted:
		delete(v.sources, name)
	default:
		v.sources[name] = readSource(name, kv)
	}
	return []string{name}
}

func sourceNamed(name string) *wire.Source {
	return &wire.Source{Source: v1.Source{TypeMeta: typeOf(v1.KindSource), Metadata: v1.ObjectMeta{Name: name}}}
}

// readSource reads a stored manifest. An invalid one keeps its text instead of a spec.
func readSource(name string, kv store.KV) *wire.Source {
	s := sourceNamed(name)
	if source, err := v1.ParseSource(name, kv.Value); err != nil {
		s.Manifest = string(kv.Value)
	} else {
		s.Source = *source
	}
	s.Metadata.UID, s.Metadata.ResourceVersion = identity(kv)
	return s
}

func (v *sourceView) object(name string) (*wire.Source, bool) {
	stored, ok := v.sources[name]
	if !ok {
		return nil, false
	}
	s := *stored
	if status := v.status[name]; status != nil && status.UID == revisionOf(s.Metadata.UID) {
		s.Status = status
	}
	s.Wish = v.wishes[name]
	return &s, true
}

func (v *sourceView) names() []string { return slices.Sorted(maps.Keys(v.sources)) }

func (v *sourceView) forget(name string) { delete(v.sources, name) }

// managers are the sources that objects belong to.
func (r *reader) managers(ctx context.Context) (map[repository.Key]string, error) {
	managers := map[repository.Key]string{}
	row := r.keys.SourceStatus()
	err := r.apps.scan(ctx, row.Prefix(), store.ListOptions{}, func(kv store.KV) bool {
		name, ok := row.Name(kv.Key)
		status, err := row.Decode(kv.Value)
		if !ok || err != nil {
			return true
		}
		for _, o := range status.Inventory {
			managers[repository.KeyOf(o)] = name
		}
		return true
	})
	return managers, err
}

// warnManaged adds a warning to each document that a source manages: what people store there is put back.
func (r *reader) warnManaged(ctx context.Context, docs []*document) error {
	if !slices.ContainsFunc(docs, func(d *document) bool { return d.kind == v1.KindApp }) {
		return nil
	}
	managers, err := r.managers(ctx)
	if err != nil {
		return err
	}
	for _, d := range docs {
		if source := managers[repository.Key{Kind: d.kind, Name: d.name}]; d.kind == v1.KindApp && source != "" && !d.managed {
			d.managed = true
			d.warnings = append(d.warnings, wire.Cause{Message: d.what() + " " + managedBy(source, d)})
		}
	}
	return nil
}

// managedBy says that an object belongs to a source, and what to do.
func managedBy(source string, d *document) string {
	return fmt.Sprintf("belongs to source/%s, which puts back what its repository says: change it there, or fleetctl disown source/%s %s", source, source, d.what())
}
