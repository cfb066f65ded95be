package daemon

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/config"
	"github.com/fleet-starter/fleet/internal/version"
)

// describe returns the machine as its presence publishes it.
func describe(ctx context.Context, cfg *config.Config) (v1.Machine, error) {
	id, err := machineID(cfg.MachineID)
	if err != nil {
		return v1.Machine{}, err
	}
	address := cfg.PublicIP
	if address == "" {
		if address, err = ownAddress(cfg.EtcdServers, towards); err != nil {
			return v1.Machine{}, err
		}
	}
	return v1.Machine{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindMachine},
		Metadata: v1.ObjectMeta{Name: id},
		Spec: v1.MachineSpec{
			Address:   address,
			Metadata:  cfg.Metadata,
			Capacity:  v1.Capacity{CPU: int64(runtime.NumCPU()) * 1000, Memory: totalMemory()},
			PortRange: cfg.AutoPorts,
			Versions:  map[string]string{"fleetd": version.String(), "systemd": systemdVersion(ctx), "kernel": firstLine("/proc/sys/kernel/osrelease")},
			BootID:    firstLine("/proc/sys/kernel/random/boot_id"),
			Endpoint:  endpoint(cfg.Listen, address),
		},
	}, nil
}

var idPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

// machineID returns the ID itself, or reads it from the file, see machine-id(5).
func machineID(value string) (string, error) {
	if !filepath.IsAbs(value) {
		return value, nil
	}
	data, err := os.ReadFile(value)
	if err != nil {
		return "", fmt.Errorf("machine ID: %w: run systemd-machine-id-setup, or set machine_id", err)
	}
	id := strings.TrimSpace(string(data))
	if !idPattern.MatchString(id) {
		return "", fmt.Errorf("machine ID: %s has %q, not 32 hexadecimal digits in lower case: run systemd-machine-id-setup", value, id)
	}
	return id, nil
}

// ownAddress finds the machine's address towards etcd, or else towards any network. A machine whose etcd is local and that
// has no other network gets 127.0.0.1. One whose network is not up yet does not: other machines would route requests for its
// apps to themselves.
func ownAddress(servers []string, towards func(target string) (netip.Addr, error)) (string, error) {
	var targets []string
	alone := true
	for _, s := range servers {
		if u, err := url.Parse(s); err == nil && u.Hostname() != "" {
			targets = append(targets, net.JoinHostPort(u.Hostname(), "9"))
			ip, err := netip.ParseAddr(u.Hostname())
			alone = alone && (u.Hostname() == "localhost" || err == nil && ip.IsLoopback())
		}
	}
	for _, target := range append(targets, "192.0.2.1:9", "[2001:db8::1]:9") {
		if local, err := towards(target); err == nil && !local.IsLoopback() {
			return local.String(), nil
		}
	}
	if !alone {
		return "", fmt.Errorf("this machine has no address towards etcd (%s) or anywhere else: start fleetd when the network is up, or set public_ip", strings.Join(servers, ", "))
	}
	return "127.0.0.1", nil
}

// towards returns the local address of packets to a target. It sends none.
func towards(target string) (netip.Addr, error) {
	conn, err := net.DialTimeout("udp", target, time.Second)
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// endpoint is where other machines reach the API, if it listens on TCP.
func endpoint(listen []string, address string) string {
	for _, l := range listen {
		u, err := url.Parse(l)
		if err != nil || u.Scheme != "http" {
			continue
		}
		host := u.Hostname()
		if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
			host = address
		}
		return "http://" + net.JoinHostPort(host, u.Port())
	}
	return ""
}

// totalMemory is in bytes; 0 if unknown.
func totalMemory() int64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(fields[1], 10, 64) // not a number: unknown
			return kib << 10
		}
	}
	return 0
}

func systemdVersion(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "--version").Output()
	if fields := strings.Fields(string(out)); err == nil && len(fields) > 1 {
		return fields[1]
	}
	return ""
}

func firstLine(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return line
}
