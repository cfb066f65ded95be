package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/logging"
	"github.com/fleet-starter/fleet/internal/store"
)

// Key is one configuration key.
type Key struct {
	// Name is the key in the file; the variable is FLEET_<NAME>, the flag --<name> with dashes.
	Name string
	// Usage is a one-line description.
	Usage string
	// Default is the default as shown in the documentation; one that depends on other keys is described in words.
	Default string
	// Bool: the flag needs no value.
	Bool bool
	// Secret values are never shown.
	Secret bool

	set func(c *Config, value string) error
}

// Flag is the key's flag, without its dashes.
func (k Key) Flag() string { return strings.ReplaceAll(k.Name, "_", "-") }

// Variable is the key's environment variable.
func (k Key) Variable() string { return "FLEET_" + strings.ToUpper(k.Name) }

// meaningless are the original's keys that no longer have any effect, and why.
var meaningless = map[string]string{
	"engine_reconcile_interval": "fleetd acts on changes as they happen",
	"enable_grpc":               "machines communicate only through etcd",
	"disable_watches":           "fleetd always watches for changes",
	"verify_units":              "units are not signed",
	"authorized_keys_file":      "units are not signed",
}

// defaultServers are etcd's own port and the one of its first versions, which the original fleet tries, too.
var defaultServers = []string{"http://127.0.0.1:2379", "http://127.0.0.1:4001"}

// Keys returns all keys in the order of the documentation.
func Keys() []Key { return slices.Clone(keys) }

