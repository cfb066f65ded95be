package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// DefaultRequestTimeout bounds calls if Config sets no timeout.
const DefaultRequestTimeout = 5 * time.Second

// A silently dead connection (a pulled cable, a frozen machine) is dropped after the sum of both.
const (
	keepAliveTime    = 10 * time.Second // etcd disconnects clients that ping more often than every 5 s
	keepAliveTimeout = 5 * time.Second
	maxDialBackoff   = 3 * time.Second // gRPC's default of two minutes would prolong a short outage
)

// Config defines how etcd is reached.
type Config struct {
	// Endpoints are URLs: http://, https://, unix://, or host:port.
	Endpoints []string
	// TLS is used for https:// endpoints.
	TLS TLSFiles
	// Username and Password are needed if etcd has authentication enabled.
	Username, Password string
	// RequestTimeout bounds every call, even if its context has no deadline. Default 5 s.
	RequestTimeout time.Duration
}

// TLSFiles are paths of PEM files. CAFile alone verifies the server; CertFile and KeyFile are given together.
type TLSFiles struct {
	CAFile, CertFile, KeyFile string
}

func (f TLSFiles) config() (*tls.Config, error) {
	if f == (TLSFiles{}) {
		return nil, nil
	}
	if (f.CertFile == "") != (f.KeyFile == "") {
		return nil, errors.New("etcd: a client certificate needs both its certificate file and its key file")
	}
	info := transport.TLSInfo{TrustedCAFile: f.CAFile, CertFile: f.CertFile, KeyFile: f.KeyFile}
	cfg, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("etcd: TLS files (CA %q, certificate %q, key %q): %w", f.CAFile, f.CertFile, f.KeyFile, err)
	}
	return cfg, nil
}

// Client is the store in etcd. It is safe for concurrent use.
type Client struct {
	config  clientv3.Config
	timeout time.Duration
	// dialing is a semaphore held while connecting, during which etcd's client also requests a token.
	dialing chan struct{}
	etcd    atomic.Pointer[clientv3.Client]
	ctx     context.Context
	cancel  context.CancelFunc
	// trouble is gRPC's reason for the last failed attempt, nil after a success.
	trouble atomic.Pointer[string]
}

var _ Interface = (*Client)(nil)

// Dial returns a client. It only checks the configuration; the first call connects, so that a machine starts while etcd
// is unreachable.
func Dial(cfg Config) (*Client, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("etcd: no endpoints: set at least one, such as http://127.0.0.1:2379")
	}
	tlsConfig, err := cfg.TLS.config()
	if err != nil {
		return nil, err
	}
	if cfg.RequestTimeout <= 0 {
		cfg.RequestTimeout = DefaultRequestTimeout
	}
	ctx, cancel := context.WithCancel(context.Background())
	connect := grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: maxDialBackoff}
	connect.Backoff.BaseDelay = 100 * time.Millisecond
	connect.Backoff.MaxDelay = maxDialBackoff
	c := &Client{timeout: cfg.RequestTimeout, dialing: make(chan struct{}, 1), ctx: ctx, cancel: cancel}
	c.config = clientv3.Config{
		Endpoints:            cfg.Endpoints,
		TLS:                  tlsConfig,
		Username:             cfg.Username,
		Password:             cfg.Password,
		DialTimeout:          cfg.RequestTimeout,
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		Logger:               zap.NewNop(), // every failure is returned as an error
		Context:              ctx,
		DialOptions: []grpc.DialOption{
			grpc.WithConnectParams(connect),
			grpc.WithChainUnaryInterceptor(c.noteUnary),
			grpc.WithChainStreamInterceptor(c.noteStream),
		},
	}
	return c, nil
}

// Close ends the connection and all watches.
func (c *Client) Close() error {
	c.cancel()
	c.dialing <- struct{}{} // never released: no more connections
	if etcd := c.etcd.Load(); etcd != nil {
		if err := etcd.Close(); err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("etcd: close: %w", err)
		}
	}
	return nil
}

// errClosed is returned after Close, with the same code as gRPC's own error.
var errClosed = status.Error(codes.Canceled, "the client is closed")

// connect returns etcd's client, which it creates on first use.
func (c *Client) connect(ctx context.Context) (*clientv3.Client, error) {
	if c.ctx.Err() != nil {
		return nil, errClosed
	}
	if etcd := c.etcd.Load(); etcd != nil {
		return etcd, nil
	}
	select {
	case c.dialing <- struct{}{}:
		defer func() { <-c.dialing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.ctx.Done():
		return nil, errClosed
	}
	if etcd := c.etcd.Load(); etcd != nil {
		return etcd, nil
	}
	etcd, err := clientv3.New(c.config)
	if err != nil {
		return nil, err
	}
	c.etcd.Store(etcd)
	return etcd, nil
}

// call runs one request with a deadline and wraps its error.
func (c *Client) call(ctx context.Context, what, key string, request func(context.Context, *clientv3.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	etcd, err := c.connect(ctx)
	if err == nil {
		err = request(ctx, etcd)
	}
	return wrap(c.explain(err), what, key)
}
