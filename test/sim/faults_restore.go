package sim

import (
	"context"
	"maps"
	"time"

	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/store"
)

// etcd is lost, and restored from a snapshot: everything written since is gone.
func init() {
	maps.Copy(faults, map[string]func(w *world, s step){
		"lose etcd": func(w *world, _ step) {
			w.lostAt = time.Now()
			w.etcdAway(true)
		},
		"restore etcd": func(w *world, s step) { w.restore(time.Duration(1+s.B%60)*time.Second, s.C%3 != 0) },
	})
}

// bumpRevision is --bump-revision.
const bumpRevision = 1_000_000

// snapshot is etcd's revision at a time.
type snapshot struct {
	at       time.Time
	revision int64
}

// snap records etcd's revision on each tick.
func (w *world) snap() { w.snapshots = append(w.snapshots, snapshot{time.Now(), w.etcd.Revision()}) }

// restore restores etcd as it was that long before it was lost.
func (w *world) restore(before time.Duration, bump bool) {
	for w.check.seenRevision() < w.etcd.Revision() { // first check the writes of this moment
		w.sleep(w.exactly(time.Millisecond, "restore"))
	}
	if w.lostAt.IsZero() {
		w.lostAt = time.Now()
	}
	revision, by := w.etcd.Revision(), int64(0)
	if len(w.snapshots) > 0 {
		revision = w.snapshots[0].revision
	}
	for _, s := range w.snapshots {
		if w.lostAt.Sub(s.at) >= before {
			revision = s.revision
		}
	}
	if bump {
		by = bumpRevision
	}
	w.wentBack = w.wentBack || !bump
	w.commit.Lock()
	was := w.etcd.Revision()
	w.restores.Add(1)
	w.etcd.Restore(revision, by)
	clear(w.writers)
	w.snapshots, w.lostAt = nil, time.Time{}
	w.tell("world", "etcd is restored as it was %s before it was lost: r%d became r%d, --bump-revision: %t", before, was, w.etcd.Revision(), bump)
	w.check.restored(bump)
	w.commit.Unlock()
	w.etcdAway(false)
}

func (c *checker) seenRevision() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen
}

// startAnew is what docs/backup.md tells people to do if etcd was restored without --bump-revision.
func (w *world) startAnew() {
	if !w.wentBack {
		return
	}
	w.tell("person", "starts every fleetd and router anew: etcd's revision went back")
	w.wentBack = false
	for _, h := range w.hosts[:w.machines] {
		h.killFleetd()
		h.killUnit("router.service")
	}
}

// blindFor is how long watches may be silent if etcd's revision went back: until the caches have been compared.
const blindFor = checkEvery*11/10 + slack

// restored makes the checker read the restored etcd. The processes notice late, and without --bump-revision very late.
func (c *checker) restored(bump bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.kv
	c.kv = c.w.everything()
	c.seen = c.w.etcd.Revision()
	c.restart <- c.seen
	c.restoredAt, c.restoredTo = time.Now(), c.seen
	c.sourcesRestored()
	clear(c.withdrawnAt)
	clear(c.strange)
	now := time.Now()
	for _, key := range sortedKeys(before) {
		if c.has(key) {
			continue
		}
		c.forget(key)
	}
	for _, key := range sortedKeys(c.kv) {
		if kv := c.kv[key]; kv.ModRevision != before[key].ModRevision || string(kv.Value) != string(before[key].Value) {
			c.remember(key, kv)
		}
	}
	for _, h := range c.w.hosts {
		c.trouble[h] = now
		if !bump {
			c.blind[h] = now.Add(blindFor)
		}
	}
	c.freeze()
}

// isBlind reports whether etcd's revision went back and the host's caches have not been compared since, for which it has to
// reach etcd.
func (c *checker) isBlind(h *host, inTrouble bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.blind[h]
	switch {
	case !ok:
		return false
	case inTrouble:
		c.blind[h] = time.Now().Add(blindFor)
	case time.Now().After(until):
		delete(c.blind, h)
		return false
	}
	return true
}

// wentBack reports whether etcd's revision went back and the differing cache may not have been compared since. It reports the
// difference, and again when it has listed; other differences are found once.
func (c *checker) wentBack(p *process, d cache.Difference) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, blind := c.blind[p.host]
	if d.Reason == cache.WentBack {
		return blind
	}
	known := p.name + d.Prefix
	once := !c.strange[known]
	c.strange[known] = true
	return blind && once
}

// forget handles a key that no longer exists.
func (c *checker) forget(key string) {
	c.apply(store.Event{KV: store.KV{Key: key, ModRevision: c.seen}, Deleted: true}, nil)
	c.takeBack(key)
}

// remember handles a key with a restored value.
func (c *checker) remember(key string, kv store.KV) {
	c.apply(store.Event{KV: kv}, nil)
	c.takeBack(key)
	c.announcers[key], c.revived[key] = c.w.hostOf(address(string(kv.Value))), time.Now()
}

// takeBack handles a change that no controller decided, and that no withdrawal preceded.
func (c *checker) takeBack(key string) {
	for _, row := range []interface{ Name(string) (string, bool) }{c.keys.Units(), c.keys.Placements()} {
		if name, ok := row.Name(key); ok {
			c.takenBack[name] = true
		}
	}
}

// everything is everything in etcd.
func (w *world) everything() map[string]store.KV {
	all, opts := map[string]store.KV{}, store.ListOptions{}
	for {
		page, _ := w.etcd.List(context.Background(), "", opts) // it is reachable
		for _, kv := range page.KVs {
			all[kv.Key] = kv
			opts.After = kv.Key
		}
		if !page.More {
			return all
		}
	}
}
