package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
)

// traffic is a steady stream of requests to an app through the routers of some machines.
type traffic struct {
	stopped  chan struct{}
	stopOnce sync.Once
	done     sync.WaitGroup

	mu       sync.Mutex
	answered map[string]int // by method, machine and instance
	failed   []failure
	slowest  time.Duration
}

// failure is a request without an answer, or with a wrong one.
type failure struct {
	method  string
	machine int
	what    string
}

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

// startTraffic sends to each machine's router a GET every 10 ms on kept connections, and every 50 ms a POST on a new connection, with a
// body so large that nginx buffers it on disk: a client must not repeat a lost POST.
func startTraffic(t *testing.T, machines ...int) *traffic {
	t.Helper()
	s := &traffic{stopped: make(chan struct{}), answered: map[string]int{}}
	for _, m := range machines {
		s.done.Go(func() { s.send(http.MethodGet, m, 10*time.Millisecond, &http.Transport{}, get) })
		s.done.Go(func() {
			s.send(http.MethodPost, m, 50*time.Millisecond, &http.Transport{DisableKeepAlives: true}, post)
		})
	}
	t.Cleanup(func() { s.stop() })
	return s
}

// posted is larger than what nginx keeps of a body in memory.
var posted = strings.Repeat("x", 64<<10)

// post sends a body, checks that all of it arrived, and returns the instance.
func post(ctx context.Context, client *http.Client, machine int, host, _ string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://%s:8080/count", dev.Address(machine)), strings.NewReader(posted))
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
	if err != nil {
		return "", err
	}
	if want := fmt.Sprintln(len(posted)); string(body) != want {
		return "", fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(body)))
	}
	return res.Header.Get("X-Instance"), nil
}

// send sends one request after the other. The last one is waited for as well.
func (s *traffic) send(method string, machine int, every time.Duration, transport *http.Transport,
	request func(context.Context, *http.Client, int, string, string) (string, error)) {
	client := &http.Client{Transport: transport, Timeout: patience}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-s.stopped:
			return
		case <-tick.C:
		}
		sent := time.Now()
		instance, err := request(context.Background(), client, machine, app+".localhost", "/instance")
		took := time.Since(sent)
		s.mu.Lock()
		s.slowest = max(s.slowest, took)
		if err != nil {
			s.failed = append(s.failed, failure{method, machine, fmt.Sprintf("sent at %s, after %s: %v", sent.Format("15:04:05.000"), took.Round(time.Millisecond), err)})
		} else {
			s.answered[fmt.Sprintf("%s m%d %s", method, machine, strings.TrimSuffix(instance, ".service"))]++
		}
		s.mu.Unlock()
	}
}

func (s *traffic) stop() {
	s.stopOnce.Do(func() { close(s.stopped) })
	s.done.Wait()
}

// noOutage ends the stream and checks that every request was answered in time, and that each router answered some.
func (s *traffic) noOutage(t *testing.T, machines ...int) {
	t.Helper()
	s.noOutageBut(t, nil, machines...)
}

// underWay is for noOutageBut: each router may lose one POST that an instance was working on when it died. nginx must not repeat it.
func underWay() func(failure) bool {
	lost := map[int]int{}
	return func(f failure) bool {
		if f.method != http.MethodPost || !strings.Contains(f.what, "502") {
			return false
		}
		lost[f.machine]++
		return lost[f.machine] == 1
	}
}

// noOutageBut is like noOutage, but some requests may be lost.
func (s *traffic) noOutageBut(t *testing.T, mayFail func(failure) bool, machines ...int) {
	t.Helper()
	s.stop()
	lost := s.failed
	if mayFail != nil {
		lost = slices.DeleteFunc(slices.Clone(lost), mayFail)
	}
	require.Empty(t, lost, "requests failed; answered: %v", s.answered)
	for _, m := range machines {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			answered := slices.ContainsFunc(slices.Collect(maps.Keys(s.answered)), func(key string) bool {
				return strings.HasPrefix(key, fmt.Sprintf("%s m%d ", method, m))
			})
			require.True(t, answered, "no %s through machine %d was answered: %v", method, m, s.answered)
		}
	}
	t.Logf("the slowest took %s; answered: %v, failed: %v", s.slowest.Round(time.Millisecond), s.answered, s.failed)
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
