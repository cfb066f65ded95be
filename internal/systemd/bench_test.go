package systemd_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkStates lists 100 unchanged running units: what a node's resync costs its manager.
func BenchmarkStates(b *testing.B) {
	c, dir, ctx := dial(b, newMachine(b)), b.TempDir(), context.Background()
	var names, paths []string
	for i := range 100 {
		name := fmt.Sprintf("bench@%d.service", i)
		path := filepath.Join(dir, name)
		require.NoError(b, os.WriteFile(path, []byte("[Service]\nExecStart=/bin/sleep infinity\n"), 0o644))
		names, paths = append(names, name), append(paths, path)
	}
	require.NoError(b, c.Link(ctx, paths...))
	for _, name := range names {
		require.NoError(b, c.Start(ctx, name))
	}
	for active := 0; active < len(names); {
		states, err := c.States(ctx, names)
		require.NoError(b, err)
		active = 0
		for _, s := range states {
			if s.ActiveState == "active" && s.Job == "" {
				active++
			}
		}
	}
	for b.Loop() {
		_, err := c.States(ctx, names)
		require.NoError(b, err)
	}
}

// BenchmarkStart links and starts one new unit, up to active.
func BenchmarkStart(b *testing.B) {
	c, dir, ctx := dial(b, newMachine(b)), b.TempDir(), context.Background()
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprintf("bench@%d.service", i)
		path := filepath.Join(dir, name)
		require.NoError(b, os.WriteFile(path, []byte("[Service]\nExecStart=/bin/sleep infinity\n"), 0o644))
		require.NoError(b, c.Link(ctx, path))
		require.NoError(b, c.Start(ctx, name))
		for {
			states, err := c.States(ctx, []string{name})
			require.NoError(b, err)
			if states[0].ActiveState == "active" {
				break
			}
			<-c.Events()
		}
	}
}
