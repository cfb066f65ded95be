package source

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/git"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// tag tags what was pushed last; an annotated tag is an object of its own.
func (w *world) tag(name string, annotated bool) {
	args := []string{"tag", "--force", name}
	if annotated {
		args = append(args, "--annotate", "--message", "Version "+name)
	}
	w.repo.Git(args...)
	w.repo.Git("push", "--quiet", "--force", "origin", "refs/tags/"+name)
}

// TestVersions: a range of versions follows the highest tag in it, and deletes nothing when there is none.
func TestVersions(t *testing.T) {
	w := newWorld(t, memstore.New(memstore.Options{}))
	a := manifest("a", "")
	first := w.repo.Push("First", map[string]string{"a.yaml": a})
	w.tag("v1.2.0", true)
	w.repo.Push("Next", map[string]string{"a.yaml": manifest("a", "  replicas: 9\n")})
	for _, outside := range []string{"v1.3.0-rc.1", "2.0.0", "v1.99", "latest"} {
		w.tag(outside, false)
	}
	w.follows("prod", "semver: '>=1.2 <2'", "  prune: true\n")
	status := w.sync("prod", v1.SourceWish{}, Applied)
	require.Equal(t, []string{first, "v1.2.0"}, []string{status.Applied.Hash, status.Applied.Tag})
	require.Equal(t, "tag v1.2.0, commit "+first[:10]+": First", synced(status).Message)
	require.Equal(t, map[string]string{"a": a}, w.apps())

	a = manifest("a", "  replicas: 2\n")
	second := w.repo.Push("Second", map[string]string{"a.yaml": a})
	w.tag("1.3.0", false)
	status = w.sync("prod", v1.SourceWish{}, Applied)
	require.Equal(t, []string{second, "1.3.0"}, []string{status.Applied.Hash, status.Applied.Tag})
	require.Equal(t, map[string]string{"a": a}, w.apps())
	w.tag("v1.3.1", true) // the very same commit
	status = w.sync("prod", v1.SourceWish{}, Applied)
	require.Equal(t, []string{second, "v1.3.1"}, []string{status.Applied.Hash, status.Applied.Tag})

	w.repo.Push("Broken", map[string]string{"a.yaml": "broken"})
	w.tag("v1.4.0", false)
	status = w.sync("prod", v1.SourceWish{}, InvalidCommit)
	require.Contains(t, synced(status).Message, "tag v1.4.0, commit ")
	require.Equal(t, "v1.4.0", status.Failed.Tag)
	require.Equal(t, "v1.3.1", status.Applied.Tag)

	for _, gone := range []string{"v1.2.0", "1.3.0", "v1.3.1", "v1.4.0"} {
		w.repo.Git("push", "--quiet", "origin", ":refs/tags/"+gone)
	}
	status = w.sync("prod", v1.SourceWish{}, git.ReferenceGone)
	require.Contains(t, synced(status).Message, `none of the repository's 4 tags is a version in the range ">=1.2 <2": nothing is deleted because of that`)
	require.Equal(t, map[string]string{"a": a}, w.apps())
}

// TestReadOnce: a commit that was read is not read again, also if an annotated tag leads to it.
func TestReadOnce(t *testing.T) {
	for what, set := range map[string]func(w *world){
		"branch: main":     func(*world) {},
		"tag: v1.0.0":      func(w *world) { w.tag("v1.0.0", true) },
		"tag: light":       func(w *world) { w.tag("light", false) },
		"semver: ^1":       func(w *world) { w.tag("v1.0.0", true) },
		"semver: '=1.0.1'": func(w *world) { w.tag("v1.0.1", false) },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, memstore.New(memstore.Options{}))
			w.repo.Push("First", map[string]string{"a.yaml": manifest("a", "")})
			set(w)
			w.follows("prod", what, "")
			for range 3 {
				w.sync("prod", v1.SourceWish{}, Applied)
			}
			require.EqualValues(t, 1, w.reads.read.Load())
		})
	}
}
