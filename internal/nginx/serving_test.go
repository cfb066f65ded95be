package nginx

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/routing"
)

// TestServing: nginx counts as serving if it answers at the listen address, and not if another server does.
func TestServing(t *testing.T) {
	r := newRouter(t)
	app := routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@1")}}
	address := r.settings.Listen[0]
	require.ErrorContains(t, r.Serving(t.Context(), r.settings), "nginx does not serve at "+address+": ")
	r.apply(app)
	require.NoError(t, r.Serving(t.Context(), r.settings))

	other, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"generation": "of another router"}`) })}
	t.Cleanup(func() { srv.Close() })
	go func() { _ = srv.Serve(other) }()
	settings := r.settings
	settings.Listen = append(settings.Listen, other.Addr().String())
	require.ErrorContains(t, r.Serving(t.Context(), settings), "nginx does not serve at "+other.Addr().String()+`: another server answers, or nginx serves "of another router"`)

	require.NoError(t, r.Stop(t.Context()))
	require.ErrorContains(t, r.Serving(t.Context(), r.settings), "connection refused")
}

// TestAnotherServerHasTheAddress: with or without a configuration on disk, the error names the address, which is served once
// it is free.
func TestAnotherServerHasTheAddress(t *testing.T) {
	r := newRouter(t)
	app := routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@1")}}
	other, err := net.Listen("tcp", r.settings.Listen[0])
	require.NoError(t, err)
	_, err = r.tryApply(app)
	require.ErrorIs(t, err, ErrAddressInUse)
	require.EqualError(t, err, "listen "+r.settings.Listen[0]+": another process uses this address")
	require.NoError(t, other.Close())
	r.apply(app)
	require.NoError(t, r.Stop(t.Context()))
	require.NoError(t, r.Close())

	other, err = net.Listen("tcp", r.settings.Listen[0])
	require.NoError(t, err)
	r.open()
	_, err = r.Start(t.Context())
	require.ErrorIs(t, err, ErrAddressInUse)
	require.NoError(t, other.Close())
	_, err = r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, "200 app@1", r.get("app.localhost"))
}

// TestOwnPortOnOtherAddresses: a port that our nginx already uses is not taken by another process, whatever address it
// listens on next.
func TestOwnPortOnOtherAddresses(t *testing.T) {
	for _, tt := range []struct {
		before []string
		listen string
		want   bool
	}{
		{nil, "80", false},
		{[]string{"80"}, "80", true},
		{[]string{"80"}, "127.0.0.1:80", true},
		{[]string{"127.0.0.1:80"}, "80", true},
		{[]string{"[::1]:80"}, "*:80", true},
		{[]string{"443", "10.0.0.1:80"}, "[::]:80", true},
		{[]string{"8080"}, "80", false},
		{[]string{"80"}, "8080", false},
		{[]string{"127.0.0.1:8080"}, "127.0.0.1:80", false},
		{[]string{"127.0.0.1:80"}, "127.0.0.1:81", false},
	} {
		require.Equal(t, tt.want, overlaps(tt.before, tt.listen), "%v then %s", tt.before, tt.listen)
	}

	own, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer own.Close()
	port := fmt.Sprint(own.Addr().(*net.TCPAddr).Port)
	config := func(listen string) []byte {
		return []byte("http {\n    server {\n        listen " + listen + ";\n    }\n}\n")
	}
	s := &Server{}
	require.NoError(t, s.checkNewListens(config("127.0.0.1:"+port), config(port)))
	require.ErrorIs(t, s.checkNewListens(config("127.0.0.1:1"), config(port)), ErrAddressInUse)
	require.ErrorIs(t, s.checkNewListens(nil, config("127.0.0.1:"+port)), ErrAddressInUse)
}
