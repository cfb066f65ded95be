package node_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/node"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/systemd"
)

// A machine on which an earlier version placed units with names that systemd refuses starts and stops units again, and the
// leftovers are removed.
func TestLeftoversOfNamesThatSystemdRefuses(t *testing.T) {
	l := newLab(t)
	require.NoError(t, l.layout.Make())
	text := "[Service]\nExecStart=/bin/sleep infinity\n"
	hash := l.file(text)
	records := map[string]node.Record{}
	var paths []string
	left := []string{"zzdata@vol1.mount", "a@1.slice", "b@.service", "a.snapshot", "a.busname"}
	for _, name := range left {
		require.NoError(t, os.WriteFile(l.layout.Unit(name), []byte(text), 0o644))
		records[name] = node.Record{Loaded: hash}
		state, err := keys.StatesOf(me).Encode(v1.UnitState{ActiveState: "inactive"})
		require.NoError(t, err)
		l.commit(store.Op{Key: keys.StatesOf(me).Key(name), Value: state})
		paths = append(paths, l.layout.Unit(name))
	}
	data, err := json.Marshal(records)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(l.layout.Launched(), data, 0o644))
	earlier, err := systemd.Dial(t.Context(), systemd.UserSocket(l.machine.XDGRuntimeDir()), logr.Discard())
	require.NoError(t, err)
	require.NoError(t, earlier.Link(t.Context(), paths[:3]...)) // systemd does not link the others
	earlier.Close()
	links := func() []string {
		found, err := filepath.Glob(filepath.Join(l.machine.XDGRuntimeDir(), "systemd/user", "*@*"))
		require.NoError(t, err)
		return found
	}
	require.Len(t, links(), 3)

	l.place("good.service", hash, v1.Launched)
	l.place("a.snapshot", hash, v1.Launched) // like the scheduler of an earlier version
	l.begin()
	l.awaitActive("good.service")
	for _, name := range left {
		if name != "a.snapshot" {
			l.awaitGone(name)
		}
	}
	refused := l.await("a.snapshot", "refused", func(s *v1.UnitState) bool { return s != nil && s.Message != "" })
	require.Equal(t, "inactive", refused.ActiveState)
	require.Contains(t, refused.Message, `unit name "a.snapshot": systemd has no snapshot units since version 228`)
	require.Empty(t, links())
	entries, err := os.ReadDir(l.layout.Units)
	require.NoError(t, err)
	require.Len(t, entries, 1)

	l.place("late.service", hash, v1.Launched)
	l.awaitActive("late.service")
	l.commit(placement(t, "good.service", v1.Placement{}), placement(t, "a.snapshot", v1.Placement{}))
	l.awaitGone("good.service")
	l.awaitGone("a.snapshot")
	require.NotContains(t, l.systemctl("list-units", "--all", "--no-legend", "good.service"), "active")
	l.end()
	data, err = os.ReadFile(l.layout.Launched())
	require.NoError(t, err)
	require.NotContains(t, string(data), "vol1")
	require.Contains(t, string(data), "late.service")
}
