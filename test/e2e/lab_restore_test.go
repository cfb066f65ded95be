package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// documented returns the block of commands of a page of docs/ that begins with the given text.
func documented(t *testing.T, page, begins string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, "docs", page))
	require.NoError(t, err)
	_, after, found := strings.Cut(string(text), "\n```\n"+begins)
	require.True(t, found, "docs/%s has no block that begins with %q", page, begins)
	block, _, _ := strings.Cut(begins+after, "\n```\n")
	return block
}

// changes stops and starts one instance, and checks that fleetd, announcer and routers follow.
func (l *lab) changes(t *testing.T) {
	t.Helper()
	l.run(t, "fleetctl stop move@1 --timeout 1m")
	l.servedBy(t, move, []int{1, 2, 3}, 1)
	l.run(t, "fleetctl start move@1 --timeout 1m")
	l.servedBy(t, move, []int{1, 2, 3}, 2)
}

// TestFullEtcd: a full etcd refuses writes, which is reported; what runs keeps running. The commands of docs/runbooks.md then recover
// the cluster.
func TestFullEtcd(t *testing.T) {
	l := withLab(t)
	before := l.invocations(t)
	requests := startLoad(t, 20*time.Second, 1, 2, 3)
	out, err := l.try(`set -e
head -c 1000000 /dev/zero | tr '\0' x >%[1]s/megabyte
for i in $(seq 60); do etcdctl put /junk <%[1]s/megabyte >/dev/null; done`, l.dir)
	require.Error(t, err)
	require.Contains(t, out, "database space exceeded")
	out, err = l.try("fleetctl stop move@1")
	require.Error(t, err)
	require.Contains(t, out, "etcd is out of space: compact and defragment it, then disarm its alarm")
	require.Equal(t, before, l.invocations(t))

	l.run(t, "set -e\n%s", strings.ReplaceAll(documented(t, "runbooks.md", "etcdctl compact"), "%", "%%"))
	require.Empty(t, l.run(t, "etcdctl alarm list"))
	require.Equal(t, before, l.invocations(t), "nothing was restarted")
	l.changes(t)
	require.Empty(t, requests.Stop().Failed)
}

// TestRestoredEtcd: etcd is restored from a backup by the commands of docs/backup.md. What existed then runs on undisturbed, what was
// created later is stopped, and later requests are carried out: no watch stays silent.
func TestRestoredEtcd(t *testing.T) {
	l := withLab(t)
	l.run(t, "cd %s && rm -f backup.db && ETCDCTL_ENDPOINTS=%s && %s", l.dir, l.members[0].client, documented(t, "backup.md", "etcdctl snapshot save"))
	before := l.invocations(t)
	l.run(t, "fleetctl apply -f %s --wait --timeout 1m", serverApp(t, "late", "replicas: 1", 3304, "1"))
	requests := startLoad(t, 20*time.Second, 1, 2, 3)
	m := l.on(t, "late@1.service")[0]
	require.NotEmpty(t, l.invocation(t, m, "late@1.service"))

	for _, e := range l.members {
		e.kill()
	}
	for _, e := range l.members {
		require.NoError(t, os.Rename(filepath.Join(l.dir, e.name), filepath.Join(l.dir, e.name+".old")))
		l.run(t, "cd %s && export ETCD_NAME=%s ETCD_DATA_DIR=%s ETCD_INITIAL_CLUSTER=%s ETCD_INITIAL_ADVERTISE_PEER_URLS=%s && %s",
			l.dir, e.name, filepath.Join(l.dir, e.name), l.initial(), e.peer, documented(t, "backup.md", "etcdutl snapshot restore"))
		e.start(t)
	}
	for _, e := range l.members {
		e.await(t)
	}
	eventually(t, time.Minute, "what was made after the backup is stopped", func() error {
		if l.invocation(t, m, "late@1.service") != "" {
			return fmt.Errorf("it runs")
		}
		return nil
	})
	require.Equal(t, before, l.invocations(t), "nothing was restarted")
	l.changes(t)
	require.Empty(t, requests.Stop().Failed)
	require.NotContains(t, l.run(t, "fleetctl list-units -o wide"), "late")
	require.NoError(t, closeLab()) // no other test needs this etcd
}
