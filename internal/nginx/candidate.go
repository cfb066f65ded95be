package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// defaultTestTimeout bounds one nginx -t. It takes a second for thousands of apps; only a template of one's own can have
// names in it that nginx waits for name servers for.
const defaultTestTimeout = 10 * time.Second

var (
	// processPattern is how nginx begins a message: its process and thread.
	processPattern = regexp.MustCompile(`^[0-9]+#[0-9]+: `)
	// linePattern is how it ends one about a line of the configuration.
	linePattern = regexp.MustCompile(` in nginx\.conf\.candidate:([0-9]+)$`)
)

// refusal is a configuration that nginx -t, or the template, does not accept. App
// is whose line nginx complained of, where that is known.
type refusal struct{ message, app string }

func (e refusal) Error() string { return e.message }

// candidate returns the part of c that nginx accepts, rendered, and what it had
// to leave out. The error says that not even a configuration without apps passes,
// or that nginx could not be asked.
func (s *Server) candidate(ctx context.Context, c Configuration) (rendered, Configuration, error) {
	r, err := s.try(ctx, c)
	var no refusal
	if !errors.As(err, &no) {
		s.suspects = nil
		return r, c, err
	}
	s.log.Info("Looking for the app that nginx refuses", "reason", ReasonNotAccepted, "message", no.message)
	good, bad, err := s.split(ctx, c, no.app)
	if err != nil {
		return r, c, err
	}
	s.suspects = map[string]bool{}
	c.Routes = good
	for _, b := range bad {
		s.suspects[b.item.App] = true
		if c, err = s.withoutBadUpstreams(ctx, c, b); err != nil {
			return r, c, err
		}
	}
	r, err = s.try(ctx, c)
	return r, c, err
}

// split tells the good routes of c, which was refused, from the bad ones. Those
// that nginx names, or that were bad last time, are put aside and tried one by one
// at the end: only where it names none, as with a template of one's own, is the
// rest searched.
func (s *Server) split(ctx context.Context, c Configuration, named string) (good []Route, bad []rejected[Route], err error) {
	with := func(r []Route) error {
		c := c
		c.Routes = r
		_, err := s.try(ctx, c)
		return err
	}
	aside := map[string]bool{}
	maps.Copy(aside, s.suspects)
	isAside := func(r Route) bool { return aside[r.App] }
	rest := slices.DeleteFunc(slices.Clone(c.Routes), isAside)
	no := refusal{app: named}
	err = no
	for tried := false; errors.As(err, &no); tried = true {
		found := no.app != "" && !aside[no.app]
		if !found && (tried || len(aside) == 0) {
			break
		}
		if found {
			aside[no.app] = true
			rest = slices.DeleteFunc(rest, isAside)
		}
		err = with(rest)
	}
	switch {
	case err == nil:
		good = rest
	case !errors.As(err, &no):
		return nil, nil, err
	default:
		if err := with(nil); err != nil {
			return nil, nil, fmt.Errorf("nginx refuses the configuration even without apps: %w", err)
		}
		if good, bad, err = accept(nil, rest, with); err != nil {
			return nil, nil, err
		}
	}
	last := slices.DeleteFunc(slices.Clone(c.Routes), func(r Route) bool { return !aside[r.App] })
	good, late, err := accept(good, last, with)
	slices.SortFunc(good, func(a, b Route) int { return strings.Compare(a.App, b.App) })
	return good, append(bad, late...), err
}

// withoutBadUpstreams adds to c what is left of a refused app when single
// endpoints are the reason.
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
	if len(b.item.Upstreams) < 2 {
		return c.refuse(Refused{App: b.item.App, Reason: ReasonNotAccepted, Message: b.message}), nil
	}
	good, bad, err := accept(nil, b.item.Upstreams, func(u []Upstream) error {
		_, err := s.try(ctx, with(u))
		return err
	})
	if err != nil {
		return c, err
	}
	if len(good) == 0 {
		return c.refuse(Refused{App: b.item.App, Reason: ReasonNotAccepted, Message: b.message}), nil
	}
	c = with(good)
	for _, u := range bad {
		c = c.refuse(Refused{App: b.item.App, Key: u.item.Key, Reason: ReasonNotAccepted, Message: u.message})
	}
	return c, nil
}

func (c Configuration) refuse(r Refused) Configuration {
	c.Refused = append(slices.Clone(c.Refused), r)
	return c
}

type rejected[T any] struct {
	item    T
	message string
}

// accept adds to good, first come first served, the items that test does not
// refuse together with it: k bad ones among n cost about k log n tests. Errors of
// test other than a refusal end it.
func accept[T any](good, items []T, test func([]T) error) (_ []T, bad []rejected[T], err error) {
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
		return r, refusal{message: err.Error()}
	}
	err = s.test(ctx, r.text)
	var no refusal
	if errors.As(err, &no) {
		if m := linePattern.FindStringSubmatch(no.message); m != nil {
			line, _ := strconv.Atoi(m[1])
			return r, refusal{no.message, r.appAt(line)}
		}
	}
	return r, err
}

// test writes text to the file beside the one in use and runs nginx -t on it.
func (s *Server) test(ctx context.Context, text []byte) error {
	path := s.path("nginx.conf.candidate")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	testing, cancel := context.WithTimeout(ctx, s.testTimeout)
	defer cancel()
	cmd := exec.CommandContext(testing, s.binary, "-t", "-q", "-e", "stderr", "-p", s.dir+"/", "-c", path)
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
	case testing.Err() != nil: // of what it was given, and no reason to ask again and again
		return refusal{message: fmt.Sprintf("nginx -t did not end within %s: does it wait for a name server?", s.testTimeout)}
	case errors.As(err, &exit):
		return refusal{message: firstComplaint(out.String(), path)}
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
