package api

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
)

// attempts is how often a write that names no version is tried against others who write the same object.
const attempts = 5

// getApp answers with the object, or with "Accept: application/yaml" with the stored bytes.
func (s *Server) getApp(w http.ResponseWriter, r *http.Request) error {
	if !strings.Contains(r.Header.Get("Accept"), wire.YAML) {
		return s.apps.get(w, r)
	}
	name := r.PathValue("name")
	kv, ok, _, err := s.Store.Get(r.Context(), s.Keys.Apps().Key(name))
	if err != nil {
		return err
	}
	if !ok {
		return s.apps.notFound(name)
	}
	w.Header().Set("ETag", strconv.Quote(strconv.FormatInt(kv.ModRevision, 10)))
	return writeText(w, wire.YAML, kv.Value)
}

// putApp stores a manifest as it was sent, when it is valid.
func (s *Server) putApp(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	app, err := v1.ParseAppNamed(name, body)
	if err != nil {
		return wire.Invalid("app/"+name, causes(err))
	}
	want, err := precondition(r, app.Metadata.ResourceVersion)
	if err != nil {
		return err
	}
	answer, err := s.write(r.Context(), write{
		what: "app/" + name, key: s.Keys.Apps().Key(name), want: want, dryRun: flag(r.URL.Query().Get("dryRun")),
		change: func(kv store.KV, _ bool) ([]store.Op, error) {
			if bytes.Equal(kv.Value, body) {
				return nil, nil
			}
			return []store.Op{{Key: s.Keys.Apps().Key(name), Value: body}}, nil
		},
	})
	if err != nil {
		return err
	}
	if warnings := app.Warnings(); len(warnings) > 0 {
		answer.Warnings = causes(warnings)
	}
	return writeJSON(w, answer.Code, answer)
}

func (s *Server) deleteApp(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	want, err := precondition(r, "")
	if err != nil {
		return err
	}
	answer, err := s.remove(r.Context(), write{what: "app/" + name, key: s.Keys.Apps().Key(name), want: want,
		dryRun: flag(r.URL.Query().Get("dryRun")),
		change: func(store.KV, bool) ([]store.Op, error) { return s.overridesOf(r.Context(), name) }})
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
}

// maxOverrides is how many are written in one transaction; of a deleted app others are collected.
const maxOverrides = 100

// overridesOf deletes what people wished for an app's units: one of the same name that follows begins without.
func (s *Server) overridesOf(ctx context.Context, app string) ([]store.Op, error) {
	overrides, err := s.overrideKeys(ctx, app)
	var ops []store.Op
	for _, unit := range slices.Sorted(maps.Keys(overrides)) {
		if len(ops) < maxOverrides {
			ops = append(ops, store.Op{Key: s.Keys.Overrides().Key(unit)})
		}
	}
	return ops, err
}

// appEndpoints lists the announced instances of one app, below the prefix that its manifest names.
func (s *Server) appEndpoints(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	app, err := s.apps.read(r.Context(), name)
	if err != nil {
		return err
	}
	prefix := v1.DefaultAnnouncePrefix
	if app.Spec.Announce != nil && app.Spec.Announce.Prefix != "" {
		prefix = app.Spec.Announce.Prefix
	}
	endpoints := s.endpointsBelow(prefix)
	endpoints.rows[0].below = name + "/"
	return endpoints.list(w, r)
}

// write is one change of one object.
type write struct {
	what, key string
	// want is the version that the writer has seen; 0 where it named none.
	want   int64
	dryRun bool
	// change returns the operations, of which the first is on key; none where nothing is to change.
	change func(kv store.KV, exists bool) ([]store.Op, error)
}

// write carries a change out, compare-and-swap on the object. A writer who named no version is tried again when
// another one was faster.
func (s *Server) write(ctx context.Context, w write) (*wire.Status, error) {
	for attempt := 1; ; attempt++ {
		answer, err := s.writeOnce(ctx, w)
		if !errors.Is(err, store.ErrConflict) || w.want != 0 || attempt == attempts {
			return answer, err
		}
	}
}

