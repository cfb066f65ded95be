package etcdtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fleet-starter/fleet/internal/store"
)

// Program is an etcd of another version than the built-in one, in its own process.
type Program struct {
	t        testing.TB
	endpoint string
	raw      *clientv3.Client
}

// StartProgram starts the program with empty data, and kills it when the test ends.
func StartProgram(t testing.TB, program string, quota int64) *Program {
	t.Helper()
	dir := t.TempDir()
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", freePort(t)), fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command(program, "--name", "test", "--data-dir", filepath.Join(dir, "data"), "--quota-backend-bytes", fmt.Sprint(quota),
		"--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", "test="+peer, "--heartbeat-interval", "10", "--election-timeout", "100")
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	p := &Program{t: t, endpoint: client}
	t.Cleanup(func() {
		if p.raw != nil {
			p.raw.Close()
		}
		_ = cmd.Process.Kill() // its data directory is removed
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("%s: %s", program, text[max(0, len(text)-4000):])
		}
	})
	p.raw, err = clientv3.New(clientv3.Config{Endpoints: []string{client}, Logger: zap.NewNop(), DialTimeout: 5 * time.Second})
	require.NoError(t, err)
	p.await()
	return p
}

// await returns when etcd answers.
func (p *Program) await() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		once, cancel := context.WithTimeout(ctx, time.Second)
		_, err := p.raw.Get(once, "ready")
		cancel()
		if err == nil {
			return
		}
		require.NoError(p.t, ctx.Err(), "etcd was not ready within 30 s: %v", err)
	}
}

// Client returns a new client, closed at the end of the test, before etcd stops.
func (p *Program) Client() *store.Client {
	p.t.Helper()
	client, err := store.Dial(store.Config{Endpoints: []string{p.endpoint}})
	require.NoError(p.t, err)
	p.t.Cleanup(func() { require.NoError(p.t, client.Close()) })
	return client
}

// Compact compacts the history before revision and returns when that is done.
func (p *Program) Compact(revision int64) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := p.raw.Compact(ctx, revision, clientv3.WithCompactPhysical())
	require.NoError(p.t, err)
}

// Version is the version reported by the program.
func (p *Program) Version() string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	status, err := p.raw.Status(ctx, p.endpoint)
	require.NoError(p.t, err)
	return status.Version
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
