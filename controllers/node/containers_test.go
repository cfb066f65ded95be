package node

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/container"
	fakeruntime "github.com/fleet-starter/fleet/internal/container/fake"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
)

// countedRuntime counts how often its containers are listed.
type countedRuntime struct {
	*fakeruntime.Runtime
	asked atomic.Int64
}

func (r *countedRuntime) List(ctx context.Context, machine string) ([]container.Container, error) {
	r.asked.Add(1)
	return r.Runtime.List(ctx, machine)
}

// hangingRuntime gives up after a while.
type hangingRuntime struct{ *fakeruntime.Runtime }

func (hangingRuntime) List(ctx context.Context, _ string) ([]container.Container, error) {
	store.Sleep(ctx, 10*time.Second)
	return nil, context.DeadlineExceeded
}

// What no unit accounts for is removed, also while another runtime hangs, but not before the placements are those of etcd. A docker
// that does not run is not asked.
func TestContainersWithoutAUnitAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		newRuntime := func(name string) *countedRuntime {
			return &countedRuntime{Runtime: &fakeruntime.Runtime{Name: name}}
		}
		podman, docker := newRuntime(v1.RuntimePodman), newRuntime(v1.RuntimeDocker)
		runs, odd := podman.Run("runs", "a.service", "m"), podman.Run("odd", "../x", "m")
		podman.Run("left", "gone.service", "m")
		left := func() (ids []string) {
			list, err := podman.Runtime.List(t.Context(), "m")
			require.NoError(t, err)
			for _, c := range list {
				ids = append(ids, c.ID)
			}
			return ids
		}
		alone := make(chan struct{})
		m := startModel(t, fake.Options{}, func(o *Options) {
			o.Alone, o.BootGrace = alone, time.Second
			o.Runtimes = map[string]ContainerRuntime{v1.RuntimePodman: podman, v1.RuntimeDocker: docker, "a hanging one": hangingRuntime{&fakeruntime.Runtime{}}}
		})
		m.place("a.service", stays)

		time.Sleep(time.Hour)
		require.Len(t, left(), 3, "etcd has not been read")
		close(alone)
		time.Sleep(time.Minute)
		require.ElementsMatch(t, []string{runs, odd}, left())
		require.Zero(t, docker.asked.Load())

		asked := podman.asked.Load()
		time.Sleep(10 * time.Minute)
		require.Less(t, podman.asked.Load()-asked, int64(25), "at rest every 30 s")
	})
}
