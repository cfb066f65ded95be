package announce

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

const key = "/services/web/example-app/example-app@1"

// instance is one announcer and the health of its instance.
type instance struct {
	healthy atomic.Bool
	stop    func()
}

// start runs an announcer; it is stopped with the test unless it was stopped before.
func start(t *testing.T, s store.Interface, address string, changes ...func(*Options)) *instance {
	t.Helper()
	i := &instance{}
	i.healthy.Store(true)
	opts := Options{
		Store: s, Log: logr.Discard(), Prefix: "/services/web", App: "example-app", Instance: "example-app@1", Address: address,
		TTL: 30 * time.Second, Interval: time.Second, Timeout: time.Second, Thresholds: Thresholds{Healthy: 1, Unhealthy: 3},
		Probe: func(context.Context) error {
			if !i.healthy.Load() {
				return errors.New("unwell")
			}
			return nil
		},
	}
	for _, change := range changes {
		change(&opts)
	}
	c, err := New(opts)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	i.stop = func() { cancel(); <-done }
	t.Cleanup(i.stop)
	return i
}

func value(t *testing.T, s *memstore.Store) string {
	t.Helper()
	kv, _, _, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	return string(kv.Value)
}

func TestAnnouncedWhileHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		i := start(t, s, "127.0.0.11:3000")
		synctest.Wait()
		require.Equal(t, "127.0.0.11:3000", value(t, s))

		i.healthy.Store(false)
		time.Sleep(2500 * time.Millisecond)
		require.NotEmpty(t, value(t, s), "two failures are let pass")
		time.Sleep(time.Second)
		require.Empty(t, value(t, s))

		i.healthy.Store(true)
		time.Sleep(1500 * time.Millisecond)
		require.NotEmpty(t, value(t, s))

		revision := s.Revision()
		time.Sleep(time.Hour)
		require.Equal(t, revision, s.Revision(), "at rest nothing is written")

		i.stop()
		require.Empty(t, value(t, s), "gone at once when stopped")
	})
}

func TestEtcdAwayWithdrawsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		conn := s.Connect()
		start(t, conn, "127.0.0.11:3000")
		synctest.Wait()
		before := s.Revision()
		conn.SetDown(true)
		time.Sleep(20 * time.Second)
		conn.SetDown(false)
		time.Sleep(time.Minute)
		require.NotEmpty(t, value(t, s))
		require.Equal(t, before, s.Revision(), "shorter than the lease: not even touched")
	})
}

func TestAnnouncedAgainWhenTheLeaseWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		conn := s.Connect()
		start(t, conn, "127.0.0.11:3000")
		synctest.Wait()
		conn.SetDown(true)
		time.Sleep(2 * time.Minute)
		require.Empty(t, value(t, s), "cut off for longer than the lease")
		conn.SetDown(false)
		time.Sleep(20 * time.Second)
		require.NotEmpty(t, value(t, s))
	})
}

func TestAnnouncedAgainAfterKeyDeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		start(t, s, "127.0.0.11:3000")
		synctest.Wait()
		_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key}}})
		require.NoError(t, err)
		synctest.Wait()
		require.NotEmpty(t, value(t, s))
	})
}

// The instance moved while this machine was cut off: on its return the announcer must neither overwrite nor remove the new
// instance's endpoint.
func TestReplacedWhileCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		conn := s.Connect()
		old := start(t, conn, "127.0.0.11:3000")
		synctest.Wait()
		conn.SetDown(true)
		time.Sleep(10 * time.Second)
		start(t, s, "127.0.0.12:3000")
		synctest.Wait()
		require.Equal(t, "127.0.0.12:3000", value(t, s), "the newest instance takes the key over at once")
		time.Sleep(time.Minute)
		conn.SetDown(false)
		time.Sleep(time.Minute)
		require.Equal(t, "127.0.0.12:3000", value(t, s))
		old.stop()
		require.Equal(t, "127.0.0.12:3000", value(t, s))
	})
}

func TestStopWhileEtcdIsAwayEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		conn := s.Connect()
		i := start(t, conn, "127.0.0.11:3000")
		synctest.Wait()
		conn.SetDown(true)
		began := time.Now()
		i.stop()
		require.LessOrEqual(t, time.Since(began), stopTimeout+time.Second)
		time.Sleep(time.Minute)
		require.Empty(t, value(t, s), "the key goes with its lease")
	})
}

