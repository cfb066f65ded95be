package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Backend {
		etcd := etcdtest.Start(t, etcdtest.WithQuota(16<<20))
		client := etcd.Client()
		return storetest.Backend{Store: client, Compact: etcd.Compact, Fill: func() { fill(t, client) }}
	})
}

func fill(t *testing.T, s store.Interface) {
	for {
		_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/fill", Value: bytes.Repeat([]byte("x"), 1<<20)}}})
		if errors.Is(err, store.ErrNoSpace) {
			return
		}
		require.NoError(t, err)
	}
}

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }

// everyCall returns a call of every method of the interface.
func everyCall(ctx context.Context, s store.Interface) map[string]func() error {
	return map[string]func() error{
		"Get":       func() error { _, _, _, err := s.Get(ctx, "/a"); return err },
		"List":      func() error { _, err := s.List(ctx, "/a", store.ListOptions{}); return err },
		"Commit":    func() error { _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{put("/a", "")}}); return err },
		"Grant":     func() error { _, err := s.Grant(ctx, time.Second); return err },
		"KeepAlive": func() error { _, err := s.KeepAlive(ctx, 1); return err },
		"Revoke":    func() error { return s.Revoke(ctx, 1) },
	}
}

// TestDeadlines: whatever is wrong with the server, each call returns ErrUnavailable in time, even if its context has
// no deadline.
func TestDeadlines(t *testing.T) {
	const timeout = 300 * time.Millisecond
	says := map[string]string{
		"nobody listens": "connection refused",
		"no such host":   "etcd.invalid",
	}
	for name, endpoint := range map[string]func(t *testing.T) string{
		"nobody listens":              closedPort,
		"accepts and never answers":   mutePort,
		"no such host":                func(*testing.T) string { return "http://etcd.invalid:2379" },
		"with a password, mute":       mutePort,
		"with a password, not listen": closedPort,
	} {
		t.Run(name, func(t *testing.T) {
			cfg := store.Config{Endpoints: []string{endpoint(t)}, RequestTimeout: timeout}
			if strings.HasPrefix(name, "with a password") {
				cfg.Username, cfg.Password = "me", "secret"
			}
			client, err := store.Dial(cfg)
			require.NoError(t, err)
			defer func() { require.NoError(t, client.Close()) }()
			requireUnavailable(t, client, timeout, says[name])
		})
	}
	t.Run("etcd stopped after a call", func(t *testing.T) {
		etcd := etcdtest.Start(t)
		cfg := etcd.Config()
		cfg.RequestTimeout = timeout
		client := etcd.ClientWith(cfg)
		require.NoError(t, everyCall(t.Context(), client)["Get"]())
		etcd.Stop()
		requireUnavailable(t, client, timeout, "")
	})
}

func requireUnavailable(t *testing.T, client *store.Client, timeout time.Duration, says string) {
	t.Helper()
	var calls sync.WaitGroup
	start := time.Now()
	for what, call := range everyCall(context.Background(), client) {
		calls.Go(func() {
			if err := call(); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			} else if !strings.Contains(err.Error(), says) {
				t.Errorf("%s does not say why: %v", what, err)
			}
		})
	}
	calls.Wait()
	require.Less(t, time.Since(start), timeout+2*time.Second)
}

func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return "http://" + l.Addr().String()
}

// mutePort accepts connections and never answers.
func mutePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
		for _, c := range conns {
			c.Close()
		}
	})
	return "http://" + l.Addr().String()
}

// TestRestart: a client and its watch survive a restart of etcd, and the watch has no gap.
func TestRestart(t *testing.T) {
	etcd := etcdtest.Start(t)
	client := etcd.Client()
	start, err := client.Commit(t.Context(), store.Txn{Ops: []store.Op{put("/t/a", "1")}})
	require.NoError(t, err)
	batches := client.Watch(t.Context(), "/t/", start)
	etcd.Put("/t/a", "2")
	require.Equal(t, "2", string((<-batches).Events[0].Value))
	etcd.Stop()
	etcd.Start()
	etcd.Put("/t/a", "3")
	_, ok, _, err := client.Get(t.Context(), "/t/a")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "3", string((<-batches).Events[0].Value))
}

