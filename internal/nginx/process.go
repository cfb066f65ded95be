package nginx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a running nginx master, started or adopted. It is held by a pidfd, so that a signal never reaches a
// process that reuses its pid.
type process struct {
	pid int
	// session is that of the master and its workers.
	session int
	fd      *os.File
	done    chan struct{} // closed when the master has exited
	ended   chan struct{} // closed when it is no longer watched
}

// attach watches pid until it exits or release is called.
func attach(pid int) (*process, error) {
	n, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	p := &process{pid: pid, session: sessionOf(pid), fd: os.NewFile(uintptr(n), "pidfd"), done: make(chan struct{}), ended: make(chan struct{})}
	raw, err := p.fd.SyscallConn()
	if err != nil {
		p.fd.Close()
		return nil, err
	}
	go func() {
		defer close(p.ended)
		if raw.Read(hasExited) != nil {
			return // released
		}
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // reaps a child; an adopted process has another parent
		close(p.done)
	}()
	return p, nil
}

// hasExited reports whether the process has exited, that is, whether its pidfd is readable.
func hasExited(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// release stops watching the process, which continues to run.
func (p *process) release() {
	p.fd.Close()
	<-p.ended
}

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) signal(sig unix.Signal) error {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return err
	}
	sent := error(nil)
	err = raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	if errors.Is(sent, unix.ESRCH) {
		return nil
	}
	return errors.Join(err, sent)
}

// wait returns nil once the master has exited.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// spawn starts a master in its own session: it survives this process, is not reached by ^C on the terminal, and its
// workers can be found by that session.
func spawn(binary string, args []string, stdout, stderr *os.File) (*process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	p, err := os.StartProcess(binary, append([]string{binary}, args...), &os.ProcAttr{
		Dir:   "/",
		Env:   nginxEnv(),
		Files: []*os.File{null, stdout, stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	defer func() { _ = p.Release() }() // attach reaps it
	return attach(p.Pid)
}

// nginxEnv removes the secrets of our environment, and the variable by which nginx hands its sockets to a successor.
func nginxEnv() []string {
	env := []string{"PATH=" + os.Getenv("PATH")}
	if tz, ok := os.LookupEnv("TZ"); ok {
		env = append(env, "TZ="+tz)
	}
	return env
}

// masterOf returns the pid of the running master that uses conf, and the pid in the pid file, alive or not; 0 for none.
func masterOf(pidFile, conf string) (running, named int) {
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, 0
	}
	named, err = strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || named <= 0 {
		return 0, 0
	}
	title := title(named)
	if strings.HasPrefix(title, "nginx: master process ") && slices.Contains(strings.Fields(title), conf) {
		return named, named
	}
	return 0, named
}

// title returns the command line of a process as rewritten by nginx; empty if it is gone.
func title(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ReplaceAll(string(data), "\x00", " "))
}

// titleLeaving is the title of a worker that has stopped accepting connections.
const titleLeaving = "nginx: worker process is shutting down"

// acceptingWorkers returns the workers of a session that accept connections. The session outlives its leader, so
// workers of a killed master are found too.
func acceptingWorkers(session int) []int {
	return slices.DeleteFunc(workers(session), func(pid int) bool { return !isAccepting(pid) })
}

// isAccepting includes a worker that was just forked: it still has its master's title.
func isAccepting(pid int) bool {
	t := title(pid)
	return strings.HasPrefix(t, "nginx: ") && !strings.HasPrefix(t, titleLeaving)
}

// workers returns the nginx processes of a session except the master, its leader.
func workers(session int) []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []int
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err == nil && pid != session && sessionOf(pid) == session && strings.HasPrefix(title(pid), "nginx: ") {
			out = append(out, pid)
		}
	}
	return out
}

// sessionOf returns 0 for a process that is gone.
func sessionOf(pid int) int {
	n, err := unix.Getsid(pid)
	if err != nil {
		return 0
	}
	return n
}
