package source

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/repository"
)

// observe gathers what is known about one source, beside what was fetched.
func (c *Controller) observe(ctx context.Context, name string, fetched Fetched) (Input, error) {
	in := Input{Now: c.Now(), Name: name, Fetched: fetched, Reporting: c.reports.of(name), Recalled: c.fetches.applied(name), Current: map[Key]Current{}, Others: map[Key]string{}, Hosts: map[string]string{},
		Taken: map[string]map[string]string{}}
	if o, ok := c.Cluster.SourceStatus.Get(name); ok {
		in.StatusRevision = o.ModRevision
		if o.Err == nil {
			in.Status = &o.Value
		}
	}
	o, ok := c.Cluster.Sources.Get(name)
	if wish, ok := c.Cluster.SourceWishes.Get(name); ok && wish.Err == nil {
		in.Wish = wish.Value
	}
	if !ok && in.Status != nil && in.Status.Preview != "" { // its apps end with it
		c.others(&in)
		return in, c.objects(ctx, &in)
	}
	if !ok {
		return in, nil
	}
	in.Source = &Manifest{Revision: o.ModRevision, UID: o.CreateRevision}
	if source, err := v1.ParseSource(name, o.Value); err != nil {
		in.Source.Fault = err
	} else {
		in.Source.Spec = source.Spec
	}
	if err := c.previews(ctx, &in); err != nil {
		return in, err
	}
	for _, dependency := range in.Source.Spec.DependsOn {
		if why := c.waitsFor(dependency); why != "" {
			in.Waits = append(in.Waits, why)
		}
	}
	c.others(&in)
	return in, c.objects(ctx, &in)
}

// waitsFor is why a source that another one depends on is not ready; empty: it is.
func (c *Controller) waitsFor(source string) string {
	if _, ok := c.Cluster.Sources.Get(source); !ok {
		return "source/" + source + " does not exist"
	}
	o, ok := c.Cluster.SourceStatus.Get(source)
	if !ok {
		return "source/" + source + " has not been read yet"
	}
	if ready := v1.FindCondition(o.Value.Conditions, v1.Ready); ready == nil || ready.Status != v1.ConditionTrue {
		return "source/" + source + " is not ready"
	}
	return ""
}

// others notes what belongs to the other sources. What one no longer exists had belongs to none.
func (c *Controller) others(in *Input) {
	for _, o := range c.Cluster.SourceStatus.List() {
		source, exists := c.Cluster.Sources.Get(o.Name)
		if o.Name == in.Name || !exists || source.CreateRevision != o.Value.UID {
			continue
		}
		for _, object := range o.Value.Inventory {
			in.Others[repository.KeyOf(object)] = o.Name
		}
	}
	for _, o := range c.Cluster.Routes.List() {
		for host := range o.Value.Hosts {
			if host != "" {
				in.Hosts[host] = o.Name
			}
		}
	}
}

// objects adds the objects that the commit or the inventory names.
func (c *Controller) objects(ctx context.Context, in *Input) error {
	applied := map[Key]string{}
	if in.Status != nil {
		for _, o := range in.Status.Inventory {
			applied[repository.KeyOf(o)] = o.Hash
		}
	}
	for _, key := range keys(in.Fetched.Manifests, in.Status) {
		current, err := c.current(ctx, key, applied[key])
		if err != nil {
			return err
		}
		if current != nil {
			in.Current[key] = *current
		}
		if key.Kind == v1.KindApp {
			in.Taken[key.Name] = c.Cluster.OthersUnits(key.Name)
		}
	}
	return nil
}

// current is an object as it is stored; nil if it is not, and no undo deleted it.
func (c *Controller) current(ctx context.Context, key Key, applied string) (*Current, error) {
	o, exists := c.stored(key)
	current := &Current{Gone: !exists}
	if exists {
		current.Hash, current.Revision = repository.Hash(o.Value), o.ModRevision
		if key.Kind == v1.KindApp {
			current.Paused, current.NotReady, current.Rejected = paused(o), c.notReady(o), c.rejected(o)
		}
	}
	if applied != "" && current.Hash != applied {
		undone, err := c.undone(ctx, key, current.Revision)
		if err != nil {
			return nil, err
		}
		current.Undone = undone
	}
	if !exists && current.Undone == "" {
		return nil, nil
	}
	return current, nil
}

