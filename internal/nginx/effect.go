package nginx

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
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

// effectInterval is the pause between two checks whether nginx has reached the requested configuration. nginx does not
// report that; a check is local and ends with the reload.
const effectInterval = 3 * time.Millisecond

// spawn starts nginx with the nginx.conf on disk, whose content is text.
func (s *Server) spawn(ctx context.Context, text []byte) error {
	if err := s.checkNewListens(nil, text); err != nil {
		return err
	}
	// A socket left behind by a killed nginx would block the start.
	for _, name := range []string{socketName, feedName} {
		if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
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
		err = cmp.Or(s.checkNewListens(nil, text), err) // another process was faster
	}
	return err
}

// reload makes the running master read nginx.conf, whose content is text.
func (s *Server) reload(ctx context.Context, text []byte) error {
	if s.isReplaceable() {
		return s.replace(ctx, text)
	}
	old := slices.DeleteFunc(s.workers(), func(pid int) bool { return !isAccepting(pid) })
	s.log.Info("Reloading nginx", "reason", "Changed", "generation", generationOf(text))
	if err := s.proc.signal(unix.SIGHUP); err != nil {
		return err
	}
	if err := s.await(ctx, text, old); err != nil {
		return err
	}
	s.limitRetired()
	return nil
}

// await returns when the generation of text answers and none of the old workers, which have an older configuration,
// accepts connections.
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
				return s.doubt(false)
			}
		}
		select {
		case <-tick.C:
		case <-s.proc.done:
			return fmt.Errorf("nginx exited while waiting for generation %s: see its error log", want)
		case <-ctx.Done():
			hint := "see nginx's error log"
			if isOutdated(s.proc.pid) {
				hint = "nginx was upgraded while it runs, restart the router"
			}
			return fmt.Errorf("generation %s is not in effect (%q is): %w: %s", want, got, context.Cause(ctx), hint)
		}
	}
}

// doubt records whether nginx may still take a configuration that it was told to take before: the next Server has to know it, too.
func (s *Server) doubt(is bool) (err error) {
	if is {
		err = replaceFile(s.path(doubtName), nil, atomicfile.Process)
	} else if s.doubtful {
		err = os.Remove(s.path(doubtName))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.doubtful = is
	return nil
}

// isFile reports whether there is a file.
func isFile(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// generation asks the running nginx for its configuration.
func (s *Server) generation(ctx context.Context) (string, error) {
	_, body, err := s.ask(ctx, socketName, http.MethodGet, "/-/generation", nil)
	return body, err
}

// generationOf returns the generation in the text of a configuration.
func generationOf(text []byte) string {
	_, rest, _ := bytes.Cut(text, []byte("\n# generation "))
	generation, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(generation)
}

// retireOrphans makes the workers of a killed master finish: they would keep its addresses forever. session is the
// master's pid.
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
			return fmt.Errorf("nginx workers %v did not quit: %w", pids, context.Cause(ctx))
		}
	}
	return nil
}

// checkNewListens reports an address that is not yet listened on and used by another process: nginx -t does not detect
// that, and a reload would fail silently.
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

// overlaps reports whether our nginx already uses the port of l, on any address.
func overlaps(before []string, l string) bool {
	port := func(s string) string { return s[strings.LastIndex(s, ":")+1:] }
	return slices.ContainsFunc(before, func(b string) bool { return port(b) == port(l) })
}

// writeStatus replaces the files of the status page if they differ.
func (s *Server) writeStatus(c Configuration, generation string) error {
	html, data, err := renderStatus(c, generation, s.reloads)
	if err != nil {
		return err
	}
	return errors.Join(
		replaceFile(s.path("status/index.html"), html, atomicfile.Process),
		replaceFile(s.path("status/status.json"), data, atomicfile.Process))
}

// writeApps replaces the file that shows people the apps with their endpoints: the configuration of an nginx without the module.
func (s *Server) writeApps(c Configuration) error {
	if s.template != nil {
		return nil
	}
	text := bytes.NewBufferString("# Written by the router for people to read: nginx itself reads nginx.conf and the table of endpoints. Changes are overwritten.\n")
	defer s.plain.keep(c.Routes)
	for _, route := range c.Routes {
		app, err := s.plain.app(c.Settings, route)
		if err != nil {
			return err
		}
		text.Write(app.text)
	}
	return replaceFile(s.path(appsName), text.Bytes(), atomicfile.Process)
}

// replaceFile writes data to path atomically: after a crash the file has either the old or the new content.
func replaceFile(path string, data []byte, outlive atomicfile.Durability) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return atomicfile.Replace(path, data, 0o644, outlive)
}
