package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/test/load"
)

// TestApps: what happens to one app concerns no other one. The apps break at the same time.
func TestApps(t *testing.T) {
	l := withLab(t)
	requests := startLoad(t, l.Machines...)
	t.Run("break", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *Lab){
			"process killed": testProcessKilled, "hang": testHang, "out of memory": testOutOfMemory, "crash": testCrash, "bad image": testBadImage,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, l)
			})
		}
	})
	sent := requests.Stop()
	t.Logf("of the app that is left alone %s", sent)
	require.Empty(t, unexcused(sent.Failed))
}

// unexcused leaves out what a reload of nginx costs, such as with a new app or when units move.
func unexcused(failed []load.Failure) []load.Failure {
	return slices.DeleteFunc(slices.Clone(failed), load.Failure.ClosedIdle)
}

// shop is an app of two instances, with settings in place of %s.
func shop(name string, port int, settings string) string {
	return fmt.Sprintf(`apiVersion: fleet/v1
kind: App
metadata: {name: %s}
spec:
  replicas: 2
  exec: {command: [/usr/bin/example-app, --listen, "${FLEET_MACHINE_IP}:%d", --instance, "%%n"]}
  ports: [{name: http, port: %d}]
  placement: {conflicts: ["%s@*.service"]}
  announce: {port: http}
  healthCheck: {http: {path: /healthz}, interval: 1s, timeout: 1s, unhealthyThreshold: 1}
  route: {hosts: [%s.lab.example]}
%s`, name, port, port, name, name, settings)
}

// apply applies a manifest from the first machine, and takes the app away after the test.
func apply(t *testing.T, name, manifest, flags string) (string, error) {
	t.Helper()
	first := theLab.Machines[0]
	file := "/root/" + name + ".yaml"
	require.NoError(t, first.Write(file, manifest))
	t.Cleanup(func() {
		_, err := first.Exec(context.Background(), "fleetctl", "delete", "app/"+name)
		if err != nil && !strings.Contains(err.Error(), "does not exist") {
			t.Error(err)
		}
	})
	return first.Exec(t.Context(), append([]string{"fleetctl", "apply", "-f", file}, strings.Fields(flags)...)...)
}

func applied(t *testing.T, name, manifest string) {
	t.Helper()
	_, err := apply(t, name, manifest, "--wait --timeout 1m")
	require.NoError(t, err)
}

// said waits until fleetctl says the words, and returns how long that took and what it said.
func said(t *testing.T, limit time.Duration, args string, words ...string) (took time.Duration, text string) {
	t.Helper()
	took = within(t, limit, args, func() (err error) {
		text, err = theLab.Machines[0].Exec(t.Context(), append([]string{"fleetctl"}, strings.Fields(args)...)...)
		for _, w := range words {
			if err == nil && !strings.Contains(text, w) {
				err = fmt.Errorf("it does not say %q:\n%s", w, text)
			}
		}
		return err
	})
	return took, text
}

// line is the line of a unit in what list-units says.
func line(text, unit string) string {
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, unit) {
			return strings.Join(strings.Fields(l), " ")
		}
	}
	return ""
}

// endpointOf is what etcd has of an instance.
func endpointOf(t *testing.T, app, instance string) string {
	t.Helper()
	text, err := theLab.Machines[0].Exec(t.Context(), "etcdctl", "get", "--print-value-only", "/services/web/"+app+"/"+instance)
	require.NoError(t, err)
	return strings.TrimSpace(text)
}

// withdrawn waits until an instance has no endpoint.
func withdrawn(t *testing.T, app, instance string) time.Duration {
	t.Helper()
	return within(t, 30*time.Second, instance+" is withdrawn", func() error {
		if at := endpointOf(t, app, instance); at != "" {
			return fmt.Errorf("announced at %s", at)
		}
		return nil
	})
}

func testProcessKilled(t *testing.T, l *Lab) {
	applied(t, "killed", shop("killed", 3201, ""))
	on := running(t, l, "killed@1.service")
	requests := startLoadOn(t, "killed.lab.example", l.Machines...)
	time.Sleep(time.Second)
	_, err := on.Exec(t.Context(), "systemctl", "kill", "--kill-who=main", "--signal=SIGKILL", "killed@1.service")
	require.NoError(t, err)
	died := time.Now()
	gone := withdrawn(t, "killed", "killed@1")
	back := within(t, 30*time.Second, "it is announced again", func() error {
		if endpointOf(t, "killed", "killed@1") == "" {
			return errors.New("no endpoint")
		}
		return nil
	})
	time.Sleep(2 * time.Second)
	sent := requests.Stop()
	t.Logf("its endpoint is gone after %.1f s, and back after %.1f s; of the app itself %s", gone.Seconds(), (gone + back).Seconds(), sent)
	require.Less(t, gone, 2*time.Second)
	require.Empty(t, unexcused(sent.After(died.Add(time.Second))), "routers ask another instance")
}

