package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/git"
	"github.com/fleet-starter/fleet/internal/git/gittest"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/kustomize/kustomizetest"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

func TestMain(m *testing.M) { kustomizetest.Main(m) }

// world is a cluster with the controller and one real repository.
type world struct {
	t     *testing.T
	store store.Interface
	keys  keyspace.Keys
	repo  *gittest.Repository
	reads *counting
	now   func() time.Time // nil: the clock
	stop  func()
	c     *Controller
	// limits are git's.
	limits git.Limits
}

func newWorld(t *testing.T, s store.Interface) *world { return newWorldAt(t, s, nil) }

func newWorldAt(t *testing.T, s store.Interface, now func() time.Time) *world {
	w := &world{t: t, store: s, now: now, keys: keyspace.New(""), repo: gittest.New(t)}
	w.start()
	return w
}

// start runs the controller, as a new leader does: with nothing on its disk.
func (w *world) start() { w.startIn(filepath.Join(w.t.TempDir(), "git")) }

// startIn runs the controller, as on a machine whose disk has that directory.
func (w *world) startIn(dir string) {
	ctx, cancel := context.WithCancel(context.Background())
	known := cluster.New(w.store, w.keys, logr.Discard())
	w.reads = &counting{Repositories: ByGit(git.New(git.Options{Dir: dir, Local: true, Limits: w.limits, Kustomize: kustomizetest.Program(w.t)}))}
	c := New(Options{Env: cluster.Env{Store: w.store, Cluster: known, Now: w.now}, Repositories: w.reads, Reporter: &git.Reporter{}})
	w.c = c
	var parts sync.WaitGroup
	parts.Go(func() { _ = known.Run(ctx) })
	parts.Go(func() { _ = c.Run(ctx) })
	w.stop = sync.OnceFunc(func() { cancel(); parts.Wait() })
	w.t.Cleanup(w.stop)
}

func (w *world) put(key string, value string) {
	w.t.Helper()
	_, err := w.store.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte(value)}}})
	require.NoError(w.t, err)
}

func (w *world) source(name, more string) { w.follows(name, "branch: main", more) }

// follows writes a source that follows something else than main.
func (w *world) follows(name, what, more string) { w.sourceAt(name, w.repo.File(), what, more) }

// sourceAt writes a source of another URL; what is added to its spec.git, more to its spec.
func (w *world) sourceAt(name, url, what, more string) {
	w.put(w.keys.Sources().Key(name), fmt.Sprintf("apiVersion: fleet/v1\nkind: Source\nmetadata: {name: %s}\nspec:\n  interval: 5s\n  git: {url: %q, %s}\n%s", name, url, what, more))
}

func (w *world) wish(name string, wish v1.SourceWish) {
	w.t.Helper()
	value, err := w.keys.SourceWishes().Encode(wish)
	require.NoError(w.t, err)
	w.put(w.keys.SourceWishes().Key(name), string(value))
}

func (w *world) delete(key string) {
	w.t.Helper()
	_, err := w.store.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: key}}})
	require.NoError(w.t, err)
}

// sync asks for a pass, and returns the status once it is answered and Synced has that reason.
func (w *world) sync(name string, wish v1.SourceWish, reason string) v1.SourceStatus {
	w.t.Helper()
	wish.RequestedAt = time.Now().Format(time.RFC3339Nano)
	w.wish(name, wish)
	var status v1.SourceStatus
	require.Eventually(w.t, func() bool {
		kv, ok, _, err := w.store.Get(context.Background(), w.keys.SourceStatus().Key(name))
		if err != nil || !ok {
			return false
		}
		status, err = w.keys.SourceStatus().Decode(kv.Value)
		synced := v1.FindCondition(status.Conditions, v1.Synced)
		return err == nil && (status.Handled == wish.RequestedAt || wish.Suspended) && synced != nil && synced.Reason == reason
	}, 20*time.Second, 10*time.Millisecond, "%+v", &status)
	return status
}

func (w *world) apps() map[string]string {
	page, err := w.store.List(context.Background(), w.keys.Apps().Prefix(), store.ListOptions{})
	require.NoError(w.t, err)
	apps := map[string]string{}
	for _, kv := range page.KVs {
		apps[strings.TrimPrefix(kv.Key, w.keys.Apps().Prefix())] = string(kv.Value)
	}
	return apps
}

func synced(s v1.SourceStatus) *v1.Condition { return v1.FindCondition(s.Conditions, v1.Synced) }

func manifest(name, more string) string {
	return fmt.Sprintf("apiVersion: fleet/v1\nkind: App\nmetadata: {name: %s}\nspec:\n  exec: {command: [/bin/sleep, inf]}\n%s", name, more)
}

