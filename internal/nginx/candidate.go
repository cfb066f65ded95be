package nginx

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

// defaultTestTimeout bounds one nginx -t. Thousands of apps take about a second; only a custom template may contain
// names that nginx resolves.
const defaultTestTimeout = 10 * time.Second

// perKilobyte is the additional time per kilobyte, which is about one app: ten times the usual.
const perKilobyte = 5 * time.Millisecond

var (
	// processPattern matches the start of a message of nginx: its process and thread.
	processPattern = regexp.MustCompile(`^[0-9]+#[0-9]+: `)
	// linePattern matches the end of a message about a line of the configuration.
	linePattern = regexp.MustCompile(` in nginx\.conf\.candidate:([0-9]+)$`)
)

// refusal is the error for a configuration rejected by nginx -t or by the template.
type refusal struct {
	message string
	// reason is ReasonTemplateFailed, or ReasonNotAccepted if empty.
	reason string
	// app is the app whose line nginx rejected, if known.
	app string
	// late: nginx -t did not end in time.
	late bool
}

func (e refusal) Error() string { return e.message }

// of returns the report that a key, or all of an app if key is empty, is not served for this reason.
func (e refusal) of(app, key string) v1.RouteRefusal {
	return v1.RouteRefusal{App: app, Key: key, Reason: cmp.Or(e.reason, ReasonNotAccepted), Message: e.message}
}

// candidate returns the part of c that nginx accepts, rendered, and what had to be left out. The error means that even
// a configuration without apps is rejected, or that nginx could not be run.
func (s *Server) candidate(ctx context.Context, c Configuration) (rendered, Configuration, error) {
	r, err := s.try(ctx, c)
	var no refusal
	if !errors.As(err, &no) {
		if err == nil {
			s.memory.accept(c)
		}
		return r, c, err
	}
	s.log.Info("Configuration refused, looking for the app that causes it", "reason", cmp.Or(no.reason, ReasonNotAccepted), "message", no.message)
	good, bad, err := s.split(ctx, c, no)
	if err != nil {
		return r, c, err
	}
	c.Routes = good
	for _, b := range bad {
		kept, refused, err := s.withoutBadUpstreams(ctx, c, b)
		if err != nil {
			return r, c, err
		}
		s.memory.refuse(verdict{b.item, kept, refused, time.Now().Add(verdictFor)})
		c.Routes = sorted(append(slices.Clone(c.Routes), kept...))
		c.Refused = append(slices.Clone(c.Refused), refused...)
	}
	if r, err = s.try(ctx, c); err == nil {
		s.memory.accept(c)
	}
	return r, c, err
}

func sorted(routes []routing.Route) []routing.Route {
	slices.SortFunc(routes, func(a, b routing.Route) int { return strings.Compare(a.App, b.App) })
	return routes
}

// split separates the good routes of c, which was refused, from the bad ones. Routes that nginx names are set aside and
// tried individually at the end. If it names none, as with a custom template, the routes not accepted before are
// searched.
func (s *Server) split(ctx context.Context, c Configuration, no refusal) (good []routing.Route, bad []rejected[routing.Route], err error) {
	with := func(r []routing.Route) error {
		c := c
		c.Routes = r
		_, err := s.try(ctx, c)
		return err
	}
	aside := map[string]bool{}
	isAside := func(r routing.Route) bool { return aside[r.App] }
	rest := c.Routes
	err = no
	for errors.As(err, &no) && no.app != "" && !aside[no.app] {
		aside[no.app] = true
		rest = slices.DeleteFunc(slices.Clone(rest), isAside)
		err = with(rest)
	}
	switch {
	case err == nil:
		good = rest
	case !errors.As(err, &no):
		return nil, nil, err
	default:
		if good, bad, err = s.search(rest, with); err != nil {
			return nil, nil, err
		}
	}
	last := slices.DeleteFunc(slices.Clone(c.Routes), func(r routing.Route) bool { return !aside[r.App] })
	good, late, err := accept(good, last, with)
	return sorted(good), append(bad, late...), err
}