// stored is the manifest of an object.
func (c *Controller) stored(key Key) (*cache.Object[[]byte], bool) {
	if key.Kind == v1.KindSource {
		return c.Cluster.Sources.Get(key.Name)
	}
	return c.Cluster.Apps.Get(key.Name)
}

// paused reports whether people have taken an app out of the hands of its source. A manifest that cannot be read is not.
func paused(o *cache.Object[[]byte]) bool {
	if !strings.Contains(string(o.Value), v1.AnnotationSync) {
		return false
	}
	app, err := v1.ParseAppNamed(o.Name, o.Value)
	return err == nil && app.Metadata.Annotations[v1.AnnotationSync] == v1.SyncPaused
}

// rejected reports whether the roll-out of an app's manifest was taken back.
func (c *Controller) rejected(o *cache.Object[[]byte]) bool {
	status, ok := c.Cluster.Status.Get(o.Name)
	if !ok {
		return false
	}
	accepted := v1.FindCondition(status.Value.Conditions, v1.Accepted)
	return accepted != nil && accepted.Status == v1.ConditionFalse && accepted.Reason == v1.ReasonRejected && accepted.ObservedRevision >= o.ModRevision
}

func (c *Controller) notReady(o *cache.Object[[]byte]) string {
	status, ok := c.Cluster.Status.Get(o.Name)
	if !ok {
		return "not looked at yet"
	}
	if why := notReady(&status.Value); why != "" {
		return why
	}
	if ready := v1.FindCondition(status.Value.Conditions, v1.Ready); ready.ObservedRevision < o.ModRevision {
		return "not looked at yet"
	}
	return ""
}

func notReady(status *v1.AppStatus) string {
	if c := v1.FindCondition(status.Conditions, v1.Accepted); c != nil && c.Status == v1.ConditionFalse {
		return c.Reason + ": " + c.Message
	}
	c := v1.FindCondition(status.Conditions, v1.Ready)
	switch {
	case c == nil:
		return "not looked at yet"
	case c.Status != v1.ConditionTrue:
		return c.Reason + ": " + c.Message
	}
	return ""
}

// searchedApplies is how many of the newest applies are searched for the one that deleted an object.
const searchedApplies = 50

// undone says who took back what the source had applied, if the last change of an object was an undo: the apply of its revision or,
// for one that was deleted, the newest apply that has it.
func (c *Controller) undone(ctx context.Context, key Key, revision int64) (string, error) {
	if err := c.caughtUp(ctx, revision); err != nil {
		return "", err
	}
	applies := c.Cluster.Applies.List() // by time
	searched := 0
	for _, o := range slices.Backward(applies) {
		if revision != 0 && o.ModRevision != revision {
			continue
		}
		if searched++; searched > searchedApplies {
			return "", nil
		}
		kv, ok, _, err := c.Store.Get(ctx, c.Cluster.Keys.Applies().Key(o.Name))
		if err != nil {
			return "", fmt.Errorf("apply %s: %w", o.Name, err)
		}
		if !ok {
			continue
		}
		apply, err := c.Cluster.Keys.Applies().Decode(kv.Value)
		if err != nil || !slices.ContainsFunc(apply.Objects, func(a v1.AppliedObject) bool { return a.Kind == key.Kind && a.Name == key.Name }) {
			continue
		}
		if !apply.Undo {
			return "", nil
		}
		return undoneBy(apply), nil
	}
	return "", nil
}

// caughtUp waits until the cache has the applies of what it knows of an object, which may come a moment later: without its record, an
// undo looks like an edit.
func (c *Controller) caughtUp(ctx context.Context, revision int64) error {
	if revision != 0 {
		return c.Cluster.WaitForRevision(ctx, revision)
	}
	return c.Cluster.CatchUp(ctx) // it was deleted, and when is not known
}

func undoneBy(a v1.Apply) string {
	text := undonePrefix
	if a.User != "" {
		text += " by " + a.User
	}
	return text + " at " + a.Time.Format(time.RFC3339) + ", and waits for the next change of its file"
}
