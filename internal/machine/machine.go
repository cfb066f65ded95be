// Package machine starts and stops small private machines on one computer. Each has a real `systemd --user` with its own
// runtime directory, unit path, journal, machine ID and cgroups. It shares the host's processes and files, and its network
// unless it is given another one.
//
// It serves `fleet-dev` and tests, where a machine's power cut must be real. Root does not need a host booted with systemd.
// An ordinary user does, because only systemd can delegate a cgroup; see Detect.
package machine

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

var (
	//go:embed boot.sh
	bootScript string
	//go:embed init.sh
	initScript string
	//go:embed command.sh
	commandScript string
	//go:embed guard.sh
	guardScript string
)

// maxRuntimeDir is the maximum length of a runtime directory in bytes, so that the sockets in it fit the 108 bytes of
// sockaddr_un: the longest are dbus-1/services and the like below xdg/.
const maxRuntimeDir = 60

// Config configures a machine.
type Config struct {
	// Name is for people: error messages and the name of the machine's cgroups. Letters, digits, '-' and '_'.
	Name string
	// RuntimeDir is what a power cut loses, like /run. An absolute path of at most 60 bytes, because it contains sockets, to
	// a directory that does not exist or is empty.
	RuntimeDir string
	// StateDir is the machine's disk: home directory, machine-id and journal. An absolute path; created if missing.
	StateDir string
	// Network is the file of the machine's network namespace, such as /run/netns/NAME; "" is the caller's.
	Network string
	// Files are files of the host that the machine sees in the place of others, by the path of these. It takes root: an ordinary
	// user's machine sees the host's. Those that they hide are below /run/fleet-compat, by their base name.
	Files map[string]string
	// Env is added to the environment of the service manager, which its units inherit, and of commands.
	Env []string
}

// Machine is one running machine.
type Machine struct {
	cfg     Config
	id      string
	cgroups []string // directories, one per hierarchy
	manager int      // PID of the service manager
	init    *exec.Cmd
	guard   *exec.Cmd
	alive   io.Closer     // the guard cuts the power when this is closed, which the kernel does when this process ends
	done    chan struct{} // closed when the machine is dead and cleaned up
	err     error         // of the clean-up, valid after done
}

// Start boots a machine and returns when its service manager is ready. If ctx ends before that, nothing is left behind. The
// machine dies with the calling process.
func Start(ctx context.Context, cfg Config) (*Machine, error) {
	m := &Machine{cfg: cfg, done: make(chan struct{})}
	if err := m.start(ctx); err != nil {
		return nil, fmt.Errorf("machine %s: %w", cfg.Name, err)
	}
	return m, nil
}

func (m *Machine) start(ctx context.Context) error {
	if err := m.cfg.validate(); err != nil {
		return err
	}
	if err := Detect(); err != nil {
		return err
	}
	var err error
	if m.id, err = m.cfg.makeDirs(); err != nil {
		return errors.Join(err, Sweep(m.cfg.RuntimeDir))
	}
	ready, err := listenReady(m.cfg.notifySocket())
	if err != nil {
		return errors.Join(err, Sweep(m.cfg.RuntimeDir))
	}
	defer ready.close()
	if err := m.powerOn(); err != nil {
		return errors.Join(err, Sweep(m.cfg.RuntimeDir))
	}
	select {
	case m.manager = <-ready.pid:
	case <-m.done:
		return fmt.Errorf("ended before its service manager was ready%s", m.cfg.lastWords())
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("waiting for its service manager: %w%s", ctx.Err(), m.cfg.lastWords()), m.Kill())
	}
	if m.cgroups, err = readCgroups(m.cfg.RuntimeDir); err != nil {
		return errors.Join(err, m.Kill())
	}
	return nil
}

