package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
	"github.com/fleet-starter/fleet/internal/git/gittest"
)

// A branch that matches is served under a host of its own as long as it is there, beside the app itself; the Git server is told of both.
func TestPreviews(t *testing.T) {
	var mu sync.Mutex
	reports := map[string]string{} // the newest state, by the end of the path
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		body := make([]byte, 4096)
		n, _ := q.Body.Read(body)
		mu.Lock()
		defer mu.Unlock()
		reports[filepath.Base(q.URL.Path)] = string(body[:n])
	}))
	defer server.Close()
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("geheim\n"), 0o600))
	repo := gittest.New(t)
	manifest := func(version string) map[string]string {
		text, err := os.ReadFile(greeter(t, version, ""))
		require.NoError(t, err)
		return map[string]string{"shown.yaml": strings.ReplaceAll(string(text), "greeter", "shown")}
	}
	branch := func(version string) string {
		repo.Write(manifest(version))
		repo.Git("commit", "--quiet", "-a", "-m", "Greet with "+version)
		repo.Git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/pr/7")
		return repo.Git("rev-parse", "HEAD")
	}
	first := repo.Push("Greet with 1", manifest("1"))
	source := filepath.Join(t.TempDir(), "source.yaml")
	require.NoError(t, os.WriteFile(source, fmt.Appendf(nil, `apiVersion: fleet/v1
kind: Source
metadata: {name: shown}
spec:
  git: {url: %q}
  interval: 5s
  previews: {branches: "pr/*", host: "{app}-{branch}.localhost"}
  report: {provider: gitea, url: %q, tokenFile: %q}
`, repo.File(), server.URL, token), 0o644))
	run(t, "fleetctl apply -f %s --wait --timeout 1m", source)
	defer run(t, "fleetctl delete app shown --ignore-not-found")
	defer func() { _, _ = try("fleetctl delete source shown --keep") }()
	says := func(host, version string) {
		t.Helper()
		eventually(t, time.Minute, host+" serves version "+version, func() error {
			for _, m := range allMachines {
				if out, err := try("curl -sf -H 'Host: %s' http://%s:8080/version", host, dev.Address(m)); err != nil || strings.TrimSpace(out) != version {
					return fmt.Errorf("machine %d: %v: %s", m, err, out)
				}
			}
			return nil
		})
	}
	reported := func(hash, state string) {
		t.Helper()
		eventually(t, 30*time.Second, "reported "+state, func() error {
			mu.Lock()
			defer mu.Unlock()
			if !strings.Contains(reports[hash], `"state":"`+state+`"`) {
				return fmt.Errorf("%q", reports[hash])
			}
			return nil
		})
	}
	says("shown.localhost", "1")
	reported(first, "success")

	pushed := time.Now()
	second := branch("2")
	says("shown-pr-7.localhost", "2")
	t.Logf("a preview served %s after the push, with an interval of 5s", time.Since(pushed).Round(10*time.Millisecond))
	says("shown.localhost", "1")
	reported(second, "success")
	require.Regexp(t, `(?m)^shown-pr-7\s+True\s`, run(t, "fleetctl get sources"))
	require.Regexp(t, `(?m)^\s+source/shown-pr-7\s+pr/7\s+`+second[:7], run(t, "fleetctl describe source shown"))
	require.Regexp(t, `(?m)^Preview of:\s+source/shown$`, run(t, "fleetctl describe source shown-pr-7"))
	out, err := try("fleetctl delete source shown-pr-7 --prune")
	require.Error(t, err)
	require.Contains(t, out, "source/shown-pr-7 is a preview of source/shown")

	branch("3")
	says("shown-pr-7.localhost", "3")
	wrong := strings.Replace(manifest("4")["shown.yaml"], "hostPort: auto", "hostPort: 3000", 1)
	repo.Write(map[string]string{"shown.yaml": wrong})
	repo.Git("commit", "--quiet", "-a", "-m", "A fixed port")
	repo.Git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/pr/7")
	fixed := repo.Git("rev-parse", "HEAD")
	reported(fixed, "failure")
	says("shown-pr-7.localhost", "3")

	repo.Git("push", "--quiet", "origin", ":pr/7")
	eventually(t, 30*time.Second, "the preview has ended", func() error {
		if text := run(t, "fleetctl get apps") + run(t, "fleetctl get sources"); strings.Contains(text, "shown-pr-7") {
			return fmt.Errorf("%s", text)
		}
		return nil
	})
	says("shown.localhost", "1")
}
