// Package large tests what is read from Git repositories of real size. They are written to disk, so it runs beside no etcd.
package large

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/git"
	"github.com/fleet-starter/fleet/internal/git/gittest"
)

// repository makes a repository whose only commit git fast-import(1) reads from files.
func repository(t *testing.T, files func(file func(name string, size int64, content io.Reader))) (repo *gittest.Repository, hash string) {
	t.Helper()
	repo = gittest.New(t)
	repo.Import(func(out *bufio.Writer) {
		_, _ = fmt.Fprint(out, "commit refs/heads/main\ncommitter Ada <ada@example.com> 1700000000 +0000\ndata 5\nLarge\n")
		files(func(name string, size int64, content io.Reader) {
			_, _ = fmt.Fprintf(out, "M 644 inline %s\ndata %d\n", name, size)
			_, _ = io.CopyN(out, content, size) // a short one is git's error
			_ = out.WriteByte('\n')
		})
	})
	return repo, repo.Git("--git-dir="+repo.Bare, "rev-parse", "main")
}

// used is how many bytes the files below a directory have.
func used(t *testing.T, dir string) (total int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	}))
	return total
}

// TestRealSizes: what is too large by far, with the limits that fleetd has: one clear error, little memory, and the disk space is given
// back.
func TestRealSizes(t *testing.T) {
	noise := rand.NewChaCha8([32]byte{})
	for name, c := range map[string]struct {
		files  func(file func(name string, size int64, content io.Reader))
		reason string
		says   string
		disk   int64 // what may be left
	}{
		"a repository of 1 GB": {func(file func(string, int64, io.Reader)) {
			file("prod/a.yaml", 1, strings.NewReader("a"))
			for i := range 16 {
				file(fmt.Sprintf("large/%d", i), 64<<20, noise)
			}
		}, git.TooLarge, "256 MiB", 1 << 20},
		"100,000 files": {func(file func(string, int64, io.Reader)) {
			for i := range 100_000 {
				text := fmt.Sprint(i)
				file(fmt.Sprintf("prod/%d/%d.txt", i%300, i), int64(len(text)), strings.NewReader(text))
			}
		}, git.TooLarge, "prod has more than 50000 files", 16 << 20},
		"a manifest of 50 MB": {func(file func(string, int64, io.Reader)) {
			text := strings.Repeat("# not much\n", 50_000_000/11)
			file("prod/a.yaml", int64(len(text)), strings.NewReader(text))
		}, git.TooLarge, "prod/a.yaml has 49999994 bytes", 64 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			repo, hash := repository(t, c.files)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			dir := filepath.Join(t.TempDir(), "git")
			g := git.New(git.Options{Dir: dir, Local: true})
			_, err := g.Read(t.Context(), git.Remote{URL: repo.File()}, git.Request{Reference: "refs/heads/main", Hash: hash, Path: "prod"})
			runtime.ReadMemStats(&after)
			require.Error(t, err)
			require.Equal(t, c.reason, git.ReasonOf(err), err.Error())
			require.ErrorContains(t, err, c.says)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(32<<20), "fleetd's own memory")
			var children syscall.Rusage
			require.NoError(t, syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children))
			t.Logf("%v; fleetd allocated %d KiB, the largest git so far had %d MiB, and %d KiB are left on the disk", err, (after.TotalAlloc-before.TotalAlloc)>>10,
				children.Maxrss>>10, used(t, dir)>>10)
			require.Less(t, children.Maxrss, int64(256<<10), "git's memory, in KiB")
			require.Less(t, used(t, dir), c.disk)
		})
	}
}
