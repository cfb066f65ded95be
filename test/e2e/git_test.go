package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
	"github.com/fleet-starter/fleet/internal/git/gittest"
)

// A repository is applied as it changes, whole commits or nothing; what people edit past it is put back, what they undo is not.
func TestGit(t *testing.T) {
	repo := gittest.New(t)
	manifest := func(version string) string {
		text, err := os.ReadFile(greeter(t, version, ""))
		require.NoError(t, err)
		// Other tests have an app called greeter: the numbers of its revisions would go on.
		return strings.Replace(string(text), "name: greeter", "name: pushed", 1)
	}
	push := func(subject, version string) (time.Time, string) {
		hash := repo.Push(subject, map[string]string{"prod/pushed.yaml": manifest(version)})
		return time.Now(), hash
	}
	_, first := push("Greet with 1", "1")
	source := filepath.Join(t.TempDir(), "source.yaml")
	write := func(interval string) {
		require.NoError(t, os.WriteFile(source, fmt.Appendf(nil, "apiVersion: fleet/v1\nkind: Source\nmetadata: {name: prod}\nspec:\n  git: {url: %q, path: prod}\n  interval: %s\n  prune: true\n",
			repo.File(), interval), 0o644))
	}
	write("1h")
	require.Contains(t, run(t, "fleetctl apply -f %s --wait --timeout 1m", source), "source/prod created\n")
	defer run(t, "fleetctl delete app pushed --ignore-not-found")
	defer func() { _, _ = try("fleetctl delete source prod --keep") }() // if the test ends early, it would put the app back
	greets(t, "1")
	require.Regexp(t, `(?m)^prod\s+True\s+`+first[:7]+`\S*\s+1\s+commit `+first[:10]+`: Greet with 1`, run(t, "fleetctl get sources"))
	require.Contains(t, run(t, "fleetctl describe app pushed"), "source/prod, prod/pushed.yaml:1, commit "+first[:7])
	require.Contains(t, run(t, "fleetctl history app/pushed -o wide"), "Ada")

	way := run(t, "fleetctl trace pushed@1")
	for _, step := range []string{"commit\\s+-\\s+-\\s+" + first + " by Ada: Greet with 1", "manifest\\s+/fleet/apps/pushed\\s+\\d+\\s+written by source/prod", "revision\\s+/fleet/revisions/pushed/0000000001",
		"unit file\\s+/fleet/unitfiles/", "unit\\s+/fleet/units/pushed@1.service", "placement\\s+/fleet/placements/", "process\\s+/fleet/states/.*active/running",
		"endpoint\\s+/services/web/pushed/pushed@1", "router\\s+/fleet/routers/.*serves /services/web as of revision \\d+"} {
		require.Regexp(t, "(?m)^"+step, way)
	}
	pushed, _ := push("Greet with 2", "2")
	run(t, "fleetctl sync source/prod --wait --timeout 1m")
	greets(t, "2")
	t.Logf("asked for: served %s after the push", time.Since(pushed).Round(10*time.Millisecond))

	repo.Push("Broken", map[string]string{"prod/pushed.yaml": manifest("3"), "prod/other.yaml": "apiVersion: fleet/v1\nkind: App\nmetadata: {name: other}\nspec: {}\n"})
	out, err := try("fleetctl sync source/prod --wait --timeout 1m")
	require.Error(t, err)
	require.Contains(t, out, "InvalidCommit: commit ")
	require.Contains(t, out, "prod/other.yaml:4: spec.exec: missing: set exec or container")
	greets(t, "2")

	repo.Push("Mended", map[string]string{"prod/other.yaml": ""})
	run(t, "fleetctl sync source/prod --wait --timeout 1m")
	greets(t, "3")

	require.Contains(t, run(t, "fleetctl scale app/pushed 2"), "belongs to source/prod, which puts back what its repository says")
	eventually(t, 20*time.Second, "the edit is put back", func() error {
		if text := run(t, "fleetctl get app pushed -o yaml"); strings.Contains(text, "replicas: 2") {
			return fmt.Errorf("%s", text)
		}
		if text := run(t, "fleetctl events --for source/prod"); !strings.Contains(text, "DriftReverted") {
			return fmt.Errorf("%s", text)
		}
		return nil
	})

	run(t, "fleetctl undo app/pushed --to 2 --wait --timeout 1m")
	greets(t, "2")
	run(t, "fleetctl sync source/prod --wait --timeout 1m")
	greets(t, "2")
	require.Contains(t, run(t, "fleetctl describe source prod"), "it was undone")

	write("5s")
	push("Greet with 4", "4")
	run(t, "fleetctl apply -f %s", source)
	eventually(t, 20*time.Second, "the next commit is applied", func() error { return greeted("4") })
	pushed, _ = push("Greet with 5", "5")
	eventually(t, 20*time.Second, "the next commit is applied", func() error { return greeted("5") })
	took := time.Since(pushed)
	t.Logf("with an interval of 5s: served %s after the push", took.Round(10*time.Millisecond))
	require.Less(t, took, 15*time.Second)

	repo.Push("All is gone", map[string]string{"prod/pushed.yaml": "", "prod/README.md": "empty\n"})
	out, err = try("fleetctl sync source/prod --wait --timeout 1m")
	require.Error(t, err)
	require.Contains(t, out, "1 of 1 objects would be deleted (app/pushed): fleetctl sync source/prod --allow-prune does so")
	greets(t, "5")
	_, err = try("fleetctl delete source prod")
	require.Error(t, err)
	run(t, "fleetctl sync source/prod --allow-prune --wait --timeout 1m")
	eventually(t, 20*time.Second, "it is deleted", func() error {
		if out, err := try("fleetctl get app pushed"); err == nil {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	require.Contains(t, run(t, "fleetctl delete source prod --keep"), "source/prod deleted")
}

// greeted reports whether the app answers with that version.
func greeted(version string) error {
	out, err := try("curl -sf -m 3 -H 'Host: greeter.localhost' http://%s:8080/version", dev.Address(1))
	if err == nil && strings.TrimSpace(out) != version {
		err = fmt.Errorf("version %s", out)
	}
	return err
}
