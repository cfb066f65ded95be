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

// servingTimeout is how long nginx may take to answer its own machine.
const servingTimeout = 5 * time.Second

// nobody is a host that no app has: what answers there is nginx's default server.
const nobody = "fleet-router.invalid"

// Serving asks at each of the addresses that requests come in at whether this nginx answers there, and says where it does
// not: that nginx runs is not enough. With a template of one's own it is not known what answers there.
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
			err = fmt.Errorf("what answers is another server, or serves %q and not %q", got, want)
		}
		if err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("nginx does not serve at %s: %w", address, err))
		}
	}
	return wrong
}

// askGeneration asks for the name of the configuration by way of the address that requests come in at.
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
	req.Host = nobody
	t := &http.Transport{DisableKeepAlives: true, Proxy: nil}
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var says struct{ Generation string }
	_ = json.NewDecoder(io.LimitReader(resp.Body, 16<<20)).Decode(&says) // what is not JSON has no generation
	return says.Generation, nil
}
