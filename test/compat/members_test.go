package compat

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
)

// on waits until the unit is active on exactly these machines.
func (s *session) on(unit string, nodes ...*node) {
	s.Helper()
	var want []string
	for _, n := range nodes {
		want = append(want, n.ID())
	}
	slices.Sort(want)
	eventually(s.T, 20*time.Second, func() error {
		var got []string
		for line := range strings.Lines(s.run("list-units", "--no-legend", "--full", "--fields=unit,active,machine")) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == unit && f[1] == "active" {
				id, _, _ := strings.Cut(f[2], "/")
				got = append(got, id)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Errorf("%s is active on %v instead of %v", unit, got, want)
		}
		return nil
	})
}

// invocations are the runs of a unit, by machine.
func invocations(unit string, nodes ...*node) map[string]string {
	runs := map[string]string{}
	for _, n := range nodes {
		out, err := n.Command("systemctl", "--user", "show", "--value", "-p", "InvocationID", unit).Output()
		if id := strings.TrimSpace(string(out)); err == nil && id != "" {
			runs[n.ID()] = id
		}
	}
	return runs
}

// TestMembersComeAndGo: a global unit runs on each machine that matches, on one that joins as well, and again after a reboot. What runs
// already does not move for a new machine, and what has waited for it is placed.
func TestMembersComeAndGo(t *testing.T) {
	c := newCluster(t, ours, 2)
	a, b := c.nodes[0], c.nodes[1]
	s := &session{T: t, c: c, client: ours, dir: t.TempDir()}
	s.run("start", s.unit("all.service", "Global=true"), s.unit("some.service", "Global=true", "MachineMetadata=hostname=127.0.0.22", "MachineMetadata=hostname=127.0.0.23"),
		s.unit("x.service"), s.unit("y.service"), s.unit("z.service"))
	s.on("all.service", a, b)
	s.on("some.service", b)
	out := s.exits(1, "start", s.unit("third.service", "MachineMetadata=hostname=127.0.0.23"))
	require.Contains(t, out, "0 of 2 machines fit: 2 have no metadata hostname=127.0.0.23")
	where := func() map[string]string {
		on := map[string]string{}
		for line := range strings.Lines(s.run("list-units", "--no-legend", "--full", "--fields=unit,machine")) {
			if f := strings.Fields(line); slices.Contains([]string{"x.service", "y.service", "z.service"}, f[0]) {
				on[f[0]] = f[1]
			}
		}
		return on
	}
	before, ran := where(), invocations("all.service", a, b)
	require.Len(t, before, 3)

	joined := c.add("127.0.0.23")
	s.on("all.service", a, b, joined)
	s.on("some.service", b, joined)
	s.on("third.service", joined)
	require.Equal(t, before, where(), "nothing moves for it")
	require.Equal(t, ran, invocations("all.service", a, b), "nor is restarted")

	reboot(t, c, joined)
	s.on("all.service", a, b, joined)
	s.on("some.service", b, joined)
	s.on("third.service", joined)
	require.Equal(t, ran, invocations("all.service", a, b))

	s.run("stop", "all", "some")
	s.on("all.service")
	s.on("some.service")
	s.run("destroy", "all", "some")
	require.NotContains(t, s.run("list-unit-files", "--no-legend"), "all.service")
}

// reboot stops a machine with its units, as systemd does when it shuts down, and boots it.
func reboot(t *testing.T, c *cluster, n *node) {
	t.Helper()
	c.stop(n)
	require.NoError(t, n.Stop(t.Context()))
	n.boot(t)
	c.start(n)
}

// TestReboot: a machine that is back within agent_ttl runs its units again, the same file and nowhere else; one that is away for longer
// finds its unit elsewhere, and it stays there.
func TestReboot(t *testing.T) {
	c := newCluster(t, ours, 2)
	a, b := c.nodes[0], c.nodes[1]
	s := &session{T: t, c: c, client: ours, dir: t.TempDir()}
	s.run("start", s.unit("free.service"), s.unit("pinned.service", "MachineID="+b.ID()))
	on := map[bool]*node{true: a, false: b}[s.active("free.service", "pinned.service")["free.service"] == a.ID()]
	text, before := s.run("cat", "pinned"), invocations("pinned.service", b)

	reboot(t, c, b)
	s.on("pinned.service", b)
	s.on("free.service", on)
	require.Equal(t, text, s.run("cat", "pinned"))
	require.NotEqual(t, before, invocations("pinned.service", b))

	c.stop(b)
	require.NoError(t, b.Kill())
	s.on("free.service", a)
	s.on("pinned.service")
	ran := invocations("free.service", a)
	b.boot(t)
	c.start(b)
	s.on("pinned.service", b)
	s.on("free.service", a)
	require.Equal(t, ran, invocations("free.service", a), "it does not move back")
}

