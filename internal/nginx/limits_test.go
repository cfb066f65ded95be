package nginx

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

func upstream(t *testing.T, handler http.HandlerFunc) routing.Upstream {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	return routing.Upstream{Instance: "app@1", Address: strings.TrimPrefix(srv.URL, "http://")}
}

// TestLargeHeaders: cookies and tokens can make headers some kilobytes long, in requests and responses.
func TestLargeHeaders(t *testing.T) {
	r := newRouter(t)
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{upstream(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Set-Cookie", req.Header.Get("Cookie"))
	})}})
	for _, size := range []int{4500, 9000, 30_000} {
		cookie := "a=" + strings.Repeat("x", size)
		resp, body := r.do("GET", "app.localhost", "/", func(req *http.Request) { req.Header.Set("Cookie", cookie) })
		require.Equal(t, 200, resp.StatusCode, "%d bytes: %s", size, body)
		require.Equal(t, cookie, resp.Header.Get("Set-Cookie"))
	}
}

// TestLimitsOfAnApp: they apply only to that app; all others have the router's.
func TestLimitsOfAnApp(t *testing.T) {
	slow := upstream(t, func(w http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		if req.URL.Path == "/slow" {
			time.Sleep(1500 * time.Millisecond)
		}
		fmt.Fprint(w, n)
	})
	r := newRouter(t)
	r.settings.Timeout, r.settings.BodySize = time.Second, 1000
	r.apply(routing.Route{App: "usual", Upstreams: []routing.Upstream{slow}}, routing.Route{App: "patient", Timeout: 3 * time.Second, Upstreams: []routing.Upstream{slow}},
		routing.Route{App: "large", BodySize: 2000, Upstreams: []routing.Upstream{slow}}, routing.Route{App: "endless", BodySize: v1.Unlimited, Upstreams: []routing.Upstream{slow}})
	for _, c := range []struct {
		app, path string
		body      int
		want      int
	}{
		{"usual", "/", 1000, 200}, {"usual", "/", 1001, 413}, {"usual", "/slow", 0, 504},
		{"patient", "/", 1001, 413}, {"patient", "/slow", 0, 200},
		{"large", "/", 2000, 200}, {"large", "/", 2001, 413}, {"large", "/slow", 0, 504},
		{"endless", "/", 3_000_000, 200}, {"endless", "/", 12_000_000, 200},
	} {
		resp, body := r.do("POST", c.app+".localhost", c.path, func(req *http.Request) {
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", c.body))), int64(c.body)
		})
		require.Equal(t, c.want, resp.StatusCode, "%s%s with %d bytes", c.app, c.path, c.body)
		if c.want == 200 {
			require.Equal(t, fmt.Sprint(c.body), body)
		}
	}
}

// TestUsualLimits: what an app gets by default.
func TestUsualLimits(t *testing.T) {
	c := configured(testSettings, routing.Route{App: "app", Upstreams: []routing.Upstream{{Instance: "app@1", Address: "10.0.0.1:80"}}})
	text, err := Render(c, nil)
	require.NoError(t, err)
	for directive, values := range map[string]string{"client_max_body_size": "1073741824;", "proxy_read_timeout": "300s; 1d;", "proxy_send_timeout": "300s; 1d;"} {
		var got []string
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), directive+" "); ok {
				got = append(got, value)
			}
		}
		require.Equal(t, values, strings.Join(got, " "), directive)
	}
}

// TestLargeBodyIsNotKeptHere: it is streamed to the app, even if the first instance is gone.
func TestLargeBodyIsNotKeptHere(t *testing.T) {
	const size = 20_000_000
	begun := make(chan struct{}, 1)
	app := upstream(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.ReadFull(req.Body, make([]byte, 1000))
		begun <- struct{}{}
		n, err := io.Copy(io.Discard, req.Body)
		fmt.Fprint(w, 1000+n, err)
	})
	r := newRouter(t)
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{{Instance: "app@0", Address: freeAddress(t)}, app}})
	for range 3 {
		reader, writer := io.Pipe()
		go func() {
			_, _ = writer.Write(make([]byte, size/2))
			select {
			case <-begun:
				_, _ = writer.Write(make([]byte, size/2))
				writer.Close()
			case <-time.After(10 * time.Second):
				_ = writer.CloseWithError(fmt.Errorf("the app has not heard of the first half"))
			}
		}()
		resp, body := r.do("POST", "app.localhost", "/", func(req *http.Request) { req.Body, req.ContentLength = reader, size })
		require.Equal(t, "200 20000000 <nil>", fmt.Sprint(resp.StatusCode, " ", body))
	}
}
