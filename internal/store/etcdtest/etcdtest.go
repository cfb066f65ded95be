// Package etcdtest runs a real etcd inside the test process that starts and stops quickly.
package etcdtest

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/fleet-starter/fleet/internal/store"
)

// Server is an etcd with its own data directory, reached through a proxy on a unix socket.
type Server struct {
	t      testing.TB
	dir    string
	quota  int64
	direct bool
	proxy  proxy
	etcd   *embed.Etcd
	raw    *clientv3.Client
}

// Option configures a Server.
type Option func(*Server)

// WithQuota sets the size of the data, in bytes, at which etcd refuses puts.
func WithQuota(bytes int64) Option { return func(s *Server) { s.quota = bytes } }

// WithoutProxy connects clients directly to etcd, for benchmarks. Cut and Freeze do not work then.
func WithoutProxy() Option { return func(s *Server) { s.direct = true } }

// Start starts etcd and stops it when the test ends.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd") // not t.TempDir(): a socket's path is limited to 107 characters
	require.NoError(t, err)
	s := &Server{t: t, dir: dir}
	s.proxy = proxy{t: t, address: filepath.Join(dir, "proxy.sock"), backend: filepath.Join(dir, "etcd.sock")}
	for _, opt := range opts {
		opt(s)
	}
	t.Cleanup(func() {
		s.Stop()
		require.NoError(t, os.RemoveAll(dir))
	})
	s.Start()
	return s
}

// Start starts etcd again after Stop, with the same data and address.
func (s *Server) Start() {
	s.t.Helper()
	require.Nil(s.t, s.etcd, "etcd is already running")
	etcd, err := embed.StartEtcd(s.config())
	require.NoError(s.t, err)
	s.etcd = etcd
	select {
	case <-etcd.Server.ReadyNotify():
	case err := <-etcd.Err():
		require.NoError(s.t, err)
	case <-time.After(30 * time.Second):
		require.Fail(s.t, "etcd was not ready within 30 s")
	}
	s.Mend()
}

// Stop stops etcd and waits for it. The data is kept.
func (s *Server) Stop() {
	s.Cut()
	if s.raw != nil {
		s.raw.Close()
		s.raw = nil
	}
	if s.etcd != nil {
		s.etcd.Close()
		<-s.etcd.Server.StopNotify()
		s.etcd = nil
	}
}

// Cut disconnects all clients but Raw: connections break and new ones are refused.
func (s *Server) Cut() { s.proxy.close() }

// Mend undoes Cut.
func (s *Server) Mend() {
	if !s.direct {
		s.proxy.open()
	}
}

// Freeze holds back all traffic without an error, until Thaw delivers it.
func (s *Server) Freeze() { s.proxy.freeze(true) }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.proxy.freeze(false) }

// Endpoint returns the URL that clients use.
func (s *Server) Endpoint() string {
	if s.direct {
		return "unix://" + s.proxy.backend
	}
	return "unix://" + s.proxy.address
}

// Config returns the configuration of a client.
func (s *Server) Config() store.Config { return store.Config{Endpoints: []string{s.Endpoint()}} }

// ConfigPastProxy is Config for a client that is not affected by Cut and Freeze.
func (s *Server) ConfigPastProxy() store.Config {
	return store.Config{Endpoints: []string{"unix://" + s.proxy.backend}}
}

// Client returns a new client, closed at the end of the test, before etcd stops.
func (s *Server) Client() *store.Client {
	s.t.Helper()
	return s.ClientWith(s.Config())
}

// ClientWith is Client with another configuration.
func (s *Server) ClientWith(cfg store.Config) *store.Client {
	s.t.Helper()
	client, err := store.Dial(cfg)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, client.Close()) })
	return client
}

// Raw returns etcd's own client, for what store.Interface lacks: compaction, users, alarms.
func (s *Server) Raw() *clientv3.Client {
	s.t.Helper()
	if s.raw == nil {
		raw, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + s.proxy.backend}, Logger: zap.NewNop(), DialTimeout: 5 * time.Second})
		require.NoError(s.t, err)
		s.raw = raw
	}
	return s.raw
}

// Compact compacts the history before revision and returns when that is done.
func (s *Server) Compact(revision int64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := s.Raw().Compact(ctx, revision, clientv3.WithCompactPhysical())
	require.NoError(s.t, err)
}

// Put writes a key as etcdctl does, and returns its revision.
func (s *Server) Put(key, value string) int64 {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	resp, err := s.Raw().Put(ctx, key, value)
	require.NoError(s.t, err)
	return resp.Header.Revision
}

func (s *Server) config() *embed.Config {
	s.t.Helper()
	cfg := embed.NewConfig()
	cfg.Name = "test"
	cfg.Dir = filepath.Join(s.dir, "data")
	cfg.ListenClientUrls = []url.URL{s.url("unix://" + s.proxy.backend)}
	cfg.ListenPeerUrls = []url.URL{s.url("unix://" + filepath.Join(s.dir, "peer.sock"))}
	// Advertised to members and clients that ask for others; there are none.
	cfg.AdvertiseClientUrls = []url.URL{s.url("http://localhost:1")}
	cfg.AdvertisePeerUrls = []url.URL{s.url("http://localhost:2")}
	cfg.InitialCluster = cfg.Name + "=http://localhost:2"
	cfg.TickMs, cfg.ElectionMs = 10, 50
	cfg.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration // if 0, every request is formatted for the log as slow
	cfg.UnsafeNoFsync = true
	cfg.BcryptCost = 4 // the minimum, so that logging in does not take seconds
	cfg.QuotaBackendBytes = s.quota
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	return cfg
}

func (s *Server) url(text string) url.URL {
	s.t.Helper()
	u, err := url.Parse(text)
	require.NoError(s.t, err)
	return *u
}
