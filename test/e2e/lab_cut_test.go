package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMachineCutOff: all packets to and from a machine are silently lost while requests are sent.
//
// The other machines' routers answer all the time, even while the machine's instances are still announced, which ends with their
// announcers' leases. A request on a connection kept open to the machine waits, one for each such connection, like one to a slow app;
// with net.ipv4.tcp_retries2 as in docs/routing.md it is retried.
func TestMachineCutOff(t *testing.T) {
	l := withLab(t)
	m := l.on(t, "move@1.service")[0]
	rest := slices.DeleteFunc([]int{1, 2, 3}, func(n int) bool { return n == m })
	impatient, patient := rest[0], rest[1]
	for _, n := range []int{m, impatient} {
		l.inside(t, n, "echo 3 > /proc/sys/net/ipv4/tcp_retries2")
		defer l.inside(t, n, "echo 15 > /proc/sys/net/ipv4/tcp_retries2")
	}
	stays := strings.TrimSuffix(l.unitOn(t, "stay@", m), ".service")
	before := l.invocation(t, m, stays+".service")
	require.NotEmpty(t, before)
	serves := func() {
		t.Helper()
		for _, app := range []string{stay, move} {
			l.inside(t, m, "seq 6 | xargs -P 6 -I N curl -sf -m 15 -o /dev/null -H 'Host: %s.localhost' http://%s:8080/?N", app, labAddress(m))
		}
	}

	requests := startLoad(t, 20*time.Second, rest...)
	l.dev(t, "cut-machine %d", m)
	cut := time.Now()
	mended := false
	defer func() {
		if !mended {
			l.dev(t, "mend-machine %d", m)
		}
	}()
	require.Equal(t, labAddress(m)+":3302", l.endpoint(t, stay, stays), "the announcer's lease has not ended")
	serves()
	eventually(t, time.Minute, "the one that fits elsewhere is placed there and announced", func() error {
		if now := l.endpoint(t, move, "move@1"); now == "" || now == labAddress(m)+":3303" {
			return fmt.Errorf("it is announced at %q", now)
		}
		return nil
	})
	eventually(t, time.Minute, "the one that fits nowhere is no longer announced", func() error {
		if now := l.endpoint(t, stay, stays); now != "" {
			return fmt.Errorf("it is announced at %s", now)
		}
		return nil
	})
	l.servedBy(t, move, rest, 2)
	l.servedBy(t, stay, rest, 2)
	serves()
	require.Equal(t, before, l.invocation(t, m, stays+".service"), "it runs on, and was not restarted")
	require.NotEmpty(t, l.invocation(t, m, "move@1.service"), "a machine that is cut off cannot know that it was moved")

	l.dev(t, "mend-machine %d", m)
	mended = true
	l.servedBy(t, stay, []int{1, 2, 3}, 3)
	eventually(t, time.Minute, "what was moved stops where it was", func() error {
		if l.invocation(t, m, "move@1.service") != "" {
			return fmt.Errorf("it runs")
		}
		return nil
	})
	require.Equal(t, before, l.invocation(t, m, stays+".service"), "it was never restarted")
	all := requests.Stop()
	require.Greater(t, all.Total(), 1000)
	for _, f := range all.Failed {
		require.Contains(t, []string{loadName(patient, stay), loadName(patient, move)}, f.Target, "%s: with tcp_retries2=3 it is sent again", f)
		require.Less(t, f.Sent.Sub(cut), 5*time.Second, "%s: connections are kept for 4 s", f)
	}
	require.LessOrEqual(t, len(all.Failed), 8, "one for each connection that was kept: of each app no more than one for each sender")
	t.Logf("%s, on connections that were kept: %v", all, all.Failed)
}

// unitOn returns the name of the unit with that prefix on the machine.
func (l *lab) unitOn(t *testing.T, prefix string, machine int) string {
	t.Helper()
	for line := range strings.Lines(l.run(t, "fleetctl list-units --no-legend --full --fields unit,machine,active,sub,phase")) {
		if f := strings.Fields(line); strings.HasPrefix(f[0], prefix) && strings.HasSuffix(f[1], "/"+labAddress(machine)) {
			return f[0]
		}
	}
	require.Failf(t, "no unit", "%s* is not on machine %d", prefix, machine)
	return ""
}

// inside runs a command line in the machine's network.
func (l *lab) inside(t *testing.T, machine int, format string, args ...any) {
	t.Helper()
	namespace := strings.TrimSpace(l.run(t, "jq -r .cables %s", filepath.Join(l.dir, "dev/dev.json")))
	l.run(t, "nsenter --net=/run/netns/%s-%d -- sh -c %s", namespace, machine, quoteShell(fmt.Sprintf(format, args...)))
}

func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
