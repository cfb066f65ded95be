package registry

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Garbage is collected while all registries are read-only: pulls go on, pushes are refused with the reason, and what was
// deleted can be pushed again and pulled everywhere.
func TestCollect(t *testing.T) {
	backends(t, func(t *testing.T, b backend) {
		one, two := newMachine(t, b).ready(t), newMachine(t, b).ready(t)
		kept, old := newImage(t), newImage(t)
		one.push(t, "shop:1", old)
		one.push(t, "shop:1", kept)
		one.pull(t, "shop@"+digest(t, old), old)

		done := make(chan error, 1)
		go func() {
			done <- Collect(t.Context(), one.load(t), CollectOptions{DeleteUntagged: true, Settle: 3 * time.Second}, discard())
		}()
		var code int
		var body string
		require.Eventually(t, func() bool {
			code, body = two.ask(t, http.MethodPost, "/v2/shop/blobs/uploads/", 5*time.Second)
			return code != http.StatusAccepted
		}, 2*time.Second, 10*time.Millisecond)
		require.Equal(t, http.StatusServiceUnavailable, code)
		require.Regexp(t, `read-only: .* collects garbage since .*: try again when it is done`, body)
		require.ErrorContains(t, Collect(t.Context(), two.load(t), CollectOptions{}, discard()), "there can be only one")
		two.pull(t, "shop:1", kept)
		require.NoError(t, <-done)

		_, err := remote.Image(two.ref(t, "shop@"+digest(t, old)))
		require.ErrorContains(t, err, "MANIFEST_UNKNOWN")
		two.pull(t, "shop:1", kept)
		layers, err := old.Layers()
		require.NoError(t, err)
		hash, err := layers[0].Digest()
		require.NoError(t, err)
		code, _ = two.ask(t, http.MethodHead, "/v2/shop/blobs/"+hash.String(), 5*time.Second)
		require.Equal(t, http.StatusNotFound, code)

		one.push(t, "shop:2", old)
		two.pull(t, "shop:2", old)
	})
}

func TestCollectNothing(t *testing.T) {
	backends(t, func(t *testing.T, b backend) {
		m := newMachine(t, b).ready(t)
		require.NoError(t, Collect(t.Context(), m.load(t), CollectOptions{}, discard()))
		require.NoError(t, Collect(t.Context(), m.load(t), CollectOptions{DryRun: true}, discard()))
		m.push(t, "shop:1", newImage(t))
	})
}

// A dry run deletes nothing and leaves the registries writable. Two tags of one layer keep it when one of them goes.
func TestCollectKeeps(t *testing.T) {
	b := &directory{path: t.TempDir()}
	m := newMachine(t, b).ready(t)
	image := newImage(t)
	file, err := image.ConfigFile()
	require.NoError(t, err)
	file.Config.Labels = map[string]string{"other": "yes"}
	other, err := mutate.Config(image, file.Config)
	require.NoError(t, err)
	require.NotEqual(t, digest(t, image), digest(t, other))
	m.push(t, "shop:1", image)
	m.push(t, "other:1", other)
	m.push(t, "shop:1", newImage(t)) // image is untagged now
	require.NoError(t, Collect(t.Context(), m.load(t), CollectOptions{DryRun: true, DeleteUntagged: true}, discard()))
	m.pull(t, "shop@"+digest(t, image), image)
	require.NoError(t, Collect(t.Context(), m.load(t), CollectOptions{}, discard()))
	m.pull(t, "shop@"+digest(t, image), image)
	require.NoError(t, Collect(t.Context(), m.load(t), CollectOptions{DeleteUntagged: true}, discard()))
	m.pull(t, "other:1", other)
	_, err = remote.Image(m.ref(t, "shop@"+digest(t, image)))
	require.ErrorContains(t, err, "MANIFEST_UNKNOWN")
}

// Without storage the collector says so and ends.
func TestCollectStorageAway(t *testing.T) {
	b := &directory{path: t.TempDir() + "/images"}
	config, _ := b.files(t)
	loaded, err := Load(config, "")
	require.NoError(t, err)
	require.ErrorContains(t, Collect(t.Context(), loaded, CollectOptions{}, discard()), "storage is away: directory "+b.path+" does not exist")
}

// A collector that vanished keeps registries read-only until its lease ends, and one whose lease has ended deletes nothing.
func TestLease(t *testing.T) {
	b := &directory{path: t.TempDir()}
	m := newMachine(t, b).ready(t)
	storage, err := openStorage(t.Context(), m.load(t))
	require.NoError(t, err)
	held, err := takeLease(t.Context(), storage, "gone", 0)
	require.NoError(t, err)
	require.NoError(t, storage.PutContent(t.Context(), "/blob", []byte("x")))
	now := held.lease.Expires
	held.now = func() time.Time { return now.Add(-30 * time.Second) }
	require.ErrorContains(t, held.Delete(t.Context(), "/blob"), "could not be renewed")
	held.now = time.Now
	require.NoError(t, held.Delete(t.Context(), "/blob"))

	g := &gate{storage: storage, now: time.Now, health: newHealth(storage.probe, discard(), func(error) {})}
	require.ErrorContains(t, g.writable(t.Context(), http.MethodPut), "read-only: gone collects garbage")
	require.NoError(t, g.writable(t.Context(), http.MethodGet))
	g.now = func() time.Time { return now }
	require.NoError(t, g.writable(t.Context(), http.MethodPut))
}

// Of two that begin at the same time the later one goes on.
func TestLeaseRace(t *testing.T) {
	b := &directory{path: t.TempDir()}
	m := newMachine(t, b).ready(t)
	storage, err := openStorage(t.Context(), m.load(t))
	require.NoError(t, err)
	first := make(chan error, 1)
	go func() {
		_, err := takeLease(t.Context(), storage, "first", time.Second)
		first <- err
	}()
	require.Eventually(t, func() bool {
		l, err := readLease(t.Context(), storage)
		return err == nil && l != nil
	}, time.Second, time.Millisecond)
	// It read "no lease" before the first one wrote its own.
	second := lease{Holder: "second", ID: "2", Expires: time.Now().Add(time.Hour)}
	require.NoError(t, second.write(t.Context(), storage))
	require.ErrorContains(t, <-first, "at the same time")
}

// Stopped while it waits, the collector leaves no lease.
func TestCollectStopped(t *testing.T) {
	b := &directory{path: t.TempDir()}
	m := newMachine(t, b).ready(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, Collect(ctx, m.load(t), CollectOptions{Settle: time.Minute}, discard()), context.DeadlineExceeded)
	m.push(t, "shop:1", newImage(t))
}
