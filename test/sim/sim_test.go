package sim

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// disk is a directory for machines' disks, in memory where there is room: they write a lot.
func disk(t *testing.T) string {
	t.Helper()
	root := ""
	if _, err := os.Stat("/dev/shm"); err == nil {
		root = "/dev/shm"
	}
	dir, err := os.MkdirTemp(root, "sim-*")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestOne(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("SIM_SEED"), 10, 64)
	p := NewPlan(seed)
	if os.Getenv("SIM_QUIET") != "" {
		p.Steps = p.Steps[:2]
	}
	v, transcript := Run(t, p, disk(t))
	require.NoError(t, os.WriteFile(filepath.Join(os.TempDir(), "sim.txt"), []byte(p.String()+transcript), 0o644))
	if v != nil {
		t.Fatal(v)
	}
}
