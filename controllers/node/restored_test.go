package node

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/systemd/fake"
)

// TestStatesAreWrittenAgainAfterARestore: a backup has old states, and nothing else would rewrite those that changed
// since.
func TestStatesAreWrittenAgainAfterARestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const unit = "a.service"
		m := startModel(t, fake.Options{}, nil)
		m.place(unit, stays)
		told := func() string {
			for range 2 {
				time.Sleep(6 * time.Minute) // longer than a cache's check interval
				synctest.Wait()
				m.units.Advance(time.Second)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			return m.told(unit).ActiveState
		}
		require.Equal(t, "active", told())
		backup := m.etcd.Revision()
		require.NoError(t, m.units.Exit(unit, 1))
		require.Equal(t, "failed", told())
		m.etcd.Restore(backup, 1000)
		require.Equal(t, "failed", told(), "the backup says that it is active")
	})
}
