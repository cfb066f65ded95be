package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/applies"
	"github.com/fleet-starter/fleet/internal/repository"
	"github.com/fleet-starter/fleet/internal/store"
)

// apply does what the plan says. All changes of a commit are one transaction if etcd takes it; else the status says that the commit
// is staged until the last one, so that the next leader finishes it.
func (c *Controller) apply(ctx context.Context, in Input, plan Decision) error {
	if in.Source == nil {
		c.fetches.forget(in.Name)
		c.reports.forget(in.Name)
	}
	if plan.Forget {
		if plan.Status == nil {
			return c.commit(ctx, &in, nil, nil)
		}
		return c.store(ctx, in, plan)
	}
	if plan.Fetch != nil {
		c.fetches.begin(look{source: in.Name, ask: *plan.Fetch, spec: in.Source.Spec})
	}
	if plan.Recall != "" {
		c.fetches.begin(look{source: in.Name, ask: Ask{Revision: in.Source.Revision, Commit: plan.Recall}, spec: in.Source.Spec, recall: true})
	}
	if plan.Status != nil {
		if err := c.store(ctx, in, plan); err != nil {
			return fmt.Errorf("source %s: %w", in.Name, err)
		}
	}
	if plan.Commit != nil && !plan.PutBack { // all of the newest commit is applied
		c.fetches.keep(in.Name, Recalled{Hash: plan.Commit.Hash, Revision: in.Source.Revision, At: in.Now, Manifests: in.Fetched.Manifests})
	}
	if plan.Report != nil {
		c.reports.begin(posted{source: in.Name, revision: in.Source.Revision, spec: in.Source.Spec, report: *plan.Report})
	}
	return nil
}

// store makes the changes, and tells them.
func (c *Controller) store(ctx context.Context, in Input, plan Decision) error {
	log := logr.FromContextOrDiscard(ctx)
	for _, change := range plan.Changes {
		log.Info("Applying", "reason", change.Reason, "object", change.Key.String(), "commit", plan.Commit.Hash)
	}
	for _, change := range plan.Previews {
		log.Info("Applying", "reason", change.Reason, "object", change.Key.String())
	}
	if err := c.write(ctx, in, plan); err != nil {
		return err
	}
	for _, e := range plan.Events {
		kind, name := v1.KindSource, in.Name
		if e.App != "" {
			kind, name = v1.KindApp, e.App
		}
		c.Events.Record(kind, name, e.Type, e.Reason, e.Message)
	}
	return nil
}

// write stores the changes and the status.
func (c *Controller) write(ctx context.Context, in Input, plan Decision) error {
	parts := split(plan.Changes)
	done := map[Key]bool{}
	for i, changes := range parts {
		var ops []store.Op
		if len(changes) > 0 {
			var err error
			if ops, err = c.changes(in, plan, changes, i); err != nil {
				return err
			}
		}
		for _, change := range changes {
			done[change.Key] = true
		}
		status := plan.Status
		switch last := i == len(parts)-1; {
		case !last && !plan.PutBack:
			status = staged(in, plan, done)
		case last && plan.Forget:
			status = nil
		case last:
			previews, _ := c.ops(plan.Previews)
			ops = append(ops, previews...)
		}
		if err := c.commit(ctx, &in, ops, status); err != nil {
			return err
		}
	}
	return nil
}

// MaxChanges is how many changes one transaction has: etcd's limit, less the status, the record and a fence. A simulation sets a
// smaller one before anything runs.
var MaxChanges = store.MaxTxnOps - 3

// The limits of one transaction in bytes.
const (
	maxBytes  = 700_000
	maxRecord = 300_000
)

