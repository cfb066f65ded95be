package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOldestEtcd: a cluster works on Debian's etcd 3.4. It comes up, stops and starts apps, rolls out, and warns that this etcd has
// faults. The other tests of whole clusters run on the built-in etcd, those of the lab on the newest.
func TestOldestEtcd(t *testing.T) {
	require.NoError(t, closeLab())
	canCut(t)
	startLab(t, "etcd-3.4", 1)
	l := withLab(t)
	l.changes(t)
	l.run(t, "fleetctl apply -f %s --wait --timeout 1m", serverApp(t, move, "replicas: 2", 3303, "2"))
	require.Contains(t, l.run(t, "curl -sf -H 'Host: move.localhost' http://%s:8080/version", labAddress(1)), "2")
	require.Contains(t, l.run(t, "curl -sf http://%s:49153/readyz", labAddress(1)), "etcd 3.4.")
	require.NoError(t, closeLab())
}
