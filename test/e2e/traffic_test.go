package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
)

// traffic is a steady stream of requests to an app through the routers of some machines.
type traffic struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	answered map[string]int // by instance
	failed   []string
}

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

// startTraffic sends a request every 10 ms to each of the machines' routers.
func startTraffic(t *testing.T, machines ...int) *traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &traffic{cancel: cancel, answered: map[string]int{}}
	for _, m := range machines {
		s.done.Go(func() { s.send(ctx, m) })
	}
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *traffic) send(ctx context.Context, machine int) {
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		instance, err := get(ctx, client, machine, app+".localhost", "/instance")
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		if err != nil {
			s.failed = append(s.failed, fmt.Sprintf("%s machine %d: %v", time.Now().Format("15:04:05.000"), machine, err))
		} else {
			s.answered[instance]++
		}
		s.mu.Unlock()
	}
}

func (s *traffic) stop() {
	s.cancel()
	s.done.Wait()
}

// noOutage ends the stream: every request was answered, and there were some.
func (s *traffic) noOutage(t *testing.T) {
	t.Helper()
	s.stop()
	require.Empty(t, s.failed, "requests failed; answered: %v", s.answered)
	require.NotEmpty(t, s.answered)
	t.Logf("answered: %v", s.answered)
}

// servedBy waits until every router sends requests to exactly those instances.
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