var keys = []Key{
	{Name: "etcd_servers", Default: strings.Join(defaultServers, ","), Usage: "etcd's client URLs, separated by commas",
		set: func(c *Config, v string) (err error) { c.EtcdServers, err = servers(v); return }},
	{Name: "etcd_username", Usage: "etcd user name", set: str(func(c *Config) *string { return &c.EtcdUsername })},
	{Name: "etcd_password", Usage: "etcd password", Secret: true, set: str(func(c *Config) *string { return &c.EtcdPassword })},
	{Name: "etcd_keyfile", Usage: "key of the client certificate", set: path(func(c *Config) *string { return &c.EtcdKeyFile })},
	{Name: "etcd_certfile", Usage: "client certificate for etcd", set: path(func(c *Config) *string { return &c.EtcdCertFile })},
	{Name: "etcd_cafile", Usage: "CA certificate that etcd's certificates are verified with", set: path(func(c *Config) *string { return &c.EtcdCAFile })},
	{Name: "etcd_key_prefix", Default: "/fleet", Usage: "root of all keys in etcd", set: keyPrefix},
	{Name: "etcd_request_timeout", Default: "1.0", Usage: "timeout of a request to etcd, in seconds or with a unit (500ms)",
		set: duration(func(c *Config) *time.Duration { return &c.EtcdRequestTimeout }, 10*time.Millisecond, 5*time.Minute)},
	{Name: "cache_check_interval", Default: "5m", Usage: "how often the caches are compared with etcd, which costs one small read",
		set: duration(func(c *Config) *time.Duration { return &c.CacheCheckInterval }, time.Second, 24*time.Hour)},
	{Name: "machine_id", Default: "/etc/machine-id", Usage: "the machine's ID, 32 hexadecimal digits, or the file that holds it", set: machineID},
	{Name: "public_ip", Default: "detected at start", Usage: "the machine's IP address", set: address},
	{Name: "metadata", Usage: "key=value pairs for placement, separated by commas", set: metadata},
	{Name: "auto_ports", Default: v1.DefaultPortRange.String(), Usage: "ports that apps with hostPort: auto may get on this machine; keep them apart from what else listens there, and from net.ipv4.ip_local_port_range",
		set: func(c *Config, v string) (err error) { c.AutoPorts, err = v1.ParsePortRange(v); return }},
	{Name: "agent_ttl", Default: "30s", Usage: "how long the machine counts as present after its last heartbeat",
		set: duration(func(c *Config) *time.Duration { return &c.AgentTTL }, time.Second, time.Hour)},
	{Name: "freeze_timeout", Default: "0", Usage: "when more than half of the machines vanish at once, 3 or more, move their units after this time; 0: wait until they return",
		set: duration(func(c *Config) *time.Duration { return &c.FreezeTimeout }, 0, 30*24*time.Hour)},
	{Name: "units_directory", Default: "units in runtime_directory", Usage: "directory for the unit files that systemd reads",
		set: path(func(c *Config) *string { return &c.UnitsDirectory })},
	{Name: "state_directory", Default: "/var/lib/fleet", Usage: "directory for what survives a reboot", set: path(func(c *Config) *string { return &c.StateDirectory })},
	{Name: "runtime_directory", Default: "/run/fleet", Usage: "directory for what does not survive a reboot", set: path(func(c *Config) *string { return &c.RuntimeDirectory })},
	{Name: "coreos_environment_file", Usage: "file in which fleetd keeps the machine's address as COREOS_PRIVATE_IPV4 and COREOS_PUBLIC_IPV4, such as /etc/environment on CoreOS",
		set: path(func(c *Config) *string { return &c.CoreOSEnvironmentFile })},
	{Name: "systemd_user", Default: "false", Bool: true, Usage: "use the user's service manager instead of the system's",
		set: boolean(func(c *Config) *bool { return &c.SystemdUser })},
	{Name: "journal_directory", Default: "the machine's journal", Usage: "journal directory to read units' logs from",
		set: path(func(c *Config) *string { return &c.JournalDirectory })},
	{Name: "disable_engine", Default: "false", Bool: true, Usage: "never run the elected controllers on this machine",
		set: boolean(func(c *Config) *bool { return &c.DisableEngine })},
	{Name: "token_limit", Default: "100", Usage: "entries on one page of the API", set: number(func(c *Config) *int { return &c.TokenLimit }, 1, 10000)},
	{Name: "listen", Default: DefaultListen, Usage: "sockets of the API, unix:///path or http://address:port, separated by commas", set: listen},
	{Name: "git_user", Default: "fleet-git", Usage: "system user that git runs as for sources; without root, and if it is empty, fleetd's own",
		set: str(func(c *Config) *string { return &c.GitUser })},
	{Name: "git_local", Default: "false", Bool: true, Usage: "let sources read file:// and http:// URLs: for a cluster on one computer",
		set: boolean(func(c *Config) *bool { return &c.GitLocal })},
	{Name: "verbosity", Default: "0", Usage: "log level: 0 logs changes, 1 and up everything else",
		set: number(func(c *Config) *int { return &c.Verbosity }, 0, 10)},
	{Name: "log_format", Default: logging.Text, Usage: "text or json", set: logFormat},
}

func defaults() *Config {
	return &Config{
		EtcdServers:        slices.Clone(defaultServers),
		EtcdKeyPrefix:      "/fleet",
		EtcdRequestTimeout: time.Second,
		CacheCheckInterval: store.CheckEvery,
		MachineID:          "/etc/machine-id",
		Metadata:           map[string]string{},
		AutoPorts:          v1.DefaultPortRange,
		AgentTTL:           30 * time.Second,
		TokenLimit:         100,
		GitUser:            "fleet-git",
		Listen:             []string{DefaultListen},
		LogFormat:          logging.Text,
	}
}

func str(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error { *field(c) = v; return nil }
}

func path(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		if v != "" && !filepath.IsAbs(v) {
			return fmt.Errorf("%q is not an absolute path", v)
		}
		*field(c) = v
		return nil
	}
}

func boolean(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, v string) (err error) {
		if *field(c), err = strconv.ParseBool(v); err != nil {
			return fmt.Errorf("%q is neither true nor false", v)
		}
		return nil
	}
}

func number(field func(*Config) *int, lowest, highest int) func(*Config, string) error {
	return func(c *Config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < lowest || n > highest {
			return fmt.Errorf("%q is not a whole number from %d to %d", v, lowest, highest)
		}
		*field(c) = n
		return nil
	}
}

