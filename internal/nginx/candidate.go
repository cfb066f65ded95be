package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// testTimeout bounds one nginx -t, which may wait for name servers.
const testTimeout = 30 * time.Second

// processPattern is how nginx begins a message: its process and thread.
var processPattern = regexp.MustCompile(`^[0-9]+#[0-9]+: `)

// refusal is a configuration that nginx -t, or the template, does not accept.
type refusal struct{ message string }

func (e refusal) Error() string { return e.message }

// candidate returns the part of c that nginx accepts, rendered, and what it had
// to leave out. The error says that not even a configuration without apps passes,
// or that nginx could not be asked.
func (s *Server) candidate(ctx context.Context, c Configuration) (rendered, Configuration, error) {
	r, err := s.try(ctx, c)
	var no refusal
	if !errors.As(err, &no) {
		return r, c, err
	}
	routes := c.Routes
	c.Routes = nil
	if r, err = s.try(ctx, c); err != nil {
		return r, c, fmt.Errorf("nginx refuses the configuration even without apps: %w", err)
	}
	s.log.Info("Looking for the app that nginx refuses", "reason", ReasonNotAccepted, "message", no.message)
	good, bad, err := accept(routes, func(routes []Route) error {
		c.Routes = routes
		_, err := s.try(ctx, c)
		return err
	})
	if err != nil {
		return r, c, err
	}
	c.Routes = good
	for _, b := range bad {
		if c, err = s.withoutBadUpstreams(ctx, c, b); err != nil {
			return r, c, err
		}
	}
	r, err = s.try(ctx, c)
	return r, c, err
}

// withoutBadUpstreams adds to c what is left of a refused app when single
// endpoints are the reason, such as a name that does not resolve.
func (s *Server) withoutBadUpstreams(ctx context.Context, c Configuration, b rejected[Route]) (Configuration, error) {
	base := c.Routes
	with := func(upstreams []Upstream) Configuration {
		route := b.item
		route.Upstreams = upstreams
		c := c
		c.Routes = append(slices.Clone(base), route)
		slices.SortFunc(c.Routes, func(a, b Route) int { return strings.Compare(a.App, b.App) })
		return c
	}
	good, bad, err := accept(b.item.Upstreams, func(u []Upstream) error {
		_, err := s.try(ctx, with(u))
		return err
	})
	if err != nil {
		return c, err
	}
	if len(good) == 0 {
		c.Refused = append(slices.Clone(c.Refused), Refused{App: b.item.App, Reason: ReasonNotAccepted, Message: b.message})
		return c, nil
	}
	c = with(good)
	c.Refused = slices.Clone(c.Refused)
	for _, u := range bad {
		c.Refused = append(c.Refused, Refused{App: b.item.App, Key: u.item.Key, Reason: ReasonNotAccepted, Message: u.message})
	}
	return c, nil
}

type rejected[T any] struct {
	item    T
	message string
}

// accept finds a largest set of items, first come first served, that test does
// not refuse together: k bad ones among n cost about k log n tests. Errors of
// test other than a refusal end it.
func accept[T any](items []T, test func([]T) error) (good []T, bad []rejected[T], err error) {
	var half func(items []T) error
	half = func(items []T) error {
		if len(items) == 0 {
			return nil
		}
		err := test(append(slices.Clone(good), items...))
		var no refusal
		switch {
		case err == nil:
			good = append(good, items...)
			return nil
		case !errors.As(err, &no):
			return err
		case len(items) == 1:
			bad = append(bad, rejected[T]{items[0], no.message})
			return nil
		}
		if err := half(items[:len(items)/2]); err != nil {
			return err
		}
		return half(items[len(items)/2:])
	}
	err = half(items)
	return good, bad, err
}

// try renders c and has nginx test it. A refusal says what is wrong with c, any
// other error that nobody knows.
func (s *Server) try(ctx context.Context, c Configuration) (rendered, error) {
	r, err := render(c, s.template)
	if err != nil {
		return r, refusal{err.Error()}
	}
	return r, s.test(ctx, r.text)
}

// test writes text to the file beside the one in use and runs nginx -t on it.
func (s *Server) test(ctx context.Context, text []byte) error {
	path := s.path("nginx.conf.candidate")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, "-t", "-q", "-e", "stderr", "-p", s.dir+"/", "-c", path)
	cmd.Env = nginxEnv()
	cmd.Stdout = s.stdout // the access log may be opened there
	var out bytes.Buffer
	cmd.Stderr = &out
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("nginx -t on %s: %w", path, context.Cause(ctx))
	case errors.As(err, &exit):
		return refusal{firstComplaint(out.String(), path)}
	}
	return fmt.Errorf("run %s -t: %w", s.binary, err)
}

// firstComplaint is the first message of nginx that is worse than a warning.
func firstComplaint(output, path string) string {
	for line := range strings.Lines(output) {
		for _, level := range []string{"[emerg]", "[alert]", "[crit]", "[error]"} {
			if _, message, ok := strings.Cut(line, level); ok {
				message = processPattern.ReplaceAllString(strings.TrimSpace(message), "")
				return strings.ReplaceAll(message, path, "nginx.conf.candidate")
			}
		}
	}
	return strings.TrimSpace(output)
}
