package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
)

// indented returns the README's first indented block below a heading, after a line that begins with the given text.
func indented(t *testing.T, heading, behind string) (lines []string) {
	t.Helper()
	found := false
	for _, line := range section(t, heading) {
		switch text, ok := strings.CutPrefix(line, "    "); {
		case strings.HasPrefix(line, behind):
			found = true
		case found && ok:
			lines = append(lines, text)
		case found && len(lines) > 0:
			return lines
		}
	}
	return lines
}

// TestReadmeBreaksThings breaks what the README tells its reader to break, in order, and checks what it promises for each.
func TestReadmeBreaksThings(t *testing.T) {
	calm(t)
	for _, u := range units(t, "example-app@2") { // with an instance on the machine whose power is cut
		if machineOf(t, "example-app@1.service") != 2 && u.ip != dev.Address(2) {
			run(t, "fleetctl drain %s --timeout 1m && fleetctl uncordon %s", u.id, u.id)
			calm(t)
		}
	}
	var victim string
	for _, u := range units(t, "example-app@") {
		if u.ip == dev.Address(2) {
			victim = u.name
		}
	}
	require.NotEmpty(t, victim, "%v", units(t, ""))
	var was map[string]string
	stream := startTraffic(t, 1, 3)
	claims := map[string]func(){
		"cut its power: after 10 seconds its units are placed elsewhere": func() {
			cut := time.Now()
			eventually(t, time.Minute, victim+" runs elsewhere", func() error {
				for _, u := range units(t, victim) {
					if u.ip != dev.Address(2) && u.active == "active" {
						return nil
					}
				}
				return fmt.Errorf("%v", units(t, victim))
			})
			// The lease is renewed three times a TTL, and its end is looked for once a second.
			require.Greater(t, time.Since(cut), 6*time.Second)
			require.Less(t, time.Since(cut), 20*time.Second)
			servedBy(t, []int{1, 3}, both...)
			stream.noOutageBut(t, underWay(), 1, 3)
			was = invocations(t)
		},
		"it is back, and starts nothing that runs elsewhere now": func() {
			eventually(t, time.Minute, "it is back", func() error {
				if out := run(t, "fleetctl list-machines --no-legend"); !strings.Contains(out, dev.Address(2)) {
					return fmt.Errorf("%s", out)
				}
				return nil
			})
			calm(t)
			for key, id := range invocations(t) {
				require.NotEqual(t, "m2/"+victim, key, "it was started again")
				require.True(t, was[key] == id || strings.HasPrefix(key, "m2/"), "%s was restarted", key)
			}
		},
		"nothing moves, requests are still served": func() {
			was = invocations(t)
			stream = startTraffic(t, allMachines...)
			time.Sleep(15 * time.Second) // longer than a machine's lease
			require.Equal(t, was, invocations(t))
		},
		"": func() {
			calm(t)
			time.Sleep(12 * time.Second) // longer than a machine's lease
			stream.noOutage(t, allMachines...)
			require.Equal(t, was, invocations(t))
		},
		"systemd starts it again; no unit restarts": func() {
			eventually(t, 30*time.Second, "fleetd is back", func() error {
				out, err := try("fleet-dev exec 1 systemctl --user show -p NRestarts --value fleetd.service && curl -sf http://%s:%d/readyz", dev.Address(1), dev.APIPort)
				if err != nil || strings.HasPrefix(out, "0") {
					return fmt.Errorf("%s %v", out, err)
				}
				return nil
			})
			calm(t)
			require.Equal(t, was, invocations(t))
		},
	}
	lines := indented(t, "Walkthrough", "Now break things")
	require.Len(t, lines, len(claims), "each line has its claim here")
	for _, line := range lines {
		command, claim, _ := strings.Cut(line, "#")
		claim = strings.TrimSpace(claim)
		require.Contains(t, claims, claim, "what the README says of %q is not held by this test", command)
		t.Logf("$ %s", command)
		run(t, "%s", command)
		claims[claim]()
	}
}