// duration reads Go's notation, or a bare number of seconds, like the original.
func duration(field func(*Config) *time.Duration, lowest, highest time.Duration) func(*Config, string) error {
	return func(c *Config, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil {
			if d, err = time.ParseDuration(v + "s"); err != nil {
				return fmt.Errorf("%q is not a duration: write seconds, or a number with a unit such as 30s", v)
			}
		}
		if d < lowest || d > highest {
			return fmt.Errorf("%q is not from %v to %v", v, lowest, highest)
		}
		*field(c) = d
		return nil
	}
}

// list splits a,b and the original's ["a","b"].
func list(v string) []string {
	if inner, ok := strings.CutPrefix(v, "["); ok {
		v = strings.TrimSuffix(inner, "]")
	}
	var parts []string
	for part := range strings.SplitSeq(v, ",") {
		if part = strings.Trim(part, " \t\"'"); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

func servers(v string) ([]string, error) {
	var urls []string
	for _, s := range list(v) {
		if !strings.Contains(s, "://") {
			s = "http://" + s
		}
		u, err := url.Parse(s)
		if err == nil && u.User != nil {
			return nil, fmt.Errorf("the server %s contains a user name: use etcd_username and etcd_password instead", u.Redacted())
		}
		if err != nil || !slices.Contains([]string{"http", "https", "unix", "unixs"}, u.Scheme) || u.Host+u.Path == "" {
			return nil, fmt.Errorf("%q is not the URL of an etcd server, such as http://127.0.0.1:2379", s)
		}
		urls = append(urls, s)
	}
	if len(urls) == 0 {
		return nil, fmt.Errorf("no server given: use, for example, http://127.0.0.1:2379")
	}
	return urls, nil
}

func keyPrefix(c *Config, v string) error {
	clean := "/" + strings.Trim(v, "/")
	if clean == "/" || strings.Contains(clean, "//") {
		return fmt.Errorf("%q is not a key prefix, such as /fleet", v)
	}
	c.EtcdKeyPrefix = clean
	return nil
}

var machineIDPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

func machineID(c *Config, v string) error {
	if !filepath.IsAbs(v) && !machineIDPattern.MatchString(v) {
		return fmt.Errorf("%q is neither 32 hexadecimal digits in lower case, see machine-id(5), nor an absolute path to a file with them", v)
	}
	c.MachineID = v
	return nil
}

func address(c *Config, v string) error {
	if v != "" {
		ip, err := netip.ParseAddr(v)
		if err != nil || ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("%q is not the IP address of a machine", v)
		}
	}
	c.PublicIP = v
	return nil
}

func metadata(c *Config, v string) error {
	pairs := map[string]string{}
	for _, pair := range list(v) {
		k, value, ok := strings.Cut(pair, "=")
		if k, value = strings.TrimSpace(k), strings.TrimSpace(value); !ok || k == "" || value == "" {
			return fmt.Errorf("%q is not key=value", pair)
		}
		if _, twice := pairs[k]; twice {
			return fmt.Errorf("duplicate key %q", k)
		}
		pairs[k] = value
	}
	c.Metadata = pairs
	return nil
}

// MetadataString formats metadata as the configuration has it, sorted by key.
func MetadataString(pairs map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		out = append(out, k+"="+pairs[k])
	}
	return strings.Join(out, ",")
}

func listen(c *Config, v string) error {
	sockets := list(v)
	for _, s := range sockets {
		u, err := url.Parse(s)
		switch {
		case err == nil && u.Scheme == "unix" && u.Host == "" && filepath.IsAbs(u.Path):
		case err == nil && u.Scheme == "http" && u.Port() != "" && strings.Trim(u.Path, "/") == "":
		default:
			return fmt.Errorf("%q is neither unix:///path nor http://address:port", s)
		}
	}
	c.Listen = sockets
	return nil
}

func logFormat(c *Config, v string) error {
	if v != logging.Text && v != logging.JSON {
		return fmt.Errorf("%q is neither %s nor %s", v, logging.Text, logging.JSON)
	}
	c.LogFormat = v
	return nil
}
