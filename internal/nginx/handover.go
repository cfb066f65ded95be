package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fleet-starter/fleet/internal/atomicfile"
)

const (
	// sessionName is the file with the session of the master and its workers, which a master that took over has from the one before.
	sessionName = "nginx.session"
	// closeKeptFor is how long clients are asked to close their kept connections before workers retire that nothing hurries. One that
	// was not used meanwhile is closed by nginx.
	closeKeptFor = time.Second
)

// isOutdated reports whether a running process uses a program or a library that has been replaced on disk, as by an upgrade of a
// package. A reload cannot bring a new one.
func isOutdated(pid int) bool {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return false
	}
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	for line := range strings.Lines(string(maps)) {
		at := strings.IndexByte(line, '/')
		if at < 0 {
			continue
		}
		path, deleted := strings.CutSuffix(strings.TrimSpace(line[at:]), " (deleted)")
		if deleted && (strings.Contains(path, ".so") || path+" (deleted)" == exe) {
			return true
		}
	}
	return false
}

// isReplaceable reports whether the running nginx is outdated and takes a successor: not while it is the successor of one that still
// ends, and not while the process that started it lives.
func (s *Server) isReplaceable() bool {
	return isOutdated(s.proc.pid) && s.stays != s.proc && s.retiring() == 0 && parentOf(s.proc.pid) != os.Getpid()
}

// replace has the program on disk take the place of the running nginx, with nginx.conf as it is on disk: a new master inherits the
// listening sockets, so that no connection is refused, and the old one ends when its last request or websocket has. Clients are asked
// to close the connections that they keep before the old workers do.
func (s *Server) replace(ctx context.Context, text []byte) error {
	old, before := s.proc, s.workers()
	s.log.Info("Replacing nginx", "reason", "Upgraded", "pid", old.pid, "generation", generationOf(text))
	s.closeKept(before, true)
	began := time.Now()
	next, err := s.successor(ctx, old)
	if err != nil {
		s.closeKept(before, false)
		s.stays = old
		return err
	}
	sleep(ctx, closeKeptFor-time.Since(began))
	if err := old.signal(unix.SIGQUIT); err != nil {
		return err
	}
	s.use(next)
	return s.await(ctx, text, before)
}

// successor starts a master beside the running one, and returns it when its workers accept connections.
func (s *Server) successor(ctx context.Context, old *process) (*process, error) {
	ctx, cancel := context.WithTimeout(ctx, s.effectTimeout)
	defer cancel()
	if err := old.signal(unix.SIGUSR2); err != nil {
		return nil, err
	}
	tick := time.NewTicker(effectInterval)
	defer tick.Stop()
	for {
		pid, _ := masterOf(s.path("nginx.pid"), s.path("nginx.conf"))
		if pid != 0 && pid != old.pid && slices.ContainsFunc(workers(old.session), func(w int) bool { return parentOf(w) == pid && s.isAttached(w) }) {
			return attach(pid)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("the new nginx did not take over from process %d: %w: see nginx's error log", old.pid, context.Cause(ctx))
		}
	}
}

// isAttached reports whether a worker has begun.
func (s *Server) isAttached(pid int) bool {
	if s.dictionary != nil && bytes.Contains(s.current, []byte(feedName)) {
		return s.dictionary.board.slot(pid) != nil
	}
	return strings.HasPrefix(title(pid), "nginx: worker process")
}

// retiring is the master whose successor has taken over, until its last worker has ended; 0 if there is none. nginx keeps its file.
func (s *Server) retiring() int {
	pid, _ := masterOf(s.path("nginx.pid.oldbin"), s.path("nginx.conf"))
	return pid
}

// endRetiring ends it, at once.
func (s *Server) endRetiring(ctx context.Context) error {
	pid := s.retiring()
	if pid == 0 {
		return nil
	}
	p, err := attach(pid)
	if err != nil {
		return err
	}
	defer p.release()
	return errors.Join(p.signal(unix.SIGTERM), p.wait(ctx))
}

// closeKept sets whether workers ask clients to close their connections. Without the module they cannot.
func (s *Server) closeKept(pids []int, is bool) {
	if s.dictionary != nil {
		s.dictionary.board.closeKept(pids, is)
	}
}

// parentOf returns the parent of a process; 0 if it is gone.
func parentOf(pid int) int { return statOf(pid, 4) }

// startOf returns when a process started, in ticks since the boot; 0 if it is gone.
func startOf(pid int) int { return statOf(pid, 22) }

// statOf returns a field of /proc/PID/stat, as proc_pid_stat(5) numbers them.
func statOf(pid, field int) int {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(data), ") ") // the third one begins there
	fields := strings.Fields(rest)
	if len(fields) < field-2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[field-3])
	return n
}

// sessionOnDisk is that of the master that the file of its pid names, which may be gone.
func (s *Server) sessionOnDisk(named int) int {
	data, err := os.ReadFile(s.path(sessionName))
	if err != nil {
		return named
	}
	session, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return named
	}
	return session
}

func (s *Server) rememberSession(session int) error {
	err := replaceFile(s.path(sessionName), fmt.Appendln(nil, session), atomicfile.Process)
	if errors.Is(err, os.ErrNotExist) {
		return nil // the directory was removed, and nginx with it
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
