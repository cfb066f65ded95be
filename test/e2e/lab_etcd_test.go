package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// leader returns the member that leads, follower one that does not.
func (l *lab) leader(t *testing.T) (leader, follower *member) {
	t.Helper()
	var statuses []struct {
		Endpoint string
		Status   struct {
			Header struct {
				MemberID uint64 `json:"member_id"`
			}
			Leader uint64
		}
	}
	require.NoError(t, json.Unmarshal([]byte(l.run(t, "etcdctl endpoint status -w json")), &statuses))
	require.Len(t, statuses, len(l.members))
	for _, s := range statuses {
		for _, m := range l.members {
			switch {
			case m.client != s.Endpoint:
			case s.Status.Header.MemberID == s.Status.Leader:
				leader = m
			default:
				follower = m
			}
		}
	}
	require.NotNil(t, leader, "%+v", statuses)
	return leader, follower
}

// invocations returns the invocation IDs of the lab's apps by machine and unit.
func (l *lab) invocations(t *testing.T) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for n := 1; n <= 3; n++ {
		out := l.dev(t, "exec %d systemctl --user show -p Id,InvocationID,ActiveState 'stay*' 'move*' router.service fleetd.service", n)
		for block := range strings.SplitSeq(strings.TrimSpace(out), "\n\n") {
			values := map[string]string{}
			for line := range strings.Lines(block) {
				k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
				values[k] = v
			}
			if values["ActiveState"] == "active" {
				ids[fmt.Sprintf("%d/%s", n, values["Id"])] = values["InvocationID"]
			}
		}
	}
	return ids
}

// TestMemberOfEtcdKilled: one of three members, perhaps the leader, is killed or hangs. fleetctl, fleetd, announcers and routers work as
// before, nothing restarts, and no request fails.
func TestMemberOfEtcdKilled(t *testing.T) {
	l := withLab(t)
	before := l.invocations(t)
	requests := startLoad(t, 20*time.Second, 1, 2, 3)
	for _, c := range []struct {
		name        string
		of          func(leader, follower *member) *member
		fail, again func(*member)
	}{
		{"a member is killed", func(_, follower *member) *member { return follower }, (*member).kill, func(m *member) { m.start(t) }},
		{"the leader is killed", func(leader, _ *member) *member { return leader }, (*member).kill, func(m *member) { m.start(t) }},
		{"the leader hangs", func(leader, _ *member) *member { return leader },
			func(m *member) { require.NoError(t, m.cmd.Process.Signal(syscall.SIGSTOP)) },
			func(m *member) { require.NoError(t, m.cmd.Process.Signal(syscall.SIGCONT)) }},
	} {
		victim := c.of(l.leader(t))
		c.fail(victim)
		// A call to a member that hangs fails after etcd_request_timeout; the hang is noticed after 15 s.
		asked := func(what string) {
			eventually(t, 30*time.Second, c.name+": "+what, func() error {
				out, err := l.try("fleetctl %s move@1 --timeout 1m", what)
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
		}
		asked("stop")
		l.servedBy(t, move, []int{1, 2, 3}, 1)
		asked("start")
		l.servedBy(t, move, []int{1, 2, 3}, 2)
		c.again(victim)
		victim.await(t)
	}
	all := requests.Stop()
	require.Empty(t, all.Failed)
	after := l.invocations(t)
	for _, ids := range []map[string]string{before, after} {
		for key := range ids {
			if strings.Contains(key, "@1") && strings.Contains(key, "move") {
				delete(ids, key) // it was asked to
			}
		}
	}
	require.Len(t, before, 3+3+6+2, "fleetd, routers, and all of stay and half of move with their sidekicks")
	require.Equal(t, before, after, "nothing else was restarted or moved")
	t.Log(all)
}

var started = regexp.MustCompile(`(?m)^grpc_server_started_total\{grpc_method="(\w+)".*\} (\S+)$`)

// calls returns the number of calls of each kind, as etcd's members count them.
func (l *lab) calls(t *testing.T) map[string]float64 {
	t.Helper()
	calls := map[string]float64{}
	for _, m := range l.members {
		for _, match := range started.FindAllStringSubmatch(run(t, "curl -sf http://127.0.0.1%s/metrics", m.client[strings.LastIndex(m.client, ":"):]), -1) {
			n, err := strconv.ParseFloat(match[2], 64)
			require.NoError(t, err)
			calls[match[1]] += n
		}
	}
	return calls
}

// TestAtRestNothingIsRead: three machines with their routers and five announcers send a real etcd nothing but keep-alives of their
// leases. The caches' checks read every five minutes (internal/cache TestCheckCosts counts these).
func TestAtRestNothingIsRead(t *testing.T) {
	l := withLab(t)
	eventually(t, 2*time.Minute, "10 seconds without another call", func() error {
		before := l.calls(t)
		time.Sleep(10 * time.Second)
		others := ""
		after := l.calls(t)
		for method, n := range after {
			if d := n - before[method]; d > 0 && method != "LeaseKeepAlive" {
				others += fmt.Sprintf(" %s %.0f", method, d)
			}
		}
		require.Greater(t, after["LeaseKeepAlive"], before["LeaseKeepAlive"])
		if others != "" {
			return fmt.Errorf("calls beside keep-alives:%s", others)
		}
		t.Logf("%.0f keep-alives in 10 s", after["LeaseKeepAlive"]-before["LeaseKeepAlive"])
		return nil
	})
}
