package dev

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
)

// cables connect machines that have their own network namespaces: a bridge on the host, and a veth pair from it to each
// machine. A pulled cable silently drops all packets in both directions.
type cables struct {
	name     string // of the bridge; prefix of the names of namespaces and interfaces
	machines int
}

// The network of the cables. It exists only on this computer.
const (
	cablesHost = "10.213.0.1"
	cablesBits = 24
)

func cablesAddress(n int) string { return fmt.Sprintf("10.213.0.%d", 10+n) }

// cablesMAC is fixed, so that no ARP is needed: only the cable decides whether a packet arrives, as in routed networks, where
// only a timeout shows that a machine is gone.
func cablesMAC(last int) string { return fmt.Sprintf("02:f1:ee:70:00:%02x", last) }

func newCables(machines int) (*cables, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if ipNet, ok := a.(*net.IPNet); ok && ipNet.IP.String() == cablesHost {
			return nil, fmt.Errorf("cables: %s is in use: another local cluster with cables is running or crashed: run \"fleet-dev down\"", cablesHost)
		}
	}
	var id [2]byte
	rand.Read(id[:])
	return &cables{name: "fleet-" + hex.EncodeToString(id[:]), machines: machines}, nil
}

// port is the name of the n-th machine's interface at the bridge, and of its network namespace.
func (c *cables) port(n int) string { return fmt.Sprintf("%s-%d", c.name, n) }

// namespace is the file of the n-th machine's network namespace.
func (c *cables) namespace(n int) string { return "/run/netns/" + c.port(n) }

// lay creates the bridge, the namespaces and the cables, all plugged in.
func (c *cables) lay() error {
	lines := []string{
		fmt.Sprintf("link add %s address %s type bridge", c.name, cablesMAC(1)),
		fmt.Sprintf("addr add %s/%d dev %s", cablesHost, cablesBits, c.name),
		fmt.Sprintf("link set %s up", c.name),
	}
	for n := 1; n <= c.machines; n++ {
		lines = append(lines,
			fmt.Sprintf("netns add %s", c.port(n)),
			fmt.Sprintf("link add %s type veth peer name eth0 address %s netns %s", c.port(n), cablesMAC(10+n), c.port(n)),
			fmt.Sprintf("link set %s master %s up", c.port(n), c.name),
			fmt.Sprintf("neigh replace %s lladdr %s dev %s nud permanent", cablesAddress(n), cablesMAC(10+n), c.name))
	}
	if err := ip("", lines...); err != nil {
		return errors.Join(err, c.remove())
	}
	for n := 1; n <= c.machines; n++ {
		if err := ip(c.port(n), c.inside(n)...); err != nil {
			return errors.Join(err, c.remove())
		}
	}
	return nil
}

// inside is what is set up in the n-th machine's namespace.
func (c *cables) inside(n int) []string {
	lines := []string{
		"link set lo up",
		fmt.Sprintf("addr add %s/%d dev eth0", cablesAddress(n), cablesBits),
		"link set eth0 up",
		fmt.Sprintf("neigh replace %s lladdr %s dev eth0 nud permanent", cablesHost, cablesMAC(1)),
	}
	for other := 1; other <= c.machines; other++ {
		if other != n {
			lines = append(lines, fmt.Sprintf("neigh replace %s lladdr %s dev eth0 nud permanent", cablesAddress(other), cablesMAC(10+other)))
		}
	}
	return lines
}

// cut pulls the n-th machine's cable out of the bridge.
func (c *cables) cut(n int) error { return ip("", fmt.Sprintf("link set %s nomaster", c.port(n))) }

// mend plugs it in again.
func (c *cables) mend(n int) error {
	return ip("", fmt.Sprintf("link set %s master %s", c.port(n), c.name))
}

// remove removes all of it, or what exists of it.
func (c *cables) remove() error {
	var errs []error
	exists := func(kind, name string) bool {
		out, _ := exec.Command("ip", kind, "show").Output() // if it cannot be listed, nothing was created
		return bytes.Contains(out, []byte(name))
	}
	for n := 1; n <= c.machines; n++ {
		if exists("netns", c.port(n)) {
			errs = append(errs, ip("", "netns del "+c.port(n)))
		}
		// A namespace disappears some time after its last process; the cable has to be gone now.
		if exists("link", c.port(n)+"@") {
			errs = append(errs, ip("", "link del "+c.port(n)))
		}
	}
	if exists("link", c.name+":") {
		errs = append(errs, ip("", "link del "+c.name))
	}
	return errors.Join(errs...)
}

// ip runs lines of ip(8) in a network namespace, "" for the host's, and stops at the first that fails.
func ip(namespace string, lines ...string) error {
	args := []string{"-batch", "-"}
	if namespace != "" {
		args = append([]string{"-n", namespace}, args...)
	}
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cables: ip: %w: %s: this needs root and the package iproute2", err, strings.TrimSpace(string(out)))
	}
	return nil
}
