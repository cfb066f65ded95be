package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/routing"
)

// peer is another program that routes, with one processor, and the way in which it is told of endpoints while it runs.
type peer struct {
	name, binary string
	start        func(dir, address string, up routing.Upstream) (*exec.Cmd, error)
	change       func(ctx context.Context, dir string, up routing.Upstream) error
}

var peers = []peer{
	{"haproxy", "haproxy", startHAProxy, changeHAProxy},
	{"caddy", "caddy", startCaddy, changeCaddy},
}

// HAProxy: its runtime API gives the server another address.
func startHAProxy(dir, address string, up routing.Upstream) (*exec.Cmd, error) {
	path, err := writeIn(dir, "haproxy.cfg", fmt.Sprintf(`global
    nbthread 1
    stats socket %s/admin mode 600 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 1m
    timeout server 1m
frontend front
    bind %s
    default_backend app
backend app
    http-reuse always
    server s1 %s
`, dir, address, up.Address))
	return exec.Command("haproxy", "-db", "-f", path), err
}

func changeHAProxy(ctx context.Context, dir string, up routing.Upstream) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", filepath.Join(dir, "admin"))
	if err != nil {
		return err
	}
	defer c.Close()
	host, port, _ := net.SplitHostPort(up.Address)
	if _, err := fmt.Fprintf(c, "set server app/s1 addr %s port %s\n", host, port); err != nil {
		return err
	}
	_, err = io.ReadAll(c)
	return err
}

// Caddy: its admin API replaces the upstreams in its configuration.
func startCaddy(dir, address string, up routing.Upstream) (*exec.Cmd, error) {
	path, err := writeIn(dir, "caddy.json", fmt.Sprintf(`{"admin": {"listen": "unix/%s/admin", "origins": ["localhost"]}, "logging": {"logs": {"default": {"level": "ERROR"}}},
"apps": {"http": {"servers": {"s": {"listen": [%q], "automatic_https": {"disable": true},
"routes": [{"handle": [{"handler": "reverse_proxy", "upstreams": %s}]}]}}}}}`, dir, address, caddyUpstreams(up)))
	cmd := exec.Command("caddy", "run", "--config", path)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "HOME="+dir)
	return cmd, err
}

func caddyUpstreams(up routing.Upstream) string { return fmt.Sprintf(`[{"dial": %q}]`, up.Address) }

func changeCaddy(ctx context.Context, dir string, up routing.Upstream) error {
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, "admin"))
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, "http://localhost/config/apps/http/servers/s/routes/0/handle/0/upstreams", strings.NewReader(caddyUpstreams(up)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 500))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return err
}

// measurePeers does with other programs what measureChanges and measureRequests do with the router: those that are installed.
func measurePeers(ctx context.Context, b *bench, changes, rounds int) error {
	for _, p := range peers {
		if _, err := exec.LookPath(p.binary); err != nil {
			fmt.Fprintf(os.Stderr, "router/peers/%s: not installed\n", p.name)
			continue
		}
		if err := p.measure(ctx, b, changes, rounds); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func (p peer) measure(ctx context.Context, b *bench, changes, rounds int) (err error) {
	ups, closeAll, err := instances("one", "two")
	if err != nil {
		return err
	}
	defer closeAll()
	plain, err := startFront(ctx, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.stop()) }()
	if err := plain.apply(ctx, routing.Route{App: "app", Hosts: []string{"app.localhost"}, Upstreams: ups[:1]}); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fleet-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := l.Addr().String()
	l.Close()
	cmd, err := p.start(dir, address, ups[0])
	if err != nil {
		return err
	}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if err := awaitPeer(ctx, address); err != nil {
		return fmt.Errorf("%w: %.500s", err, said.String())
	}
	if err := p.changes(ctx, b, address, dir, ups, changes); err != nil {
		return err
	}
	return compareRequests(b, "router/peers/"+p.name+"/requests-vs-plain", rounds, plain.address, address)
}

func awaitPeer(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		c := client{address: address}
		_, err := c.do(getRequest)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		}
	}
}

// changes changes the only endpoint under POSTs on kept and new connections.
func (p peer) changes(ctx context.Context, b *bench, address, dir string, ups []routing.Upstream, n int) error {
	stop := load(address, postRequest, 4, func(i int) bool { return i%2 == 0 })
	var took []time.Duration
	var err error
	for i := 1; i <= n && err == nil; i++ {
		began := time.Now()
		err = p.change(ctx, dir, ups[i%2])
		for err == nil {
			c := client{address: address}
			var got string
			if got, err = c.do(getRequest); got == ups[i%2].Instance || ctx.Err() != nil {
				break
			}
		}
		took = append(took, time.Since(began))
	}
	sent, lost := stop()
	reportTimes(b, "router/peers/"+p.name+"/change", took)
	b.report("router/peers/"+p.name+"/posts", float64(sent), "", n)
	b.report("router/peers/"+p.name+"/lost", float64(lost), "", int(sent))
	return err
}
