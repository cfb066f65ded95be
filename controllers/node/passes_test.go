package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
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

func TestPlacementsThatArriveInPartsMakeFewPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const parts = 20
		dir, keys, s := t.TempDir(), keyspace.New(""), memstore.New(memstore.Options{})
		var lists atomic.Int64
		manager := fake.New(fake.Options{Fault: func(op, _ string) error {
			if op == "list" {
				lists.Add(1)
			}
			return nil
		}})
		n, err := New(Options{Machine: "m", Keys: keys, Store: s, Systemd: manager, Log: logr.Discard(),
			Layout: layout.Layout{State: dir + "/state", Runtime: dir + "/run", Units: dir + "/run/units", Shared: dir + "/run"}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { require.NoError(t, n.Run(ctx)) })
		defer running.Wait()
		defer cancel()
		text := "[Service]\nExecStart=/bin/stays\n"
		put := func(key string, value []byte) {
			_, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: key, Value: value}}})
			require.NoError(t, err)
		}
		put(keys.UnitFiles().Key(unitfile.Hash(text)), []byte(text))
		time.Sleep(time.Second)
		before := lists.Load()
		for i := range parts {
			value, err := keys.PlacementsOf("m").Encode(v1.Placement{Hash: unitfile.Hash(text), DesiredState: v1.Launched})
			require.NoError(t, err)
			put(keys.PlacementsOf("m").Key(fmt.Sprintf("u%d.service", i)), value)
			if i == 0 {
				synctest.Wait()
				require.NotEmpty(t, n.records.view(), "the first one does not wait")
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond)
		require.Len(t, n.records.view(), parts)
		require.Len(t, n.states.view(), parts)
		require.LessOrEqual(t, lists.Load()-before, int64(5))
	})
}

func TestFilesAreCheckedOnDirectoryChangesAndPeriodically(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	f := newFiles(dir, time.Minute)
	stamp := func(name string, modified time.Time) {
		require.NoError(t, os.Chtimes(filepath.Join(dir, name), modified, modified))
	}
	write := func(name, text string, modified time.Time) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		stamp(name, modified)
		stamp("", modified)
	}
	hash := func(name string, at time.Time) string {
		hashes, err := f.hashes(at)
		require.NoError(t, err)
		return hashes[name]
	}
	write("a.service", "x", now)
	require.Equal(t, unitfile.Hash("x"), hash("a.service", now))
	write("a.service", "y", now)
	require.Equal(t, unitfile.Hash("y"), hash("a.service", now.Add(time.Second)), "within one stamp, and of one size")
	write("a.service", "by hand", now)
	require.Equal(t, unitfile.Hash("y"), hash("a.service", now.Add(2*time.Second)))
	require.Equal(t, unitfile.Hash("by hand"), hash("a.service", now.Add(61*time.Second)))
	write("b.service", "new", now.Add(62*time.Second))
	require.Equal(t, unitfile.Hash("new"), hash("b.service", now.Add(63*time.Second)))
	for _, own := range []string{"1", "2", "3"} {
		text, err := newText("[Service]\nExecStart=/bin/stays " + own + "\n")
		require.NoError(t, err)
		require.NoError(t, f.write("own.service", text))
		require.Equal(t, text.fileHash, hash("own.service", time.Now()), "what is written here may be of one stamp as well")
	}
	write("a.service", "the clock was set back", now.Add(62*time.Second))
	require.Equal(t, unitfile.Hash("the clock was set back"), hash("a.service", now))
}

func TestResultsOfAPassAreSavedByTheNextOne(t *testing.T) {
	n := odd(t, func(layout.Layout) {}, fake.Options{})
	saved := func() Record {
		records, err := loadRecords(n.Layout.Launched(), logr.Discard())
		require.NoError(t, err)
		return records.units["a.service"]
	}
	require.NoError(t, os.WriteFile(n.Layout.Unit("a.service"), []byte("[Service]\nExecStart=/bin/stays\n"), 0o644))
	require.NoError(t, n.Systemd.Link(t.Context(), n.Layout.Unit("a.service")))
	_, _, err := n.apply(t.Context(), Decision{Actions: []Action{{Kind: Start, Unit: "a.service", Record: Record{Launched: "h"}}}})
	require.NoError(t, err)
	require.True(t, saved().Pending, "before systemd was asked")
	_, _, err = n.apply(t.Context(), Decision{})
	require.NoError(t, err)
	require.Equal(t, Record{Launched: "h"}, saved())
}
