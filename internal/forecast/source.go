package forecast

import (
	"context"
	"fmt"
	"strconv"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/source"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/repository"
	"github.com/fleet-starter/fleet/internal/store"
)

// apply has a source apply files, as its controller decides. What it refuses is an error: nothing would happen.
func (r *run) apply(ctx context.Context, w *wire.SourceFiles) error {
	if err := r.known.CatchUp(ctx); err != nil {
		return err
	}
	commit := source.Supposed
	if w.Commit != nil {
		commit = *w.Commit
	}
	files := make([]source.File, len(w.Files))
	for i, f := range w.Files {
		files[i] = source.File{Path: f.Path, Data: f.Content(), Built: f.Built, Fault: f.Fault}
	}
	plan, ok, err := r.source.Foresee(ctx, w.Name, commit, files, w.AllowPrune)
	switch {
	case err != nil:
		return err
	case !ok:
		return wire.Fail(wire.ReasonNotFound, "source/%s does not exist", w.Name)
	case plan.Refused != source.Refusal{}:
		return wire.Fail(wire.ReasonSourceRefuses, "source/%s would apply nothing of it: %s: %s", w.Name, plan.Refused.Reason, plan.Refused.Message)
	}
	r.changes(w.Name, plan)
	return r.write(ctx, r.operations(plan))
}

// operations are the writes of a source's changes.
func (r *run) operations(plan source.Decision) []store.Op {
	ops := make([]store.Op, len(plan.Changes))
	for i, c := range plan.Changes {
		ops[i] = store.Op{Key: r.keys.ManifestKey(c.Kind, c.Name), Value: c.Raw}
	}
	return ops
}

// differently is what a source does with an object that an apply would not do.
var differently = map[string]string{
	source.DriftReverted: "put back: it is not as its source has it",
	source.Pruned:        "pruned: it is not in the files of its source",
}

// changes notes what a source changes, and what it leaves as it is.
func (r *run) changes(name string, plan source.Decision) {
	for _, c := range plan.Changes {
		change := wire.PlanChange{Object: c.String(), Reason: c.Reason, Message: differently[c.Reason]}
		if c.Revision > 0 {
			change.ResourceVersion = strconv.FormatInt(c.Revision, 10)
		}
		r.changed = append(r.changed, change)
		if c.Kind == v1.KindSource {
			r.notes = append(r.notes, fmt.Sprintf("%s: what its own repository would change is not foreseen", c.Key))
		}
	}
	for _, e := range plan.Events {
		if e.Reason == source.Released {
			r.notes = append(r.notes, e.Message)
		}
	}
	if plan.Status == nil {
		return
	}
	for _, o := range plan.Status.Inventory {
		if o.Held != "" {
			r.notes = append(r.notes, fmt.Sprintf("source/%s leaves %s as it is: %s", name, repository.KeyOf(o), o.Held))
		}
	}
}
