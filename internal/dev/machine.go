package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/machine"
)

// node is one machine of the cluster, up or not.
type node struct {
	n   int
	cfg Config
	// network is the file of the machine's network namespace, empty if it has none.
	network string
	vm      *machine.Machine
}

func (m *node) address() string  { return m.cfg.address(m.n) }
func (m *node) name() string     { return fmt.Sprintf("m%d", m.n) }
func (m *node) stateDir() string { return filepath.Join(m.cfg.Dir, m.name()) }

func (m *node) journalDir() string { return filepath.Join(m.stateDir(), "journal") }

func (m *node) up() bool {
	if m.vm == nil {
		return false
	}
	select {
	case <-m.vm.Done():
		return false
	default:
		return true
	}
}

// zone puts the machines into two zones, to try placement by metadata.
func (m *node) zone() string { return string(rune('a' + (m.n-1)%2)) }

// writeFiles puts fleetd's configuration and unit on the machine's disk, like a package: fleetd is an ordinary service of the
// machine, started at boot and restarted when it dies.
func (m *node) writeFiles(info Info) error {
	conf := fmt.Sprintf(`# The configuration of machine %d.
etcd_servers=%s
public_ip=%s
metadata=name=%s,zone=%s
agent_ttl=%s
git_local=true
git_user=
systemd_user=true
listen=http://%s:%d
state_directory=%s
machine_id=%s
verbosity=%d
`, m.n, info.EtcdEndpoint, m.address(), m.name(), m.zone(), m.cfg.AgentTTL,
		m.address(), APIPort, filepath.Join(m.stateDir(), "fleet"), filepath.Join(m.stateDir(), "machine-id"), m.cfg.Verbosity)
	if machine.Isolates() {
		conf += "journal_directory=" + m.journalDir() + "\n"
	}
	confFile := filepath.Join(m.stateDir(), "fleet.conf")
	unit := fmt.Sprintf(`[Unit]
Description=fleet daemon
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart="%s" --config "%s"
Restart=always
RestartSec=200ms
WatchdogSec=60s
`, filepath.Join(m.cfg.BinDir, "fleetd"), confFile)
	units := filepath.Join(m.stateDir(), "config/systemd/user")
	wants := filepath.Join(units, "default.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(confFile, []byte(conf), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(units, "fleetd.service"), []byte(unit), 0o644); err != nil {
		return err
	}
	enabled := filepath.Join(wants, "fleetd.service")
	_ = os.Remove(enabled)
	return os.Symlink("../fleetd.service", enabled)
}

// compatFiles are what the package fleet-compat brings on a real machine: an etcdctl with the key commands of etcd 2, and the address
// in /etc/environment.
func (m *node) compatFiles() (map[string]string, error) {
	host, err := os.ReadFile("/etc/environment")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	environment := filepath.Join(m.stateDir(), "environment")
	text := fmt.Sprintf("%s\nCOREOS_PRIVATE_IPV4=%s\nCOREOS_PUBLIC_IPV4=%[2]s\n", strings.TrimSuffix(string(host), "\n"), m.address())
	if err := os.WriteFile(environment, []byte(strings.TrimPrefix(text, "\n")), 0o644); err != nil {
		return nil, err
	}
	files := map[string]string{"/etc/environment": environment}
	if program := filepath.Join(m.cfg.BinDir, "etcdctl-compat"); regular(program) { // a test may have built less
		files["/usr/bin/etcdctl"] = program
	}
	return files, nil
}

func regular(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
}

func (m *node) start(ctx context.Context, info Info) error {
	if m.up() {
		return fmt.Errorf("machine %d is up already", m.n)
	}
	if err := m.writeFiles(info); err != nil {
		return err
	}
	compat, err := m.compatFiles()
	if err != nil {
		return err
	}
	vm, err := machine.Start(ctx, machine.Config{
		Name:       m.name(),
		Files:      compat,
		RuntimeDir: info.machineRuntimeDir(m.n),
		StateDir:   m.stateDir(),
		Network:    m.network,
	})
	if err != nil {
		return err
	}
	m.vm = vm
	return nil
}

// waitReady waits until the machine's fleetd answers that it is ready.
func (m *node) waitReady(ctx context.Context) error {
	url := fmt.Sprintf("http://%s:%d/readyz", m.address(), APIPort)
	last := errors.New("not asked yet")
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			last = err
			continue
		}
		body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return nil
		}
		last = fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(body)))
	}
	return fmt.Errorf("fleetd of machine %d is not ready: %w", m.n, last)
}

// kill cuts the machine's power.
func (m *node) kill() error {
	if !m.up() {
		return fmt.Errorf("machine %d is down already", m.n)
	}
	return m.vm.Kill()
}

// stop shuts the machine down cleanly, for at most ten seconds.
func (m *node) stop() error {
	if !m.up() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return m.vm.Stop(ctx)
}
