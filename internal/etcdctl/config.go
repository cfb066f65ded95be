package etcdctl

import (
	"bufio"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/store"
)

// defaultEndpoints are etcd 2's.
const defaultEndpoints = "http://127.0.0.1:2379,http://127.0.0.1:4001"

// defaultTimeout is that of a whole command in etcd 2's etcdctl.
const defaultTimeout = 5 * time.Second

// config says how etcd is reached: as the command line says, else etcdctl's variables, else as the machine's fleetd does.
func config(c *Command, getenv func(string) string) (cfg store.Config, err error) {
	given := cmp.Or(c.Endpoints, getenv("ETCDCTL_ENDPOINTS"), getenv("ETCDCTL_ENDPOINT"), getenv("ETCDCTL_PEERS"))
	if given == "" {
		if cfg, err = machineConfig(getenv); err != nil {
			return cfg, err
		}
		given = cmp.Or(strings.Join(cfg.Endpoints, ","), defaultEndpoints)
	}
	cfg.Endpoints = nil
	for endpoint := range strings.FieldsFuncSeq(given, func(r rune) bool { return r == ',' || r == ' ' }) {
		if !strings.Contains(endpoint, "://") {
			endpoint = "http://" + endpoint
		}
		cfg.Endpoints = append(cfg.Endpoints, strings.TrimRight(endpoint, "/"))
	}
	files := store.TLSFiles{
		CAFile:   cmp.Or(c.CAFile, getenv("ETCDCTL_CA_FILE")),
		CertFile: cmp.Or(c.CertFile, getenv("ETCDCTL_CERT_FILE")),
		KeyFile:  cmp.Or(c.KeyFile, getenv("ETCDCTL_KEY_FILE")),
	}
	if files != (store.TLSFiles{}) {
		cfg.TLS = files
	}
	if user := cmp.Or(c.Username, getenv("ETCDCTL_USERNAME")); user != "" {
		name, password, ok := strings.Cut(user, ":")
		if !ok {
			return cfg, usageError{"--username needs the password, too: write it as name:password"}
		}
		cfg.Username, cfg.Password = name, password
	}
	cfg.RequestTimeout = cmp.Or(c.Timeout, defaultTimeout)
	return cfg, nil
}

// machineConfig is the configuration that fleetd provides: in the unit's environment, else in the file that units read.
func machineConfig(getenv func(string) string) (store.Config, error) {
	if getenv("FLEET_ETCD_SERVERS") != "" {
		return store.ConfigFrom(getenv)
	}
	shared := "/run/fleet"
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" && exists(filepath.Join(dir, "fleet/environment")) {
		shared = filepath.Join(dir, "fleet")
	}
	values, err := environmentFile(filepath.Join(shared, "environment"))
	if err != nil {
		return store.Config{}, err
	}
	return store.ConfigFrom(func(name string) string { return values[name] })
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// environmentFile reads the file that fleetd writes. None is no error: then this machine has no fleetd.
func environmentFile(name string) (map[string]string, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	values := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), "=")
		if !ok {
			continue
		}
		if len(value) > 1 && value[0] == '"' {
			value = strings.NewReplacer(`\\`, `\`, `\"`, `"`, "\\`", "`", `\$`, `$`).Replace(value[1 : len(value)-1])
		}
		values[key] = value
	}
	return values, lines.Err()
}
