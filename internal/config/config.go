// Package config reads fleetd's configuration. Flags override FLEET_* variables, which override the file, which overrides
// defaults.
//
// The file has the original fleet's format: key=value lines. The original's keys keep their meaning.
package config

import (
	"fmt"
	"path/filepath"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// DefaultFile is read if no other file is given; it may be absent.
const DefaultFile = "/etc/fleet/fleet.conf"

// DefaultListen is the socket of the API.
const DefaultListen = "unix:///run/fleet.sock"

// Config is the whole configuration of one fleetd. Load returns it valid and with every default filled in.
type Config struct {
	// EtcdServers are URLs, http, https or unix.
	EtcdServers  []string
	EtcdUsername string
	EtcdPassword string
	EtcdKeyFile  string
	EtcdCertFile string
	EtcdCAFile   string
	// EtcdKeyPrefix is the root of all keys, such as /fleet.
	EtcdKeyPrefix string
	// EtcdRequestTimeout is how long one request may take.
	EtcdRequestTimeout time.Duration

	// CacheCheckInterval is how often the caches are compared with etcd.
	CacheCheckInterval time.Duration

	// MachineID is the ID itself or, with a leading slash, the file that holds it.
	MachineID string
	// PublicIP is the machine's address; empty means to detect it.
	PublicIP string
	// Metadata is what placement rules may ask for.
	Metadata map[string]string
	// AutoPorts are the ports that units may be assigned.
	AutoPorts v1.PortRange
	// AgentTTL is how long the machine's presence outlives its fleetd.
	AgentTTL time.Duration

	// FreezeTimeout ends a freeze, in which nothing moves because most machines vanished at once; 0: only their return does.
	FreezeTimeout time.Duration

	// UnitsDirectory holds the unit files that are linked into systemd.
	UnitsDirectory string
	// StateDirectory is on disk and survives a reboot; RuntimeDirectory does not.
	StateDirectory   string
	RuntimeDirectory string
	// CoreOSEnvironmentFile gets the machine's address as CoreOS's /etc/environment had it; empty: no file does.
	CoreOSEnvironmentFile string
	// SystemdUser makes fleetd use its user's service manager instead of the system's.
	SystemdUser bool
	// JournalDirectory is read instead of the machine's journal, see journalctl --directory.
	JournalDirectory string

	// DisableEngine keeps this machine from becoming the leader.
	DisableEngine bool
	// TokenLimit is the number of entries on a page of the API.
	TokenLimit int
	// Listen are the sockets of the API, unix:// or http://. Sockets passed by systemd are added to them.
	Listen []string

	// GitUser is the system user that git runs as; empty: fleetd's own.
	GitUser string
	// GitLocal lets sources read repositories on the machine itself.
	GitLocal bool

	// Verbosity is the log level, from 0 up.
	Verbosity int
	// LogFormat is text or json.
	LogFormat string
}

// complete fills in the defaults that depend on other keys; env looks up an environment variable.
func (c *Config) complete(env func(string) string) {
	runtime, state := "/run/fleet", "/var/lib/fleet"
	if c.SystemdUser {
		runtime = filepath.Join(env("XDG_RUNTIME_DIR"), "fleet")
		state = filepath.Join(firstOf(env("XDG_STATE_HOME"), filepath.Join(env("HOME"), ".local/state")), "fleet")
	}
	c.RuntimeDirectory = firstOf(c.RuntimeDirectory, runtime)
	c.StateDirectory = firstOf(c.StateDirectory, state)
	c.UnitsDirectory = firstOf(c.UnitsDirectory, filepath.Join(c.RuntimeDirectory, "units"))
}

// check validates keys against each other; single values are validated as they are read.
func (c *Config) check() []error {
	var errs []error
	if (c.EtcdCertFile == "") != (c.EtcdKeyFile == "") {
		errs = append(errs, fmt.Errorf("etcd_certfile and etcd_keyfile: only one of them is set: set both or neither"))
	}
	if c.EtcdPassword != "" && c.EtcdUsername == "" {
		errs = append(errs, fmt.Errorf("etcd_password: set without etcd_username: set both or neither"))
	}
	if c.SystemdUser && !filepath.IsAbs(c.RuntimeDirectory) {
		errs = append(errs, fmt.Errorf("runtime_directory: systemd_user needs XDG_RUNTIME_DIR in the environment, or this key"))
	}
	return errs
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