func TestNewRefuses(t *testing.T) {
	good := Options{App: "a", Instance: "a@1", Address: "127.0.0.1:80", TTL: time.Minute, Interval: time.Second, Timeout: time.Second}
	for name, change := range map[string]func(*Options){
		"no app":           func(o *Options) { o.App = "" },
		"a slash":          func(o *Options) { o.Instance = "../a" },
		"no port":          func(o *Options) { o.Address = "127.0.0.1" },
		"no host":          func(o *Options) { o.Address = ":80" },
		"port too high":    func(o *Options) { o.Address = "127.0.0.1:65536" },
		"no interval":      func(o *Options) { o.Interval = 0 },
		"no timeout":       func(o *Options) { o.Timeout = 0 },
		"ttl of a blink":   func(o *Options) { o.TTL = time.Millisecond },
		"a name of a port": func(o *Options) { o.Address = "127.0.0.1:http" },
	} {
		o := good
		change(&o)
		_, err := New(o)
		require.Error(t, err, name)
	}
	good.TTL = time.Second // the shortest that etcd supports
	_, err := New(good)
	require.NoError(t, err)
}

// TestStopIsTriedAgain: an etcd that returns before the withdrawal's deadline gets it.
func TestStopIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		conn := s.Connect()
		var errs atomic.Int32
		log := funcr.New(func(_, args string) {
			if strings.Contains(args, "Withdrawing failed") {
				errs.Add(1)
			}
		}, funcr.Options{})
		for _, tc := range []struct {
			away   time.Duration
			errors int32
			left   string
		}{
			{0, 0, ""},
			{2 * time.Second, 0, ""},
			{time.Minute, 1, "127.0.0.11:3000"},
		} {
			i := start(t, conn, "127.0.0.11:3000", func(o *Options) { o.Log = log })
			synctest.Wait()
			require.NotEmpty(t, value(t, s))
			if tc.away > 0 {
				conn.SetDown(true)
				time.AfterFunc(tc.away, func() { conn.SetDown(false) })
			}
			errs.Store(0)
			i.stop()
			require.Equal(t, tc.left, value(t, s), "etcd was away for %s", tc.away)
			require.Equal(t, tc.errors, errs.Load(), "etcd was away for %s", tc.away)
			time.Sleep(2 * time.Minute)
		}
	})
}

// TestRestartedAnnouncerTakesOver: it takes over its predecessor's key at once, and the endpoint survives the end of the old
// lease.
func TestRestartedAnnouncerTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		killed := s.Connect()
		start(t, killed, "127.0.0.11:3000")
		synctest.Wait()
		killed.SetDown(true) // and never up again: it was killed
		watch := s.Watch(t.Context(), key, s.Revision())
		start(t, s, "127.0.0.11:3000")
		time.Sleep(2 * time.Minute)
		require.NotEmpty(t, value(t, s))
		require.False(t, (<-watch).Events[0].Deleted)
		synctest.Wait()
		select {
		case more := <-watch:
			require.Empty(t, more, "one put, by the new one, is all")
		default:
		}
	})
}

// TestRestartedWatchWritesNothing: after a compaction the key is read once, and it was right.
func TestRestartedWatchWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		conn := s.Connect()
		start(t, conn, "127.0.0.11:3000")
		synctest.Wait()
		for range 3 {
			conn.SetDown(true)
			_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/other", Value: []byte(time.Now().String())}}})
			require.NoError(t, err)
			s.Compact(s.Revision())
			time.Sleep(5 * time.Second)
			conn.SetDown(false)
			before := s.Revision()
			time.Sleep(time.Minute)
			require.Equal(t, before, s.Revision())
			require.NotEmpty(t, value(t, s))
		}
	})
}

// TestBackoffIsResetByAWrite: pauses grow while etcd refuses, and are reset when it accepts writes.
func TestBackoffIsResetByAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		start(t, s, "127.0.0.11:3000")
		synctest.Wait()
		lose := func(full time.Duration) {
			s.SetFull(true)
			_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key}}})
			require.NoError(t, err)
			time.Sleep(full)
			s.SetFull(false)
		}
		lose(5 * time.Minute)
		time.Sleep(10 * time.Second)
		require.NotEmpty(t, value(t, s), "within a third of the TTL")
		lose(150 * time.Millisecond)
		time.Sleep(time.Second)
		require.NotEmpty(t, value(t, s), "at once: the pauses of the time before are over")
	})
}

func TestProbes(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())

	require.NoError(t, HTTPProbe(server.URL)(t.Context()))
	status = http.StatusServiceUnavailable
	require.ErrorContains(t, HTTPProbe(server.URL)(t.Context()), "503")
	require.NoError(t, TCPProbe(address)(t.Context()))
	require.Error(t, TCPProbe(free.Addr().String())(t.Context()))
	require.NoError(t, ExecProbe([]string{"true"})(t.Context()))
	require.ErrorContains(t, ExecProbe([]string{"sh", "-c", "echo why; exit 3"})(t.Context()), "exit status 3: why")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, ExecProbe([]string{"sleep", "60"})(ctx), "a probe that hangs ends with its time")
}
