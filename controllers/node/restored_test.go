package node

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// TestStatesAreWrittenAgainAfterARestore: a backup has old states, and nothing else would rewrite those that changed
// since.
func TestStatesAreWrittenAgainAfterARestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const unit, text = "a.service", "[Service]\nExecStart=/bin/stays\n"
		dir, keys, s := t.TempDir(), keyspace.New(""), memstore.New(memstore.Options{})
		l := layout.Layout{State: dir + "/state", Runtime: dir + "/run", Units: dir + "/run/units", Shared: dir + "/run"}
		manager := fake.New(fake.Options{ReadFile: func(path string) ([]byte, error) { return os.ReadFile(filepath.Join(l.Units, filepath.Base(path))) }})
		n, err := New(Options{Machine: "m", Keys: keys, Store: s, Systemd: manager, Layout: l, Log: logr.Discard()})
		require.NoError(t, err)
		value, err := keys.Placements().Encode(v1.Placement{Hash: unitfile.Hash(text), DesiredState: v1.Launched})
		require.NoError(t, err)
		_, err = s.Commit(t.Context(), store.Txn{Ops: []store.Op{
			{Key: keys.UnitFiles().Key(unitfile.Hash(text)), Value: []byte(text)}, {Key: keys.PlacementsOf("m").Key(unit), Value: value}}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { require.NoError(t, n.Run(ctx)) })
		defer running.Wait()
		defer cancel()
		told := func() string {
			for range 2 {
				time.Sleep(6 * time.Minute) // longer than a cache's check interval
				synctest.Wait()
				manager.Advance(time.Second)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			kv, _, _, err := s.Get(t.Context(), keys.StatesOf("m").Key(unit))
			require.NoError(t, err)
			state, err := keys.States().Decode(kv.Value)
			require.NoError(t, err)
			return state.ActiveState
		}
		require.Equal(t, "active", told())
		backup := s.Revision()
		require.NoError(t, manager.Exit(unit, 1))
		require.Equal(t, "failed", told())
		s.Restore(backup, 1000)
		require.Equal(t, "failed", told(), "the backup says that it is active")
	})
}
