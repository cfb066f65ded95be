package lab

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/test/load"
)

const oneApp = `apiVersion: fleet/v1
kind: App
metadata: {name: one}
spec:
  container: {image: "localhost:5000/example-app:%s"}
  env: {PORT: "3200"}
  ports: [{name: http, port: 3200}]
  announce: {port: http}
  healthCheck: {http: {path: /healthz}, interval: 1s}
  route: {hosts: [one.lab.example]}
`

// applyOne applies the app one with that tag of its image, and does not wait.
func applyOne(t *testing.T, m *Machine, tag string) {
	t.Helper()
	require.NoError(t, m.Write("root/one.yaml", fmt.Sprintf(oneApp, tag)))
	fleetctl(t, "apply -f /root/one.yaml")
}

// twoApp is the same app without a fixed port, so that an instance beside its own can stand in for it.
var twoApp = strings.NewReplacer("name: one", "name: two", "one.lab", "two.lab", "port: 3200}", "port: 3200, hostPort: auto}").Replace(oneApp)

// runsImage waits until the container of one@1 runs the image that the tag means on its machine.
func runsImage(t *testing.T, m *Machine, tag string) time.Duration {
	t.Helper()
	return within(t, time.Minute, "one@1.service runs "+tag, func() error {
		want, err := m.Exec(t.Context(), "docker", "image", "inspect", "--format", "{{.Id}}", "localhost:5000/example-app:"+tag)
		if err != nil {
			return err
		}
		is, err := m.Exec(t.Context(), "docker", "ps", "--quiet", "--filter", "ancestor="+strings.TrimSpace(want))
		if err == nil && strings.TrimSpace(is) == "" {
			err = errors.New("no container runs " + want)
		}
		return err
	})
}

// pushAs pushes another image, made from the example app on that machine, under the tag.
func pushAs(t *testing.T, m *Machine, tag string) {
	t.Helper()
	_, err := m.Exec(t.Context(), "sh", "-ec", `docker image inspect seed:1 >/dev/null 2>&1 || { docker load --quiet -i /root/example-app.tar; docker tag localhost:5000/example-app:latest seed:1; }
docker rm -f made >/dev/null 2>&1 || true
docker create --name made seed:1
docker commit --change "ENV MADE=$(date +%s%N)" made localhost:5000/example-app:`+tag+`
docker rm made
docker push --quiet localhost:5000/example-app:`+tag)
	require.NoError(t, err)
}

func seconds(took time.Duration, _ string) float64 { return took.Seconds() }

// away is how long requests failed, from the first to the last.
func away(r load.Result) time.Duration {
	var first, last time.Time
	for _, f := range unexcused(r.Failed) {
		if first.IsZero() || f.Sent.Before(first) {
			first = f.Sent
		}
		if f.Sent.After(last) {
			last = f.Sent
		}
	}
	return last.Sub(first)
}

