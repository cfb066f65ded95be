package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/routing"
	"github.com/fleet-starter/fleet/internal/store"
)

// effectTimeout is how long a router waits for a reload to show, see nginx.Options.
const effectTimeout = 10 * time.Second

// front is the nginx of a machine. It outlives its router, and ends with the machine's power.
type front struct {
	h     *host
	under *underway
	plain bool // it has no Lua module

	mu     sync.Mutex
	file   *configuration // on disk, below /run; nil: none
	live   *configuration // in effect; nil: nginx does not run
	exited chan struct{}
	asked  int // how often it was told to reload
	read   int // the last reload that counts: earlier ones have no effect
	life   int
	// doubtful: it may still take a configuration that it was told to take before.
	doubtful bool

	// Its faults.
	broken  bool          // nginx -t fails for every configuration
	refuses string        // an app that nginx -t rejects
	partly  bool          // only one of the app's endpoints is rejected
	lag     time.Duration // the time until a start or a reload takes effect
	trouble time.Time     // when it last had a fault
}

// configuration is the contents of one nginx.conf.
type configuration struct {
	hosts map[string][]routing.Upstream // by name
	of    map[string]string             // the app of each host
	drain map[string]time.Duration      // by app
	count map[string]string             // the token of apps that ask for counts
}

func newFront(h *host) *front {
	return &front{h: h, exited: make(chan struct{}), under: newUnderway(), plain: h.w.chance("module", h.name)%noModule == 0}
}

func configurationOf(c nginx.Configuration) *configuration {
	conf := &configuration{hosts: map[string][]routing.Upstream{}, of: map[string]string{}, drain: map[string]time.Duration{}, count: map[string]string{}}
	for _, r := range c.Routes {
		conf.drain[r.App] = cmp.Or(r.DrainTimeout, v1.DefaultDrainTimeout)
		if r.Count != "" {
			conf.count[r.App] = r.Count
		}
		for _, host := range r.Hosts {
			conf.hosts[host], conf.of[host] = r.Upstreams, r.App
		}
	}
	return conf
}

// endpoints are the addresses, by key.
func (c *configuration) endpoints() map[string]string {
	if c == nil {
		return nil
	}
	all := map[string]string{}
	for _, upstreams := range c.hosts {
		for _, u := range upstreams {
			all[u.Key] = u.Address
		}
	}
	return all
}

// serving is the configuration in effect.
func (f *front) serving() *configuration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.live
}

// lives returns how many lives it has had.
func (f *front) lives() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.life
}

// down reports whether it has been down, without a fault, for that long.
func (f *front) down(since time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.live == nil && !f.broken && f.lag == 0 && time.Since(f.trouble) > since
}

// tellRead makes nginx start or reload. The returned channel is closed when that takes effect.
func (f *front) tellRead() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	n, conf, shows := f.asked, f.file, make(chan struct{})
	soon := f.h.w.delay("nginx", f.h.name)
	if f.lag > 0 {
		soon = f.h.w.exactly(f.lag+soon.takes, "nginx", f.h.name)
	}
	f.h.w.running.Go(func() {
		f.h.w.sleep(soon)
		if f.take(n, conf) {
			close(shows)
		}
	})
	return shows
}

// take puts the configuration into effect, unless nginx was told something else since or has ended.
func (f *front) take(n int, conf *configuration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n <= f.read || f.h.w.ctx.Err() != nil {
		return false
	}
	f.read = n
	if f.live == nil || !reflect.DeepEqual(f.live, conf) {
		f.h.w.tell(f.h.name, "nginx serves %s", strings.Join(pairs(conf.endpoints()), " "))
	}
	f.under.changes(f.live, conf)
	f.live = conf
	f.h.w.check.serves(f.h, conf.endpoints())
	return true
}

// end ends it: unasked, so that its router notices, or not.
func (f *front) end(how string, unasked bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read = f.asked
	if f.live == nil {
		return
	}
	f.h.w.tell(f.h.name, "nginx %s", how)
	f.live, f.trouble = nil, time.Now()
	f.life++
	f.under.lost("", "")
	f.h.w.check.serves(f.h, nil)
	if unasked {
		close(f.exited)
	}
}

// powerOff also removes its file.
func (f *front) powerOff() {
	f.end("is off", false)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.file, f.doubtful, f.exited = nil, false, make(chan struct{})
}

// wrong changes its faults.
func (f *front) wrong(text string, change func(f *front)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.h.w.tell(f.h.name, "nginx %s", text)
	change(f)
	f.trouble = time.Now()
}

// heal ends its faults.
func (f *front) heal() {
	f.mu.Lock()
	refused := f.refuses != ""
	f.broken, f.refuses, f.lag = false, "", 0
	f.mu.Unlock()
	if refused {
		f.h.mendTemplate()
	}
}

// mendTemplate is what people do about a rejected template: fix it and restart the router.
func (h *host) mendTemplate() { h.killUnit("router.service") }

// server is nginx.Server as one router sees it.
type server struct {
	*front
	p       *process
	current *configuration // what it believes to be in effect
}

