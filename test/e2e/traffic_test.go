package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
	"github.com/fleet-starter/fleet/test/load"
)

// traffic is a steady stream of requests to the example app through the routers of some machines.
type traffic struct{ *load.Load }

// patience is how long a request may take. nginx waits a second for an instance that does not accept a connection, then asks another
// one: a longer wait is an outage, even if an answer comes in the end.
const patience = 3 * time.Second

const app = "example-app"

func get(ctx context.Context, client *http.Client, machine int, host, path string) (string, error) {
	return getAt(ctx, client, dev.Address(machine), host, path)
}

func getAt(ctx context.Context, client *http.Client, address, host, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:8080%s", address, path), nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(body)))
	}
	return strings.TrimSpace(string(body)), err
}

// startTraffic sends requests of all kinds to each machine's router.
func startTraffic(t *testing.T, machines ...int) *traffic {
	t.Helper()
	targets := make([]load.Target, len(machines))
	for i, m := range machines {
		targets[i] = load.Target{Name: fmt.Sprintf("m%d", m), Address: dev.Address(m) + ":8080", Host: app + ".localhost"}
	}
	s := &traffic{load.Options{Patience: patience}.Start(targets...)}
	t.Cleanup(func() { s.Stop() })
	return s
}

// noOutage ends the stream and checks that every request was answered in time, and that each router answered some of each kind.
func (s *traffic) noOutage(t *testing.T, machines ...int) {
	t.Helper()
	s.noOutageBut(t, nil, machines...)
}

// underWay is for noOutageBut: each stream of POSTs may lose one that an instance was working on when it died, and one that nginx sent
// on a kept connection as that closed. nginx must not repeat them.
func underWay() func(load.Failure) bool {
	lost := map[string]int{}
	return func(f load.Failure) bool {
		if f.Kind.Method != http.MethodPost || !strings.Contains(f.Err.Error(), "502") {
			return false
		}
		stream := f.Target + " " + f.Kind.String()
		lost[stream]++
		return lost[stream] <= 2
	}
}

// noOutageBut is like noOutage, but some requests may be lost.
func (s *traffic) noOutageBut(t *testing.T, mayFail func(load.Failure) bool, machines ...int) {
	t.Helper()
	result := s.Stop()
	lost := slices.DeleteFunc(slices.Clone(result.Failed), func(f load.Failure) bool { return f.ClosedIdle() || mayFail != nil && mayFail(f) })
	require.Empty(t, lost, "answered: %v", result.Answered)
	for _, m := range machines {
		for _, kind := range load.Kinds {
			answered := slices.ContainsFunc(slices.Collect(maps.Keys(result.Answered)), func(a load.Answer) bool {
				return a.Kind == kind && a.Target == fmt.Sprintf("m%d", m)
			})
			require.True(t, answered, "no %s through machine %d was answered: %v", kind, m, result.Answered)
		}
	}
	t.Logf("%s; answered: %v", result, result.Answered)
}

// servedBy waits until every router sends requests to exactly these instances.
func servedBy(t *testing.T, machines []int, instances ...string) {
	t.Helper()
	for _, m := range machines {
		eventually(t, 30*time.Second, fmt.Sprintf("router of machine %d", m), func() error {
			seen := map[string]bool{}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
			for range 4 * max(1, len(instances)) {
				name, err := get(t.Context(), client, m, app+".localhost", "/instance")
				if err != nil {
					return err
				}
				seen[strings.TrimSuffix(name, ".service")] = true
			}
			for _, i := range instances {
				if !seen[i] {
					return fmt.Errorf("%s does not answer, only %v", i, seen)
				}
			}
			if len(seen) != len(instances) {
				return fmt.Errorf("%v answer instead of %v", seen, instances)
			}
			return nil
		})
	}
}
