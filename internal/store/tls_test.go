package store_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.uber.org/zap"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
)

// TestTLS: server and client authenticate each other with the configured files.
func TestTLS(t *testing.T) {
	server, client, other := selfSigned(t), selfSigned(t), selfSigned(t)
	etcd := etcdtest.Start(t)
	endpoint := serveTLS(t, strings.TrimPrefix(etcd.Endpoint(), "unix://"), server, client)
	for name, c := range map[string]struct {
		tls  store.TLSFiles
		says string
	}{
		"right":                  {store.TLSFiles{CAFile: server.CertFile, CertFile: client.CertFile, KeyFile: client.KeyFile}, ""},
		"another certificate":    {store.TLSFiles{CAFile: server.CertFile, CertFile: other.CertFile, KeyFile: other.KeyFile}, "balancer error"},
		"no certificate":         {store.TLSFiles{CAFile: server.CertFile}, "balancer error"},
		"the server is another":  {store.TLSFiles{CAFile: other.CertFile, CertFile: client.CertFile, KeyFile: client.KeyFile}, "x509: "},
		"an authority is needed": {store.TLSFiles{}, "x509: "},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := store.Dial(store.Config{Endpoints: []string{endpoint}, TLS: c.tls, RequestTimeout: time.Second})
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			// On a busy machine a handshake may take longer than one request: the connection is established meanwhile.
			require.EventuallyWithT(t, func(t *assert.CollectT) {
				_, _, _, err := s.Get(context.Background(), "/a")
				if c.says == "" {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, store.ErrUnavailable)
				require.ErrorContains(t, err, c.says)
			}, 30*time.Second, time.Millisecond)
		})
	}
}

func selfSigned(t *testing.T) transport.TLSInfo {
	info, err := transport.SelfCert(zap.NewNop(), filepath.Join(t.TempDir(), "tls"), []string{"127.0.0.1:0"}, 1, x509.ExtKeyUsageClientAuth)
	require.NoError(t, err)
	return info
}

// serveTLS terminates TLS in front of a unix socket and returns its URL.
func serveTLS(t *testing.T, socket string, server, client transport.TLSInfo) string {
	certificate, err := tls.LoadX509KeyPair(server.CertFile, server.KeyFile)
	require.NoError(t, err)
	authority, err := os.ReadFile(client.CertFile)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(authority))
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		NextProtos:   []string{"h2"},
	})
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			outside, err := l.Accept()
			if err != nil {
				return
			}
			inside, err := net.Dial("unix", socket)
			require.NoError(t, err)
			pipe := func(to, from net.Conn) {
				io.Copy(to, from)
				to.Close()
				from.Close()
			}
			running.Go(func() { pipe(inside, outside) })
			running.Go(func() { pipe(outside, inside) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return "https://" + l.Addr().String()
}
