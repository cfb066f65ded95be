package node

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

func TestPlacementsThatArriveInPartsMakeFewPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const parts = 20
		var lists atomic.Int64
		m := startModel(t, fake.Options{Fault: func(op, _ string) error {
			if op == "list" {
				lists.Add(1)
			}
			return nil
		}}, nil)
		m.keep(stays)
		time.Sleep(time.Second)
		before := lists.Load()
		for i := range parts {
			m.place(fmt.Sprintf("u%d.service", i), stays)
			if i == 0 {
				synctest.Wait()
				require.NotEmpty(t, m.records.view(), "the first one does not wait")
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond)
		require.Len(t, m.records.view(), parts)
		require.Len(t, m.states.view(), parts)
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