// TestPullsComeFirst: what cannot be pulled, or not now, takes nothing away, and is told in docker's words.
func TestPullsComeFirst(t *testing.T) {
	l := withLab(t)
	storage := withRegistry(t, l, "app/one")
	first := l.Machines[0]
	for _, tag := range []string{"v1", "v2"} {
		pushAs(t, first, tag)
	}
	applyOne(t, first, "v1")
	fleetctl(t, "apply -f /root/one.yaml --wait --timeout 1m")
	on := running(t, l, "one@1.service")
	for _, m := range l.Machines { // so that it pulls: it made the image if it is the first one
		_, err := m.Exec(t.Context(), "sh", "-c", "docker rmi localhost:5000/example-app:v2 || true")
		require.NoError(t, err)
	}
	answers := func() error { _, err := getFrom(t.Context(), first, "one.lab.example"); return err }
	within(t, time.Minute, "one is served", answers)

	t.Run("storage hangs during a roll-out", func(t *testing.T) {
		requests := startLoadOn(t, "one.lab.example", l.Machines...)
		require.NoError(t, storage.Signal(syscall.SIGSTOP))
		t.Cleanup(func() { _ = storage.Signal(syscall.SIGCONT) })
		applyOne(t, first, "v2")
		// The registry may give up before docker does.
		t.Logf("list-units tells that it pulls after %.1f s", seconds(said(t, 30*time.Second, "list-units -o wide", "localhost:5000/example-app:v2")))
		said(t, 30*time.Second, "describe app one", "localhost:5000/example-app:v2")
		time.Sleep(15 * time.Second)
		sent := requests.Stop()
		require.Empty(t, unexcused(sent.Failed))
		require.NoError(t, storage.Signal(syscall.SIGCONT))
		start := time.Now()
		fleetctl(t, "apply -f /root/one.yaml --wait --timeout 2m")
		t.Logf("while storage hung: %s; the roll-out is complete %.1f s after it is back", sent, time.Since(start).Seconds())
		runsImage(t, on, "v2")
	})

	t.Run("an image that is not there", func(t *testing.T) {
		requests := startLoadOn(t, "one.lab.example", l.Machines...)
		applyOne(t, first, "none")
		const words = "manifest unknown"
		t.Logf("list-units tells docker's words after %.1f s", seconds(said(t, 30*time.Second, "list-units -o wide", words)))
		said(t, 30*time.Second, "describe app one", words)
		said(t, 30*time.Second, "events --for app/one", words)
		time.Sleep(5 * time.Second)
		sent := requests.Stop()
		require.Empty(t, unexcused(sent.Failed))
		applyOne(t, first, "v2")
		fleetctl(t, "apply -f /root/one.yaml --wait --timeout 1m")
		require.NotContains(t, fleetctl(t, "list-units -o wide"), words)
	})

	t.Run("storage hangs during a drain", func(t *testing.T) {
		for _, m := range others(l, on) {
			_, err := m.Exec(t.Context(), "sh", "-c", "docker rmi localhost:5000/example-app:v2 || true")
			require.NoError(t, err)
		}
		requests := startLoadOn(t, "one.lab.example", l.Machines...)
		require.NoError(t, storage.Signal(syscall.SIGSTOP))
		t.Cleanup(func() { _ = storage.Signal(syscall.SIGCONT) })
		fleetctl(t, "drain --no-block "+on.ID)
		t.Logf("list-units tells that the next machine pulls after %.1f s", seconds(said(t, 30*time.Second, "list-units -o wide", "localhost:5000/example-app:v2")))
		time.Sleep(15 * time.Second)
		sent := requests.Stop()
		require.Empty(t, unexcused(sent.Failed), "it stays")
		require.Equal(t, on, running(t, l, "one@1.service"))

		requests = startLoadOn(t, "one.lab.example", l.Machines...)
		require.NoError(t, storage.Signal(syscall.SIGCONT))
		start := time.Now()
		fleetctl(t, "drain --timeout 2m "+on.ID)
		t.Logf("while storage hung: %s; drained %.1f s after it is back", sent, time.Since(start).Seconds())
		within(t, time.Minute, "one is served", answers)
		sent = requests.Stop()
		t.Logf("the move: %s; it was away for %.1f s", sent, away(sent).Seconds())
		require.Less(t, away(sent), 10*time.Second, "as in any move of a single instance")
		fleetctl(t, "uncordon "+on.ID)
		on = running(t, l, "one@1.service")
		runsImage(t, on, "v2")
	})

	t.Run("storage hangs while a new manifest names another machine", func(t *testing.T) {
		two := fmt.Sprintf(twoApp, "v2")
		applied(t, "two", two)
		within(t, time.Minute, "two is served", func() error { _, err := getFrom(t.Context(), first, "two.lab.example"); return err })
		twoOn := running(t, l, "two@1.service")
		next := l.Machines[slices.IndexFunc(l.Machines, func(m *Machine) bool { return m != on && m != twoOn })]
		_, err := next.Exec(t.Context(), "sh", "-c", "docker rmi localhost:5000/example-app:v2 || true")
		require.NoError(t, err)
		there := fmt.Sprintf("  placement: {machineMetadata: {machine: %s}}\n", next.Name)
		require.NoError(t, first.Write("root/one.yaml", fmt.Sprintf(oneApp, "v2")+there))
		require.NoError(t, first.Write("root/two.yaml", two+there))

		ofOne, ofTwo := startLoadOn(t, "one.lab.example", l.Machines...), startLoadOn(t, "two.lab.example", l.Machines...)
		require.NoError(t, storage.Signal(syscall.SIGSTOP))
		t.Cleanup(func() { _ = storage.Signal(syscall.SIGCONT) })
		hung := time.Now()
		fleetctl(t, "apply -f /root/one.yaml -f /root/two.yaml")
		asked := within(t, 10*time.Second, "it is asked", func() error {
			asks, err := first.Exec(t.Context(), "etcdctl", "get", "--keys-only", "/fleet/preparations/"+next.ID+"/one@1.service")
			if err == nil && asks == "" {
				err = errors.New(next.Name + " is not asked to prepare one@1.service")
			}
			return err
		})
		said(t, 10*time.Second, "list-units -o wide", "localhost:5000/example-app:v2")
		t.Logf("the next machine is asked after %.1f s, list-units tells that it pulls after %.1f s", asked.Seconds(), time.Since(hung).Seconds())
		time.Sleep(time.Until(hung.Add(15 * time.Second)))
		sent := ofOne.Stop()
		require.Empty(t, unexcused(sent.Failed), "it stays")
		require.Equal(t, on, running(t, l, "one@1.service"))
		require.Equal(t, twoOn, running(t, l, "two@1.service"))

		ofOne = startLoadOn(t, "one.lab.example", l.Machines...)
		require.NoError(t, storage.Signal(syscall.SIGCONT))
		start := time.Now()
		fleetctl(t, "apply -f /root/one.yaml -f /root/two.yaml --wait --timeout 2m")
		t.Logf("while storage hung: %s; both are moved %.1f s after it is back", sent, time.Since(start).Seconds())
		sent = ofOne.Stop()
		t.Logf("the move: %s; it was away for %.1f s; of two, for which another stands in, %s", sent, away(sent).Seconds(), ofTwo.SoFar())
		require.Less(t, away(sent), 10*time.Second, "as in any move of a single instance")
		require.Empty(t, unexcused(ofTwo.Stop().Failed), "others stand in")
		require.Equal(t, next, running(t, l, "one@1.service"))
		require.Equal(t, next, running(t, l, "two@1.service"))
		on = next
		runsImage(t, on, "v2")
	})

	t.Run("push latest, restart", func(t *testing.T) {
		applyOne(t, first, "latest")
		fleetctl(t, "apply -f /root/one.yaml --wait --timeout 1m")
		other := others(l, on)[0]
		other.copy(t, built(t, "images/example-app.tar"), "root/example-app.tar", 0o644)
		before, err := on.Exec(t.Context(), "docker", "image", "inspect", "--format", "{{.Id}}", "localhost:5000/example-app:latest")
		require.NoError(t, err)
		pushAs(t, other, "latest")
		start := time.Now()
		fleetctl(t, "restart app/one")
		after, err := on.Exec(t.Context(), "docker", "image", "inspect", "--format", "{{.Id}}", "localhost:5000/example-app:latest")
		require.NoError(t, err)
		require.NotEqual(t, before, after)
		runsImage(t, on, "latest")
		t.Logf("restarted with the new image after %.1f s", time.Since(start).Seconds())
	})

	t.Run("a restart while storage is away uses the image that is there", func(t *testing.T) {
		require.NoError(t, storage.Signal(os.Interrupt))
		start := time.Now()
		fleetctl(t, "restart app/one --timeout 2m")
		t.Logf("restarted after %.1f s", time.Since(start).Seconds())
		said(t, 30*time.Second, "events --for app/one", "the image of that name that the machine has is used")
		for _, m := range l.Machines {
			said(t, 30*time.Second, "describe unit registry", "/"+m.Address+": storage is away: ")
		}
		within(t, time.Minute, "one is served", answers)
	})
}