// search finds the bad ones among routes. Routes accepted before are good, unless something other than the apps has
// changed.
func (s *Server) search(routes []routing.Route, with func([]routing.Route) error) (good []routing.Route, bad []rejected[routing.Route], err error) {
	known, changed := s.memory.split(routes)
	err = with(known)
	var no refusal
	switch {
	case err == nil:
		return accept(known, changed, with)
	case !errors.As(err, &no):
		return nil, nil, err
	case no.late && len(known) > 0: // the machine or a name server is slow: no app is to blame
		return nil, nil, fmt.Errorf("test of the previously accepted configuration: %w", err)
	}
	if len(known) > 0 {
		err = with(nil)
	}
	switch {
	case errors.As(err, &no) && no.reason == ReasonTemplateFailed:
		return nil, nil, fmt.Errorf("the template fails: %w", err)
	case err != nil:
		return nil, nil, fmt.Errorf("nginx refuses the configuration even without apps: %w", err)
	}
	return accept(nil, routes, with)
}

// withoutBadUpstreams returns what remains of a refused app if single endpoints are the reason, and what is refused.
func (s *Server) withoutBadUpstreams(ctx context.Context, c Configuration, b rejected[routing.Route]) (kept []routing.Route, refused []v1.RouteRefusal, err error) {
	whole := []v1.RouteRefusal{b.refusal.of(b.item.App, "")}
	if len(b.item.Upstreams) < 2 {
		return nil, whole, nil
	}
	base, route := c.Routes, b.item
	good, bad, err := accept(nil, b.item.Upstreams, func(u []routing.Upstream) error {
		route.Upstreams = u
		c.Routes = sorted(append(slices.Clone(base), route))
		_, err := s.try(ctx, c)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if len(good) == 0 {
		return nil, whole, nil
	}
	route.Upstreams = good
	for _, u := range bad {
		refused = append(refused, u.refusal.of(route.App, u.item.Key))
	}
	return []routing.Route{route}, refused, nil
}

type rejected[T any] struct {
	item    T
	refusal refusal
}

// accept adds to good, in order, the items that test does not refuse together with it: k bad items among n cost about k
// log n tests. Errors of test other than a refusal end it.
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
			bad = append(bad, rejected[T]{items[0], no})
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

// try renders c and runs nginx -t on it. A refusal says what is wrong with c; any other error leaves that open.
func (s *Server) try(ctx context.Context, c Configuration) (rendered, error) {
	r, err := s.renderer.render(c, s.template)
	var failed templateError
	switch {
	case errors.As(err, &failed):
		return r, refusal{message: err.Error(), reason: ReasonTemplateFailed}
	case err != nil:
		return r, refusal{message: err.Error()}
	}
	err = s.test(ctx, r.text)
	var no refusal
	if errors.As(err, &no) {
		if m := linePattern.FindStringSubmatch(no.message); m != nil {
			line, _ := strconv.Atoi(m[1])
			no.app = r.appAt(line)
		}
		return r, no
	}
	return r, err
}

// test writes text to a file next to the one in use and runs nginx -t on it.
func (s *Server) test(ctx context.Context, text []byte) error {
	path := s.path("nginx.conf.candidate")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	s.tests++
	limit := s.testTimeout + time.Duration(len(text)>>10)*perKilobyte
	testing, cancel := context.WithTimeout(ctx, limit)
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
	case testing.Err() != nil: // caused by the configuration: do not retry
		return refusal{message: fmt.Sprintf("nginx -t did not end within %s: does it wait for a name server?", s.testTimeout), late: true}
	case errors.As(err, &exit):
		return refusal{message: firstComplaint(out.String(), path)}
	}
	return fmt.Errorf("run %s -t: %w", s.binary, err)
}

// firstComplaint returns nginx's first message above the level of a warning.
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
