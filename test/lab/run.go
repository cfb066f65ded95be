package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// needs are the programs of this computer that a lab uses, and Debian's packages of them.
var needs = []struct{ program, pkg string }{
	{"systemd-nspawn", "systemd-container"},
	{"mmdebstrap", "mmdebstrap"},
	{"nft", "nftables"},
	{"ip", "iproute2"},
	{"tc", "iproute2"},
	{"mkfs.ext4", "e2fsprogs"},
	{"nsenter", "util-linux"},
}

// missing says what this computer lacks for a lab.
func missing() error {
	if os.Geteuid() != 0 {
		return errors.New("lab: it needs root: machines are containers with their own network and disks")
	}
	var packages []string
	for _, n := range needs {
		if _, err := exec.LookPath(n.program); err != nil {
			packages = append(packages, n.pkg)
		}
	}
	if len(packages) > 0 {
		return fmt.Errorf("lab: packages are missing: apt-get install %s", strings.Join(packages, " "))
	}
	return nil
}

// run runs a program and returns what it printed.
func run(ctx context.Context, program string, args ...string) (string, error) {
	return output(exec.CommandContext(ctx, program, args...))
}

// inNetwork runs a program in the network namespace of the lab. ip-netns(8) would hide the cgroups: nsenter(1) does not.
func inNetwork(ctx context.Context, args ...string) (string, error) {
	return run(ctx, "nsenter", append([]string{"--net=" + namespaceFile, "--"}, args...)...)
}

// output runs a command and returns what it printed on stdout; what it printed on stderr is part of the error.
func output(cmd *exec.Cmd) (string, error) {
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(out.String() + errOut.String())
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, said)
	}
	return out.String(), nil
}
