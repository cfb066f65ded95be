package git

import (
	"encoding/pem"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/git/gittest"
)

// TestAnotherUser: git runs as the user that it is given, who can read neither the machine's secrets nor write anywhere but into its
// own directory; the credentials are copied for it, and removed.
func TestAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: only root can start git as another user")
	}
	nobody, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	require.NoError(t, err)
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	require.NoError(t, err)
	repo := gittest.New(t)
	hash := repo.Push("First", map[string]string{"a.yaml": "a\n"})
	url, server := repo.Serve("geheim")
	remote := Remote{URL: url, TokenFile: secret(t, "geheim"), CAFile: secret(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))}
	dir, err := os.MkdirTemp("", "git") // the directories above those of a test are for its user alone
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	g := New(Options{Dir: filepath.Join(dir, "git"), Local: true, User: &User{UID: uint32(uid), GID: uint32(gid)}})
	c, err := g.Read(t.Context(), remote, Request{Reference: "refs/heads/main", Hash: hash})
	require.NoError(t, err)
	require.Equal(t, []string{"a.yaml"}, paths(c))
	found := 0
	require.NoError(t, filepath.WalkDir(g.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		found++
		require.Equal(t, uint32(uid), info.Sys().(*syscall.Stat_t).Uid, path)
		return nil
	}))
	require.Greater(t, found, 5)
	entries, err := os.ReadDir(g.Dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no copy of a secret is left")
}
