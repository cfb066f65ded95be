package nginx

import (
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/routing"
)

func TestSurplus(t *testing.T) {
	a, b, c, d := retired{1, 10, 5}, retired{2, 20, 1}, retired{3, 30, 1}, retired{4, 40, 0}
	all := []retired{a, b, c, d}
	for _, tt := range []struct {
		name       string
		most       int
		ending     []retired
		now, later []retired
	}{
		{"none", 4, nil, nil, nil},
		{"the one with the fewest streams", 3, nil, nil, []retired{d}},
		{"then the oldest with as many", 2, nil, nil, []retired{d, b}},
		{"one that ends already", 3, []retired{c}, nil, nil},
		{"one more", 2, []retired{a}, nil, []retired{d}},
		{"it had other streams then", 3, []retired{{2, 20, 7}}, nil, nil},
		{"another process has its pid", 3, []retired{{2, 15, 1}}, nil, []retired{d}},
		{"twice as many", 1, []retired{c, b}, []retired{c, b}, []retired{d}},
	} {
		now, later := surplus(all, tt.most, tt.ending)
		require.Equal(t, tt.now, now, tt.name)
		require.Equal(t, tt.later, later, tt.name)
	}
}

// TestWebsocketsOutliveReloads: they go on in their worker. When too many of those retire, the one with the fewest has to go, after its
// requests.
func TestWebsocketsOutliveReloads(t *testing.T) {
	r := newRouter(t)
	r.settings.Workers, r.mostRetired = 1, 3
	slow := slowInstance(t, "app@1")
	echo := routing.Route{App: "example-app", Upstreams: []routing.Upstream{exampleApp(t)}, DrainTimeout: time.Second}
	slower := app(slow.Upstream)
	slower.DrainTimeout = 1500 * time.Millisecond // the longest counts
	reload := func() {
		limited := limited
		limited.BodySize += int64(r.tests)
		require.True(t, r.apply(echo, slower, limited).Reloaded)
	}
	reload()
	var open [][]*websocket.Conn // by worker
	var answer <-chan string
	for _, n := range []int{3, 1, 2, 2} {
		var its []*websocket.Conn
		for range n {
			ws := r.websocket()
			defer ws.Close()
			its = append(its, ws)
		}
		if n == 1 {
			answer = r.begin()
			<-slow.arrived
		}
		open = append(open, its)
		reload()
	}
	began := time.Now()
	require.Len(t, r.workers(), 1+4, "one more, for its request")
	for _, its := range open {
		for _, ws := range its {
			r.echoes(ws)
		}
	}
	close(slow.letGo)
	require.Equal(t, "200 app@1", <-answer)
	_, _, err := open[1][0].ReadMessage()
	require.Error(t, err, "it had the fewest")
	require.Greater(t, time.Since(began), slower.DrainTimeout/2)
	require.Eventually(t, func() bool { return len(r.workers()) == 1+r.mostRetired }, 5*time.Second, time.Millisecond)
	for _, i := range []int{0, 2, 3} {
		for _, ws := range open[i] {
			r.echoes(ws)
		}
	}
}

// TestRetiredWithoutEnd: workers that may end their requests are more than allowed, but not without limit, and the next router finds
// them.
func TestRetiredWithoutEnd(t *testing.T) {
	r := newRouter(t)
	r.settings.Workers, r.mostRetired = 1, 2
	echo := routing.Route{App: "example-app", Upstreams: []routing.Upstream{exampleApp(t)}, DrainTimeout: time.Hour}
	for range 8 {
		ws := r.websocketAfterReload(echo)
		defer ws.Close()
	}
	require.Eventually(t, func() bool { return len(r.workers()) <= 1+2*r.mostRetired+1 }, 5*time.Second, time.Millisecond)
	r.crash()
	r.open()
	r.mostRetired = 2
	_, err := r.Start(t.Context())
	require.NoError(t, err)
	echo.DrainTimeout = time.Millisecond
	r.websocketAfterReload(echo).Close()
	require.Eventually(t, func() bool { return len(r.workers()) == 1+r.mostRetired }, 5*time.Second, time.Millisecond)
}

// websocketAfterReload opens a websocket in a worker of its own.
func (r *router) websocketAfterReload(route routing.Route) *websocket.Conn {
	r.t.Helper()
	limited := limited
	limited.BodySize += int64(r.tests)
	require.True(r.t, r.apply(route, limited).Reloaded)
	return r.websocket()
}
