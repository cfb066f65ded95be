// Package dev runs a whole fleet on one computer: an embedded etcd, and machines that are each a real `systemd --user` with
// an ordinary fleetd in it, at 127.0.0.11, .12, .13.
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

// Config configures a local cluster.
type Config struct {
	// Dir holds what must survive a restart of the cluster and what people read: env, logs, the machines' disks, etcd's data.
	// An absolute path.
	Dir string
	// Machines is the number of machines; the n-th has the address 127.0.0.(10+n).
	Machines int
	// BinDir holds fleetd, fleetctl, announcer, router and example-app. An absolute path.
	BinDir string
	// AgentTTL is how long a machine may be silent before its units are placed elsewhere.
	AgentTTL time.Duration
	// EtcdPort is the port of etcd's client API on 127.0.0.1; 0 takes 2379 if it is free, else any.
	EtcdPort int
	// EtcdServers are the endpoints of an existing etcd; empty: the cluster runs its own.
	EtcdServers []string
	// Cables gives each machine a network namespace and a cable that can be pulled; the n-th then has the address
	// 10.213.0.(10+n). It needs root.
	Cables bool
	// Verbosity is passed to every fleetd.
	Verbosity int
}

// The ports that machines use on their own addresses.
const (
	// APIPort is the port of every fleetd's HTTP API.
	APIPort = v1.DefaultAPIPort
	// MaxMachines is the number of addresses from 127.0.0.11 on.
	MaxMachines = 240
)

// Defaults of Config.
const (
	DefaultMachines = 3
	DefaultAgentTTL = 10 * time.Second
)

// Address returns the n-th machine's IP address, n from 1, without cables.
func Address(n int) string { return fmt.Sprintf("127.0.0.%d", 10+n) }

func (c Config) address(n int) string {
	if c.Cables {
		return cablesAddress(n)
	}
	return Address(n)
}

// validate says what is wrong with the configuration and how to fix it.
func (c Config) validate() error {
	if c.Machines < 1 || c.Machines > MaxMachines {
		return fmt.Errorf("%d machines: use 1 to %d", c.Machines, MaxMachines)
	}
	for _, name := range []string{"fleetd", "announcer", "router"} {
		if _, err := os.Stat(filepath.Join(c.BinDir, name)); err != nil {
			return fmt.Errorf("%s is not in %s, beside fleet-dev: run \"make build\"", name, c.BinDir)
		}
	}
	return nil
}

// Info describes a running cluster. It is stored in Dir, for the commands that talk to the cluster.
type Info struct {
	// PID is the process that owns the cluster.
	PID int `json:"pid"`
	// RuntimeDir is a temporary directory for the sockets and everything else that a power cut loses.
	RuntimeDir string `json:"runtimeDir"`
	// Cables is the name of the bridge, if machines have cables.
	Cables string `json:"cables,omitempty"`
	// EtcdEndpoint is etcd's URL, or several separated by commas.
	EtcdEndpoint string `json:"etcdEndpoint"`
	// Machines is the number of machines, up or not.
	Machines int `json:"machines"`
}

func infoFile(dir string) string { return filepath.Join(dir, "dev.json") }

func (i Info) controlSocket() string { return filepath.Join(i.RuntimeDir, "control.sock") }

// machineRuntimeDir is what the n-th machine loses in a power cut.
func (i Info) machineRuntimeDir(n int) string {
	return filepath.Join(i.RuntimeDir, fmt.Sprintf("m%d", n))
}

// ErrNotRunning means that no cluster runs from that directory.
var ErrNotRunning = errors.New("no local cluster is running here: start one with \"make up\" or \"fleet-dev\"")

// ReadInfo returns the description of the cluster in dir, or ErrNotRunning.
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

// quote quotes s as one word for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
