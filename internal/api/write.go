package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
)

// attempts is how often a write without a version is tried when other clients write the same object.
const attempts = 5

// again repeats an attempt for as long as other clients are faster, at most so many times.
func again[T any](attempt func() (T, error)) (T, error) {
	for n := 1; ; n++ {
		answer, err := attempt()
		if !errors.Is(err, store.ErrConflict) || n == attempts {
			return answer, err
		}
	}
}

// writer applies changes by compare-and-swap.
type writer struct {
	store store.Interface
	log   logr.Logger
}

// write is a change to one object.
type write struct {
	what, key string
	// want is the version named by the client; 0 if none.
	want   int64
	dryRun bool
	// read is the object as the caller has read it just now, which saves the first attempt a read; nil if it has not.
	read *reading
	// once: a conflict is the caller's, who has not really read it.
	once bool
	// change returns the operations, of which the first is on key; none if there is nothing to change.
	change func(kv store.KV, exists bool) ([]store.Op, error)
}

// reading is what was stored under a key.
type reading struct {
	kv     store.KV
	exists bool
}

// write applies a change by compare-and-swap on the object. Without a version it retries when another client was
// faster.
func (w *writer) write(ctx context.Context, c write) (*wire.Status, error) {
	for attempt := 1; ; attempt++ {
		answer, err := w.writeOnce(ctx, c)
		if !errors.Is(err, store.ErrConflict) || c.want != 0 || c.once || attempt == attempts {
			return answer, err
		}
		c.read = nil
	}
}

func (w *writer) writeOnce(ctx context.Context, c write) (*wire.Status, error) {
	if c.read == nil {
		kv, exists, _, err := w.store.Get(ctx, c.key)
		if err != nil {
			return nil, err
		}
		c.read = &reading{kv, exists}
	}
	kv, exists := c.read.kv, c.read.exists
	ops, err := c.change(kv, exists)
	if err != nil {
		return nil, err
	}
	reason := wire.ReasonConfigured
	switch {
	case len(ops) == 0:
		return done(wire.ReasonUnchanged, c.what, kv.ModRevision), nil
	case c.want != 0 && c.want != kv.ModRevision:
		return nil, stale(c, kv, exists)
	case !exists:
		reason = wire.ReasonCreated
	}
	if c.dryRun {
		return done(reason, c.what, kv.ModRevision), nil
	}
	ops[0].If = condition(kv, exists)
	w.log.Info("writing", "reason", reason, "object", c.what, "key", c.key)
	revision, err := w.store.Commit(ctx, store.Txn{Ops: ops})
	if err != nil {
		return nil, err
	}
	return done(reason, c.what, revision), nil
}

// remove deletes an object; change, if set, returns further operations or a refusal.
func (w *writer) remove(ctx context.Context, c write) (*wire.Status, error) {
	for attempt := 1; ; attempt++ {
		kv, exists, _, err := w.store.Get(ctx, c.key)
		if err != nil {
			return nil, err
		}
		if !exists {
			return nil, wire.Fail(wire.ReasonNotFound, "%s does not exist", c.what)
		}
		if c.want != 0 && c.want != kv.ModRevision {
			return nil, stale(c, kv, exists)
		}
		ops := []store.Op{{Key: c.key, If: condition(kv, true)}}
		if c.change != nil {
			more, err := c.change(kv, true)
			if err != nil {
				return nil, err
			}
			ops = append(ops, more...)
		}
		if c.dryRun {
			return done(wire.ReasonDeleted, c.what, kv.ModRevision), nil
		}
		w.log.Info("deleting", "reason", wire.ReasonDeleted, "object", c.what, "key", c.key)
		revision, err := w.store.Commit(ctx, store.Txn{Ops: ops})
		if err == nil {
			return done(wire.ReasonDeleted, c.what, revision), nil
		}
		if !errors.Is(err, store.ErrConflict) || c.want != 0 || attempt == attempts {
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
		return wire.Fail(wire.ReasonConflict, "%s was deleted, but the request names version %d: remove metadata.resourceVersion to create it again", w.what, w.want)
	}
	return wire.Fail(wire.ReasonConflict, "%s changed since it was read, from version %d to %d: read it again, or remove metadata.resourceVersion to overwrite it",
		w.what, w.want, kv.ModRevision)
}

// done is the answer to a write, such as "app/hello created".
func done(reason, what string, revision int64) *wire.Status {
	answer := wire.Done(reason, "%s %s", what, strings.ToLower(reason))
	answer.ResourceVersion = strconv.FormatInt(revision, 10)
	return answer
}

// precondition returns the version that a client names: If-Match takes precedence over the object's resourceVersion.
func precondition(r *http.Request, resourceVersion string) (int64, error) {
	text, where := resourceVersion, "metadata.resourceVersion"
	if match := r.Header.Get("If-Match"); match != "" && match != "*" {
		text, where = strings.Trim(match, `"`), "If-Match"
	}
	return version(text, where)
}

// version parses a resourceVersion; 0 for none.
func version(text, where string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, wire.Fail(wire.ReasonBadRequest, "%s: %q is not a version: use the resourceVersion of the object as it was read", where, text)
	}
	return n, nil
}
