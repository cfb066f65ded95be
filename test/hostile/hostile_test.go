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

// hostile is one thing that comes in.
type hostile struct {
	name string
	do   func(l *lab)
	// says are lines that the cluster says afterwards, and did not before: the texts that each of them has.
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

var cases = [][]hostile{manifests, names, unitFiles, strangers, revisions, placement}

// TestHostile has each of them come into a cluster of its own, and looks at it for as long as it takes to be at rest.
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

// TestHostileEtcd has all of them come into one cluster, one after the other, over a real etcd. Nothing else runs beside it,
// so that the memory in use is what they have left there.
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
		// What is under way, such as a listing, has its memory until it ends: what stays is what counts.
		require.Eventually(l.t, func() bool { return heap()-used < maxHeap }, time.Minute, still, "%d bytes more are in use, and stay so", maxHeap)
	})
	l.works() // once for all of them: the canary takes its time
	l.settles(10 * still)
}

// TestStrangersFromBefore: who becomes the leader says of what is there already, too, that it is ignored.
func TestStrangersFromBefore(t *testing.T) {
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

// TestStrangersAreCollected: what means nothing to anybody is deleted after a while, and that is said by its key. What goes
// because it is old goes without a word.
func TestStrangersAreCollected(t *testing.T) {
	for _, c := range []struct {
		key, value string
		said       bool
	}{
		{keys.States().Key("nowhere/canary@1.service"), "{}", true},
		{keys.States().Key(machine + "/ghost.service"), "{}", true},
		{keys.UnitFiles().Key("stranger"), "{}", true},
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
	// maxHeap is how much more memory may be in use after anything that comes in.
	maxHeap = 48 << 20
	// still is for how long nothing is written by a cluster that is at rest: many times what a controller takes for a turn.
	still = 300 * time.Millisecond
)

// check has something come in: it is said to be wrong, in words that nothing before it has brought about, and the rest goes
// on as if nothing were.
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

// rests waits until everything that takes its time has had it. Then nothing is written, nothing is tried in vain.
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

// settles waits until nothing has been written for a while. Two that write the same key by turns never let it.
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

// revision is the last one of the store.
func (l *lab) revision() int64 {
	l.t.Helper()
	_, _, revision, err := l.store.Get(l.t.Context(), keys.Root())
	require.NoError(l.t, err)
	return revision
}

// written are the keys that were written or deleted after a revision, and how often.
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
