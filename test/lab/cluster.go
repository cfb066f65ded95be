package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What a machine runs of etcd and fleet is configured as docs/install.md has it.

// APIPort is where every machine's fleetd listens, beside its socket.
const APIPort = 49153

// cloudInitDisabled is a file with which cloud-init does nothing at boot.
const cloudInitDisabled = "etc/cloud/cloud-init.disabled"

// configure writes what a new machine has before it boots for the first time.
func (m *Machine) configure(l *Lab) error {
	files := map[string]string{
		"etc/machine-id": m.ID + "\n",
		"etc/hostname":   m.Name + "\n",
		"etc/hosts":      l.hosts(),
		"etc/systemd/network/10-host0.network": "[Match]\nName=host0\n\n[Network]\nAddress=" + m.Address + "/24\n" +
			"LinkLocalAddressing=no\n",
		// systemd-nspawn mounts the cgroups of version 1 read-only: docker writes in them.
		"etc/systemd/system/docker.service.d/lab.conf": "[Service]\n" +
			"ExecStartPre=sh -c 'for d in /sys/fs/cgroup/*/; do mount -o remount,rw,bind $$d; done; true'\n",
		// Debian's etcd.service does not wait for the address that it listens on, and is not started again where it fails for that.
		"etc/systemd/system/etcd.service.d/lab.conf": "[Unit]\nWants=network-online.target\nAfter=network-online.target\n\n" +
			"[Service]\nRestart=always\nRestartSec=1s\n",
		cloudInitDisabled: "",
		"root/.bashrc":    ". /etc/profile\nexport ETCDCTL_API=3\n",
	}
	if m.Number <= Members {
		files["etc/default/etcd"] = m.etcd(l)
	}
	for name, text := range files {
		if err := m.Write(name, text); err != nil {
			return err
		}
	}
	for _, unit := range m.masked() {
		if err := os.Symlink("/dev/null", filepath.Join(m.Root(), "etc/systemd/system", unit)); err != nil {
			return err
		}
	}
	for wants, unit := range map[string]string{"multi-user.target": "systemd-networkd.service", "network-online.target": "systemd-networkd-wait-online.service"} {
		dir := filepath.Join(m.Root(), "etc/systemd/system", wants+".wants")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.Symlink("/lib/systemd/system/"+unit, filepath.Join(dir, unit)); err != nil {
			return err
		}
	}
	return nil
}

// masked are the units of Debian that this machine does not start.
func (m *Machine) masked() []string {
	units := []string{
		"nginx.service",                                                  // the router starts its own
		"getty.target", "console-getty.service", "systemd-udevd.service", // no terminal, no device
		"ssh.service", // a test of ssh starts its own
		"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer",
	}
	if m.Number > Members {
		units = append(units, "etcd.service")
	}
	return units
}

func (l *Lab) hosts() string {
	lines := []string{"127.0.0.1 localhost"}
	for _, m := range l.Machines {
		lines = append(lines, m.Address+" "+m.Name)
	}
	return strings.Join(lines, "\n") + "\n"
}

// members are the machines with etcd.
func (l *Lab) members() []*Machine { return l.Machines[:min(Members, len(l.Machines))] }

// EtcdEndpoints are the client URLs of etcd.
func (l *Lab) EtcdEndpoints() (urls []string) {
	for _, m := range l.members() {
		urls = append(urls, "http://"+m.Address+":2379")
	}
	return urls
}

// etcd is /etc/default/etcd, which Debian's etcd.service reads.
func (m *Machine) etcd(l *Lab) string {
	var cluster []string
	for _, o := range l.members() {
		cluster = append(cluster, o.Name+"=http://"+o.Address+":2380")
	}
	return strings.Join([]string{
		"ETCD_NAME=" + m.Name,
		"ETCD_LISTEN_PEER_URLS=http://" + m.Address + ":2380",
		"ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379",
		"ETCD_ADVERTISE_CLIENT_URLS=http://" + m.Address + ":2379",
		"ETCD_INITIAL_ADVERTISE_PEER_URLS=http://" + m.Address + ":2380",
		"ETCD_INITIAL_CLUSTER=" + strings.Join(cluster, ","),
	}, "\n") + "\n"
}

// waitForEtcd returns when all members of etcd have committed something.
func (l *Lab) waitForEtcd(ctx context.Context) error {
	err := poll(ctx, time.Minute, func() error {
		_, err := l.Machines[0].Exec(ctx, "etcdctl", "--endpoints", strings.Join(l.EtcdEndpoints(), ","), "endpoint", "health")
		return err
	})
	if err != nil {
		return fmt.Errorf("lab: etcd: %w", err)
	}
	return nil
}

// Install installs packages on every machine, fleet's own among them, and returns when every machine has joined the cluster.
func (l *Lab) Install(ctx context.Context, packages ...string) error {
	if len(packages) == 0 {
		return nil
	}
	l.progress("installing fleet")
	if err := l.Each(func(m *Machine) error { return m.install(ctx, l, packages) }); err != nil {
		return err
	}
	l.progress("waiting for the machines to join")
	return l.Joined(ctx, len(l.Machines))
}

// install installs packages and starts fleetd with the lab's etcd. It also upgrades them.
func (m *Machine) install(ctx context.Context, l *Lab, packages []string) error {
	dpkg := []string{"dpkg", "--install", "--force-confold"}
	for _, p := range packages {
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		name := filepath.Join("/root", filepath.Base(p))
		if err := m.Write(name, string(text)); err != nil {
			return err
		}
		dpkg = append(dpkg, name)
	}
	if _, err := m.Exec(ctx, dpkg...); err != nil {
		return err
	}
	config := fmt.Sprintf("etcd_servers=%s\npublic_ip=%s\nmetadata=machine=%s\nlisten=unix:///run/fleet.sock,http://%s:%d\n",
		strings.Join(l.EtcdEndpoints(), ","), m.Address, m.Name, m.Address, APIPort)
	if l.agentTTL > 0 {
		config += fmt.Sprintf("agent_ttl=%s\n", l.agentTTL)
	}
	if err := m.Write("etc/fleet/fleet.conf", config); err != nil {
		return err
	}
	_, err := m.Exec(ctx, "systemctl", "restart", "fleetd.service")
	return err
}

// Joined returns when so many machines are present.
func (l *Lab) Joined(ctx context.Context, machines int) error {
	err := poll(ctx, time.Minute, func() error {
		list, err := l.Machines[0].Exec(ctx, "fleetctl", "list-machines", "--no-legend")
		if n := strings.Count(list, "\n"); err == nil && n != machines {
			err = fmt.Errorf("fleetctl list-machines shows %d of %d machines:\n%s", n, machines, list)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}
