package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store/etcdtest"
)

// asAnnouncer makes this test's program be the announcer.
const asAnnouncer = "ANNOUNCER_TEST_BE_ANNOUNCER"

func TestMain(m *testing.M) {
	if os.Getenv(asAnnouncer) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// fullPipe returns the end for writing of a pipe that nothing reads and that takes nothing more.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	require.NoError(t, w.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
	for err == nil {
		_, err = w.Write(make([]byte, 4096))
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	return w
}

func TestAJournalThatStandsStillKeepsNothingUp(t *testing.T) {
	etcd := etcdtest.Start(t)
	instance, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer instance.Close()
	host, port, err := net.SplitHostPort(instance.Addr().String())
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "--app", "web", "--instance", "web@1", "--host", host, "--port", port)
	cmd.Env = append(os.Environ(), asAnnouncer+"=1", "FLEET_ETCD_SERVERS="+etcd.Endpoint())
	cmd.Stderr = fullPipe(t)
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })

	client := etcd.Client()
	announced := func() bool {
		_, found, _, err := client.Get(context.Background(), "/services/web/web/web@1")
		require.NoError(t, err)
		return found
	}
	require.Eventually(t, announced, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		require.Fail(t, "the announcer does not end")
	}
	require.False(t, announced())
}
