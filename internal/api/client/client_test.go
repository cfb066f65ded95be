package client

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheFirstEndpointThatIsUpIsAsked(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.URL.Path)) })
	tcp := httptest.NewServer(answer)
	defer tcp.Close()
	down, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, down.Close())
	socket := filepath.Join(t.TempDir(), "fleet.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := &http.Server{Handler: answer}
	go func() { _ = server.Serve(l) }()
	defer server.Close()

	for _, endpoint := range []string{
		tcp.URL,
		"unix://" + socket,
		"http://" + down.Addr().String() + "," + tcp.URL,
		"unix:///nowhere.sock, unix://" + socket + "," + tcp.URL,
	} {
		c, err := New(endpoint, 5*time.Second, "test")
		require.NoError(t, err, endpoint)
		data, err := c.Do(t.Context(), Request{Method: http.MethodGet, Path: "/hello"})
		require.NoError(t, err, endpoint)
		require.Equal(t, "/hello", string(data))
		c.Close()
	}

	c, err := New("unix:///nowhere.sock,http://"+down.Addr().String(), 5*time.Second, "test")
	require.NoError(t, err)
	_, err = c.Do(t.Context(), Request{Method: http.MethodGet, Path: "/hello"})
	require.ErrorContains(t, err, "/nowhere.sock")
	require.ErrorContains(t, err, down.Addr().String())
	for _, wrong := range []string{"ftp://x", "unix://", "http://a,,http://b", "127.0.0.1:80"} {
		_, err := New(wrong, time.Second, "test")
		require.ErrorContains(t, err, "http://host:port", wrong)
	}
}
