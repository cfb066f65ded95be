package dev

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
)

func TestEtcdKeepsItsDataAndAddress(t *testing.T) {
	e, err := newEtcd(t.TempDir(), localhost, -1)
	require.NoError(t, err)
	require.NoError(t, e.start())
	require.Error(t, e.start(), "it runs already")
	client, err := store.Dial(store.Config{Endpoints: []string{e.client.String()}})
	require.NoError(t, err)
	defer client.Close()
	_, err = client.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/a", Value: []byte("1")}}})
	require.NoError(t, err)

	require.NoError(t, e.stop())
	require.Error(t, e.stop(), "it is stopped already")
	require.NoError(t, e.start())
	defer func() { require.NoError(t, e.stop()) }()
	kv, ok, _, err := client.Get(t.Context(), "/a")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "1", string(kv.Value))
}

func TestFreePort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	_, err = freePort(taken.Addr().(*net.TCPAddr).Port)
	require.ErrorContains(t, err, "--etcd-port", "says what to do")
	port, err := freePort(-1)
	require.NoError(t, err)
	require.NotZero(t, port)
}

func TestOneSupervisorADirectory(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(dir)
	require.NoError(t, err)
	_, err = lock(dir)
	require.ErrorContains(t, err, "fleet-dev down")
	require.ErrorContains(t, Sweep(dir), "fleet-dev down", "a running cluster is not swept away")
	unlock()
	require.NoError(t, Sweep(dir))
}

func TestSweepRemovesWhatAKilledSupervisorLeft(t *testing.T) {
	dir, runtimeDir := t.TempDir(), filepath.Join(t.TempDir(), "run")
	require.NoError(t, os.MkdirAll(filepath.Join(runtimeDir, "m1"), 0o755))
	require.NoError(t, os.WriteFile(infoFile(dir), []byte(`{"runtimeDir":"`+runtimeDir+`","machines":1}`), 0o644))
	require.NoError(t, Sweep(dir))
	require.NoDirExists(t, runtimeDir)
	require.NoFileExists(t, infoFile(dir))
	_, err := ReadInfo(dir)
	require.ErrorIs(t, err, ErrNotRunning)
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	require.ErrorContains(t, Config{Machines: 0}.validate(), "use 1 to 240")
	require.ErrorContains(t, Config{Machines: 3, BinDir: t.TempDir()}.validate(), "make build")
}

func TestEnvQuotes(t *testing.T) {
	require.Equal(t, `'/home/o'\''neill/bin'`, quote("/home/o'neill/bin"))
}
