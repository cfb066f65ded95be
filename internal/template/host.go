package template

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"text/template"
	"time"
)

// lookupTimeout bounds one name lookup: a render must not hang on DNS.
const lookupTimeout = 5 * time.Second

// Resolver resolves names for the lookup functions.
type Resolver interface {
	LookupIP(name string) ([]net.IP, error)
	LookupSRV(service, proto, name string) ([]*net.SRV, error)
	InterfaceIPs(name string) ([]net.IP, error)
}

// hostFuncs are the functions that query the machine. Failed lookups return nothing, as in confd, and results are sorted so
// that equal answers render equally.
func (h Host) hostFuncs() template.FuncMap {
	v4 := func(ip net.IP) bool { return ip.To4() != nil }
	v6 := func(ip net.IP) bool { return ip.To4() == nil }
	return template.FuncMap{
		"datetime":        h.Now,
		"getenv":          h.getenv,
		"fileExists":      h.FileExists,
		"hostname":        h.Hostname,
		"lookupIP":        func(name string) []string { return h.lookupIP(name, nil) },
		"lookupIPV4":      func(name string) []string { return h.lookupIP(name, v4) },
		"lookupIPV6":      func(name string) []string { return h.lookupIP(name, v6) },
		"lookupSRV":       h.lookupSRV,
		"lookupIfaceIPV4": func(name string) (string, error) { return h.interfaceIP(name, v4) },
		"lookupIfaceIPV6": func(name string) (string, error) { return h.interfaceIP(name, v6) },
	}
}

func (h Host) getenv(name string, defaults ...string) string {
	value, _ := h.LookupEnv(name)
	if value == "" && len(defaults) > 0 { // an empty variable counts as unset, as in confd
		return defaults[0]
	}
	return value
}

func (h Host) lookupIP(name string, want func(net.IP) bool) []string {
	ips, err := h.Resolver.LookupIP(name)
	if err != nil {
		return nil
	}
	var out []string
	for _, ip := range ips {
		if want == nil || want(ip) {
			out = append(out, ip.String())
		}
	}
	slices.Sort(out)
	return out
}

func (h Host) lookupSRV(service, proto, name string) []*net.SRV {
	records, err := h.Resolver.LookupSRV(service, proto, name)
	if err != nil {
		return nil
	}
	text := func(r *net.SRV) string {
		return fmt.Sprintf("%s%d%d%d", r.Target, r.Port, r.Priority, r.Weight)
	}
	slices.SortFunc(records, func(a, b *net.SRV) int { return strings.Compare(text(a), text(b)) })
	return records
}

// interfaceIP is the first address of the wanted family on a network interface.
func (h Host) interfaceIP(name string, want func(net.IP) bool) (string, error) {
	ips, err := h.Resolver.InterfaceIPs(name)
	if err != nil {
		return "", fmt.Errorf("interface %q: %w", name, err)
	}
	for _, ip := range ips {
		if want(ip) {
			return ip.String(), nil
		}
	}
	return "", fmt.Errorf("interface %q has no such address", name)
}

type systemResolver struct{}

func (systemResolver) LookupIP(name string) ([]net.IP, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	return net.DefaultResolver.LookupIP(ctx, "ip", name)
}

func (systemResolver) LookupSRV(service, proto, name string) ([]*net.SRV, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	_, records, err := net.DefaultResolver.LookupSRV(ctx, service, proto, name)
	return records, err
}

func (systemResolver) InterfaceIPs(name string) ([]net.IP, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	addrs, err := i.Addrs()
	if err != nil {
		return nil, err
	}
	var out []net.IP
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			out = append(out, n.IP)
		}
	}
	return out, nil
}
