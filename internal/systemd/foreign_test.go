package systemd_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestForeignUnits(t *testing.T) {
	m := newMachine(t)
	c := dial(t, m)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	own := filepath.Join(m.XDGRuntimeDir(), "systemd", "user") // a regular file there belongs to the user
	require.NoError(t, os.MkdirAll(own, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(own, "admin@.service"), []byte("[Service]\nExecStart=/bin/true\n"), 0o644))
	require.NoError(t, m.Command("systemctl", "--user", "daemon-reload").Run())
	require.NoError(t, m.Command("systemd-run", "--user", "--unit=run.service", "sleep", "infinity").Run())

	foreign, err := c.Foreign(ctx, []string{"none.service", "none@1.service", "-.slice", "init.scope", "-.mount", "basic.target",
		"systemd-exit.service", "admin@1.service", "run.service"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"-.slice": "made by systemd itself", "init.scope": "made by systemd itself", "-.mount": "made by systemd itself",
		"basic.target":         "/usr/lib/systemd/user/basic.target",
		"systemd-exit.service": "unit file, static",
		"admin@1.service":      "unit file, static",
		"run.service":          filepath.Join(m.XDGRuntimeDir(), "systemd", "transient", "run.service"),
	}, foreign)
}
