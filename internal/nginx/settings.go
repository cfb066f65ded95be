package nginx

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

// maxSocketPath is the size of the path in sockaddr_un without its final zero: unix(7).
const maxSocketPath = 107

var (
	portPattern   = regexp.MustCompile(`^[1-9][0-9]{0,4}$`)
	syslogPattern = regexp.MustCompile(`^syslog:[A-Za-z0-9_.:=,/\[\]-]+$`)
	userPattern   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
)

func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return portPattern.MatchString(s) && err == nil && n <= 65535
}

// splitHostPort is net.SplitHostPort without the package net, which does I/O: an IPv6 address has to be in brackets,
// anything else must not be.
func splitHostPort(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || !isPort(s[i+1:]) {
		return "", "", false
	}
	host, port = s[:i], s[i+1:]
	if inner, opened := strings.CutPrefix(host, "["); opened {
		inner, closed := strings.CutSuffix(inner, "]")
		return inner, port, closed && strings.Contains(inner, ":")
	}
	return host, port, !strings.Contains(host, ":")
}

// check fills in defaults and refuses settings that nginx could not run with.
func (s Settings) check() (Settings, error) {
	s.AccessLog = cmp.Or(s.AccessLog, "off")
	s.ErrorLog = cmp.Or(s.ErrorLog, "stderr")
	s.Timeout = cmp.Or(s.Timeout, DefaultTimeout)
	s.BodySize = cmp.Or(s.BodySize, DefaultBodySize)
	s.ShutdownTimeout = cmp.Or(s.ShutdownTimeout, DefaultShutdownTimeout)
	s.Listen = slices.Clone(s.Listen)
	slices.Sort(s.Listen)
	s.Listen = slices.Compact(s.Listen)
	if err := s.checkAddresses(); err != nil {
		return s, err
	}
	if err := s.checkProxies(); err != nil {
		return s, err
	}
	socket := path.Join(s.Dir, socketName)
	switch {
	case !isPlainPath(s.Dir):
		return s, fmt.Errorf("directory %s: want an absolute path without quotes and control characters", routing.Quote(s.Dir))
	case len(socket) > maxSocketPath:
		return s, fmt.Errorf("directory %s: the path of its socket %s has %d characters, the maximum is %d: use a shorter path", s.Dir, socketName, len(socket), maxSocketPath)
	case s.Domain != "" && !v1.IsHost(s.Domain):
		return s, fmt.Errorf("domain %s: want a host name such as example.com", routing.Quote(s.Domain))
	case s.AccessLog != "off" && s.AccessLog != "stdout" && !isLog(s.AccessLog):
		return s, fmt.Errorf("access log %s: want off, stdout, an absolute path or nginx's syslog:server=ADDRESS", routing.Quote(s.AccessLog))
	case s.ErrorLog != "stderr" && !isLog(s.ErrorLog):
		return s, fmt.Errorf("error log %s: want stderr, an absolute path or nginx's syslog:server=ADDRESS", routing.Quote(s.ErrorLog))
	case s.Workers < 0:
		return s, fmt.Errorf("workers %d: want 0 (one for each core) or more", s.Workers)
	case s.User != "" && !userPattern.MatchString(s.User):
		return s, fmt.Errorf("user %s: want the name of a user", routing.Quote(s.User))
	case s.Timeout < 0 || s.ShutdownTimeout < 0:
		return s, fmt.Errorf("timeouts %s and %s: want durations above 0", s.Timeout, s.ShutdownTimeout)
	case s.BodySize < v1.Unlimited:
		return s, fmt.Errorf("body size %d: want a number of bytes", s.BodySize)
	}
	return s, nil
}

func (s Settings) checkAddresses() error {
	if len(s.Listen) == 0 {
		return fmt.Errorf("no address to listen on: want a port or address:port such as 127.0.0.1:8080")
	}
	for _, l := range s.Listen {
		if !isListen(l) {
			return fmt.Errorf("listen %s: want a port or address:port such as 80, 127.0.0.1:8080 or [::]:80", routing.Quote(l))
		}
	}
	if s.StatusListen != "" && (!isListen(s.StatusListen) || slices.Contains(s.Listen, s.StatusListen)) {
		return fmt.Errorf("status listen %s: want a port or address:port that nothing else listens on", routing.Quote(s.StatusListen))
	}
	return nil
}

// checkProxies normalizes the proxies to nginx's form: nginx warns about networks with bits set after the prefix.
func (s *Settings) checkProxies() error {
	s.TrustedProxies = slices.Clone(s.TrustedProxies)
	for i, proxy := range s.TrustedProxies {
		network, err := v1.ParseNetwork(proxy)
		if err != nil {
			return fmt.Errorf("trusted proxies: %w", err)
		}
		s.TrustedProxies[i] = network.String()
	}
	slices.Sort(s.TrustedProxies)
	s.TrustedProxies = slices.Compact(s.TrustedProxies)
	return nil
}

func isListen(s string) bool {
	if isPort(s) {
		return true
	}
	host, _, ok := splitHostPort(s)
	a, err := netip.ParseAddr(host)
	return ok && (host == "*" || err == nil && a.Zone() == "")
}

// Addresses returns what nginx listens on; the unspecified address stands for all of the machine's.
func (s Settings) Addresses() []netip.AddrPort {
	var list []netip.AddrPort
	for _, l := range append(slices.Clone(s.Listen), s.StatusListen) {
		host, port := "*", l
		if !isPort(l) {
			host, port, _ = splitHostPort(l)
		}
		number, err := strconv.ParseUint(port, 10, 16)
		address, parseErr := netip.ParseAddr(host)
		if parseErr != nil {
			address = netip.IPv4Unspecified()
		}
		if err == nil {
			list = append(list, netip.AddrPortFrom(address, uint16(number)))
		}
	}
	return list
}

func isPlainPath(s string) bool { return path.IsAbs(s) && path.Clean(s) == s && routing.IsPlain(s) }

func isLog(s string) bool { return isPlainPath(s) || syslogPattern.MatchString(s) }