func (s *Server) writeOnce(ctx context.Context, w write) (*wire.Status, error) {
	kv, exists, _, err := s.Store.Get(ctx, w.key)
	if err != nil {
		return nil, err
	}
	ops, err := w.change(kv, exists)
	if err != nil {
		return nil, err
	}
	reason := wire.ReasonConfigured
	switch {
	case len(ops) == 0:
		return done(wire.ReasonUnchanged, w.what, kv.ModRevision), nil
	case w.want != 0 && w.want != kv.ModRevision:
		return nil, stale(w, kv, exists)
	case !exists:
		reason = wire.ReasonCreated
	}
	if w.dryRun {
		return done(reason, w.what, kv.ModRevision), nil
	}
	ops[0].If = condition(kv, exists)
	s.Log.Info("writing", "reason", reason, "object", w.what, "key", w.key)
	revision, err := s.Store.Commit(ctx, store.Txn{Ops: ops})
	if err != nil {
		return nil, err
	}
	return done(reason, w.what, revision), nil
}

// remove deletes an object; change, if any, returns further operations or a refusal.
func (s *Server) remove(ctx context.Context, w write) (*wire.Status, error) {
	for attempt := 1; ; attempt++ {
		kv, exists, _, err := s.Store.Get(ctx, w.key)
		if err != nil {
			return nil, err
		}
		if !exists {
			return nil, wire.Fail(wire.ReasonNotFound, "%s does not exist", w.what)
		}
		if w.want != 0 && w.want != kv.ModRevision {
			return nil, stale(w, kv, exists)
		}
		ops := []store.Op{{Key: w.key, If: condition(kv, true)}}
		if w.change != nil {
			more, err := w.change(kv, true)
			if err != nil {
				return nil, err
			}
			ops = append(ops, more...)
		}
		if w.dryRun {
			return done(wire.ReasonDeleted, w.what, kv.ModRevision), nil
		}
		s.Log.Info("deleting", "reason", wire.ReasonDeleted, "object", w.what, "key", w.key)
		revision, err := s.Store.Commit(ctx, store.Txn{Ops: ops})
		if err == nil {
			return done(wire.ReasonDeleted, w.what, revision), nil
		}
		if !errors.Is(err, store.ErrConflict) || w.want != 0 || attempt == attempts {
			return nil, err
		}
	}
}

func condition(kv store.KV, exists bool) store.Condition {
	if !exists {
		return store.Absent()
	}
	return store.Unchanged(kv.ModRevision)
}

func stale(w write, kv store.KV, exists bool) error {
	if !exists {
		return wire.Fail(wire.ReasonConflict, "%s does not exist any more, but the request names version %d: remove metadata.resourceVersion to create it anew", w.what, w.want)
	}
	return wire.Fail(wire.ReasonConflict, "%s changed since it was read: the request names version %d, it is at %d: read it again, or remove metadata.resourceVersion to write in any case",
		w.what, w.want, kv.ModRevision)
}

// done is the answer to a write, such as "app/hello created".
func done(reason, what string, revision int64) *wire.Status {
	answer := wire.Done(reason, "%s %s", what, strings.ToLower(reason))
	answer.ResourceVersion = strconv.FormatInt(revision, 10)
	return answer
}

// precondition is the version that a writer names: If-Match goes before the object's resourceVersion.
func precondition(r *http.Request, resourceVersion string) (int64, error) {
	text, where := resourceVersion, "metadata.resourceVersion"
	if match := r.Header.Get("If-Match"); match != "" && match != "*" {
		text, where = strings.Trim(match, `"`), "If-Match"
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, wire.Fail(wire.ReasonBadRequest, "%s: %q is not a version: take it from the object as it was read", where, text)
	}
	return n, nil
}
