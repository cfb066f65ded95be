package daemon

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/atomicfile"
	"github.com/fleet-starter/fleet/internal/config"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store"
)

// layoutOf returns where this fleetd keeps its files.
func layoutOf(cfg *config.Config) layout.Layout {
	shared := "/run/fleet"
	if cfg.SystemdUser {
		shared = filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "fleet")
	}
	return layout.Layout{State: cfg.StateDirectory, Runtime: cfg.RuntimeDirectory, Units: cfg.UnitsDirectory, Shared: shared}
}

// provide writes what unit files refer to: the environment file, the credentials and the link to fleet's programs.
func provide(l layout.Layout, cfg *config.Config, m v1.Machine) error {
	// Write the credentials first, so that the environment never names a missing file.
	credentials, err := json.Marshal(store.Credentials{Username: cfg.EtcdUsername, Password: cfg.EtcdPassword})
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(l.Credentials(), credentials, 0o600, atomicfile.Process); err != nil {
		return fmt.Errorf("credentials file: %w", err)
	}
	if err := atomicfile.Replace(l.Environment(), []byte(environment(l, cfg, m)), 0o644, atomicfile.Process); err != nil {
		return fmt.Errorf("environment file: %w", err)
	}
	if err := provideCoreOS(cfg.CoreOSEnvironmentFile, m.Spec.Address); err != nil {
		return fmt.Errorf("coreos_environment_file: %w", err)
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	if err := atomicfile.Symlink(filepath.Dir(executable), l.Bin()); err != nil {
		return fmt.Errorf("link to the programs: %w", err)
	}
	return nil
}

// environment is in the format of EnvironmentFile=, see systemd.exec(5). Every app gets it, so it contains no secrets.
func environment(l layout.Layout, cfg *config.Config, m v1.Machine) string {
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
	if cfg.EtcdUsername != "" {
		set(store.CredentialsVariable, l.Credentials())
	}
	return b.String()
}

func quote(value string) string {
	if strings.Trim(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:/.,_-") == "" {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`).Replace(value) + `"`
}
