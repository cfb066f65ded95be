package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/user"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheUserOfAUnixSocketIsKnown: a request over the unix socket has the name of its user, one over TCP its address.
func TestTheUserOfAUnixSocketIsKnown(t *testing.T) {
	local, err := net.Listen("unix", filepath.Join(t.TempDir(), "a"))
	require.NoError(t, err)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, []net.Listener{local, tcp}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) }))
	}()
	ask := func(l net.Listener) string {
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, l.Addr().Network(), l.Addr().String())
		}}
		resp, err := (&http.Client{Transport: transport}).Get("http://fleetd/")
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(text)
	}
	me, err := user.Current()
	require.NoError(t, err)
	require.Equal(t, "@"+me.Username, ask(local))
	require.Regexp(t, `^127\.0\.0\.1:\d+$`, ask(tcp))
	cancel()
	require.NoError(t, <-served)
}
