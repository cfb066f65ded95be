package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/api/original"
)

// Transport says how connections to a fleetd are made. The zero value connects directly.
type Transport struct {
	// TLS is used for https:// endpoints. Nil trusts the system's certificate authorities and has no client certificate.
	TLS *tls.Config
	// Dial connects to an address of the network "unix" or "tcp". Nil connects from this machine.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Debug, if set, is told of every request and its answer.
	Debug func(format string, args ...any)
}

// place is one address of a fleetd.
type place struct {
	network, address string
	// host is the name in the server's certificate; empty without TLS.
	host string
}

// dialTimeout bounds the connection to one of several addresses: a machine without power does not even refuse it.
const dialTimeout = time.Second

// parse parses one endpoint. The base of an https:// endpoint is an http:// URL, because connections are encrypted when they
// are made: so endpoints with and without TLS can follow each other.
func parse(endpoint string) (base string, p place, err error) {
	u, err := url.Parse(endpoint)
	if err == nil && (u.Scheme == "unix" || u.Scheme == "file") && u.Host == "" && u.Path != "" {
		return "http://fleetd", place{network: "unix", address: u.Path}, nil
	}
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", p, fmt.Errorf("endpoint %q: write unix:///run/fleet.sock, http://host:port or https://host:port", endpoint)
	}
	port := "80"
	if u.Scheme == "https" {
		u.Scheme, p.host, port = "http", u.Hostname(), "443"
	}
	if u.Port() != "" {
		port = u.Port()
	}
	p.network, p.address = "tcp", net.JoinHostPort(u.Hostname(), port)
	return strings.TrimRight(u.String(), "/"), p, nil
}

func (t Transport) roundTripper(places []place) http.RoundTripper {
	rt := &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second}
	rt.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return t.dialFirst(ctx, places) }
	if t.Debug == nil {
		return original.New(rt)
	}
	return original.New(&debugged{Transport: rt, debug: t.Debug})
}

// dialFirst connects to the first address that accepts.
func (t Transport) dialFirst(ctx context.Context, places []place) (net.Conn, error) {
	var errs []error
	for _, p := range places {
		conn, err := t.dialOne(ctx, p, len(places) > 1)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// dialOne connects to one address, within dialTimeout if there are others to try.
func (t Transport) dialOne(ctx context.Context, p place, others bool) (net.Conn, error) {
	if others {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, dialTimeout)
		defer cancel()
	}
	dial := t.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, p.network, p.address)
	if err != nil || p.host == "" {
		return conn, err
	}
	config := &tls.Config{}
	if t.TLS != nil {
		config = t.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = p.host
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error says more
		return nil, err
	}
	return secure, nil
}

// debugged tells of every request.
type debugged struct {
	*http.Transport
	debug func(format string, args ...any)
}

// RoundTrip implements http.RoundTripper.
func (d *debugged) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := d.Transport.RoundTrip(r)
	took := time.Since(began).Round(time.Millisecond)
	if err != nil {
		d.debug("HTTP %s %s: %v (%s)", r.Method, r.URL.RequestURI(), err, took)
		return nil, err
	}
	d.debug("HTTP %s %s: %s (%s)", r.Method, r.URL.RequestURI(), resp.Status, took)
	return resp, nil
}
