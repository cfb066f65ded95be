package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const seedDir = "../../manifests/seed"

// TestSeed runs the commands of manifests/seed/README.md on the lab, in order, and compares what they print: the seed as Apps, the
// seed's own unit files, and what becomes of one that is not changed. Between them it looks at the machines from outside.
func TestSeed(t *testing.T) {
	l := bareLab(t)
	first := l.Machines[0]
	readme := readPage(t, filepath.Join(seedDir, "README.md"))
	checkOut(t, l)
	startStorage(t)
	clear(t, l) // the other tests' router has port 80
	t.Cleanup(func() { clear(t, l) })

	for _, m := range l.Machines {
		readme.follow(t, m, readme.of(t, "On each machine"))
	}
	for _, way := range []struct {
		section string
		left    int // containers on each machine, in the end
	}{{"As Apps", 0}, {"As unit files", 1}} {
		t.Run(way.section, func(t *testing.T) {
			start := time.Now()
			steps := readme.of(t, way.section)
			stop := slices.IndexFunc(steps, func(s *step) bool { return s.command == "fleetctl stop example-app@1" })
			require.Positive(t, stop)
			gone := slices.IndexFunc(steps, func(s *step) bool {
				return strings.HasPrefix(s.command, "fleetctl delete ") || strings.HasPrefix(s.command, "fleetctl destroy ")
			})
			require.Greater(t, gone, stop)
			readme.follow(t, first, steps[:stop])
			one, two := running(t, l, "example-app@1.service"), running(t, l, "example-app@2.service")
			require.NotEqual(t, one.Name, two.Name, "Conflicts")
			require.Equal(t, one.Name, running(t, l, "example-app-discovery@1.service").Name, "MachineOf")
			require.Equal(t, two.Name, running(t, l, "example-app-discovery@2.service").Name, "MachineOf")
			answers(t, l, "example-app.example.com", 2)

			if way.section == "As Apps" {
				for _, m := range l.Machines { // for a reboot without etcd
					saved, err := os.ReadFile(filepath.Join(m.Root(), "var/lib/fleet/router/router.json"))
					require.NoError(t, err)
					require.Contains(t, string(saved), "example-app@1")
				}
			}

			requests := startLoadOn(t, "example-app.example.com", l.Machines...)
			readme.follow(t, first, steps[stop:gone])
			result := requests.Stop()
			for _, f := range result.Failed { // the routers' reload closes kept connections, and a POST is not sent again
				require.Equal(t, http.MethodPost, f.Kind.Method, "while an instance was stopped and started again: %s", f)
			}
			answers(t, l, "example-app.example.com", 2)
			answers(t, l, "hello.example.com", 2)
			readme.follow(t, first, steps[gone:])
			t.Logf("%d commands in %.1f s: %s", len(steps), time.Since(start).Seconds(), result)
		})
		containers(t, t.Context(), l, way.left)
	}
	readme.follow(t, first, readme.of(t, "A unit file as it was"))
	if *update {
		readme.write(t)
	}
	removeOnce(t, l)
	containers(t, t.Context(), l, 0)
}

// removeOnce removes the container that stays, as the page says.
func removeOnce(t *testing.T, l *Lab) {
	t.Helper()
	for _, m := range l.Machines {
		_, err := m.Exec(context.Background(), "docker", "rm", "--force", "once")
		require.NoError(t, err)
	}
}

// checkOut gives each machine what the page's commands name.
func checkOut(t *testing.T, l *Lab) {
	t.Helper()
	for _, m := range l.Machines {
		require.NoError(t, os.RemoveAll(filepath.Join(m.Root(), checkout)))
		require.NoError(t, filepath.WalkDir(seedDir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				name, _ := filepath.Rel("../..", path)
				text, err := os.ReadFile(path)
				return errors.Join(err, m.Write(filepath.Join(checkout, name), string(text)))
			}
			return err
		}))
		for _, image := range []string{"registry", "router", "example-app"} {
			m.copy(t, built(t, "images/"+image+".tar"), checkout+"/bin/images/"+image+".tar", 0o644)
		}
		require.NoError(t, m.Write(checkout+"/registry-credentials", credentials()))
	}
}

// answers waits until every machine's port 80 answers for a host, by way of so many containers.
func answers(t *testing.T, l *Lab, host string, instances int) {
	t.Helper()
	for _, m := range l.Machines {
		within(t, time.Minute, host+" at "+m.Name, func() error {
			seen := map[string]bool{}
			for range 5 * instances {
				container, err := getPath(t.Context(), m, host, "/machine")
				if err != nil {
					return err
				}
				seen[container] = true
			}
			if len(seen) != instances {
				return fmt.Errorf("%v answer, not %d containers", seen, instances)
			}
			return nil
		})
	}
}

// clear deletes all apps and units, and waits until they have stopped.
func clear(t *testing.T, l *Lab) {
	t.Helper()
	ctx, first := context.Background(), l.Machines[0] // also after the test's context has ended
	_, err := first.Exec(ctx, "bash", "-c", "set -o pipefail\n"+
		"fleetctl get apps | awk 'NR > 1 {print \"app/\" $1}' | xargs -r fleetctl delete\n"+
		"fleetctl list-unit-files --no-legend --fields unit,owner | awk '$2 == \"-\" {print $1}' | xargs -r fleetctl destroy")
	require.NoError(t, err)
	removeOnce(t, l)
	require.NoError(t, poll(ctx, time.Minute, func() error {
		left, err := first.Exec(ctx, "fleetctl", "list-units", "--no-legend")
		if err == nil && left != "" {
			err = errors.New(left)
		}
		return err
	}))
	containers(t, ctx, l, 0)
}

// containers waits until each machine has so many containers, those that have ended included.
func containers(t *testing.T, ctx context.Context, l *Lab, want int) {
	t.Helper()
	for _, m := range l.Machines {
		require.NoError(t, poll(ctx, time.Minute, func() error {
			ids, err := m.Exec(ctx, "docker", "ps", "--all", "--quiet")
			if n := strings.Count(ids, "\n"); err == nil && n != want {
				err = fmt.Errorf("%d containers on %s, not %d", n, m.Name, want)
			}
			return err
		}))
	}
}
