package sim

import (
	"fmt"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// seenIn is how long a leader may take to see what people ask of a source.
const seenIn = 5 * time.Second

// sourceWrites checks what a source writes to one app.
func (c *checker) sourceWrites(source, app string, e store.Event, by writer, before gitBefore) {
	mine, is := entryOf(before.statuses[source].Inventory, app)
	if e.Deleted {
		if c.counts.Check(invPruned); !is {
			c.w.fail(invPruned, "source %s deleted app %s at revision %d, and had not applied it", source, app, e.ModRevision)
		}
	}
	for _, other := range gitSources {
		if other != source && inInventory(before.statuses[other].Inventory, app) {
			c.w.fail(invOwner, "source %s wrote app %s at revision %d, which source %s has applied", source, app, e.ModRevision, other)
		}
	}
	text, there := before.apps[app]
	parsed, err := v1.ParseAppNamed(app, []byte(text))
	paused := there && err == nil && parsed.Metadata.Annotations[v1.AnnotationSync] == v1.SyncPaused
	if c.counts.Check(invPaused); paused && (!is || mine.Hash != hashOf(text)) {
		c.w.fail(invPaused, "source %s wrote app %s at revision %d", source, app, e.ModRevision)
	}
	if u, ok := c.undone[app]; ok && u.source == source && !e.Deleted {
		if c.counts.Check(invUndone); u.hash == hashOf(string(e.Value)) {
			c.w.fail(invUndone, "source %s wrote the text of app %s again at revision %d", source, app, e.ModRevision)
		}
	}
	delete(c.undone, app)
	excuse := ""
	since, suspended := c.held[source]
	if suspended && (time.Since(since) < seenIn || time.Since(c.trouble[by.process.host]) < agentTTL) {
		excuse = "the leader had not seen that it was suspended"
	}
	if c.judge(invSuspended, excuse) && suspended {
		c.w.fail(invSuspended, "source %s wrote app %s at revision %d, and is suspended since %s", source, app, e.ModRevision, time.Since(since))
	}
}

// personWrites notes what people do to an app, and what they undo.
func (c *checker) personWrites(app string, e store.Event, undo bool, before gitBefore) {
	delete(c.undone, app)
	for source, status := range before.statuses {
		if mine, is := entryOf(status.Inventory, app); is && undo && (e.Deleted || mine.Hash != hashOf(string(e.Value))) {
			c.undone[app] = undone{source, mine.Hash}
		}
	}
}

// onlyOwner checks that what a source has, no other has. What is undone is so until the source has another text.
func (c *checker) onlyOwner(source string, status v1.SourceStatus) {
	c.counts.Check(invOwner)
	for _, o := range status.Inventory {
		for _, other := range gitSources {
			if other != source && c.has(c.keys.Sources().Key(other)) && inInventory(c.sourceStatus(other).Inventory, o.Name) {
				c.w.fail(invOwner, "app %s belongs to source %s and to source %s", o.Name, source, other)
			}
		}
	}
	for app, u := range c.undone {
		if mine, is := entryOf(status.Inventory, app); u.source == source && (!is || mine.Hash != u.hash) {
			delete(c.undone, app)
		}
	}
}

// goesAhead checks that a source which depends on another one begins no commit while that one is not ready.
func (c *checker) goesAhead(source string, e store.Event, before gitBefore) {
	status, err := c.keys.SourceStatus().Decode(e.Value)
	if err != nil {
		return
	}
	if ready := v1.FindCondition(status.Conditions, v1.Ready); ready != nil && ready.Status == v1.ConditionTrue {
		delete(c.notReady, source)
	} else if _, is := c.notReady[source]; !is {
		c.notReady[source] = time.Now()
	}
	manifest, err := v1.ParseSource(source, c.kv[c.keys.Sources().Key(source)].Value)
	if err != nil || len(manifest.Spec.DependsOn) == 0 {
		return
	}
	was := before.statuses[source]
	if newest, last := cmpCommit(status), cmpCommit(was); newest == "" || newest == last {
		return
	}
	since, waits := c.notReady[gitSource]
	if _, ever := before.statuses[gitSource]; !ever {
		waits = true
	}
	excuse := ""
	if waits && !since.IsZero() && time.Since(since) < seenIn {
		excuse = "the leader had not seen that the other source is not ready"
	}
	if c.judge(invDepends, excuse) && waits {
		c.w.fail(invDepends, "source %s goes to commit %s, and source %s is not ready", source, cmpCommit(status), gitSource)
	}
}

// cmpCommit is the commit that a source has gone to, in part or whole.
func cmpCommit(status v1.SourceStatus) string {
	switch {
	case status.Staged != nil:
		return status.Staged.Hash
	case status.Applied != nil:
		return status.Applied.Hash
	}
	return ""
}

// wishes notes what people ask of a source.
func (c *checker) wishes(e store.Event) {
	source, ok := c.keys.SourceWishes().Name(e.Key)
	if !ok {
		return
	}
	wish := c.sourceWish(source)
	if _, is := c.held[source]; !wish.Suspended {
		delete(c.held, source)
	} else if !is {
		c.held[source] = time.Now()
	}
	for _, app := range allGitApps {
		if slices.Contains(wish.Disown, "app/"+app) {
			if c.gaveUp[source] == nil {
				c.gaveUp[source] = map[string]bool{}
			}
			c.gaveUp[source][app] = true
		}
	}
}

// sourcesRestored has the checker go back with etcd: what was undone, asked for and said since is gone.
func (c *checker) sourcesRestored() {
	clear(c.undone)
	clear(c.held)
	clear(c.notReady)
	for _, source := range gitSources {
		if c.sourceWish(source).Suspended {
			c.held[source] = time.Now()
		}
		if c.has(c.keys.SourceStatus().Key(source)) && !c.isReady(source) {
			c.notReady[source] = time.Now()
		}
	}
}

func (c *checker) sourceWish(source string) v1.SourceWish {
	wish, _ := c.keys.SourceWishes().Decode(c.kv[c.keys.SourceWishes().Key(source)].Value) // none asks for nothing
	return wish
}

func (c *checker) sourceDisowned(source, app string) bool {
	return slices.Contains(c.sourceWish(source).Disown, "app/"+app)
}

func (c *checker) isReady(source string) bool {
	ready := v1.FindCondition(c.sourceStatus(source).Conditions, v1.Ready)
	return ready != nil && ready.Status == v1.ConditionTrue
}

// heldElsewhere reports whether the other source still has an app of a commit because people keep it from being deleted.
func (c *checker) heldElsewhere(source string, head *gitCommit) bool {
	for _, other := range gitSources {
		for _, o := range c.sourceStatus(other).Inventory {
			if _, wanted := head.files[o.Name]; wanted && other != source && o.Held != "" {
				return true
			}
		}
	}
	return false
}

// notDisputed says why a source should have been able to apply a commit: nothing of it belongs to another source or to people.
func (c *checker) notDisputed(source string, head *gitCommit, says string) string {
	inventory := c.sourceStatus(source).Inventory
	for _, app := range sortedKeys(head.files) {
		if c.has(c.keys.Apps().Key(app)) && !inInventory(inventory, app) {
			return ""
		}
	}
	return fmt.Sprintf("all of commit %s is its own, and it says %s", head.Hash, says)
}

// owned reports whether a source may write an app: it does not exist, it is its own, or people let it take it over.
func (c *checker) owned(app string) bool {
	return !c.has(c.keys.Apps().Key(app)) || slices.ContainsFunc(gitSources, func(source string) bool {
		return inInventory(c.sourceStatus(source).Inventory, app) || slices.Contains(c.sourceWish(source).Adopt, "app/"+app)
	})
}

// driftable is an app that a source has applied and that nothing holds; empty: there is none, or the source is suspended.
func (c *checker) driftable(source string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.has(c.keys.Sources().Key(source)) || c.sourceWish(source).Suspended {
		return ""
	}
	status := c.sourceStatus(source)
	for i := range status.Inventory {
		o := status.Inventory[(i+int(c.w.seed%16))%len(status.Inventory)]
		kv, there := c.kv[c.keys.Apps().Key(o.Name)]
		if there && o.Held == "" && o.Hash == hashOf(string(kv.Value)) {
			return o.Name
		}
	}
	return ""
}

func (c *checker) stored(key string) store.KV {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kv[key]
}