// TestSource: a repository's way into the cluster, over the model of etcd and over a real one.
func TestSource(t *testing.T) {
	t.Run("model", func(t *testing.T) { testSource(t, newWorld(t, memstore.New(memstore.Options{}))) })
	t.Run("etcd", func(t *testing.T) { testSource(t, newWorld(t, etcdtest.Start(t).Client())) })
}

func testSource(t *testing.T, w *world) {
	a, b := manifest("a", ""), manifest("b", "  replicas: 2\n")
	first := w.repo.Push("First", map[string]string{"a.yaml": a, "sub/b.yaml": "# Two.\n" + b})
	w.source("prod", "  prune: true\n")
	status := w.sync("prod", v1.SourceWish{}, Applied)
	require.Equal(t, map[string]string{"a": a, "b": "# Two.\n" + b}, w.apps(), "the very bytes")
	require.Equal(t, first, status.Applied.Hash)
	require.Equal(t, []string{"Ada", "First"}, []string{status.Applied.Author, status.Applied.Subject})
	require.Len(t, status.Inventory, 2)
	require.Equal(t, []string{"App", "b", "sub/b.yaml"}, []string{status.Inventory[1].Kind, status.Inventory[1].Name, status.Inventory[1].Path})

	// Whole commits or nothing.
	w.repo.Push("One is wrong", map[string]string{"a.yaml": manifest("a", "  replicas: 3\n"), "sub/b.yaml": "# Two.\n" + strings.Replace(b, "2", "-2", 1)})
	status = w.sync("prod", v1.SourceWish{}, InvalidCommit)
	require.Equal(t, map[string]string{"a": a, "b": "# Two.\n" + b}, w.apps())
	require.Contains(t, synced(status).Message, "sub/b.yaml:7: spec.replicas: -2 is negative")
	require.Equal(t, first, status.Applied.Hash)
	require.Equal(t, "One is wrong", status.Failed.Subject)

	// Drift is put back, with the next pass.
	a = manifest("a", "  replicas: 3\n")
	w.repo.Push("Both are right", map[string]string{"a.yaml": a, "sub/b.yaml": b})
	status = w.sync("prod", v1.SourceWish{}, Applied)
	require.Nil(t, status.Failed)
	require.Equal(t, map[string]string{"a": a, "b": b}, w.apps())
	w.put(w.keys.Apps().Key("a"), manifest("a", "  replicas: 7\n"))
	require.Eventually(t, func() bool { return w.apps()["a"] == a }, 10*time.Second, 10*time.Millisecond)

	// A leader that knows nothing goes on where the last one was.
	w.stop()
	w.start()
	c := manifest("c", "")
	w.repo.Push("One more, one less", map[string]string{"c.yaml": c, "sub/b.yaml": ""})
	status = w.sync("prod", v1.SourceWish{}, Applied)
	require.Equal(t, map[string]string{"a": a, "c": c}, w.apps(), "pruned")
	require.Len(t, status.Inventory, 2)

	// An empty directory deletes nothing, unless that is asked for.
	last := w.repo.Push("Bad merge", map[string]string{"a.yaml": "", "c.yaml": "", "README.md": "empty\n"})
	status = w.sync("prod", v1.SourceWish{}, PruneRefused)
	require.Len(t, w.apps(), 2)
	require.Contains(t, synced(status).Message, "fleetctl sync source/prod --allow-prune")
	w.sync("prod", v1.SourceWish{AllowPrune: last}, Applied)
	require.Empty(t, w.apps())

	// Nor does a branch that is gone.
	w.repo.Push("Again", map[string]string{"a.yaml": a})
	w.sync("prod", v1.SourceWish{}, Applied)
	w.repo.Git("push", "--quiet", "origin", "HEAD:other")
	w.repo.Git("-C", w.repo.Bare, "symbolic-ref", "HEAD", "refs/heads/other")
	w.repo.Git("push", "--quiet", "origin", ":main")
	w.sync("prod", v1.SourceWish{}, git.ReferenceGone)
	require.Equal(t, map[string]string{"a": a}, w.apps())

	// The status goes with the source, and what it has applied stays.
	_, err := w.store.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: w.keys.Sources().Key("prod")}}})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, ok, _, err := w.store.Get(context.Background(), w.keys.SourceStatus().Key("prod"))
		return err == nil && !ok
	}, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, map[string]string{"a": a}, w.apps())
}