// powerOn starts the guard, the init and the goroutine that owns both.
func (m *Machine) powerOn() error {
	cgroups := ""
	if !scoped() {
		dirs, err := makeCgroups(m.cfg)
		if err != nil {
			return err
		}
		cgroups = strings.Join(dirs, " ")
	}
	console, err := os.Create(m.cfg.consoleFile())
	if err != nil {
		return err
	}
	defer console.Close()
	env := append(m.cfg.env(), "FLEET_RUNTIME="+m.cfg.RuntimeDir, "FLEET_STATE="+m.cfg.StateDir, "FLEET_CGROUPS="+cgroups, "FLEET_FILES="+m.cfg.files(),
		"NOTIFY_SOCKET="+m.cfg.notifySocket(), "XDG_RUNTIME_DIR="+os.Getenv("XDG_RUNTIME_DIR"))
	command := func(argv ...string) *exec.Cmd {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, m.cfg.StateDir, console, console
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C at a terminal is only for the caller
		return cmd
	}
	held, err := holdGuard(m.cfg.RuntimeDir)
	if err != nil {
		return err
	}
	defer held.Close() // the guard keeps its own copy
	m.guard = command("/bin/sh", "-c", guardScript, "guard")
	m.guard.ExtraFiles = []*os.File{held}
	if m.alive, err = m.guard.StdinPipe(); err != nil {
		return err
	}
	if err := m.guard.Start(); err != nil {
		return err
	}
	boot := []string{"/bin/sh", "-c", bootScript, "boot", initScript}
	if scoped() {
		boot = append(scopeArgv(m.cfg), boot...)
	}
	if m.cfg.Network != "" {
		boot = append([]string{"nsenter", "--net=" + m.cfg.Network, "--"}, boot...)
	}
	m.init = command(boot...)
	if err := m.init.Start(); err != nil {
		m.alive.Close()
		return errors.Join(err, m.guard.Wait())
	}
	go m.own()
	return nil
}

// own waits for the machine's end and cleans up.
func (m *Machine) own() {
	defer close(m.done)
	_ = m.init.Wait() // how it ended is in the console file, if it matters
	m.alive.Close()
	m.err = errors.Join(m.guard.Wait(), Sweep(m.cfg.RuntimeDir))
}

// Name returns the machine's name.
func (m *Machine) Name() string { return m.cfg.Name }

// XDGRuntimeDir returns the directory with the sockets of the machine's service manager: with it as XDG_RUNTIME_DIR,
// `systemctl --user` on the host manages the machine.
func (m *Machine) XDGRuntimeDir() string { return m.cfg.xdgRuntimeDir() }

// Isolated reports whether the machine has its own /run, /etc/machine-id and journal. That needs root; an ordinary user's
// machine sees the host's.
func (m *Machine) Isolated() bool { return Isolates() }

// Isolates reports whether machines that this process starts will be isolated.
func Isolates() bool { return os.Geteuid() == 0 }

// ID returns the machine's ID, 32 hex digits, even if its /etc/machine-id does not show it.
func (m *Machine) ID() string { return m.id }

// JournalDir returns the directory of the machine's journal, for `journalctl -D DIR -o json`. It is on the machine's disk. It
// is empty if the machine is not isolated: then its units log to the host's journal, `journalctl --user`.
func (m *Machine) JournalDir() string {
	if !m.Isolated() {
		return ""
	}
	return filepath.Join(m.cfg.StateDir, "journal")
}

// Done is closed when the machine is dead and cleaned up, for whatever reason.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Command returns a command that runs inside the machine's mount namespace and cgroups, with the machine's environment in
// Env, to which the caller may append. argv[0] is looked up in the machine's PATH. It dies with the machine.
func (m *Machine) Command(argv ...string) *exec.Cmd {
	argv = append([]string{"/bin/sh", "-c", commandScript, "command", strconv.Itoa(m.manager)}, argv...)
	if scoped() {
		// A user may not move a process out of a login session, but systemd may: go through another scope.
		argv = append(scopeArgv(m.cfg), argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(m.cfg.env(), "FLEET_RUNTIME="+m.cfg.RuntimeDir, "FLEET_CGROUPS="+strings.Join(m.cgroups, " "),
		"XDG_RUNTIME_DIR="+os.Getenv("XDG_RUNTIME_DIR"))
	cmd.Dir = m.cfg.StateDir
	return cmd
}

// Kill cuts the machine's power: every process in it is killed at once. It returns when all are gone and no mount, cgroup or
// runtime directory is left; the state directory stays. Killing a dead machine is not an error.
func (m *Machine) Kill() error {
	_ = m.init.Process.Kill() // an error means that it is dead already, which is fine
	_ = m.alive.Close()
	<-m.done
	return m.err
}

// Stop shuts the machine down: units are stopped as on a shutdown, then the rest is killed. If ctx ends before that, it cuts
// the power.
func (m *Machine) Stop(ctx context.Context) error {
	select {
	case <-m.done:
		return m.err
	default:
	}
	// For a user manager SIGTERM means: start exit.target.
	if err := syscall.Kill(m.manager, syscall.SIGTERM); err != nil {
		return m.Kill()
	}
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("machine %s: shutdown: %w", m.cfg.Name, ctx.Err()), m.Kill())
	}
}
