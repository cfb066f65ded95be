// Package dev runs a whole fleet on one computer: an embedded etcd, and machines that are each a real
// `systemd --user` with an ordinary fleetd in it, at 127.0.0.11, .12, .13.
package dev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Config says what to run.
type Config struct {
	// Dir keeps what must survive a restart of the cluster and what people read: env, logs, the disks of
	// the machines, etcd's data. An absolute path.
	Dir string
	// Machines is how many; the n-th has the address 127.0.0.(10+n).
	Machines int
	// BinDir holds fleetd, fleetctl, announcer, router and example-app. An absolute path.
	BinDir string
	// AgentTTL is how long a machine may be silent before its units are placed elsewhere.
	AgentTTL time.Duration
	// EtcdPort is the port of etcd's client API on 127.0.0.1; 0 takes 2379 where it is free, else any.
	EtcdPort int
	// EtcdServers are the endpoints of an etcd that runs already; none: the cluster runs one of its own.
	EtcdServers []string
	// Cables gives each machine a network namespace and a cable that can be pulled; the n-th then has the address
	// 10.213.0.(10+n). It takes root.
	Cables bool
	// Verbosity is passed to every fleetd.
	Verbosity int
}

// The ports that machines use on their own addresses.
const (
	// APIPort is that of every fleetd's HTTP API.
	APIPort = v1.DefaultAPIPort
	// MaxMachines is how many addresses there are from 127.0.0.11 on.
	MaxMachines = 240
)

// Defaults of Config.
const (
	DefaultMachines = 3
	DefaultAgentTTL = 10 * time.Second
)

// Address returns the n-th machine's IP address, n from 1, where there are no cables.
func Address(n int) string { return fmt.Sprintf("127.0.0.%d", 10+n) }

func (c Config) address(n int) string {
	if c.Cables {
		return cablesAddress(n)
	}
	return Address(n)
}

// validate says what is wrong with the configuration and what to do.
func (c Config) validate() error {
	if c.Machines < 1 || c.Machines > MaxMachines {
		return fmt.Errorf("%d machines: give a number from 1 to %d", c.Machines, MaxMachines)
	}
	for _, name := range []string{"fleetd", "announcer", "router"} {
		if _, err := os.Stat(filepath.Join(c.BinDir, name)); err != nil {
			return fmt.Errorf("%s is not beside fleet-dev in %s: build it with \"make build\"", name, c.BinDir)
		}
	}
	return nil
}

// Info is what a running cluster tells of itself. It is kept in Dir, for the commands that talk to it.
type Info struct {
	// PID is the process that owns the cluster.
	PID int `json:"pid"`
	// RuntimeDir is a temporary directory with the sockets and all else that goes with the power.
	RuntimeDir string `json:"runtimeDir"`
	// Cables is the name of the bridge, where machines have cables.
	Cables string `json:"cables,omitempty"`
	// EtcdEndpoint is etcd's URL, or several with commas between.
	EtcdEndpoint string `json:"etcdEndpoint"`
	// Machines is how many there are, whether up or not.
	Machines int `json:"machines"`
}

func infoFile(dir string) string { return filepath.Join(dir, "dev.json") }

func (i Info) controlSocket() string { return filepath.Join(i.RuntimeDir, "control.sock") }

// machineRuntimeDir is what the n-th machine loses with its power.
func (i Info) machineRuntimeDir(n int) string {
	return filepath.Join(i.RuntimeDir, fmt.Sprintf("m%d", n))
}

// ErrNotRunning says that no cluster runs from that directory.
var ErrNotRunning = errors.New("no local cluster is running here: start one with \"make up\" or \"fleet-dev\"")

// ReadInfo returns what the cluster in dir tells of itself; ErrNotRunning where none runs.
func ReadInfo(dir string) (Info, error) {
	var info Info
	data, err := os.ReadFile(infoFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return info, ErrNotRunning
	} else if err != nil {
		return info, err
	}
	if err := json.Unmarshal(data, &info); err != nil {
		return info, fmt.Errorf("%s: %w", infoFile(dir), err)
	}
	conn, err := net.Dial("unix", info.controlSocket())
	if err != nil {
		return info, ErrNotRunning
	}
	return info, conn.Close()
}

// writeEnv writes the file that people source.
func writeEnv(cfg Config, info Info) error {
	endpoints := make([]string, cfg.Machines)
	for n := range endpoints {
		endpoints[n] = fmt.Sprintf("http://%s:%d", cfg.address(n+1), APIPort)
	}
	text := fmt.Sprintf(`# Source this file: . %s
export PATH=%s:$PATH
export FLEETCTL_ENDPOINT=%s
export ETCDCTL_API=3
export ETCDCTL_ENDPOINTS=%s
`, filepath.Join(filepath.Base(cfg.Dir), "env"), quote(cfg.BinDir), strings.Join(endpoints, ","), info.EtcdEndpoint)
	return os.WriteFile(filepath.Join(cfg.Dir, "env"), []byte(text), 0o644)
}

// quote makes s one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
