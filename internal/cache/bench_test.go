package cache_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
)

const benchObjects = 20_000

func benchGroups(hash string) []store.Group {
	groups := make([]store.Group, benchObjects)
	for i := range groups {
		groups[i] = store.Group{placement(fmt.Sprintf("machine-%04d/app-%03d@%d.service", i%1000, i%200, i/1000), hash)}
	}
	return groups
}

// BenchmarkReflector lists 20,000 placements, then changes all of them once per iteration. B/object is the live memory
// after the listing; events/s is measured from the first write to the last handler call.
func BenchmarkReflector(b *testing.B) {
	client := etcdtest.Start(b, etcdtest.WithoutProxy()).Client()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	revision, err := store.LastRevision(store.Write(ctx, client, benchGroups(hash), store.Fence{}))
	require.NoError(b, err)

	before := liveMemory()
	r := cache.NewReflector(client, keys.Root())
	placements := cache.Register(r, keys.Placements())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	require.NoError(b, r.WaitForSync(ctx))
	require.NoError(b, r.WaitForRevision(ctx, revision))
	perObject := float64(liveMemory()-before) / float64(placements.Len())

	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		revision, err := store.LastRevision(store.Write(ctx, client, benchGroups(fmt.Sprint(hash, i)), store.Fence{}))
		require.NoError(b, err)
		require.NoError(b, r.WaitForRevision(ctx, revision))
	}
	b.StopTimer()
	b.ReportMetric(perObject, "B/object")
	b.ReportMetric(float64(b.N*benchObjects)/b.Elapsed().Seconds(), "events/s")
	cancel()
	<-done
	runtime.KeepAlive(placements)
}

func liveMemory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkListPrefix(b *testing.B) {
	client := etcdtest.Start(b, etcdtest.WithoutProxy()).Client()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	_, err := store.LastRevision(store.Write(ctx, client, benchGroups("x"), store.Fence{}))
	require.NoError(b, err)
	r := cache.NewReflector(client, keys.Root())
	placements := cache.Register(r, keys.Placements())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	require.NoError(b, r.WaitForSync(ctx))
	b.ReportAllocs()
	for b.Loop() {
		if n := len(placements.ListPrefix("machine-0500/")); n != 20 {
			b.Fatal(n)
		}
	}
	cancel()
	<-done
}