// split cuts changes into transactions; there is at least one, for the status.
func split(changes []Change) [][]Change {
	parts, bytes := [][]Change{nil}, 0
	for _, change := range changes {
		last := len(parts) - 1
		if n := len(parts[last]); n > 0 && (n == MaxChanges || bytes+len(change.Raw) > maxBytes) {
			parts, bytes = append(parts, nil), 0
			last++
		}
		parts[last], bytes = append(parts[last], change), bytes+len(change.Raw)
	}
	return parts
}

// changes are the operations of one transaction, with the record of it.
func (c *Controller) changes(in Input, plan Decision, changes []Change, part int) (ops []store.Op, err error) {
	commit := *plan.Commit
	commit.Source = in.Name
	record := v1.Apply{Time: c.Now().UTC().Truncate(time.Second), Note: fmt.Sprintf("commit %s: %s", commit.Short(), commit.Subject), Commit: &commit}
	if plan.Note != "" {
		record.Note = plan.Note
	}
	ops, record.Objects = c.ops(changes)
	sum := sha256.Sum256(fmt.Append(nil, in.Name, " ", in.StatusRevision, " ", part)) // differs from that of every other write
	_, op, err := applies.Op(c.Cluster.Keys, record, maxRecord, hex.EncodeToString(sum[:3]))
	return append(ops, op), err
}

// ops are the writes of changes, and what is recorded of each.
func (c *Controller) ops(changes []Change) (ops []store.Op, objects []v1.AppliedObject) {
	for _, change := range changes {
		object := v1.AppliedObject{Kind: change.Kind, Name: change.Name, Created: change.Revision == 0, Deleted: change.Raw == nil, File: change.File}
		op := store.Op{Key: c.Cluster.Keys.ManifestKey(change.Kind, change.Name), Value: change.Raw, If: store.Absent()}
		if change.Revision != 0 {
			op.If = store.Unchanged(change.Revision)
			if stored, ok := c.stored(change.Key); ok {
				object.Before = v1.KeptManifest(stored.Value)
			}
		}
		ops, objects = append(ops, op), append(objects, object)
	}
	return ops, objects
}

// staged is the status while some changes of a commit are not stored yet: what is done belongs to the source, and what is not is as it
// was.
func staged(in Input, plan Decision, done map[Key]bool) *v1.SourceStatus {
	status := v1.SourceStatus{UID: plan.Status.UID}
	if in.Status != nil && in.Status.UID == status.UID {
		status = *in.Status
	}
	status.Staged, status.Inventory = plan.Commit, nil
	open := map[Key]bool{}
	for _, change := range plan.Changes {
		open[change.Key] = !done[change.Key]
	}
	if in.Status != nil {
		for _, o := range in.Status.Inventory {
			if open[repository.KeyOf(o)] {
				status.Inventory = append(status.Inventory, o)
			}
		}
	}
	for _, o := range plan.Status.Inventory {
		if !open[repository.KeyOf(o)] {
			status.Inventory = append(status.Inventory, o)
		}
	}
	slices.SortFunc(status.Inventory, func(a, b v1.SourceObject) int {
		return repository.KeyOf(a).Compare(repository.KeyOf(b))
	})
	return &status
}

// commit stores operations with the status, nil to delete it, and waits until the cache has seen them.
func (c *Controller) commit(ctx context.Context, in *Input, ops []store.Op, status *v1.SourceStatus) error {
	op := store.Op{Key: c.Cluster.Keys.SourceStatus().Key(in.Name), If: store.Absent()}
	if in.StatusRevision != 0 {
		op.If = store.Unchanged(in.StatusRevision)
	}
	if status != nil {
		value, err := c.Cluster.Keys.SourceStatus().Encode(*status)
		if err != nil {
			return err
		}
		op.Value = value
	}
	if status != nil || in.StatusRevision != 0 {
		ops = append(ops, op)
	}
	revision, err := c.Store.Commit(ctx, store.Txn{Ops: ops, Fence: c.Fence})
	if err != nil {
		return err
	}
	in.StatusRevision = revision
	return c.Cluster.WaitForRevision(ctx, revision)
}
