package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// quorumAway is how long etcd has no quorum in TestNoQuorum: LAB_NO_QUORUM=10m for longer.
func quorumAway(t *testing.T) time.Duration {
	text := os.Getenv("LAB_NO_QUORUM")
	if text == "" {
		return 15 * time.Second
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err)
	return d
}

// TestNoQuorum: two of three members of etcd are away, for several times agent_ttl. All that runs runs on and is routed, and what
// dies is started again.
func TestNoQuorum(t *testing.T) {
	l := withLab(t)
	before, where := invocations(t, l.Machines), placements(t, l.Machines[0])
	requests := startLoad(t, l.Machines...)
	away := quorumAway(t)
	for _, m := range l.members()[1:] {
		_, err := m.Exec(t.Context(), "systemctl", "mask", "--now", "etcd.service")
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		for _, m := range l.members()[1:] {
			_, err := m.Exec(context.Background(), "systemctl", "unmask", "etcd.service")
			require.NoError(t, err)
		}
	})
	start := time.Now()
	time.Sleep(away / 2)
	_, err := l.Machines[0].Exec(t.Context(), "timeout", "5", "fleetctl", "stop", "web@1")
	require.Error(t, err, "nothing can be changed")
	time.Sleep(away - time.Since(start))
	noneLost(t, requests)

	victim := running(t, l, "web@1.service")
	_, err = victim.Exec(t.Context(), "systemctl", "kill", "--signal=SIGKILL", "web@1.service")
	require.NoError(t, err)
	again := within(t, time.Minute, "systemd starts it again", func() error {
		if len(active(t, []*Machine{victim}, "web@1.service")) == 0 {
			return errors.New("not active")
		}
		return nil
	})
	for _, m := range l.members()[1:] {
		_, err := m.Exec(t.Context(), "sh", "-c", "systemctl unmask etcd.service && systemctl --no-block start etcd.service")
		require.NoError(t, err)
	}
	require.NoError(t, l.waitForEtcd(t.Context()))
	back := time.Now()
	require.NoError(t, l.Joined(t.Context(), 3))
	served(t, l.Machines, 2)
	t.Logf("without a quorum for %s: a process that was killed ran again after %.1f s; all is well %.1f s after the quorum is back", away, again.Seconds(), time.Since(back).Seconds())
	require.Equal(t, where, placements(t, l.Machines[0]), "nothing was moved")
	after := invocations(t, l.Machines)
	for unit, id := range before {
		if !strings.HasSuffix(unit, "etcd.service") && !strings.Contains(unit, "@1.service") {
			require.Equal(t, id, after[unit], unit)
		}
	}
}

// quota is what etcd may store in TestEtcdIsFull.
const quota = 24 << 20

// TestEtcdIsFull: etcd refuses writes. All that runs runs on and is routed, and the commands of the runbook end it.
func TestEtcdIsFull(t *testing.T) {
	l := withLab(t)
	setQuota := func(ctx context.Context, setting string) error {
		for _, m := range l.members() { // one after the other: the others are a quorum
			if _, err := m.Exec(ctx, "sh", "-c", "sed -i /QUOTA/d /etc/default/etcd; echo '"+setting+"' >> /etc/default/etcd; systemctl restart etcd.service"); err != nil {
				return err
			}
			if err := l.waitForEtcd(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	require.NoError(t, setQuota(t.Context(), fmt.Sprintf("ETCD_QUOTA_BACKEND_BYTES=%d", quota)))
	t.Cleanup(func() { require.NoError(t, setQuota(context.Background(), "")) })
	served(t, l.Machines, 2)
	before, where := invocations(t, l.Machines), placements(t, l.Machines[0])
	requests := startLoad(t, l.Machines...)
	first := l.Machines[0]
	// A script that writes one key again and again, and an etcd that keeps all of its values.
	_, err := first.Exec(t.Context(), "sh", "-c", "head -c 700000 /dev/urandom | base64 -w0 > /root/junk; for i in $(seq 100); do etcdctl put /services/web/script/junk < /root/junk >/dev/null || exit 1; done")
	require.ErrorContains(t, err, "database space exceeded")
	alarms, err := first.Exec(t.Context(), "etcdctl", "alarm", "list")
	require.NoError(t, err)
	require.Contains(t, alarms, "NOSPACE")
	time.Sleep(2 * ttl)
	_, err = first.Exec(t.Context(), "fleetctl", "stop", "--no-block", "web@1")
	require.ErrorContains(t, err, "etcd is out of space: compact and defragment it, then disarm its alarm")

	start := time.Now()
	_, err = first.Exec(t.Context(), "sh", "-ec", runbook(t, "## etcd is full"))
	require.NoError(t, err)
	alarms, err = first.Exec(t.Context(), "etcdctl", "alarm", "list")
	require.NoError(t, err)
	require.Empty(t, strings.TrimSpace(alarms))
	_, err = first.Exec(t.Context(), "etcdctl", "del", "/services/web/script/junk")
	require.NoError(t, err)
	t.Logf("the commands of the runbook took %.1f s", time.Since(start).Seconds())
	noneLost(t, requests)
	require.Equal(t, where, placements(t, first))
	require.Equal(t, before, invocations(t, l.Machines))
	applied(t, "later", shop("later", 3210, ""))
	within(t, 30*time.Second, "the space of every member is free again", func() error {
		sizes, err := first.Exec(t.Context(), "sh", "-c", "etcdctl endpoint status --cluster -w json | jq '[.[].Status.dbSize] | max'")
		require.NoError(t, err)
		var largest int
		_, err = fmt.Sscan(sizes, &largest)
		require.NoError(t, err, sizes)
		if largest < quota/2 {
			return nil
		}
		_, err = first.Exec(t.Context(), "etcdctl", "defrag", "--cluster", "--command-timeout", "1m") // as the runbook says
		return errors.Join(fmt.Errorf("a member takes %d bytes", largest), err)
	})
}

// runbook is the first block of commands below a heading of docs/runbooks.md.
func runbook(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/runbooks.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), heading+"\n")
	require.True(t, found, heading)
	_, block, found := strings.Cut(section, "```\n")
	require.True(t, found, heading)
	block, _, found = strings.Cut(block, "```")
	require.True(t, found, heading)
	return block
}