// testHang: the process is there, and answers nothing.
func testHang(t *testing.T, l *Lab) {
	applied(t, "hung", shop("hung", 3202, ""))
	on := running(t, l, "hung@1.service")
	_, err := on.Exec(t.Context(), "systemctl", "kill", "--kill-who=main", "--signal=SIGSTOP", "hung@1.service")
	require.NoError(t, err)
	gone := withdrawn(t, "hung", "hung@1")
	told, text := said(t, 10*time.Second, "list-units -o wide", "active, but not announced: its health check fails")
	said(t, 10*time.Second, "describe app hung", "hung@1.service: active, but not announced: its health check fails")
	time.Sleep(500 * time.Millisecond) // until every router knows
	requests := startLoadOn(t, "hung.lab.example", l.Machines...)
	time.Sleep(2 * time.Second)
	sent := requests.Stop()
	t.Logf("its endpoint is gone %.1f s after it hangs (the next check comes after 1 s at most and may take 1 s), told %.1f s after that; then of the app itself %s\n%s",
		gone.Seconds(), told.Seconds(), sent, line(text, "hung@1"))
	require.Less(t, gone, 3*time.Second, "interval, timeout, and one second")
	require.Empty(t, unexcused(sent.Failed))
	_, err = on.Exec(t.Context(), "systemctl", "kill", "--kill-who=main", "--signal=SIGCONT", "hung@1.service")
	require.NoError(t, err)
	within(t, 10*time.Second, "it is announced again", func() error {
		if endpointOf(t, "hung", "hung@1") == "" {
			return errors.New("no endpoint")
		}
		return nil
	})
}

// testOutOfMemory: the kernel kills it. systemd in a machine of the lab sets no MemoryMax= where this computer has cgroups of version 1.
func testOutOfMemory(t *testing.T, l *Lab) {
	limit := "true"
	if _, err := l.Machines[0].Exec(t.Context(), "test", "-e", "/sys/fs/cgroup/memory/memory.limit_in_bytes"); err == nil {
		limit = "cd /sys/fs/cgroup/memory && mkdir -p greedy && echo 20M > greedy/memory.limit_in_bytes && echo $$ > greedy/cgroup.procs"
	}
	_, err := apply(t, "greedy", `apiVersion: fleet/v1
kind: App
metadata: {name: greedy}
spec:
  exec: {command: [/bin/sh, -c, "`+limit+`; echo I take it all; exec dd if=/dev/zero of=/dev/null bs=200M count=100"]}
  resources: {limits: {memory: 20M}}
`, "")
	require.NoError(t, err)
	took, text := said(t, 20*time.Second, "list-units -o wide", "killed by signal 9", "I take it all")
	t.Logf("told after %.1f s: %s", took.Seconds(), line(text, "greedy@1"))
}

// testCrash: a new version that ends at once. The former one serves.
func testCrash(t *testing.T, l *Lab) {
	applied(t, "crash", shop("crash", 3204, ""))
	requests := startLoadOn(t, "crash.lab.example", l.Machines...)
	broken := strings.Replace(shop("crash", 3204, ""), `[/usr/bin/example-app,`, `[/bin/sh, -c, "echo no database here; exit 3",`, 1)
	_, err := apply(t, "crash", broken, "")
	require.NoError(t, err)
	listed, text := said(t, 20*time.Second, "list-units -o wide", "exit status 3")
	described, words := said(t, 20*time.Second, "describe unit crash@1", "exit status 3", "no database here")
	time.Sleep(2 * time.Second)
	sent := requests.Stop()
	t.Logf("told by list-units after %.1f s, by describe %.1f s later; %s\n%s\n%s", listed.Seconds(), described.Seconds(), sent, text, words)
	require.Empty(t, unexcused(sent.Failed))
}

// testBadImage: a new version with an image that no registry has. The former one serves.
func testBadImage(t *testing.T, l *Lab) {
	applied(t, "image", shop("image", 3205, ""))
	requests := startLoadOn(t, "image.lab.example", l.Machines...)
	before, after, _ := strings.Cut(shop("image", 3205, ""), "  exec:")
	_, after, _ = strings.Cut(after, "\n")
	_, err := apply(t, "image", before+"  container: {image: \"localhost:5000/nothing:1\"}\n"+after, "")
	require.NoError(t, err)
	told, text := said(t, 30*time.Second, "list-units -o wide", "connection refused")
	_, words := said(t, 30*time.Second, "describe unit image@1", "connection refused")
	time.Sleep(2 * time.Second)
	sent := requests.Stop()
	t.Logf("told by list-units after %.1f s: %s; %s\n%s", told.Seconds(), line(text, "image@1"), sent, words)
	require.Empty(t, unexcused(sent.Failed))
}
