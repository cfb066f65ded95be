package kustomize_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/kustomize"
	"github.com/fleet-starter/fleet/internal/kustomize/kustomizetest"
)

func TestMain(m *testing.M) { kustomizetest.Main(m) }

func tree(texts map[string]string) (files []kustomize.File) {
	for path, text := range texts {
		files = append(files, kustomize.File{Path: path, Data: []byte(text)})
	}
	return files
}

func app(name string) string {
	return "apiVersion: fleet/v1\nkind: App\nmetadata: {name: " + name + "}\nspec: {exec: {command: [/bin/sleep, inf]}}\n"
}

// TestProgram: what the program builds, and what it says of a kustomization that is wrong.
func TestProgram(t *testing.T) {
	p := kustomize.Program{Path: kustomizetest.Program(t)}
	r, err := p.Build(t.Context(), tree(map[string]string{"prod/kustomization.yaml": "resources: [a.yaml]\nnamePrefix: x-\n", "prod/a.yaml": app("a")}), "prod")
	require.NoError(t, err)
	require.Empty(t, r.Fault)
	require.Equal(t, "prod/kustomization.yaml", r.File)
	require.Len(t, r.Objects, 1)
	require.Equal(t, "app/x-a", r.Objects[0].Name)
	r, err = p.Build(t.Context(), append(tree(map[string]string{"kustomization.yaml": "resources: [a]\n"}), kustomize.File{Path: "a", Refused: "is a symbolic link: write the path itself"}), "")
	require.NoError(t, err)
	require.Equal(t, "kustomization.yaml: resources[0]: a is a symbolic link: write the path itself", r.Fault)
}

// TestMissing: without the program the error says where it was looked for and what to do.
func TestMissing(t *testing.T) {
	_, err := kustomize.Program{Path: "/nowhere/fleet-kustomize"}.Build(t.Context(), nil, "")
	require.EqualError(t, err, "/nowhere/fleet-kustomize cannot be started: stat /nowhere/fleet-kustomize: no such file or directory: it comes with fleetd's package")
}

// wide doubles with each level.
func wide(levels int) []kustomize.File {
	texts := map[string]string{"l0/kustomization.yaml": "resources: [a.yaml]\n", "l0/a.yaml": app("a")}
	for n := 1; n <= levels; n++ {
		for _, side := range []string{"a", "b"} {
			texts[fmt.Sprintf("l%d%s/kustomization.yaml", n, side)] = fmt.Sprintf("resources: [../l%d]\nnamePrefix: %s\n", n-1, side)
		}
		texts[fmt.Sprintf("l%d/kustomization.yaml", n)] = fmt.Sprintf("resources: [../l%da, ../l%db]\n", n, n)
	}
	return tree(texts)
}

// aliases are a list of 10 to the power of the levels.
func aliases(levels int) string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := range levels - 1 {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	return b.String()
}

// TestHostile: no kustomization takes more time, memory or output than the limits.
func TestHostile(t *testing.T) {
	path := kustomizetest.Program(t)
	bomb := "apiVersion: fleet/v1\nkind: App\nmetadata: {name: a}\n" + aliases(9)
	large := map[string]string{"kustomization.yaml": "resources: [a.yaml, b.yaml]\n"}
	for _, name := range []string{"a", "b"} {
		large[name+".yaml"] = "apiVersion: fleet/v1\nkind: App\nmetadata: {name: " + name + "}\nspec: {description: " + strings.Repeat("x", 900_000) + "}\n"
	}
	for name, c := range map[string]struct {
		limits kustomize.Limits
		tree   []kustomize.File
		dir    string
		says   []string // one of them
	}{
		"an endless build":         {kustomize.Limits{Time: 2 * time.Second}, wide(40), "l40", []string{"the kustomization of l40 takes longer than 2s to build", "takes more than 512 MiB of memory"}},
		"a build without a bottom": {kustomize.Limits{Memory: 192 << 20}, append(wide(12), kustomize.File{Path: "l0/a.yaml", Data: []byte(strings.Replace(app("a"), "spec: {", "spec: {description: "+strings.Repeat("x", 1<<20)+", ", 1))}), "l12", []string{"the kustomization of l12 takes more than 192 MiB of memory to build"}},
		"a large build":            {kustomize.Limits{Output: 1 << 20}, tree(large), "", []string{"the kustomization of the repository builds more than 1 MiB: use several sources"}},
		"aliases of aliases":       {kustomize.Limits{Time: 5 * time.Second}, tree(map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": bomb}), "", []string{"excessive aliasing", "memory", "longer than"}},
		"aliases in the kustomization": {kustomize.Limits{Time: 5 * time.Second}, tree(map[string]string{"kustomization.yaml": aliases(9) + "resources: [a.yaml]\n", "a.yaml": app("a")}), "",
			[]string{"excessive aliasing", "memory", "longer than"}},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			r, err := kustomize.Program{Path: path, Limits: c.limits}.Build(t.Context(), c.tree, c.dir)
			require.NoError(t, err)
			require.Empty(t, r.Objects)
			found := 0
			for _, says := range c.says {
				found += strings.Count(r.Fault, says)
			}
			require.Positive(t, found, r.Fault)
			require.NotContains(t, r.Fault, "\n")
			require.Less(t, time.Since(begin), 30*time.Second)
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := kustomize.Program{Path: path, Limits: kustomize.Limits{Memory: 8 << 30}}.Build(ctx, wide(40), "l40")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestIsolated: a program in place of fleet-kustomize sees no network and no environment.
func TestIsolated(t *testing.T) {
	t.Setenv("SECRET", "geheim")
	script := filepath.Join(t.TempDir(), "shows")
	text := "#!/bin/sh\necho environment: $(/usr/bin/env) interfaces: $(/usr/bin/tail -n +3 /proc/net/dev | /usr/bin/cut -d: -f1) >&2\nexit 3\n"
	require.NoError(t, os.WriteFile(script, []byte(text), 0o755))
	r, err := kustomize.Program{Path: script}.Build(t.Context(), nil, "")
	require.NoError(t, err)
	require.Contains(t, r.Fault, "cannot be built: kustomize fails: exit status 3: environment: ")
	require.NotContains(t, r.Fault, "geheim")
	probe := exec.Command("/bin/true")
	probe.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() == 0 && probe.Run() == nil {
		require.Regexp(t, `interfaces: lo$`, r.Fault)
	}
}

// TestLeast: a small build has no need of more than the least of these limits.
func TestLeast(t *testing.T) {
	p := kustomize.Program{Path: kustomizetest.Program(t), Limits: kustomize.Limits{Memory: 192 << 20}}
	r, err := p.Build(t.Context(), wide(3), "l3")
	require.NoError(t, err)
	require.Empty(t, r.Fault)
	require.Len(t, r.Objects, 8)
}
