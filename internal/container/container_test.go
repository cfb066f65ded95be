package container

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// client returns a runtime whose client is a script, and the file with the commands that it was given.
func client(t *testing.T, script string) (r Runtime, calls string) {
	dir := t.TempDir()
	r, calls = Runtime{Name: "docker", Path: filepath.Join(dir, "docker")}, filepath.Join(dir, "calls")
	require.NoError(t, os.WriteFile(r.Path, []byte("#!/bin/sh\necho \"$*\" >>"+calls+"\n"+script), 0o755))
	return r, calls
}

func TestListAndRemove(t *testing.T) {
	r, calls := client(t, `
case $1 in
ps) echo c1; echo c2; echo gone ;;
inspect) echo "c1 true /web.1 web@1.service"; echo "c2 false web.2 web@2.service"; echo "Error: No such container: gone" >&2; exit 1 ;;
stop) exit 1 ;;
rm) test $3 = c1 || { echo "Error response from daemon: No such container: $3" >&2; exit 1; } ;;
esac
`)
	require.True(t, r.Installed())
	list, err := r.List(t.Context(), "m1")
	require.NoError(t, err, "one was removed meanwhile")
	require.Equal(t, []Container{
		{Runtime: "docker", ID: "c1", Name: "web.1", Unit: "web@1.service", Running: true},
		{Runtime: "docker", ID: "c2", Name: "web.2", Unit: "web@2.service"},
	}, list)
	require.NoError(t, r.Remove(t.Context(), "c1"))
	require.NoError(t, r.Remove(t.Context(), "gone"))
	text, err := os.ReadFile(calls)
	require.NoError(t, err)
	said := strings.Split(strings.TrimSpace(string(text)), "\n")
	require.Equal(t, "ps --all --quiet --no-trunc --filter label=fleet.unit --filter label=fleet.machine=m1", said[0])
	require.True(t, strings.HasSuffix(said[1], " c1 c2 gone"), said[1])
	require.Equal(t, []string{"stop c1", "rm --force c1", "stop gone", "rm --force gone"}, said[2:])
}

func TestRuntimeThatDoesNotAnswer(t *testing.T) {
	r, _ := client(t, "exec sleep 60\n")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := r.List(ctx, "m1")
	require.ErrorContains(t, err, "docker ps: no answer")
	require.Less(t, time.Since(start), 10*time.Second)
}

func TestRuntimeThatFails(t *testing.T) {
	r, _ := client(t, "echo \"time=$(date)\" >&2; echo 'Cannot connect to the Docker daemon' >&2; exit 1\n")
	_, err := r.List(t.Context(), "m1")
	require.EqualError(t, err, "docker ps: Cannot connect to the Docker daemon")
	require.ErrorContains(t, r.Remove(t.Context(), "c1"), "Cannot connect")
	r.Used = filepath.Join(t.TempDir(), "storage")
	require.False(t, r.Installed(), "it was never used")
}

func TestListOfNone(t *testing.T) {
	r, _ := client(t, "test $1 = ps\n")
	list, err := r.List(t.Context(), "m1")
	require.NoError(t, err)
	require.Empty(t, list)
	r, _ = client(t, "test $1 = ps && echo c1\n")
	_, err = r.List(t.Context(), "m1")
	require.ErrorContains(t, err, "docker inspect: exit status 1")
}
