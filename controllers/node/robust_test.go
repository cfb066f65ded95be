package node

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/systemd"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
)

// odd returns a node that does not run, over a model of systemd.
func odd(t *testing.T, prepare func(layout.Layout), o fake.Options) *Node {
	t.Helper()
	dir := t.TempDir()
	l := layout.Layout{State: dir + "/state", Runtime: dir + "/run", Units: dir + "/run/units", Shared: dir + "/run"}
	require.NoError(t, l.Make())
	prepare(l)
	manager := fake.New(o)
	t.Cleanup(manager.Close)
	n, err := New(Options{Machine: "m", Keys: keyspace.New(""), Store: memstore.New(memstore.Options{}), Systemd: manager, Layout: l, Log: logr.Discard()})
	require.NoError(t, err)
	t.Cleanup(func() { // ends the queue
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		require.NoError(t, n.loop.Run(ended))
	})
	return n
}

func TestOddRecords(t *testing.T) {
	for _, text := range []string{"null", "", "{", "[]", `{"a.service": 1}`, "{}", `{"a.service": null}`} {
		t.Run(text, func(t *testing.T) {
			n := odd(t, func(l layout.Layout) {
				require.NoError(t, os.WriteFile(l.Launched(), []byte(text), 0o644))
				require.NoError(t, os.WriteFile(l.Placements(), []byte(text), 0o644))
			}, fake.Options{})
			_, err := n.apply(t.Context(), Decision{Actions: []Action{{Kind: Note, Unit: "a.service", Record: Record{Loaded: "h"}}}})
			require.NoError(t, err)
			again, err := loadRecords(n.Layout.Launched(), logr.Discard())
			require.NoError(t, err)
			require.Equal(t, "h", again.units["a.service"].Loaded)
			require.NoError(t, n.disk.save(map[string]v1.Placement{"a.service": {Hash: "h"}}))
			require.Equal(t, "h", loadCopy(n.Layout, logr.Discard()).placements["a.service"].Hash)
		})
	}
}

func TestWhatIsNoUnitFileHurtsNobody(t *testing.T) {
	n := odd(t, func(l layout.Layout) {
		require.NoError(t, os.Mkdir(filepath.Join(l.Units, "dir.service"), 0o755))
		require.NoError(t, os.Symlink("/nowhere", filepath.Join(l.Units, "link.service")))
		require.NoError(t, os.WriteFile(filepath.Join(l.Units, "a.service"), []byte("x"), 0o644))
	}, fake.Options{})
	in, err := n.observe(t.Context())
	require.NoError(t, err)
	require.Len(t, in.Files, 3)
	require.Len(t, in.Files["a.service"], 64)
	in.FromStore = true
	_, err = n.apply(t.Context(), Plan(in))
	require.NoError(t, err)
	left, err := os.ReadDir(n.Layout.Units)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestNoAnswerIsNoRefusal(t *testing.T) {
	n := odd(t, func(layout.Layout) {}, fake.Options{Fault: func(op, _ string) error {
		if op == "start" {
			return context.DeadlineExceeded
		}
		return nil
	}})
	start := Action{Kind: Start, Unit: "a.service", Record: Record{Loaded: "h", Launched: "h"}}
	_, err := n.apply(t.Context(), Decision{Actions: []Action{start}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, n.records.units["a.service"].Pending, "it is looked at again whether it was started")
	require.Empty(t, n.records.units["a.service"].Message)

	n = odd(t, func(layout.Layout) {}, fake.Options{Fault: func(op, _ string) error {
		if op == "start" {
			return systemd.ErrRefused
		}
		return nil
	}})
	_, err = n.apply(t.Context(), Decision{Actions: []Action{start}})
	require.NoError(t, err)
	require.False(t, n.records.units["a.service"].Pending)
	require.NotEmpty(t, n.records.units["a.service"].Message)
}
