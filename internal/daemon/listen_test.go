package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestConnectionsAreBounded: a socket serves 1,024 connections; the next one has to wait until one ends. Other sockets are
// not affected.
func TestConnectionsAreBounded(t *testing.T) {
	dir := t.TempDir()
	var all []net.Listener
	for _, name := range []string{"a", "b"} {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		require.NoError(t, err)
		all = append(all, l)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, all, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	}()
	dial := func(name string) net.Conn {
		conn, err := net.Dial("unix", filepath.Join(dir, name))
		require.NoError(t, err)
		return conn
	}
	answers := func(conn net.Conn, within time.Duration) bool {
		_, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(within)))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	}
	var open []net.Conn
	for range 1024 {
		conn := dial("a")
		require.True(t, answers(conn, 10*time.Second))
		open = append(open, conn)
	}
	next, other := dial("a"), dial("b")
	require.False(t, answers(next, 200*time.Millisecond))
	require.True(t, answers(other, 10*time.Second))
	open[0].Close()
	require.NoError(t, next.SetReadDeadline(time.Now().Add(10*time.Second)))
	resp, err := http.ReadResponse(bufio.NewReader(next), nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	for _, conn := range append(open, next, other) {
		conn.Close()
	}
	cancel()
	require.NoError(t, <-served)
}

// TestHeadersAreBounded: a request header of 64 kB is accepted, and a clearly larger one is refused.
func TestHeadersAreBounded(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "a"))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, []net.Listener{l}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	}()
	for size, code := range map[int]int{63 << 10: http.StatusOK, 80 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		conn, err := net.Dial("unix", l.Addr().String())
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\n\r\n", strings.Repeat("x", size))
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, code, resp.StatusCode, "%d bytes", size)
		require.NoError(t, errors.Join(resp.Body.Close(), conn.Close()))
	}
	cancel()
	require.NoError(t, <-served)
}