func TestCloseEndsWatches(t *testing.T) {
	etcd := etcdtest.Start(t)
	client, err := store.Dial(etcd.Config())
	require.NoError(t, err)
	batches := client.Watch(context.Background(), "/t/", 1)
	require.NoError(t, client.RequestProgress(t.Context()))
	require.NoError(t, client.Close())
	for range batches {
	}
	_, _, _, err = client.Get(t.Context(), "/t/a")
	require.Error(t, err)
}

func TestAuthentication(t *testing.T) {
	etcd := etcdtest.Start(t)
	raw, ctx := etcd.Raw(), t.Context()
	for _, do := range []func() error{
		func() error { _, err := raw.UserAdd(ctx, "root", "root"); return err },
		func() error { _, err := raw.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := raw.UserAdd(ctx, "fleet", "secret"); return err },
		func() error { _, err := raw.RoleAdd(ctx, "fleet"); return err },
		func() error { _, err := raw.RoleGrantPermission(ctx, "fleet", "/fleet/", "/fleet0", 2); return err },
		func() error { _, err := raw.UserGrantRole(ctx, "fleet", "fleet"); return err },
		func() error { _, err := raw.AuthEnable(ctx); return err },
	} {
		require.NoError(t, do())
	}
	as := func(user, password string) *store.Client {
		cfg := etcd.Config()
		cfg.Username, cfg.Password = user, password
		return etcd.ClientWith(cfg)
	}
	fleet := as("fleet", "secret")
	_, err := fleet.Commit(ctx, store.Txn{Ops: []store.Op{put("/fleet/a", "1")}})
	require.NoError(t, err)
	_, _, _, err = fleet.Get(ctx, "/other")
	require.ErrorIs(t, err, store.ErrDenied)
	batch := <-fleet.Watch(ctx, "/other/", 1)
	require.ErrorIs(t, batch.Err, store.ErrDenied)
	_, _, _, err = as("fleet", "wrong").Get(ctx, "/fleet/a")
	require.ErrorIs(t, err, store.ErrDenied)
	_, _, _, err = etcd.Client().Get(ctx, "/fleet/a")
	require.ErrorIs(t, err, store.ErrDenied)
}

func TestDialRefusesBadConfig(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  store.Config
		says string
	}{
		"no endpoints":   {store.Config{}, "no endpoints"},
		"key alone":      {store.Config{Endpoints: []string{"x"}, TLS: store.TLSFiles{KeyFile: "k.pem"}}, "both"},
		"no such CA":     {store.Config{Endpoints: []string{"x"}, TLS: store.TLSFiles{CAFile: "/none/ca.pem"}}, "/none/ca.pem"},
		"no certificate": {store.Config{Endpoints: []string{"x"}, TLS: store.TLSFiles{CertFile: "/none/c", KeyFile: "/none/k"}}, "/none/c"},
	} {
		_, err := store.Dial(c.cfg)
		require.ErrorContains(t, err, c.says, name)
	}
}

// TestListAllCompacted: a listing whose revision is compacted between two pages returns ErrCompacted. The second page
// may have been read by then, the third has not.
func TestListAllCompacted(t *testing.T) {
	etcd := etcdtest.Start(t)
	client := etcd.Client()
	for i := range 6 {
		etcd.Put(fmt.Sprintf("/t/%d", i), "x")
	}
	seen := 0
	_, err := store.ListAll(t.Context(), client, "/t/", store.ListOptions{Limit: 2}, func(store.KV) error {
		if seen++; seen == 1 {
			etcd.Compact(etcd.Put("/t/9", "x"))
		}
		return nil
	})
	require.ErrorIs(t, err, store.ErrCompacted)
}

// TestClosedBeforeTheFirstCall: a closed client returns its error at once, even if it never connected.
func TestClosedBeforeTheFirstCall(t *testing.T) {
	client, err := store.Dial(store.Config{Endpoints: []string{closedPort(t)}, RequestTimeout: 20 * time.Second})
	require.NoError(t, err)
	require.NoError(t, client.Close())
	began := time.Now()
	_, _, _, err = client.Get(t.Context(), "/a")
	require.ErrorContains(t, err, "the client is closed")
	require.NotErrorIs(t, err, store.ErrUnavailable)
	require.Less(t, time.Since(began), 10*time.Second)
}
