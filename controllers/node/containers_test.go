package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/container"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// someRuntime has containers until they are removed. One that hangs gives up after a while.
type someRuntime struct {
	mu    sync.Mutex
	has   map[string]string // unit by ID
	asked int
	hangs bool
}

func (*someRuntime) Installed() bool { return true }

func (r *someRuntime) List(ctx context.Context, _ string) (list []container.Container, err error) {
	if r.hangs {
		store.Sleep(ctx, 10*time.Second)
		return nil, context.DeadlineExceeded
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	for id, unit := range r.has {
		list = append(list, container.Container{Runtime: v1.RuntimePodman, ID: id, Unit: unit})
	}
	return list, nil
}

func (r *someRuntime) Remove(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.has[id] == "" {
		return errors.New("no such container")
	}
	delete(r.has, id)
	return nil
}

func (r *someRuntime) left() (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.has {
		ids = append(ids, id)
	}
	return ids
}

// What no unit accounts for is removed, also while another runtime hangs, but not before the placements are those of etcd. A docker
// that does not run is not asked.
func TestContainersWithoutAUnitAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const text = "[Service]\nExecStart=/bin/stays\n"
		dir, keys, s := t.TempDir(), keyspace.New(""), memstore.New(memstore.Options{})
		l := layout.Layout{State: dir + "/state", Runtime: dir + "/run", Units: dir + "/run/units", Shared: dir + "/run"}
		manager := fake.New(fake.Options{ReadFile: func(path string) ([]byte, error) { return os.ReadFile(filepath.Join(l.Units, filepath.Base(path))) }})
		podman := &someRuntime{has: map[string]string{"runs": "a.service", "left": "gone.service", "odd": "../x"}}
		docker := &someRuntime{}
		hangs := &someRuntime{hangs: true}
		alone := make(chan struct{})
		n, err := New(Options{Machine: "m", Keys: keys, Store: s, Systemd: manager, Layout: l, Log: logr.Discard(), Alone: alone, BootGrace: time.Second,
			Runtimes: map[string]ContainerRuntime{v1.RuntimePodman: podman, v1.RuntimeDocker: docker, "a hanging one": hangs}})
		require.NoError(t, err)
		value, err := keys.Placements().Encode(v1.Placement{Hash: unitfile.Hash(text), DesiredState: v1.Launched})
		require.NoError(t, err)
		_, err = s.Commit(t.Context(), store.Txn{Ops: []store.Op{
			{Key: keys.UnitFiles().Key(unitfile.Hash(text)), Value: []byte(text)}, {Key: keys.PlacementsOf("m").Key("a.service"), Value: value}}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { require.NoError(t, n.Run(ctx)) })
		defer running.Wait()
		defer cancel()

		time.Sleep(time.Hour)
		require.Len(t, podman.left(), 3, "etcd has not been read")
		close(alone)
		time.Sleep(time.Minute)
		require.ElementsMatch(t, []string{"runs", "odd"}, podman.left())
		require.Zero(t, docker.asked)

		asked := podman.asked
		time.Sleep(10 * time.Minute)
		require.Less(t, podman.asked-asked, 25, "at rest every 30 s")
	})
}
