package systemd_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStatusText: what a service says of itself is read from a real systemd, for as long as it runs.
func TestStatusText(t *testing.T) {
	m := newMachine(t)
	c := dial(t, m)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	file := filepath.Join(t.TempDir(), "says.service")
	require.NoError(t, os.WriteFile(file, []byte(`[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c "systemd-notify --ready --status='Storage does not answer: connection refused'; exec sleep 60"
`), 0o644))
	require.NoError(t, c.Link(ctx, file))
	read := func(name string) string {
		text, err := c.StatusText(ctx, name)
		require.NoError(t, err)
		return text
	}
	require.Empty(t, read("says.service"), "it has not started")
	require.NoError(t, c.Start(ctx, "says.service"))
	require.Eventually(t, func() bool { return read("says.service") == "Storage does not answer: connection refused" }, 10*time.Second, 20*time.Millisecond)
	require.Empty(t, read("none.service"))
	require.Empty(t, read("basic.target"), "it is no service")
	_, err := c.StatusText(ctx, "..service/x.service")
	require.Error(t, err)
}
