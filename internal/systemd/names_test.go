package systemd_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleet-starter/fleet/internal/systemd"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// systemd can list, link and load every name that ParseName accepts; ParseName refuses every name that systemd cannot use.
func TestNamesAreThoseOfSystemd(t *testing.T) {
	c := dial(t, newMachine(t))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	states, err := c.States(ctx, someNames())
	require.NoError(t, err)
	dir := t.TempDir()
	var paths, linked []string
	taken := map[string]int{}
	for _, s := range states {
		n, err := unitfile.ParseName(s.Name)
		switch {
		case err == nil && n.Template:
			require.ErrorIs(t, s.Err, systemd.ErrBadUnit, "%s: a template is no unit", s.Name)
		case err == nil:
			require.NoError(t, s.Err)
			require.NotEqual(t, "error", s.LoadState, "%s: no file can make this a unit", s.Name)
			taken[n.Type]++
			if s.LoadState == "not-found" {
				path := filepath.Join(dir, s.Name)
				require.NoError(t, os.WriteFile(path, []byte("[Unit]\nDescription=x\n"), 0o644))
				paths, linked = append(paths, path), append(linked, s.Name)
			}
		case strings.HasSuffix(s.Name, ".scope"), s.Err == nil && s.LoadState == "error", isPath(s.Name) && !strings.Contains(s.Name, "@"):
			// systemd lists these, but can load nothing under them.
		default:
			require.ErrorIs(t, s.Err, systemd.ErrBadUnit, "ParseName refuses %q: %v", s.Name, err)
		}
	}
	require.Len(t, taken, 10, "each type was tried: %v", taken)
	require.NoError(t, c.Link(ctx, paths...), "one refused name would fail them all")
	states, err = c.States(ctx, linked)
	require.NoError(t, err)
	for _, s := range states {
		require.NoError(t, s.Err)
		if len(s.Name) > 250 {
			continue // long.path is a valid name, but long.service, which it would start, is not
		}
		require.Contains(t, []string{"loaded", "bad-setting"}, s.LoadState, "%s: its file is found", s.Name)
	}
	require.NoError(t, c.Unlink(ctx, linked...))
}

func isPath(name string) bool {
	return strings.HasSuffix(name, "mount") || strings.HasSuffix(name, ".swap")
}

// someNames are tricky and random names of every type.
func someNames() []string {
	types := []string{"automount", "busname", "device", "mount", "path", "scope", "service", "slice", "snapshot", "socket", "swap", "target", "timer", "unit", "Service", ""}
	piece := rapid.SampledFrom([]string{"zz", "a", "@", "@", "-", ".", "..", `\x2d`, `\x40`, `\`, `\x2`, "1", ":", "_", " ", "é", "/", "%", "[", "snapshot", ".service"})
	random := rapid.Map(rapid.SliceOfN(piece, 1, 6), func(p []string) string { return strings.Join(p, "") })
	var names []string
	for i, kind := range types {
		for _, stem := range []string{"zz", "zz@1", "zz@", "zz-a-b", "zz--b", "-zz", "zz-", `zz\x2`, `zz\x40b`, "zz..b", "", "zz@b@", "zz@@", "@zz", "zz-..-b", "zz-.-b", "--", ".",
			strings.Repeat("z", 254-len(kind)), strings.Repeat("z", 255-len(kind))} {
			names = append(names, stem+"."+kind)
		}
		for j := range 40 {
			names = append(names, "zz"+random.Example(40*i+j)+"."+kind)
		}
	}
	return names
}
