package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// suite is the Debian that machines run.
const suite = "bookworm"

// basePackages are installed on every machine beside Debian's smallest system: what a user would install before fleet.
var basePackages = []string{
	"systemd", "systemd-sysv", "dbus", "udev", "iproute2", "iptables", "nftables", "procps", "ca-certificates", "curl", "jq", "less",
	"nginx-light", "libnginx-mod-http-lua", "etcd-server", "etcd-client", "docker.io", "podman", "netavark", "aardvark-dns",
	"cloud-init", "openssh-server", "git",
}

// baseOptions keep what no machine reads out of the root file system.
var baseOptions = []string{
	"--variant=minbase", "--aptopt=Acquire::Languages none", "--dpkgopt=path-exclude=/usr/share/locale/*",
	"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
}

// CacheDir keeps root file systems from one lab to the next. It is of no harm to remove it while no lab is up.
const CacheDir = "/var/cache/fleet-lab"

// buildBase returns the directory of the machines' root file system, which it builds where it is not in the cache. It takes a minute,
// and about 540 MB, a tenth of it podman.
func buildBase(ctx context.Context) (string, error) {
	args := append(append([]string{}, baseOptions...), "--include="+strings.Join(basePackages, ","))
	sum := sha256.Sum256([]byte(suite + strings.Join(args, " ")))
	dir := filepath.Join(CacheDir, suite+"-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(CacheDir, 0o755); err != nil {
		return "", err
	}
	building, err := os.MkdirTemp(CacheDir, "building-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(building)
	root := filepath.Join(building, "root")
	if _, err := run(ctx, "mmdebstrap", append(args, suite, root)...); err != nil {
		return "", fmt.Errorf("lab: root file system: %w", err)
	}
	return dir, os.Rename(root, dir)
}
