package atomicfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// names lists a directory, including temporary files.
func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestReplace(t *testing.T) {
	umask := syscall.Umask(0o077) // permissions are as requested, whatever the umask
	defer syscall.Umask(umask)
	for _, outlive := range []Durability{Process, Power} {
		dir := t.TempDir()
		file := filepath.Join(dir, "file")
		for _, c := range []struct {
			data string
			perm os.FileMode
		}{{"first", 0o644}, {"", 0o600}, {"longer than the first", 0o755}} {
			info, err := ReplaceInfo(file, []byte(c.data), c.perm, outlive)
			require.NoError(t, err)
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, c.data, string(data))
			now, err := os.Stat(file)
			require.NoError(t, err)
			require.Equal(t, c.perm, now.Mode())
			require.True(t, os.SameFile(info, now))
			require.Equal(t, info.ModTime(), now.ModTime())
			require.Equal(t, info.Size(), now.Size())
			require.Equal(t, []string{"file"}, names(t, dir))
		}
	}
}

// Readers with the file open keep the old one, and a link is replaced, not followed.
func TestReplaceLeavesTheOldFileAlone(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(file, []byte("old"), 0o644))
	require.NoError(t, os.Symlink("file", link))
	require.NoError(t, Replace(link, []byte("new"), 0o644, Process))
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "old", string(data))
	data, err = os.ReadFile(link)
	require.NoError(t, err)
	require.Equal(t, "new", string(data))
}

// A failed replacement leaves the old file, and nothing else.
func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	require.ErrorIs(t, Replace(filepath.Join(dir, "none", "file"), nil, 0o644, Process), os.ErrNotExist)

	taken := filepath.Join(dir, "taken")
	require.NoError(t, os.Mkdir(taken, 0o755))
	err := Replace(taken, []byte("new"), 0o644, Power)
	require.ErrorContains(t, err, taken)
	require.Equal(t, []string{"taken"}, names(t, dir))

	file, full := filepath.Join(dir, "file"), errors.New("the disk is full")
	require.NoError(t, Replace(file, []byte("old"), 0o644, Process))
	Fault = func(name string) error {
		require.Equal(t, file, name)
		return full
	}
	defer func() { Fault = nil }()
	err = Replace(file, []byte("new"), 0o644, Process)
	require.ErrorIs(t, err, full)
	require.EqualError(t, err, "write "+file+": the disk is full")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "old", string(data))
}

// With several writers and a reader, the reader always sees one writer's whole text.
func TestReplaceAtOnce(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	const writers, times, size = 4, 50, 64 << 10
	require.NoError(t, Replace(file, bytes.Repeat([]byte{'0'}, size), 0o644, Process))
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for range times {
				if err := Replace(file, bytes.Repeat([]byte{byte('0' + w)}, size), 0o644, Process); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { defer close(done); writing.Wait() }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Len(t, data, size)
		require.Equal(t, bytes.Repeat(data[:1], size), data)
	}
	require.Equal(t, []string{"file"}, names(t, dir))
}

func TestSymlink(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	target := func() string {
		t.Helper()
		got, err := os.Readlink(link)
		require.NoError(t, err)
		require.Equal(t, []string{"link"}, names(t, dir))
		return got
	}
	require.NoError(t, Symlink("/a", link))
	require.Equal(t, "/a", target())
	before, err := os.Lstat(link)
	require.NoError(t, err)
	require.NoError(t, Symlink("/a", link))
	after, err := os.Lstat(link)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "one that is right is left alone")
	require.NoError(t, os.Symlink("/left/by/a/crash", link+".new"))
	require.NoError(t, Symlink("/b", link))
	require.Equal(t, "/b", target())
}
