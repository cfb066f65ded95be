package nginx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// servingTimeout is how long nginx may take to answer a local request.
const servingTimeout = 5 * time.Second

// unknownHost is a host that no app has: it is answered by nginx's default server.
const unknownHost = "fleet-router.invalid"

// Serving checks at each listen address that this nginx answers there, and returns where it does not: a running nginx
// is not enough. With a custom template the answer is unknown.
func (s *Server) Serving(ctx context.Context, settings Settings) error {
	if s.template != nil {
		return nil
	}
	s.mu.Lock()
	want := generationOf(s.current)
	s.mu.Unlock()
	settings.StatusListen = ""
	var wrong error
	for _, address := range settings.Addresses() {
		got, err := askGeneration(ctx, address)
		if err == nil && got != want {
			err = fmt.Errorf("another server answers, or nginx serves %q instead of %q", got, want)
		}
		if err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("nginx does not serve at %s: %w", address, err))
		}
	}
	return wrong
}

// askGeneration reads the generation through a listen address.
func askGeneration(ctx context.Context, address netip.AddrPort) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, servingTimeout)
	defer cancel()
	ip := address.Addr()
	switch {
	case ip == netip.IPv4Unspecified():
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case ip.IsUnspecified():
		ip = netip.IPv6Loopback()
	}
	url := "http://" + net.JoinHostPort(ip.String(), strconv.Itoa(int(address.Port()))) + "/-/status.json"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Host = unknownHost
	t := &http.Transport{DisableKeepAlives: true, Proxy: nil}
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var says struct{ Generation string }
	_ = json.NewDecoder(io.LimitReader(resp.Body, 16<<20)).Decode(&says) // an answer that is not JSON has no generation
	return says.Generation, nil
}
