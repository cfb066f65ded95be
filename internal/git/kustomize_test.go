package git

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/git/gittest"
	"github.com/fleet-starter/fleet/internal/kustomize"
	"github.com/fleet-starter/fleet/internal/kustomize/kustomizetest"
)

func TestMain(m *testing.M) { kustomizetest.Main(m) }

const sleeper = "apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec: {exec: {command: [/bin/sleep, inf]}}\n"

// TestKustomize: a path with a kustomization is built from the commit's files, and from nothing else.
func TestKustomize(t *testing.T) {
	repo := gittest.New(t)
	large := strings.Repeat("# x\n", 10_000)
	hash := repo.Push("It", map[string]string{"base/web.yaml": sleeper, "base/kustomization.yaml": "resources: [web.yaml]\n", "prod/Kustomization": "resources: [../base]\nnamePrefix: x-\n",
		"large/kustomization.yaml": "resources: [large.yaml]\n", "large/large.yaml": large + sleeper, "plain/web.yaml": sleeper})
	read := func(g *Git, path string) (*Commit, error) {
		return g.Read(t.Context(), Remote{URL: repo.File()}, Request{Reference: "refs/heads/main", Hash: hash, Path: path})
	}
	with := func(limits Limits, program string) *Git {
		return New(Options{Dir: filepath.Join(t.TempDir(), "git"), Local: true, Limits: limits, Kustomize: program})
	}
	program := kustomizetest.Program(t)
	g := with(Limits{}, program)
	c, err := read(g, "prod")
	require.NoError(t, err)
	require.Len(t, c.Files, 1)
	f := c.Files[0]
	require.Equal(t, []string{"prod/Kustomization", "app/x-web", ""}, []string{f.Path, f.Built, f.Fault})
	require.Len(t, f.Blob, 64)
	require.Contains(t, string(f.Data), "name: x-web")
	c, err = read(g, "plain")
	require.NoError(t, err)
	require.Equal(t, []File{{Path: "plain/web.yaml", Blob: c.Files[0].Blob, Data: []byte(sleeper)}}, c.Files)

	// What the program says of a kustomization is the commit's fault; without the program it is not known.
	c, err = read(with(Limits{File: 1000}, program), "large")
	require.NoError(t, err)
	require.Equal(t, []File{{Path: "large/kustomization.yaml", Fault: "large/kustomization.yaml: resources[0]: large/large.yaml has 40096 bytes, the limit of a file is 1000"}}, c.Files)
	_, err = read(with(Limits{Entries: 3}, program), "prod")
	require.Equal(t, TooLarge, ReasonOf(err), "%v", err)
	_, err = read(with(Limits{}, ""), "prod")
	require.Equal(t, NotBuilt, ReasonOf(err))
	require.EqualError(t, err, "commit "+hash[:10]+" has a kustomization, and fleet-kustomize is not installed")
	_, err = read(with(Limits{}, "/nowhere/fleet-kustomize"), "prod")
	require.Equal(t, NotBuilt, ReasonOf(err))
	require.ErrorContains(t, err, "it cannot be built: /nowhere/fleet-kustomize cannot be started")
}

// TestEndlessKustomization: a build that takes too long is ended, and what it was is the commit's fault.
func TestEndlessKustomization(t *testing.T) {
	repo := gittest.New(t)
	files := map[string]string{"l0/web.yaml": sleeper, "l0/kustomization.yaml": "resources: [web.yaml]\n"}
	for n := 1; n <= 40; n++ {
		for _, side := range []string{"a", "b"} {
			files[fmt.Sprintf("l%d%s/kustomization.yaml", n, side)] = fmt.Sprintf("resources: [../l%d]\nnamePrefix: %s\n", n-1, side)
		}
		files[fmt.Sprintf("l%d/kustomization.yaml", n)] = fmt.Sprintf("resources: [../l%da, ../l%db]\n", n, n)
	}
	hash := repo.Push("Endless", files)
	g := New(Options{Dir: filepath.Join(t.TempDir(), "git"), Local: true, Kustomize: kustomizetest.Program(t), Limits: Limits{Build: kustomize.Limits{Time: time.Second}}})
	c, err := g.Read(t.Context(), Remote{URL: repo.File()}, Request{Reference: "refs/heads/main", Hash: hash, Path: "l40"})
	require.NoError(t, err)
	require.Equal(t, []File{{Path: "l40/kustomization.yaml", Fault: "the kustomization of l40 takes longer than 1s to build: make it simpler"}}, c.Files)
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	require.NotEmpty(t, processes)
	for _, file := range processes {
		line, _ := os.ReadFile(file)
		require.NotContains(t, string(line), g.Kustomize, "it is ended")
	}
}
