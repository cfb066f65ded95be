package daemon

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
)

type versions struct {
	mu    sync.Mutex
	found map[string]string
	err   error
}

func (v *versions) VersionWarnings(context.Context) (map[string]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.found, v.err
}

func (v *versions) set(found map[string]string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found, v.err = found, nil
}

// TestOldEtcdIsReported: /readyz warns about an etcd that should be upgraded, and is still ready; the version is read again
// after an outage, and every hour.
func TestOldEtcdIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v etcdVersions
		readyz := func() (int, string) {
			w := httptest.NewRecorder()
			ready(w, httptest.NewRequest("GET", "/readyz", nil), []check{{"etcd", func(context.Context) error { return nil }}}, []func() []string{v.warnings})
			return w.Code, w.Body.String()
		}
		etcd := &versions{err: store.ErrUnavailable}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = v.watch(ctx, etcd, logr.Discard()) })
		step := func(d time.Duration, body string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			code, text := readyz()
			require.Equal(t, 200, code)
			require.Equal(t, body, text)
		}
		step(time.Minute, "etcd: ok\n")
		etcd.set(map[string]string{"http://b:2379": "old", "http://a:2379": "older"})
		step(2*time.Minute, "etcd: ok\nwarning: http://a:2379: older\nwarning: http://b:2379: old\n")
		etcd.set(nil)
		step(2*time.Hour, "etcd: ok\n")
		cancel()
		running.Wait()
	})
}
