package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// The network of the lab, on this computer alone.
const (
	// HostAddress is this computer's address in the network of the machines.
	HostAddress = "10.214.0.1"
	// Host is this computer's name in Cut and Partition.
	Host = "host"

	namespace     = "fleet-lab"
	namespaceFile = "/run/netns/" + namespace
	bridge        = "br0"
	uplink        = "fleet-lab" // this computer's end of the cable into the bridge
	maxMachines   = 200
)

func address(n int) string { return fmt.Sprintf("10.214.0.%d", 10+n) }

// port is the interface of a machine, or of this computer, at the bridge: systemd-nspawn calls it vb-<machine>.
func port(name string) string {
	if name == Host {
		return Host
	}
	return "vb-" + name
}

// layNetwork makes the namespace with the bridge in it, and the cable from there to this computer.
func layNetwork(ctx context.Context) error {
	if addresses, err := net.InterfaceAddrs(); err != nil {
		return err
	} else if slices.ContainsFunc(addresses, func(a net.Addr) bool { return strings.HasPrefix(a.String(), HostAddress+"/") }) {
		return fmt.Errorf("lab: %s is in use: another lab is up, or was killed: make lab-down", HostAddress)
	}
	for _, line := range []string{
		"netns add " + namespace,
		"-n " + namespace + " link set lo up",
		"-n " + namespace + " link add " + bridge + " type bridge",
		"-n " + namespace + " link set " + bridge + " up",
		"link add " + uplink + " type veth peer name " + Host + " netns " + namespace,
		"-n " + namespace + " link set " + Host + " master " + bridge + " up",
		"addr add " + HostAddress + "/24 dev " + uplink,
		"link set " + uplink + " up",
	} {
		if _, err := run(ctx, "ip", strings.Fields(line)...); err != nil {
			return fmt.Errorf("lab: network: %w", err)
		}
	}
	return nil
}

// removeNetwork takes away what of it there is. The cable goes with its first end: a namespace lives as long as its last process.
func removeNetwork(ctx context.Context) error {
	if _, err := net.InterfaceByName(uplink); err == nil {
		if _, err := run(ctx, "ip", "link", "del", uplink); err != nil {
			return err
		}
	}
	if _, err := os.Stat(namespaceFile); err != nil {
		return nil
	}
	_, err := run(ctx, "ip", "netns", "del", namespace)
	return err
}

// Cut drops all packets from some machines to others, in this direction alone. Host stands for this computer.
func (l *Lab) Cut(ctx context.Context, from, to []string) error {
	l.past.cut(time.Now())
	lines := []string{"add table bridge lab", "add chain bridge lab forward { type filter hook forward priority 0; }"}
	for _, f := range from {
		for _, t := range to {
			if f != t {
				lines = append(lines, fmt.Sprintf("add rule bridge lab forward iifname %s oifname %s drop", port(f), port(t)))
			}
		}
	}
	_, err := inNetwork(ctx, "nft", strings.Join(lines, "; "))
	return err
}

// Partition cuts a group of machines off from all others, both ways. This computer still reaches all of them.
func (l *Lab) Partition(ctx context.Context, group ...string) error {
	var rest []string
	for _, m := range l.Machines {
		if !slices.Contains(group, m.Name) {
			rest = append(rest, m.Name)
		}
	}
	if err := l.Cut(ctx, group, rest); err != nil {
		return err
	}
	return l.Cut(ctx, rest, group)
}

// Slow limits what goes to a machine and what it sends to a rate, in the words of tc(8), such as 1mbit.
func (l *Lab) Slow(ctx context.Context, m *Machine, rate string) error {
	limit := []string{"root", "tbf", "rate", rate, "burst", "32kbit", "latency", "400ms"}
	if _, err := inNetwork(ctx, append([]string{"tc", "qdisc", "replace", "dev", port(m.Name)}, limit...)...); err != nil {
		return err
	}
	_, err := m.Exec(ctx, append([]string{"tc", "qdisc", "replace", "dev", "host0"}, limit...)...)
	return err
}

// Heal takes back all that Cut, Partition and Slow did.
func (l *Lab) Heal(ctx context.Context) error {
	if _, err := inNetwork(ctx, "nft", "add table bridge lab; delete table bridge lab"); err != nil {
		return err
	}
	l.past.healed(time.Now())
	return l.Each(func(m *Machine) error {
		if !m.Up() {
			return nil
		}
		return m.fast(ctx)
	})
}

// fast takes back what Slow did, if it did.
func (m *Machine) fast(ctx context.Context) error {
	shown, err := inNetwork(ctx, "tc", "qdisc", "show", "dev", port(m.Name))
	if err != nil || !strings.Contains(shown, "tbf") {
		return err
	}
	if _, err := inNetwork(ctx, "tc", "qdisc", "del", "dev", port(m.Name), "root"); err != nil {
		return err
	}
	_, err = m.Exec(ctx, "tc", "qdisc", "del", "dev", "host0", "root")
	return err
}
