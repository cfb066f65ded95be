package source

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/git"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// names waits until these apps are stored, and no others.
func (w *world) names(want ...string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return slices.Equal(slices.Sorted(maps.Keys(w.apps())), want) }, 20*time.Second, 10*time.Millisecond, "%v, not %v", w.apps(), want)
}

func (w *world) stored(key string) bool {
	_, ok, _, err := w.store.Get(context.Background(), key)
	return err == nil && ok
}

// branch commits an app with so many replicas to a branch.
func (w *world) branch(branch string, replicas int) string {
	w.repo.Write(map[string]string{"web.yaml": web(replicas)})
	w.repo.Git("commit", "--quiet", "--allow-empty", "-a", "-m", "On a branch")
	w.repo.Git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/"+branch)
	return w.repo.Git("rev-parse", "HEAD")
}

func web(replicas int) string {
	return manifest("web", fmt.Sprintf("  replicas: %d\n  ports: [{name: http, hostPort: auto}]\n  announce: {port: http}\n  route: {hosts: [www.example.com]}\n", replicas))
}

// TestPreviewsOfBranches: a branch gets copies, follows its commits, and ends with all that was its own, over the model of etcd and a
// real one.
func TestPreviewsOfBranches(t *testing.T) {
	t.Run("model", func(t *testing.T) { testPreviews(t, memstore.New(memstore.Options{})) })
	t.Run("etcd", func(t *testing.T) { testPreviews(t, etcdtest.Start(t).Client()) })
}

func testPreviews(t *testing.T, s store.Interface) {
	var late atomic.Int64 // how far the leader's clock is ahead
	w := newWorldAt(t, s, func() time.Time { return time.Now().Add(time.Duration(late.Load())) })
	w.repo.Push("First", map[string]string{"web.yaml": web(1)})
	w.source("prod", "  previews: {branches: pr/*, host: '{app}-{branch}.preview.example.com', ttl: 1h, limit: 2}\n")
	w.sync("prod", v1.SourceWish{}, Applied)
	w.names("web")

	w.branch("pr/7", 2)
	w.branch("other", 5)
	w.sync("prod", v1.SourceWish{}, Applied)
	w.names("web", "web-pr-7")
	app, err := v1.ParseAppNamed("web-pr-7", []byte(w.apps()["web-pr-7"]))
	require.NoError(t, err)
	require.Equal(t, []string{"web-pr-7.preview.example.com"}, app.Spec.Route.Hosts)
	require.EqualValues(t, 2, app.Spec.Instances())

	// A new commit is there at once, without waiting for the preview's own interval.
	w.branch("pr/7", 3)
	w.sync("prod", v1.SourceWish{}, Applied)
	require.Eventually(t, func() bool {
		app, err := v1.ParseAppNamed("web-pr-7", []byte(w.apps()["web-pr-7"]))
		return err == nil && app.Spec.Instances() == 3
	}, 3*time.Second, 10*time.Millisecond)

	// One above the limit, and a leader that knows nothing.
	w.branch("pr/8", 1)
	w.branch("pr/9", 1)
	w.sync("prod", v1.SourceWish{}, Applied)
	w.names("web", "web-pr-7", "web-pr-8")
	w.stop()
	w.start()
	status := w.sync("prod", v1.SourceWish{}, Applied)
	require.Equal(t, PreviewRefused, v1.FindCondition(status.Conditions, v1.Previews).Reason)
	w.names("web", "web-pr-7", "web-pr-8")

	// The branch is gone: the next one has room.
	w.repo.Git("push", "--quiet", "origin", ":pr/7")
	w.sync("prod", v1.SourceWish{}, Applied)
	w.names("web", "web-pr-8", "web-pr-9")
	require.Eventually(t, func() bool {
		return !w.stored(w.keys.Sources().Key("prod-pr-7")) && !w.stored(w.keys.SourceStatus().Key("prod-pr-7"))
	}, 10*time.Second, 10*time.Millisecond)

	// A server that is away ends nothing, however late it is; then time ends all but the branch with a new commit.
	require.NoError(t, os.Rename(w.repo.Bare, w.repo.Bare+".away"))
	late.Store(int64(59 * time.Minute))
	w.sync("prod", v1.SourceWish{}, git.RepositoryNotFound)
	late.Store(int64(2 * time.Hour))
	w.sync("prod", v1.SourceWish{}, git.RepositoryNotFound)
	w.names("web", "web-pr-8", "web-pr-9")
	require.NoError(t, os.Rename(w.repo.Bare+".away", w.repo.Bare))
	w.branch("pr/8", 4)
	w.sync("prod", v1.SourceWish{}, Applied)
	w.names("web", "web-pr-8")

	// People delete the source of a preview: it is made again. With its source, all ends but what the source itself has applied.
	w.delete(w.keys.Sources().Key("prod-pr-8"))
	require.Eventually(t, func() bool { return w.stored(w.keys.Sources().Key("prod-pr-8")) }, 10*time.Second, 10*time.Millisecond)
	w.names("web", "web-pr-8")
	w.delete(w.keys.Sources().Key("prod"))
	w.names("web")
	require.Eventually(t, func() bool {
		page, err := w.store.List(context.Background(), w.keys.SourceStatus().Prefix(), store.ListOptions{})
		return err == nil && len(page.KVs) == 0
	}, 10*time.Second, 10*time.Millisecond)
	require.False(t, w.stored(w.keys.Sources().Key("prod-pr-8")))
}

// TestLargePreviewEnds: a leader that ends while it deletes a preview leaves the rest to the next one.
func TestLargePreviewEnds(t *testing.T) {
	s := &stopping{Interface: memstore.New(memstore.Options{})}
	w := newWorld(t, s)
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("%03d.yaml", i)] = manifest(fmt.Sprintf("app-%03d", i), "")
	}
	w.repo.Push("Many", files)
	w.repo.Git("push", "--quiet", "origin", "HEAD:pr/1")
	w.source("prod", "  previews: {branches: pr/*, host: '{app}-{branch}.example.com'}\n")
	require.Eventually(t, func() bool { return len(w.apps()) == 600 }, 30*time.Second, 10*time.Millisecond)
	w.until("prod-pr-1", func(s *v1.SourceStatus) bool { return s.Staged == nil })
	s.after.Store(2)
	w.repo.Git("push", "--quiet", "origin", ":pr/1")
	w.wish("prod", v1.SourceWish{RequestedAt: "now"})
	require.Eventually(t, func() bool { return s.refused.Load() }, 30*time.Second, 10*time.Millisecond)
	n := len(w.apps())
	require.True(t, n > 300 && n < 600, "%d", n)
	w.stop()
	s.after.Store(1 << 30)
	w.start()
	require.Eventually(t, func() bool { return len(w.apps()) == 300 && !w.stored(w.keys.SourceStatus().Key("prod-pr-1")) }, 30*time.Second, 10*time.Millisecond)
	require.False(t, w.stored(w.keys.Sources().Key("prod-pr-1")))
}
