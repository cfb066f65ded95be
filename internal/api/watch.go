package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
)

// rowBatch is what the watch of one row reported.
type rowBatch struct {
	store.Batch
	row int
}

// watch streams events, one JSON object per line, until the client leaves. Without ?resourceVersion= it begins with all
// existing objects as ADDED, followed by a BOOKMARK. The rows of a joined object are watched independently, so
// revisions need not increase from line to line; each line is the complete object as known at that time.
func (c *resource[T]) watch(w http.ResponseWriter, r *http.Request, q query[T]) error {
	v, silent := c.view(), q.revision > 0
	q.limit, q.after = 0, ""
	revision, _, err := c.load(r.Context(), v, q)
	if err != nil {
		return err
	}
	out := newStream(w)
	ctx, cancel := context.WithCancel(r.Context())
	f := feed[T]{resource: c, view: v, query: q, out: out, sent: map[string]bool{}, finish: func([]T) error { return nil }}
	if c.finish != nil {
		f.finish = func(objects []T) error { return c.finish(ctx, r.URL.Query(), objects) }
	}
	batches, wait := c.watchRows(ctx, q.name, revision)
	defer wait()
	defer cancel()
	if silent {
		for _, name := range v.names() {
			f.sent[name] = true
		}
	} else {
		err = f.show(v.names(), revision)
	}
	if err == nil {
		out.send(wire.Event[*T]{Type: wire.Bookmark, Revision: revision})
	}
	for err == nil && out.flush() == nil {
		select {
		case <-ctx.Done():
			return nil
		case b := <-batches:
			revision = b.Revision
			if err = b.Err; err == nil {
				err = f.take(b)
			}
		}
	}
	if err != nil {
		out.send(wire.Event[*wire.Status]{Type: wire.Error, Object: toStatus(err), Revision: revision})
		return out.flush()
	}
	return nil
}

// watchRows watches all rows after a revision; wait returns when the last of its goroutines has ended.
func (c *resource[T]) watchRows(ctx context.Context, name string, revision int64) (<-chan rowBatch, func()) {
	out := make(chan rowBatch)
	var wg sync.WaitGroup
	for i, row := range c.rows {
		prefix := row.prefix + row.below
		if row.object == nil && !row.shared {
			prefix += name // also matches longer names, which take drops
		}
		in := c.store.Watch(ctx, prefix, revision)
		wg.Go(func() {
			for b := range in {
				select {
				case out <- rowBatch{Batch: b, row: i}:
				case <-ctx.Done():
				}
			}
		})
	}
	return out, wg.Wait
}

// feed turns changes of rows into events of objects.
type feed[T any] struct {
	resource *resource[T]
	view     view[T]
	query    query[T]
	out      *stream
	sent     map[string]bool
	finish   func([]T) error
}

func (f *feed[T]) take(b rowBatch) error {
	return f.show(f.resource.absorb(f.view, f.query.name, b), b.Revision)
}

// absorb applies a row's changes to a view of one object, or of all if name is empty, and returns the sorted names of
// the objects that changed.
func (c *resource[T]) absorb(v view[T], name string, b rowBatch) []string {
	row, changed := c.rows[b.row], map[string]bool{}
	for _, e := range b.Events {
		key := strings.TrimPrefix(e.Key, row.prefix)
		if !row.shared && name != "" && row.owner(key) != name {
			continue
		}
		for _, object := range v.apply(b.row, key, e.KV, e.Deleted) {
			changed[object] = true
		}
	}
	return slices.Sorted(maps.Keys(changed))
}

// shownAtOnce is the batch size of finish, which reads shared data once per batch.
const shownAtOnce = 500

// show sends the named objects in their current state.
func (f *feed[T]) show(names []string, revision int64) error {
	for some := range slices.Chunk(names, shownAtOnce) {
		if err := f.showSome(some, revision); err != nil {
			return err
		}
	}
	return nil
}

func (f *feed[T]) showSome(names []string, revision int64) error {
	objects, shown := map[string]T{}, []T{}
	for _, name := range names {
		if object, ok := f.view.object(name); ok && f.query.match(object) {
			objects[name], shown = object, append(shown, object)
		}
	}
	if err := f.finish(shown); err != nil {
		return err
	}
	for _, name := range names {
		object, ok := objects[name]
		switch {
		case ok && f.sent[name]:
			f.out.send(wire.Event[T]{Type: wire.Modified, Object: object, Revision: revision})
		case ok:
			f.sent[name] = true
			f.out.send(wire.Event[T]{Type: wire.Added, Object: object, Revision: revision})
		case f.sent[name]:
			delete(f.sent, name)
			f.out.send(wire.Event[T]{Type: wire.Deleted, Object: f.resource.tombstone(name), Revision: revision})
		}
	}
	return nil
}

// stream writes JSON lines to a client that may be slow or gone. It stops at the first error.
type stream struct {
	control *http.ResponseController
	encoder *json.Encoder
	err     error
}

func newStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", wire.JSONLines)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return &stream{control: http.NewResponseController(w), encoder: json.NewEncoder(w)}
}

func (s *stream) send(line any) {
	if s.err == nil {
		_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not supported by every server
		s.err = s.encoder.Encode(line)
	}
}

// flush sends the buffered data and clears the deadline until there is more.
func (s *stream) flush() error {
	if s.err == nil {
		s.err = s.control.Flush()
		_ = s.control.SetWriteDeadline(time.Time{})
	}
	return s.err
}