// Start adopts a running nginx, or starts one with the file on disk.
func (s *server) Start(ctx context.Context) error {
	s.mu.Lock()
	s.current = s.file
	running, same := s.live != nil, reflect.DeepEqual(s.live, s.file) && !s.doubtful
	s.mu.Unlock()
	switch {
	case s.current == nil, running && same:
		return nil
	case !running:
		if err := s.test(&nginx.Configuration{}); err != nil {
			return err
		}
	}
	return s.effect(ctx)
}

func (s *server) Draining() []v1.Draining {
	if s.plain {
		return nil
	}
	return s.under.waitedFor()
}

func (s *server) Exited() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exited
}

// believes reports whether nginx runs and, as far as the router knows, with this configuration.
func (s *server) believes(c nginx.Configuration) (running, same bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live != nil, reflect.DeepEqual(s.current, configurationOf(c))
}

// Apply follows nginx.Server.
func (s *server) Apply(ctx context.Context, c nginx.Configuration) (nginx.Result, error) {
	if err := s.p.pause(ctx, s.p.w.delay("nginx -t", s.p.name)); err != nil {
		return nginx.Result{}, err
	}
	running, same := s.believes(c)
	if !running || !same {
		if err := s.test(&c); err != nil {
			return nginx.Result{}, err
		}
		_, same = s.believes(c)
	}
	result, conf := nginx.Result{Refused: c.Refused}, configurationOf(c)
	if running && same && !s.doubts() {
		return s.result(result, conf), nil
	}
	result.Changed = true
	old := s.current
	s.put(conf)
	err := s.effect(ctx)
	if err != nil && old != nil {
		s.put(old)
	}
	return s.result(result, conf), err
}

// doubts reports whether nginx may take another configuration later.
func (s *server) doubts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doubtful
}

func (s *server) put(c *configuration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file, s.current = c, c
}

// test is nginx -t. It removes from c what is rejected.
func (s *server) test(c *nginx.Configuration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return errors.New("nginx refuses the configuration even without apps: write() failed (28: No space left on device)")
	}
	i := slices.IndexFunc(c.Routes, func(r routing.Route) bool { return r.App == s.refuses })
	if i < 0 {
		return nil
	}
	refused := v1.RouteRefusal{App: s.refuses, Reason: nginx.ReasonNotAccepted, Message: "host not found in upstream"}
	c.Routes, c.Refused = slices.Clone(c.Routes), slices.Clone(c.Refused)
	if route := c.Routes[i]; s.partly && len(route.Upstreams) > 1 {
		refused.Key = route.Upstreams[0].Key
		c.Routes[i].Upstreams = route.Upstreams[1:]
	} else {
		c.Routes = slices.Delete(c.Routes, i, i+1)
	}
	c.Refused = append(c.Refused, refused)
	return nil
}

// effect makes nginx reload, and waits until that takes effect.
func (s *server) effect(ctx context.Context) error {
	s.mu.Lock()
	s.doubtful = true
	starts := s.live == nil
	if starts && isClosed(s.exited) {
		s.exited = make(chan struct{})
	}
	exited := s.exited
	s.mu.Unlock()
	shows, late := s.tellRead(), s.p.w.turns.after(s.p.w.exactly(effectTimeout, "effect", s.p.name))
	defer s.p.w.turns.giveUp(late)
	select {
	case <-shows:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.doubtful = false
		return nil
	case <-late.turn:
		return errors.New("the configuration is not in effect: context deadline exceeded")
	case <-exited:
		return errors.New("nginx ended while it was awaited: its error log says why")
	case <-ctx.Done():
	case <-s.p.killed:
	case <-s.p.w.ctx.Done():
	}
	return fmt.Errorf("%w: the router ends", store.ErrUnavailable)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Faults of nginx.
func init() {
	rareDoings = append(rareDoings, often{"nginx dies", 4, ""}, often{"nginx broken", 3, "nginx mended"},
		often{"nginx refuses", 3, "nginx mended"}, often{"nginx lags", 5, "nginx mended"})
	maps.Copy(faults, map[string]func(w *world, s step){
		"nginx dies": func(w *world, s step) { w.pick(s.A).front.end("dies", true) },
		"nginx broken": func(w *world, s step) {
			w.pick(s.A).front.wrong("takes no configuration", func(f *front) { f.broken = true })
		},
		"nginx refuses": func(w *world, s step) {
			app := []string{"web", "api"}[s.B%2]
			w.pick(s.A).front.wrong("does not take "+app, func(f *front) { f.refuses, f.partly = app, s.C%2 == 0 })
		},
		"nginx lags": func(w *world, s step) { // shorter and longer than a router waits
			lag := []time.Duration{time.Second, 4 * time.Second, effectTimeout + 2*time.Second}[s.B%3]
			w.pick(s.A).front.wrong("takes "+lag.String()+" to reload", func(f *front) { f.lag = lag })
		},
		"nginx mended": func(w *world, s step) {
			w.pick(s.A).front.wrong("is well", func(*front) {})
			w.pick(s.A).front.heal()
		},
	})
}
