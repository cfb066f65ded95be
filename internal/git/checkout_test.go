package git

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/git/gittest"
)

// TestCheckout: whatever a repository on this computer is like, that very commit is read: not the work tree, and not what a hook's
// environment says.
func TestCheckout(t *testing.T) {
	t.Setenv("GIT_DIR", "/nowhere") // as in a hook
	repo := gittest.New(t)
	first := repo.Push("First", map[string]string{"prod/a.yaml": "a: 1\n", "README": "x"})
	second := repo.Push("Second", map[string]string{"prod/a.yaml": "a: 2\n"})
	repo.Git("tag", "-m", "annotated", "v1", first)
	dir := t.TempDir()
	shallow, linked := filepath.Join(dir, "shallow"), filepath.Join(dir, "a linked tree")
	repo.Git("clone", "--quiet", "--depth=1", repo.File(), shallow)
	repo.Git("worktree", "add", "--quiet", "--detach", linked, first)
	read := func(dir, name, below string) (*Checkout, string) {
		t.Helper()
		c, err := FindCheckout(t.Context(), dir, name)
		require.NoError(t, err)
		g := New(Options{Dir: filepath.Join(t.TempDir(), "git"), Local: true})
		commit, err := g.Read(t.Context(), Remote{URL: c.URL}, Request{Hash: c.Hash, Path: filepath.Join(c.Below, below)})
		require.NoError(t, err)
		require.Equal(t, c.Hash, commit.Hash)
		require.Equal(t, []string{"prod/a.yaml"}, paths(commit))
		return c, string(commit.Files[0].Data)
	}
	for _, tree := range []string{repo.Tree, repo.Bare, shallow} {
		c, text := read(tree, "HEAD", "prod")
		require.Equal(t, second, c.Hash)
		require.Equal(t, "a: 2\n", text)
		require.False(t, c.Dirty)
	}
	for _, name := range []string{"v1", first, first[:8], "HEAD~1"} {
		_, text := read(repo.Tree, name, "")
		require.Equal(t, "a: 1\n", text, name)
	}
	c, text := read(linked, "HEAD", "")
	require.Equal(t, first, c.Hash)
	require.Equal(t, "a: 1\n", text)
	c, _ = read(filepath.Join(repo.Tree, "prod"), "main", "")
	require.Equal(t, "prod", c.Below)

	repo.Write(map[string]string{"prod/new.yaml": "b: 1\n"})
	c, text = read(repo.Tree, "HEAD", "")
	require.True(t, c.Dirty, "a file that is in no commit")
	require.Equal(t, "a: 2\n", text)

	for place, name := range map[string]string{dir: "HEAD", filepath.Join(dir, "none"): "HEAD", repo.Tree: "--help", repo.Bare: "v9"} {
		_, err := FindCheckout(t.Context(), place, name)
		require.ErrorContains(t, err, place)
	}
}
