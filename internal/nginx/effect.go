package nginx

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fleet-starter/fleet/internal/atomicfile"
)

// effectInterval is between two looks at whether nginx has come as far as asked.
// It tells nobody; the look is at its own machine and ends with the reload.
const effectInterval = 3 * time.Millisecond

// spawn starts nginx with the nginx.conf on disk, whose bytes are text.
func (s *Server) spawn(ctx context.Context, text []byte) error {
	if err := s.checkNewListens(nil, text); err != nil {
		return err
	}
	// A socket that a killed nginx left behind would be in the way.
	if err := os.Remove(s.path(socketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.log.Info("Starting nginx", "reason", "NotRunning", "generation", generationOf(text))
	args := []string{"-e", "stderr", "-p", s.dir + "/", "-c", s.path("nginx.conf"), "-g", "daemon off;"}
	p, err := spawn(s.binary, args, s.stdout, s.stderr)
	if err != nil {
		return err
	}
	s.use(p)
	err = s.await(ctx, text, nil)
	if err != nil && p.exited() {
		err = cmp.Or(s.checkNewListens(nil, text), err) // somebody was faster
	}
	return err
}

// reload has the running master read nginx.conf, whose bytes are text.
func (s *Server) reload(ctx context.Context, text []byte) error {
	old := acceptingWorkers(s.proc.pid)
	s.log.Info("Reloading nginx", "reason", "Changed", "generation", generationOf(text))
	if err := s.proc.signal(unix.SIGHUP); err != nil {
		return err
	}
	return s.await(ctx, text, old)
}

// await returns once the generation of text answers and none of the old workers,
// which know an older one, accepts connections.
func (s *Server) await(ctx context.Context, text []byte, old []int) error {
	ctx, cancel := context.WithTimeout(ctx, s.effectTimeout)
	defer cancel()
	want := generationOf(text)
	s.doubtful = true
	tick := time.NewTicker(effectInterval)
	defer tick.Stop()
	for {
		got, err := s.generation(ctx)
		if err == nil && got == want {
			old = slices.DeleteFunc(old, func(pid int) bool { return !isAccepting(pid) })
			if len(old) == 0 {
				s.doubtful = false
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-s.proc.done:
			return fmt.Errorf("nginx ended while generation %s was awaited: its error log says why", want)
		case <-ctx.Done():
			return fmt.Errorf("generation %s is not in effect (%q is): %w: nginx's error log may say why", want, got, context.Cause(ctx))
		}
	}
}

// generation asks the running nginx, by a connection of its own each time: an old
// one would be answered by an old worker.
func (s *Server) generation(ctx context.Context) (string, error) {
	var d net.Dialer
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", s.path(socketName))
	}}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://nginx/-/generation", nil)
	if err != nil {
		return "", err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64))
	return string(body), err
}

// generationOf reads the generation in a configuration's own text.
func generationOf(text []byte) string {
	_, rest, _ := bytes.Cut(text, []byte("\n# generation "))
	generation, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(generation)
}

// retireOrphans has the workers of a killed master finish: they would hold its
// addresses for ever. session is the master's pid.
func (s *Server) retireOrphans(ctx context.Context, session int) error {
	if session == 0 {
		return nil
	}
	pids := acceptingWorkers(session)
	if len(pids) == 0 {
		return nil
	}
	s.log.Info("Retiring workers without a master", "reason", "MasterGone", "pids", pids)
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGQUIT); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("quit nginx worker %d: %w", pid, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.effectTimeout)
	defer cancel()
	tick := time.NewTicker(effectInterval)
	defer tick.Stop()
	for slices.ContainsFunc(pids, isAccepting) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("nginx workers %v do not quit: %w", pids, context.Cause(ctx))
		}
	}
	return nil
}

// checkNewListens says which address, not listened on before, is somebody
// else's: nginx -t does not tell, and a reload would fail without a word to us.
func (s *Server) checkNewListens(old, text []byte) error {
	before := listens(old)
	for _, l := range listens(text) {
		if slices.Contains(before, l) {
			continue
		}
		address := strings.TrimPrefix(l, "*")
		if isPort(address) {
			address = ":" + address
		}
		network := "tcp"
		if !strings.Contains(l, "[") {
			network = "tcp4"
		}
		c, err := net.Listen(network, address)
		if err == nil {
			c.Close()
		} else if errors.Is(err, syscall.EADDRINUSE) && !overlaps(before, l) {
			return fmt.Errorf("listen %s: %w", l, ErrAddressInUse)
		}
	}
	return nil
}

// overlaps reports whether our own nginx has the port of l already, on whatever address.
func overlaps(before []string, l string) bool {
	port := func(s string) string { return s[strings.LastIndex(s, ":")+1:] }
	return slices.ContainsFunc(before, func(b string) bool { return port(b) == port(l) })
}

// writeStatus replaces the files of the status page where they differ.
func (s *Server) writeStatus(c Configuration, generation string) error {
	html, data, err := renderStatus(c, generation)
	if err != nil {
		return err
	}
	return errors.Join(
		replaceFile(s.path("status/index.html"), html),
		replaceFile(s.path("status/status.json"), data))
}

// replaceFile has path hold data, or what it held, after a crash at any moment.
func replaceFile(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return atomicfile.Replace(path, data, 0o644, atomicfile.Power)
}
