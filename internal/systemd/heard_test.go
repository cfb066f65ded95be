package systemd_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// spy is a socket in front of a manager's. It keeps what is asked.
type spy struct {
	mu    sync.Mutex
	asked bytes.Buffer
}

func (s *spy) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked.Write(p)
}

func (s *spy) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked.String()
}

func (s *spy) listen(t *testing.T, manager string) (socket string) {
	socket = filepath.Join(filepath.Dir(manager), "spy")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	var copies sync.WaitGroup
	t.Cleanup(func() { l.Close(); copies.Wait() })
	copies.Go(func() {
		client, err := l.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		server, err := net.Dial("unix", manager)
		if err != nil {
			return
		}
		copies.Go(func() { _, _ = io.Copy(client, server) })
		_, _ = io.Copy(io.MultiWriter(server, s), client)
		server.Close()
	})
	return socket
}

// TestARunningServiceIsNotAskedAbout: the signals of its start have said what there is to know, and it is the same as what the manager
// answers to another client, which has heard nothing.
func TestARunningServiceIsNotAskedAbout(t *testing.T) {
	m := newMachine(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var s spy
	c, err := systemd.Dial(ctx, s.listen(t, systemd.UserSocket(m.XDGRuntimeDir())), logr.Discard())
	require.NoError(t, err)
	t.Cleanup(c.Close)
	file := filepath.Join(t.TempDir(), "again.service")
	// It fails once, so that it was restarted.
	require.NoError(t, os.WriteFile(file, []byte("[Service]\nExecStart=/bin/sh -c 'test -e "+file+".once && exec sleep infinity; touch "+file+
		".once; exit 3'\nRestart=always\nRestartSec=10ms\n"), 0o644))
	require.NoError(t, c.Link(ctx, file))
	require.NoError(t, c.Start(ctx, "again.service"))
	state := func(c *systemd.Client) systemd.UnitState {
		states, err := c.States(ctx, []string{"again.service"})
		require.NoError(t, err)
		return states[0]
	}
	other := dial(t, m)
	require.Eventually(t, func() bool { now := state(other); return now.SubState == "running" && now.Restarts == 1 }, 10*time.Second, 50*time.Millisecond)
	last, fresh := state(c), state(dial(t, m))
	for _, property := range []string{"InvocationID", "StateChangeTimestamp", "Result", "NRestarts"} {
		require.NotContains(t, s.String(), property)
	}
	require.Contains(t, s.String(), "ListUnitsByNames")
	last.JobResult = fresh.JobResult
	require.Equal(t, fresh, last)
	require.NotEmpty(t, last.InvocationID)
	require.Equal(t, "success", last.Result)
}
