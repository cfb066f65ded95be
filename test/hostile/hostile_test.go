package hostile

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// hostile is one hostile input.
type hostile struct {
	name string
	do   func(l *lab)
	// says are lines that the cluster must log or store afterwards, and did not before: the texts in each of them.
	says [][]string
}

// one is one line with all these texts, apart a line for each of them.
func one(texts ...string) [][]string { return [][]string{texts} }

func apart(texts ...string) (lines [][]string) {
	for _, text := range texts {
		lines = append(lines, []string{text})
	}
	return lines
}

var cases = [][]hostile{manifests, names, unitFiles, foreigns, revisions, placement, sources}

// TestHostile runs each input in its own cluster, and waits until that is at rest.
func TestHostile(t *testing.T) {
	each(t, func(t *testing.T, c hostile) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := start(t, memstore.New(memstore.Options{}))
			l.works()
			l.check(c)
			l.works()
			l.rests()
		})
	})
}

// TestHostileEtcd runs all inputs in one cluster, one after the other, over a real etcd. Nothing else runs in parallel, so
// that the memory in use is theirs.
func TestHostileEtcd(t *testing.T) {
	l := start(t, etcdtest.Start(t).Client())
	l.works()
	l.settles(still)
	each(t, func(t *testing.T, c hostile) {
		outer := l.t
		l.t = t
		defer func() { l.t = outer }()
		used := heap()
		l.check(c)
		l.settles(still)
		// Work in progress, such as a listing, holds memory until it ends: only what remains counts.
		require.Eventually(l.t, func() bool { return heap()-used < maxHeap }, time.Minute, still, "%d bytes more are in use, and stay so", maxHeap)
	})
	l.works() // once for all of them: the canary takes time
	l.settles(10 * still)
}

// TestForeignKeysFromBefore: a new leader also reports ignored keys that existed before.
func TestForeignKeysFromBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		strange := []string{keys.Root() + "before", keys.Root() + "unknown/a", keys.Leaders().Key("other/1"), keys.Apps().Key(strings.Repeat("0", 2000)), keys.States().Key("m1/broken.service")}
		for _, key := range strange {
			_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte("{")}}})
			require.NoError(t, err)
		}
		l := start(t, s)
		for _, key := range strange {
			l.await(key, func() string {
				if l.says(nil, event(key)) != "" {
					return ""
				}
				return "no event"
			})
		}
	})
}

// TestForeignKeysAreCollected: foreign keys are deleted after a while, with an event for the key. Keys that are deleted because
// they are old get no event.
func TestForeignKeysAreCollected(t *testing.T) {
	for _, c := range []struct {
		key, value string
		said       bool
	}{
		{keys.States().Key("nowhere/canary@1.service"), "{}", true},
		{keys.States().Key(machine + "/ghost.service"), "{}", true},
		{keys.UnitFiles().Key("foreign"), "{}", true},
		{keys.UnitFiles().Key(unitfile.Hash("another")), sleeping, true},
		{keys.UnitFiles().Key(unitfile.Hash(sleeping)), sleeping, false},
		{keys.Overrides().Key("ghost.service"), "{}", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := start(t, memstore.New(memstore.Options{}))
			l.raw(c.key, c.value)
			time.Sleep(4 * time.Minute)
			require.Len(t, l.list(c.key), 1, "it may be that it is not yet, or no more, of use")
			require.Empty(t, l.says(nil, event(c.key)), c.key)
			time.Sleep(6 * time.Minute)
			require.Empty(t, l.list(c.key))
			require.Equal(t, c.said, l.says(nil, event(c.key)) != "", "%s", l.tail())
			require.NotEmpty(t, l.says(nil, `"first"="`+c.key), c.key)
		})
	}
}

func each(t *testing.T, run func(t *testing.T, c hostile)) {
	for _, list := range cases {
		for _, c := range list {
			t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) { run(t, c) })
		}
	}
}

const (
	// maxHeap is how much more memory may be in use after any input.
	maxHeap = 48 << 20
	// still is how long a cluster at rest writes nothing: many times what a controller takes for a pass.
	still = 300 * time.Millisecond
)

// check runs one input: it has to be reported, in words that did not appear before, and everything else has to keep working.
func (l *lab) check(c hostile) {
	l.t.Helper()
	before, said := l.bystander(), l.said()
	for _, texts := range c.says {
		require.Empty(l.t, among(said, nil, texts), "this case would not be noticed if it said nothing: %q", texts)
	}
	c.do(l)
	for _, texts := range c.says {
		l.await(fmt.Sprintf("a new line says %q", texts), func() string {
			if l.says(said, texts...) != "" {
				return ""
			}
			return l.tail()
		})
	}
	require.Equal(l.t, before, l.bystander(), "the bystander")
	require.False(l.t, l.panicked(), "%s", l.tail())
}

// rests waits until all delayed work is done. Then nothing must be written or retried.
func (l *lab) rests() {
	l.t.Helper()
	before := l.bystander()
	time.Sleep(15 * time.Minute)
	revision, errors := l.revision(), l.logged()
	time.Sleep(15 * time.Minute)
	require.Less(l.t, l.logLines(), flood, "it does the same without end, lately wrote %v: %s", l.written(max(0, revision-1000)), l.tail())
	require.Empty(l.t, l.written(revision), "it goes on writing: %s", l.tail())
	require.Equal(l.t, errors, l.logged(), "it goes on trying: %s", l.tail())
	require.Equal(l.t, before, l.bystander(), "the bystander")
}

// settles waits until nothing has been written for a while, which fails if two writers fight over a key.
func (l *lab) settles(still time.Duration) {
	l.t.Helper()
	began, at, since := l.revision(), l.revision(), time.Now()
	for deadline := since.Add(within); time.Since(since) < still; time.Sleep(still / 20) {
		if now := l.revision(); now != at {
			at, since = now, time.Now()
		}
		if time.Now().After(deadline) {
			require.FailNow(l.t, "the cluster does not come to rest", "in the last %s these keys were written, so many times: %v\n%s", within, l.written(began), l.tail())
		}
	}
}

// revision is the store's last revision.
func (l *lab) revision() int64 {
	l.t.Helper()
	_, _, revision, err := l.store.Get(l.t.Context(), keys.Root())
	require.NoError(l.t, err)
	return revision
}

// written returns the keys written or deleted after a revision, and how often.
func (l *lab) written(after int64) map[string]int {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), within)
	defer cancel()
	times, last := map[string]int{}, l.revision()
	for seen, watch := after, l.store.Watch(ctx, "/", after); seen < last; {
		batch, ok := <-watch
		require.True(l.t, ok && batch.Err == nil, "the watch ended: %v", batch.Err)
		seen = batch.Revision
		for _, e := range batch.Events {
			times[e.Key]++
		}
	}
	return times
}