// TestDriftWhileRefused: what people change goes back to the commit that is applied while the newest one is refused or the server is
// away; a leader that cannot read that commit says so.
func TestDriftWhileRefused(t *testing.T) {
	w := newWorld(t, memstore.New(memstore.Options{}))
	disk, away := filepath.Join(t.TempDir(), "git"), w.repo.Bare+".away"
	restart := func(dir string) { w.stop(); w.startIn(dir) }
	rename := func(from, to string) { t.Helper(); require.NoError(t, os.Rename(from, to)) }
	putBack := func(app, text string) {
		t.Helper()
		w.put(w.keys.Apps().Key(app), manifest(app, "  replicas: 7\n"))
		require.Eventually(t, func() bool { return w.apps()[app] == text }, 20*time.Second, 10*time.Millisecond)
	}
	restart(disk)
	a, b := manifest("a", ""), manifest("b", "  replicas: 2\n")
	first := w.repo.Push("First", map[string]string{"a.yaml": a, "b.yaml": b})
	w.source("prod", "")
	w.sync("prod", v1.SourceWish{}, Applied)
	w.repo.Push("Broken", map[string]string{"a.yaml": "a: b\n", "b.yaml": manifest("b", "  replicas: 3\n")})
	w.sync("prod", v1.SourceWish{}, InvalidCommit)
	putBack("a", a)
	rename(w.repo.Bare, away)
	w.sync("prod", v1.SourceWish{}, git.RepositoryNotFound)
	putBack("b", b)

	// A new leader whose disk has the commit, and one that has nothing.
	restart(disk)
	putBack("a", a)
	w.stop()
	w.put(w.keys.Apps().Key("a"), manifest("a", "  replicas: 7\n"))
	w.start()
	var status v1.SourceStatus
	require.Eventually(t, func() bool {
		status = w.sync("prod", v1.SourceWish{}, git.RepositoryNotFound)
		return strings.Contains(synced(status).Message, "; app/a cannot be put back to what commit "+first[:10]+" says: ")
	}, 20*time.Second, 10*time.Millisecond)
	require.NotEqual(t, a, w.apps()["a"])
	rename(away, w.repo.Bare)
	status = w.sync("prod", v1.SourceWish{}, InvalidCommit)
	require.Eventually(t, func() bool { return w.apps()["a"] == a }, 20*time.Second, 10*time.Millisecond)
	status = w.sync("prod", v1.SourceWish{}, InvalidCommit)
	require.NotContains(t, synced(status).Message, "put back")
	require.Equal(t, first, status.Applied.Hash)
}

// TestLargeCommit: more than one transaction takes; a leader that ends in the middle leaves it to the next one to finish, although
// the branch has moved to a commit that cannot be applied.
func TestLargeCommit(t *testing.T) {
	s := &stopping{Interface: memstore.New(memstore.Options{})}
	w := newWorld(t, s)
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("%03d.yaml", i)] = manifest(fmt.Sprintf("app-%03d", i), "")
	}
	hash := w.repo.Push("Many", files)
	s.after.Store(2)
	w.source("prod", "")
	require.Eventually(t, func() bool { return s.refused.Load() }, 30*time.Second, 10*time.Millisecond)
	n := len(w.apps())
	require.True(t, n > 0 && n < 300, "%d", n)
	w.stop()
	w.repo.Push("Broken", map[string]string{"000.yaml": "broken"})
	s.after.Store(1 << 30)
	w.start()
	require.Eventually(t, func() bool { return len(w.apps()) == 300 }, 30*time.Second, 10*time.Millisecond)
	status := w.sync("prod", v1.SourceWish{}, InvalidCommit)
	require.Equal(t, hash, status.Applied.Hash)
	require.Nil(t, status.Staged)
	require.Len(t, status.Inventory, 300)
}

// TestCommitted: the commit that is applied is known also while a newer one is refused, the source is suspended, or another leader has
// nothing on its disk; it is read again then.
func TestCommitted(t *testing.T) {
	w := newWorld(t, memstore.New(memstore.Options{}).Connect())
	subject := func() string {
		m, err := w.c.Committed(t.Context(), "shop")
		require.NoError(t, err)
		require.Len(t, m.Objects, 1)
		return m.Commit.Subject
	}
	_, err := w.c.Committed(t.Context(), "shop")
	require.EqualError(t, err, "source/shop does not exist")
	w.repo.Push("One", map[string]string{"a.yaml": manifest("a", "")})
	w.source("shop", "")
	w.sync("shop", v1.SourceWish{}, Applied)
	require.Equal(t, "One", subject())
	w.repo.Push("Broken", map[string]string{"a.yaml": "{"})
	w.sync("shop", v1.SourceWish{}, InvalidCommit)
	require.Equal(t, "One", subject())
	w.sync("shop", v1.SourceWish{Suspended: true}, Suspended)
	w.stop()
	w.start()
	require.Equal(t, "One", subject())
	require.NoError(t, os.Rename(w.repo.Bare, w.repo.Bare+".away"))
	require.Equal(t, "One", subject(), "what was fetched is kept")
	w.stop()
	w.start()
	_, err = w.c.Committed(t.Context(), "shop")
	require.ErrorContains(t, err, "does not appear to be a git repository")
}