// TestReadmeOwnApp applies the README's own app, with the example program instead of an image, and changes it: the instances are replaced
// one at a time, without an outage.
func TestReadmeOwnApp(t *testing.T) {
	calm(t)
	var text string
	var commands []string
	inside := false
	for _, line := range section(t, "Your own app") {
		switch command, ok := strings.CutPrefix(line, "    "); {
		case strings.HasPrefix(line, "```"):
			inside = line == "```yaml"
		case inside:
			text += line + "\n"
		case ok:
			commands = append(commands, command)
		}
	}
	require.Equal(t, []string{"fleetctl apply -f shop.yaml --wait"}, commands)
	dir := t.TempDir()
	shop := filepath.Join(dir, "shop.yaml")
	require.NoError(t, os.WriteFile(shop, []byte(text), 0o644))
	require.Equal(t, "app/shop created (dry run)\n", run(t, "cd %s && fleetctl apply -f shop.yaml --dry-run", dir), "it is valid as it is written")

	const image = "container:\n    image: localhost:5000/shop:1.4\n"
	require.Contains(t, text, image)
	version := func(v string) {
		t.Helper()
		changed := strings.Replace(text, image, fmt.Sprintf("exec:\n    command: [\"%%t/fleet/bin/example-app\", --instance, \"%%n\"]\n  env: {EXAMPLE_VERSION: %q}\n", v), 1)
		require.NoError(t, os.WriteFile(shop, []byte(changed), 0o644))
	}
	gone := func(app string) {
		t.Helper()
		run(t, "fleetctl delete app %s", app)
		eventually(t, time.Minute, app+" is gone", func() error {
			if left := units(t, app); len(left) > 0 {
				return fmt.Errorf("%v", left)
			}
			return nil
		})
	}
	defer func() {
		gone("shop")
		calm(t)
	}()
	version("1.4")
	require.Contains(t, run(t, "cd %s && %s", dir, commands[0]), "app/shop created\n")
	served := func(v string) {
		t.Helper()
		for _, m := range allMachines {
			for range 3 { // as many as there are instances: all of them are asked
				require.Equal(t, v, strings.TrimSpace(run(t, "curl -sf -m 3 -H 'Host: shop.example.com' http://%s:8080/version", dev.Address(m))))
			}
		}
	}
	served("1.4")
	announced(t, "shop", "shop@1", "shop@2", "shop@3")

	version("1.5")
	fewest, ended := make(chan int, 1), make(chan struct{})
	go func() {
		n := 3
		for {
			select {
			case <-ended:
				fewest <- n
				return
			case <-time.After(50 * time.Millisecond):
			}
			if out, err := try("etcdctl get --prefix --keys-only /services/web/shop/"); err == nil {
				n = min(n, strings.Count(out, "shop@"))
			}
			if _, err := try("curl -sf -m 3 -o /dev/null -H 'Host: shop.example.com' http://127.0.0.11:8080/"); err != nil {
				n = -1
			}
		}
	}()
	require.Contains(t, run(t, "cd %s && %s", dir, commands[0]), "app/shop configured\n")
	close(ended)
	require.GreaterOrEqual(t, <-fewest, 2, "one at a time, and no request fails (-1)")
	served("1.5")

	// Two instances on each machine, each on a port of its own.
	text = strings.Replace(text, "replicas: 3", "replicas: 6", 1)
	version("1.5")
	run(t, "cd %s && %s", dir, commands[0])
	on, endpoints := map[string]int{}, strings.Fields(run(t, "etcdctl get --prefix --print-value-only /services/web/shop/"))
	for _, endpoint := range endpoints {
		address, _, _ := strings.Cut(endpoint, ":")
		on[address]++
	}
	slices.Sort(endpoints)
	require.Len(t, slices.Compact(endpoints), 6)
	require.Equal(t, map[string]int{dev.Address(1): 2, dev.Address(2): 2, dev.Address(3): 2}, on)
	require.Regexp(t, `shop@6\.service\s+http=2\d{4}\n`, run(t, "fleetctl list-units --fields unit,ports"))
	require.Regexp(t, `Ports on \S+: http=2\d{4}\n`, run(t, "fleetctl describe unit shop@6"))
	serving := map[string]bool{}
	for range 60 {
		serving[strings.TrimSpace(run(t, "curl -sf -m 3 -H 'Host: shop.example.com' http://%s:8080/instance", dev.Address(1)))] = true
	}
	require.Len(t, serving, 6, "%v", serving)
}
