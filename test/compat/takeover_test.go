package compat

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store/etcdtest"
)

// runs returns which process of a unit a machine runs, and how often systemd restarted it; "" if it does not run.
func (n *node) runs(t *testing.T, unit string) string {
	t.Helper()
	out, err := n.Command("systemctl", "--user", "show", "-p", "ActiveState", "-p", "MainPID", "-p", "InvocationID", "-p", "NRestarts", unit).Output()
	require.NoError(t, err)
	if !strings.Contains(string(out), "ActiveState=active") {
		return ""
	}
	return string(out)
}

// running returns the processes of the units on all machines.
func (c *cluster) running(units ...string) map[string]string {
	on := map[string]string{}
	for _, n := range c.nodes {
		for _, unit := range units {
			if process := n.runs(c.t, unit); process != "" {
				on[n.conf["public_ip"]+" "+unit] = process
			}
		}
	}
	return on
}

// takeOver ends the fleetds of the original as docs/coming-from-fleet.md says, and starts ours with a new etcd.
func (c *cluster) takeOver() *cluster {
	for _, n := range c.nodes {
		require.NoError(c.t, n.fleetd.Process.Kill())
		_ = n.fleetd.Wait()
		n.fleetd = nil
	}
	next := &cluster{t: c.t, kind: ours, etcd: etcdtest.Start(c.t).Endpoint(), nodes: c.nodes}
	for _, n := range c.nodes {
		next.configure(n)
		next.start(n)
	}
	return next
}

// TestTakeOver: a cluster of the original becomes one of ours while its units run.
func TestTakeOver(t *testing.T) {
	old := newCluster(t, theirs, 3)
	s := &session{T: t, c: old, client: theirs, dir: t.TempDir()}
	sleep := "[Service]\nExecStart=/bin/sleep 4002\n"
	var files, names []string
	add := func(name, text string) {
		files, names = append(files, s.file(name, "%s", text)), append(names, name)
	}
	for _, i := range []string{"1", "2", "3"} {
		add("web@"+i+".service", "[Unit]\nDescription=Web  %i\n"+sleep+"Environment=\"A=b c\" D=\\\n  e\n[X-Fleet]\nConflicts=web@*.service\n")
		add("disc@"+i+".service", "[Unit]\nBindsTo=web@%i.service\nAfter=web@%i.service\n"+sleep+"[X-Fleet]\nMachineOf=web@%i.service\n")
	}
	add("all.service", sleep+"[X-Fleet]\nGlobal=true\n")
	add("wanted.service", sleep+"[Install]\nWantedBy=web@1.service\n")
	for i := range 4 {
		add(fmt.Sprintf("plain%d.service", i), sleep)
	}
	s.run(append([]string{"start", "--no-block"}, files...)...)
	s.run("load", "--no-block", s.file("tick.timer", "[Timer]\nOnActiveSec=1h\n"), s.file("tick.service", "[Service]\nExecStart=/bin/sleep 4003\n[X-Fleet]\nMachineOf=tick.timer\n"))
	s.run("submit", s.file("later.service", "%s", sleep))
	eventually(t, 30*time.Second, func() error {
		if on := old.running(names...); len(on) != len(names)+2 {
			return fmt.Errorf("running are %d instead of %d: %v", len(on), len(names)+2, on)
		}
		return nil
	})
	// A unit that is loaded only may run all the same: something else started it.
	eventually(t, 15*time.Second, func() error {
		for _, n := range old.nodes {
			if _, err := os.Stat(filepath.Join(n.conf["units_directory"], "tick.service")); err == nil {
				return n.Command("systemctl", "--user", "start", "tick.service").Run()
			}
		}
		return fmt.Errorf("tick.service is nowhere")
	})
	names = append(names, "tick.service")
	before := old.running(names...)
	require.Len(t, before, len(names)+2)

	manifest := filepath.Join(s.dir, "units.yaml")
	text, err := old.fleetctl(ours, old.nodes[0], "import", "--from-fleet", "http://"+old.nodes[0].address)
	require.NoError(t, err, text)
	// One unit gets another file on the way, and one is forgotten.
	at := strings.Index(text, "name: plain3.service")
	require.Positive(t, at)
	text = text[:at] + strings.Replace(text[at:], "4002", "4004", 1)
	docs := strings.Split(text, "\n---\n")
	text = ""
	forgotten := filepath.Join(s.dir, "forgotten.yaml")
	for _, doc := range docs {
		if strings.Contains(doc, "name: plain2.service") {
			require.NoError(t, os.WriteFile(forgotten, []byte(doc), 0o600))
			continue
		}
		text += doc + "\n---\n"
	}
	require.NoError(t, os.WriteFile(manifest, []byte(text), 0o600))

	c := old.takeOver()
	s = &session{T: t, c: c, client: ours, dir: s.dir}
	require.Equal(t, before, c.running(names...), "nothing is stopped while etcd knows nothing of it")
	s.run("apply", "-f", manifest)
	told := map[string]string{"plain2.service": "it was here before fleetd: left alone", "plain3.service": "with another file: if it is to run, it is restarted once",
		"web@1.service": "and goes on", "tick.service": "and goes on"}
	eventually(t, 15*time.Second, func() error {
		if out := s.run("list-unit-files", "--no-legend"); strings.Count(out, "launched\tlaunched") != len(files)-2 {
			return fmt.Errorf("not all are taken over:\n%s", out)
		}
		for unit, want := range told {
			if out := s.run("events", "--for", "unit/"+unit); !strings.Contains(out, want) {
				return fmt.Errorf("%q is not told of %s:\n%s", want, unit, out)
			}
		}
		return nil
	})
	after := c.running(names...)
	require.Len(t, after, len(before))
	for key, process := range before {
		if strings.HasSuffix(key, " plain3.service") {
			require.NotEqual(t, process, after[key], "it runs its new file")
			require.Contains(t, after[key], "NRestarts=0")
			continue
		}
		require.Equal(t, process, after[key], key)
	}
	// What was forgotten is taken over when it comes, and is an ordinary unit then.
	s.run("apply", "-f", forgotten)
	eventually(t, 15*time.Second, func() error {
		if out := s.run("list-unit-files", "--no-legend"); strings.Count(out, "launched\tlaunched") != len(files)-1 {
			return fmt.Errorf("it is not taken over:\n%s", out)
		}
		return nil
	})
	require.Equal(t, after, c.running(names...))
	s.run("destroy", "plain2", "plain1", "tick.timer", "tick.service")
	eventually(t, 15*time.Second, func() error {
		if left := c.running("plain2.service", "plain1.service", "tick.service"); len(left) > 0 {
			return fmt.Errorf("still running: %v", left)
		}
		return nil
	})
}
