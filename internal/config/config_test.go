package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

func load(t *testing.T, file string, env []string, flags map[string]string) (*Config, []string, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fleet.conf")
	require.NoError(t, os.WriteFile(name, []byte(file), 0o644))
	c, warnings, err := Load(Source{File: name, Environ: env, Flags: flags})
	strip := func(s string) string { return strings.ReplaceAll(s, name, "fleet.conf") }
	for i := range warnings {
		warnings[i] = strip(warnings[i])
	}
	if err != nil {
		err = stripped(strip(err.Error()))
	}
	return c, warnings, err
}

type stripped string

func (s stripped) Error() string { return string(s) }

func TestDefaults(t *testing.T) {
	c, warnings, err := load(t, "", nil, nil)
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, &Config{
		EtcdServers: []string{"http://127.0.0.1:2379", "http://127.0.0.1:4001"}, EtcdKeyPrefix: "/fleet", EtcdRequestTimeout: time.Second, CacheCheckInterval: 5 * time.Minute,
		MachineID: "/etc/machine-id", Metadata: map[string]string{}, AutoPorts: v1.DefaultPortRange, AgentTTL: 30 * time.Second,
		UnitsDirectory: "/run/fleet/units", StateDirectory: "/var/lib/fleet", RuntimeDirectory: "/run/fleet",
		TokenLimit: 100, Listen: []string{"unix:///run/fleet.sock"}, GitUser: "fleet-git", LogFormat: "text",
	}, c)
}