// TestEtcdIsAway: every endpoint of the API says so, with the original's code and words; what runs runs on, and afterwards all is as before.
func TestEtcdIsAway(t *testing.T) {
	c := newCluster(t, ours, 1)
	n := c.nodes[0]
	s := &session{T: t, c: c, client: ours, dir: t.TempDir()}
	s.run("start", s.unit("runs.service"))
	s.on("runs.service", n)
	before := invocations("runs.service", n)
	tcp, unix := dialer("tcp", n.address), dialer("unix", n.socket)
	c.own.Cut()
	var asked sync.WaitGroup // each takes etcd_request_timeout
	for _, prefix := range []string{"/fleet/v1", "/v1-alpha"} {
		for _, r := range []request{
			{method: "GET", path: "/units"},
			{method: "GET", path: "/units/runs.service"},
			{method: "PUT", path: "/units/new.service", body: `{"desiredState":"launched",` + options + `}`},
			{method: "PUT", path: "/units/runs.service", body: `{"desiredState":"loaded"}`},
			{method: "DELETE", path: "/units/runs.service"},
			{method: "GET", path: "/state"},
			{method: "GET", path: "/state/runs.service"},
			{method: "GET", path: "/machines"},
			{method: "PATCH", path: "/machines", body: `[{"op":"add","path":"/MACHINE/metadata/foo","value":{"value":"bar"}}]`},
		} {
			r.code, r.has = http.StatusServiceUnavailable, []string{"fleet server unable to communicate with etcd"}
			for _, client := range []*http.Client{tcp, unix} {
				asked.Go(func() { r.send(t, client, prefix, ours, n.ID()) })
			}
		}
		request{method: "GET", path: "/discovery", code: 200}.send(t, tcp, prefix, ours, n.ID())
	}
	asked.Wait()
	require.Equal(t, before, invocations("runs.service", n), "it runs on")
	c.own.Mend()
	s.on("runs.service", n)
	require.Equal(t, before, invocations("runs.service", n))
	require.Equal(t, []string{"runs.service"}, strings.Fields(s.run("list-unit-files", "--no-legend", "--fields=unit")), "nothing was stored or deleted")
	require.NotContains(t, s.run("list-machines", "--no-legend", "--full"), "foo=bar")
}

// TestKilledMachine: its unit is active elsewhere within agent_ttl and a second, whichever machine led.
func TestKilledMachine(t *testing.T) {
	for _, led := range []bool{false, true} {
		t.Run(fmt.Sprintf("it led: %t", led), func(t *testing.T) {
			c := newCluster(t, ours, 3)
			leader := leading(t, c)
			gone := c.nodes[1]
			if led {
				gone = leader
			} else if leader == gone {
				gone = c.nodes[2]
			}
			rest := slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return n == gone })
			for _, n := range c.nodes {
				n.metadata(t, rest[0], "may", "yes")
			}
			gone.metadata(t, rest[0], "first", "yes")
			code, answer := rest[0].api(t, http.MethodPut, "/units/u.service", `{"desiredState":"launched","options":[{"section":"Service","name":"ExecStart","value":"/bin/sleep 5001"},`+
				`{"section":"X-Fleet","name":"MachineMetadata","value":"first=yes"}]}`)
			require.Equal(t, 201, code, answer)
			runsOn(t, rest[0], gone, "u.service")
			// From now on it may run anywhere, and stays where it is.
			for _, n := range rest {
				n.metadata(t, rest[0], "first", "yes")
			}
			require.NoError(t, gone.Kill())
			killed := time.Now()
			eventually(t, 30*time.Second, func() error {
				if runs := invocations("u.service", rest...); len(runs) != 1 {
					return fmt.Errorf("it runs on %v", slices.Collect(maps.Keys(runs)))
				}
				return nil
			})
			took := time.Since(killed)
			t.Logf("active elsewhere after %s", took.Round(time.Millisecond))
			require.Less(t, took, agentTTL+time.Second+looks)
		})
	}
}

const (
	agentTTL = 3 * time.Second        // of the cluster's machines
	looks    = 500 * time.Millisecond // what it takes to see it
)

// leading returns the machine that leads, as etcd has it.
func leading(t *testing.T, c *cluster) (leader *node) {
	t.Helper()
	client := c.own.Client()
	eventually(t, 10*time.Second, func() error {
		page, err := client.List(t.Context(), "/fleet/leaders/", store.ListOptions{})
		if err != nil {
			return err
		}
		for _, kv := range page.KVs {
			for _, n := range c.nodes {
				if strings.Contains(string(kv.Value), n.ID()) {
					leader = n
				}
			}
		}
		if leader == nil {
			return fmt.Errorf("none of %d keys names a leader", len(page.KVs))
		}
		return nil
	})
	return leader
}
