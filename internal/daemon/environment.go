package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/config"
	"github.com/fleet-starter/fleet/internal/layout"
)

// layoutOf says where this fleetd keeps its files.
func layoutOf(cfg *config.Config) layout.Layout {
	shared := "/run/fleet"
	if cfg.SystemdUser {
		shared = filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "fleet")
	}
	return layout.Layout{State: cfg.StateDirectory, Runtime: cfg.RuntimeDirectory, Units: cfg.UnitsDirectory, Shared: shared}
}

// provide writes what unit files refer to: the environment file and the way to fleet's own programs.
func provide(l layout.Layout, cfg *config.Config, m v1.Machine) error {
	if err := layout.Replace(l.Environment(), []byte(environment(cfg, m)), environmentMode(cfg), layout.Process); err != nil {
		return fmt.Errorf("environment file: %w", err)
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	if err := layout.Symlink(filepath.Dir(executable), l.Bin()); err != nil {
		return fmt.Errorf("link to the programs: %w", err)
	}
	return nil
}

// environmentMode keeps a password from those who are not root: the service manager reads the file for its units.
func environmentMode(cfg *config.Config) os.FileMode {
	if cfg.EtcdPassword != "" {
		return 0o600
	}
	return 0o644
}

// environment is in the format of EnvironmentFile=, see systemd.exec(5).
func environment(cfg *config.Config, m v1.Machine) string {
	var b strings.Builder
	set := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s=%s\n", name, quote(value))
		}
	}
	set("FLEET_MACHINE_ID", m.Metadata.Name)
	set("FLEET_MACHINE_IP", m.Spec.Address)
	set("COREOS_PRIVATE_IPV4", m.Spec.Address)
	set("COREOS_PUBLIC_IPV4", m.Spec.Address)
	set("FLEET_ETCD_SERVERS", strings.Join(cfg.EtcdServers, ","))
	set("FLEET_ETCD_KEY_PREFIX", cfg.EtcdKeyPrefix)
	set("FLEET_ETCD_REQUEST_TIMEOUT", cfg.EtcdRequestTimeout.String())
	set("FLEET_ETCD_CAFILE", cfg.EtcdCAFile)
	set("FLEET_ETCD_CERTFILE", cfg.EtcdCertFile)
	set("FLEET_ETCD_KEYFILE", cfg.EtcdKeyFile)
	set("FLEET_ETCD_USERNAME", cfg.EtcdUsername)
	set("FLEET_ETCD_PASSWORD", cfg.EtcdPassword)
	return b.String()
}

func quote(value string) string {
	if strings.Trim(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:/.,_-") == "" {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`).Replace(value) + `"`
}