// The documentation shows the defaults of Keys: setting them explicitly changes nothing.
func TestDefaultsOfKeysAreTheDefaults(t *testing.T) {
	want, _, err := load(t, "", nil, nil)
	require.NoError(t, err)
	flags := map[string]string{}
	for _, k := range Keys() {
		if !strings.Contains(k.Default, " ") && k.Default != "" {
			flags[k.Name] = k.Default
		}
	}
	got, _, err := load(t, "", nil, flags)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestFreezeTimeout(t *testing.T) {
	c, _, err := load(t, "freeze_timeout=90m\n", nil, nil)
	require.NoError(t, err)
	require.Equal(t, 90*time.Minute, c.FreezeTimeout)
	_, _, err = load(t, "freeze_timeout=-1s\n", nil, nil)
	require.ErrorContains(t, err, "fleet.conf:1: freeze_timeout: ")
}

func TestOriginalFile(t *testing.T) {
	c, warnings, err := load(t, `# a file of the original
verbosity=1
etcd_servers=["http://10.0.0.1:2379","http://10.0.0.2:2379"]
etcd_request_timeout=2.5
public_ip="192.0.2.7"
  metadata = "region=us-west, az=a"
agent_ttl="45s"
; gone
engine_reconcile_interval=2
enable_grpc=true
units_directory=/run/fleet/other/
disable_watches=false
verify_units=true
authorized_keys_file=/root/.ssh/authorized_keys
`, nil, nil)
	require.NoError(t, err)
	require.Equal(t, []string{
		"fleet.conf:9: engine_reconcile_interval: no longer has any effect (fleetd acts on changes as they happen): remove it",
		"fleet.conf:10: enable_grpc: no longer has any effect (machines communicate only through etcd): remove it",
		"fleet.conf:12: disable_watches: no longer has any effect (fleetd always watches for changes): remove it",
		"fleet.conf:13: verify_units: no longer has any effect (units are not signed): remove it",
		"fleet.conf:14: authorized_keys_file: no longer has any effect (units are not signed): remove it",
	}, warnings)
	require.Equal(t, []string{"http://10.0.0.1:2379", "http://10.0.0.2:2379"}, c.EtcdServers)
	require.Equal(t, 2500*time.Millisecond, c.EtcdRequestTimeout)
	require.Equal(t, "192.0.2.7", c.PublicIP)
	require.Equal(t, map[string]string{"region": "us-west", "az": "a"}, c.Metadata)
	require.Equal(t, "az=a,region=us-west", MetadataString(c.Metadata))
	require.Equal(t, 45*time.Second, c.AgentTTL)
	require.Equal(t, 1, c.Verbosity)
	require.Equal(t, "/run/fleet/other/", c.UnitsDirectory)
}

func TestPrecedence(t *testing.T) {
	file := "verbosity=1\nagent_ttl=10s\npublic_ip=192.0.2.1\n"
	env := []string{"FLEET_VERBOSITY=2", "FLEET_AGENT_TTL=20s", "FLEET_PUBLIC_IP=", "FLEET_UNHEARD_OF=x"}
	c, _, err := load(t, file, env, map[string]string{"verbosity": "3"})
	require.NoError(t, err)
	require.Equal(t, 3, c.Verbosity, "the flag")
	require.Equal(t, 20*time.Second, c.AgentTTL, "the variable")
	require.Equal(t, "192.0.2.1", c.PublicIP, "the file: an empty variable is as good as none")
}

func TestUserDirectories(t *testing.T) {
	env := []string{"XDG_RUNTIME_DIR=/run/user/7", "HOME=/home/u"}
	c, _, err := load(t, "systemd_user=true\n", env, nil)
	require.NoError(t, err)
	require.Equal(t, "/run/user/7/fleet", c.RuntimeDirectory)
	require.Equal(t, "/run/user/7/fleet/units", c.UnitsDirectory)
	require.Equal(t, "/home/u/.local/state/fleet", c.StateDirectory)
}

func TestAllErrorsAtOnce(t *testing.T) {
	file := `verbosity=lots
agent-ttl=30s
nonsense
color=red
public_ip="192.0.2.1
etcd_servers=ftp://x
metadata=a
etcd_certfile=relative
listen=tcp://1.2.3.4
machine_id=ABC
etcd_key_prefix=/
agent_ttl=soon
etcd_request_timeout=900
auto_ports=200
`
	_, _, err := load(t, file, []string{"FLEET_TOKEN_LIMIT=0", "FLEET_ETCD_PASSWORD=secret"}, map[string]string{"log_format": "xml"})
	require.EqualError(t, err, `fleet.conf:3: "nonsense" is not key=value
fleet.conf:5: public_ip: missing closing quote "
fleet.conf:1: verbosity: "lots" is not a whole number from 0 to 10
fleet.conf:2: agent-ttl: unknown key: did you mean agent_ttl?
fleet.conf:4: color: unknown key
fleet.conf:6: etcd_servers: "ftp://x" is not the URL of an etcd server, such as http://127.0.0.1:2379
fleet.conf:7: metadata: "a" is not key=value
fleet.conf:8: etcd_certfile: "relative" is not an absolute path
fleet.conf:9: listen: "tcp://1.2.3.4" is neither unix:///path nor http://address:port
fleet.conf:10: machine_id: "ABC" is neither 32 hexadecimal digits in lower case, see machine-id(5), nor an absolute path to a file with them
fleet.conf:11: etcd_key_prefix: "/" is not a key prefix, such as /fleet
fleet.conf:12: agent_ttl: "soon" is not a duration: write seconds, or a number with a unit such as 30s
fleet.conf:13: etcd_request_timeout: "900" is not from 10ms to 5m0s
fleet.conf:14: auto_ports: "200" is not a range of ports, such as 20000-29999
FLEET_TOKEN_LIMIT: token_limit: "0" is not a whole number from 1 to 10000
--log-format: log_format: "xml" is neither text nor json
etcd_password: set without etcd_username: set both or neither`)
}

func TestNamedFileMustExist(t *testing.T) {
	_, _, err := Load(Source{File: filepath.Join(t.TempDir(), "absent.conf")})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func FuzzParse(f *testing.F) {
	f.Add("a=b\n# c\n d = \"e\"\n")
	f.Add("etcd_servers=[\"x\",\n=\n'\n=\"")
	f.Fuzz(func(t *testing.T, text string) {
		assignments, errs := parse("f", text)
		lines := 0
		for range strings.Lines(text) {
			lines++
		}
		require.LessOrEqual(t, len(assignments)+len(errs), lines)
		l := &loader{c: defaults()}
		l.file("f", text) // any content may be an error, but not a panic
		for _, a := range assignments {
			require.NotEmpty(t, a.key)
			require.NotContains(t, a.value, "\n")
			require.LessOrEqual(t, a.line, lines)
		}
	})
}

// TestEveryKeyIsSet: each key, with a value other than its default, sets its field, by file and by flag.
func TestEveryKeyIsSet(t *testing.T) {
	values := map[string]string{
		"etcd_servers": "https://10.0.0.1:2379,unix:///run/etcd.sock", "etcd_username": "u", "etcd_password": "p", "etcd_keyfile": "/k", "etcd_certfile": "/c", "etcd_cafile": "/ca",
		"etcd_key_prefix": "/other", "etcd_request_timeout": "3", "cache_check_interval": "2m", "machine_id": "0123456789abcdef0123456789abcdef", "public_ip": "10.0.0.9",
		"metadata": "zone=a,disk=ssd", "auto_ports": "1000-1009", "agent_ttl": "1m", "freeze_timeout": "2h", "coreos_environment_file": "/ce", "units_directory": "/un", "state_directory": "/st", "runtime_directory": "/rt", "systemd_user": "true",
		"journal_directory": "/j", "disable_engine": "true", "token_limit": "10000", "listen": "unix:///run/a.sock,http://127.0.0.1:49153", "git_user": "git", "git_local": "true", "verbosity": "10", "log_format": "json",
	}
	want := &Config{
		EtcdServers: []string{"https://10.0.0.1:2379", "unix:///run/etcd.sock"}, EtcdUsername: "u", EtcdPassword: "p", EtcdKeyFile: "/k", EtcdCertFile: "/c", EtcdCAFile: "/ca",
		EtcdKeyPrefix: "/other", EtcdRequestTimeout: 3 * time.Second, CacheCheckInterval: 2 * time.Minute, MachineID: "0123456789abcdef0123456789abcdef", PublicIP: "10.0.0.9",
		Metadata: map[string]string{"zone": "a", "disk": "ssd"}, AutoPorts: v1.PortRange{First: 1000, Last: 1009}, AgentTTL: time.Minute, FreezeTimeout: 2 * time.Hour, UnitsDirectory: "/un", StateDirectory: "/st", RuntimeDirectory: "/rt",
		SystemdUser: true, CoreOSEnvironmentFile: "/ce", JournalDirectory: "/j", DisableEngine: true, TokenLimit: 10000, Listen: []string{"unix:///run/a.sock", "http://127.0.0.1:49153"}, GitUser: "git", GitLocal: true, Verbosity: 10, LogFormat: "json",
	}
	var file strings.Builder
	for _, k := range Keys() {
		require.Contains(t, values, k.Name, "a key that is new has a value here")
		require.NotEqual(t, k.Default, values[k.Name], k.Name)
		file.WriteString(k.Name + "=" + values[k.Name] + "\n")
	}
	byFile, _, err := load(t, file.String(), nil, nil)
	require.NoError(t, err)
	require.Equal(t, want, byFile)
	byFlag, _, err := load(t, "", nil, values)
	require.NoError(t, err)
	require.Equal(t, want, byFlag)
	require.Len(t, Keys(), len(values))
}
