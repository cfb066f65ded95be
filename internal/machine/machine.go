// Package machine starts and ends small private machines on one computer: each has a real `systemd --user` with its own
// runtime directory, unit path, journal, machine ID and cgroups, and shares the host's processes and files, and its network
// unless it is given another one.
//
// It serves `fleet-dev` and the tests, where cutting a machine's power must be as real as the machine. Root needs no
// booted systemd for it. An ordinary user needs one, for a delegated cgroup can only come from it; see Detect.
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

// maxRuntimeDir is what a runtime directory may be long, in bytes, so that the sockets within it fit the 108 bytes of
// sockaddr_un: the longest is dbus-1/services and the like below xdg/.
const maxRuntimeDir = 60

// Config says what makes a machine.
type Config struct {
	// Name is for people: error messages and the name of the machine's cgroups. Letters, digits, '-' and '_'.
	Name string
	// RuntimeDir is what is lost with the machine's power, as /run is. An absolute path of at most 60 bytes, for sockets
	// are in it, to a directory that does not exist or is empty.
	RuntimeDir string
	// StateDir is the machine's disk: home directory, machine-id and journal. An absolute path; created when missing.
	StateDir string
	// Network is the file of the network namespace that the machine is in, such as /run/netns/NAME; "" is the caller's.
	Network string
	// Env is added to the environment of the service manager, which its units inherit, and of commands.
	Env []string
}

// Machine is one running machine.
type Machine struct {
	cfg     Config
	id      string
	cgroups []string // directories, one a hierarchy
	manager int      // PID of the service manager
	init    *exec.Cmd
	guard   *exec.Cmd
	alive   io.Closer     // the guard cuts the power when this is closed, as the kernel does when this process ends
	done    chan struct{} // closed when the machine is dead and nothing of it remains
	err     error         // of the clean-up, valid after done
}

// Start boots a machine and returns when its service manager answers. When ctx ends before that, nothing remains. The
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
	env := append(m.cfg.env(), "FLEET_RUNTIME="+m.cfg.RuntimeDir, "FLEET_STATE="+m.cfg.StateDir, "FLEET_CGROUPS="+cgroups,
		"NOTIFY_SOCKET="+m.cfg.notifySocket(), "XDG_RUNTIME_DIR="+os.Getenv("XDG_RUNTIME_DIR"))
	command := func(argv ...string) *exec.Cmd {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, m.cfg.StateDir, console, console
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C at a terminal is for the caller alone
		return cmd
	}
	held, err := holdGuard(m.cfg.RuntimeDir)
	if err != nil {
		return err
	}
	defer held.Close() // the guard's own copy holds on
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

// own waits for the machine's end and clears what it leaves.
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

// Isolated says whether the machine has a /run, an /etc/machine-id and a journal of its own. It takes root; an ordinary
// user's machine sees those of the host.
func (m *Machine) Isolated() bool { return Isolates() }

// Isolates says what Isolated will say of the machines that this process starts.
func Isolates() bool { return os.Geteuid() == 0 }

// ID returns the machine's own ID, 32 hex digits, whether or not its /etc/machine-id shows it.
func (m *Machine) ID() string { return m.id }

// JournalDir returns the directory to read the machine's journal from: `journalctl -D DIR -o json`. It is on the
// machine's disk. It is empty when the machine is not isolated: then its units write to the host's journal,
// `journalctl --user`.
func (m *Machine) JournalDir() string {
	if !m.Isolated() {
		return ""
	}
	return filepath.Join(m.cfg.StateDir, "journal")
}

// Done is closed when the machine is dead and cleaned up, however it came to that.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Command returns a command that runs inside the machine's mount namespace and cgroups, with the machine's environment in
// Env, to which the caller may append. argv[0] is found with the machine's PATH. It dies with the machine.
func (m *Machine) Command(argv ...string) *exec.Cmd {
	argv = append([]string{"/bin/sh", "-c", commandScript, "command", strconv.Itoa(m.manager)}, argv...)
	if scoped() {
		// A user may not move a process out of a login session, but systemd may: the way leads through another scope.
		argv = append(scopeArgv(m.cfg), argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(m.cfg.env(), "FLEET_RUNTIME="+m.cfg.RuntimeDir, "FLEET_CGROUPS="+strings.Join(m.cgroups, " "),
		"XDG_RUNTIME_DIR="+os.Getenv("XDG_RUNTIME_DIR"))
	cmd.Dir = m.cfg.StateDir
	return cmd
}

// Kill cuts the machine's power: every process in it is killed at once. It returns when all are gone and neither mount,
// cgroup nor runtime directory is left; the state directory stays. Killing a dead machine is no error.
func (m *Machine) Kill() error {
	_ = m.init.Process.Kill() // an error says that it is dead already, which is what is wanted
	_ = m.alive.Close()
	<-m.done
	return m.err
}

// Stop shuts the machine down: units are stopped as on a shutdown, then the rest is killed. When ctx ends before that,
// power is cut.
func (m *Machine) Stop(ctx context.Context) error {
	select {
	case <-m.done:
		return m.err
	default:
	}
	// To a user's manager SIGTERM means: start exit.target.
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
