package nginx

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/atomicfile"
	"github.com/fleet-starter/fleet/internal/routing"
	"github.com/fleet-starter/fleet/internal/template"
)

const (
	socketName = "status.sock"
	// drainingName is a file that is there while the machine is drained: /-/healthz answers 503 then. Custom templates may
	// look at it, too.
	drainingName = "draining"
	// doubtName is a file that is there while nginx may still take a configuration that did not come into effect in time.
	doubtName = "nginx.conf.late"
	// appsName shows people the apps with their endpoints as they are now.
	appsName = "conf.d/apps.conf"

	defaultEffectTimeout = 10 * time.Second
	// killTimeout is how long Stop waits between its last two, increasingly forceful, signals.
	killTimeout = 2 * time.Second
)

// Options configure a Server.
type Options struct {
	// Dir is Settings.Dir; it can be used by one Server at a time.
	Dir string
	// Binary is the nginx binary. Default: the one in PATH or in /usr/sbin.
	Binary string
	// Template replaces the default servers. Default nil.
	Template *template.Template
	// Stdout and Stderr are passed to nginx, which keeps them when this process is gone. Default: our own.
	Stdout, Stderr *os.File
	// EffectTimeout is how long a reload or a start may take to come into effect. Default 10s.
	EffectTimeout time.Duration
	// Static: endpoints are part of the configuration even if nginx has the Lua module.
	Static bool
	Log    logr.Logger
}

// Server owns a directory and the nginx that runs in it.
type Server struct {
	dir, binary    string
	user           string // of the workers, if the settings name none
	template       *template.Template
	stdout, stderr *os.File
	effectTimeout  time.Duration
	testTimeout    time.Duration
	log            logr.Logger
	lock           *os.File
	reloads        string // why a change of endpoints reloads nginx; empty if none does

	mu       sync.Mutex
	current  []byte   // nginx.conf: the last configuration that nginx accepted
	doubtful bool     // it may have loaded a later one that did not come into effect in time
	proc     *process // nil: not running
	exited   chan struct{}
	watch    sync.WaitGroup
	renderer renderer
	plain    renderer // of appsName
	// dictionary has the endpoints; nil if the configuration has them.
	dictionary *dictionary
	memory     memory   // results of nginx -t
	tests      int      // number of runs of nginx -t
	closing    bool     // Stop or Close was called: an exit is expected
	stays      *process // a successor of it failed: it is reloaded
	adopted    bool     // nginx ran before this process, which has not reloaded it yet
	// ending are the retired workers that end when their requests have had time to, in the order of when that was decided.
	ending      []retired
	mostRetired int
	// life ends with Close.
	life  context.Context
	leave context.CancelFunc
}

// Result is the outcome of Apply.
type Result struct {
	// Changed is false if nginx already served exactly this and was left alone. Reloaded: its configuration changed, too.
	Changed, Reloaded bool
	// Endpoints: nginx acknowledged the endpoints, even if it refused the rest.
	Endpoints bool
	// Reloads is why each change of endpoints reloads nginx; empty if none does.
	Reloads string
	// Draining are the withdrawn endpoints to which requests are under way: see Server.Draining.
	Draining []v1.Draining
	// Counts are the responses of the endpoints of routes that ask for that.
	Counts []v1.EndpointCounts
	// Generation identifies the configuration in effect, by a hash of its text.
	Generation string
	// Refused is what the configuration had left out, and what nginx -t refused.
	Refused []v1.RouteRefusal
}

// ErrAddressInUse means that another process uses an address that nginx has to listen on.
var ErrAddressInUse = errors.New("another process uses this address")

// ErrBusy means that another process uses the directory.
var ErrBusy = errors.New("another router uses this directory")

// New claims the directory and creates it if needed. It does not start nginx.
func New(o Options) (*Server, error) {
	binary, err := findBinary(o.Binary)
	if err != nil {
		return nil, err
	}
	s := &Server{
		dir: filepath.Clean(o.Dir), binary: binary, template: o.Template,
		stdout: cmp.Or(o.Stdout, os.Stdout), stderr: cmp.Or(o.Stderr, os.Stderr),
		effectTimeout: cmp.Or(o.EffectTimeout, defaultEffectTimeout), testTimeout: defaultTestTimeout,
		log: o.Log, exited: make(chan struct{}), mostRetired: mostRetired,
	}
	s.life, s.leave = context.WithCancel(context.Background())
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("directory %q of nginx is not an absolute path", o.Dir)
	}
	for _, d := range []string{s.dir, s.path("tmp"), s.path("status"), s.path("conf.d")} {
		if err := makeDir(d); err != nil {
			return nil, err
		}
	}
	s.user = workersUser(s.dir)
	if s.user != "" {
		s.log.Info("Running nginx's workers as root", "reason", "DirectoryClosedToOthers", "dir", s.dir)
	}
	if s.lock, err = os.OpenFile(s.path("router.lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		s.lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, fmt.Errorf("%s: %w", s.dir, err)
	}
	if err := s.useModule(o.Static); err != nil {
		s.lock.Close()
		return nil, err
	}
	return s, nil
}

// useModule has nginx get endpoints without a reload, if it can.
func (s *Server) useModule(static bool) error {
	if static || s.template != nil {
		s.reloads = ownTemplate
		return nil
	}
	// Who can write there decides where requests go. Workers inherit what they need of it.
	if err := os.MkdirAll(s.path("feed"), 0o700); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.testTimeout)
	defer cancel()
	module, why := findModule(ctx, s.binary, s.dir)
	if module == nil {
		s.reloads = why
		s.log.Info("Every change of endpoints reloads nginx", "reason", "NoModule", "message", why)
		return nil
	}
	d := &dictionary{served: map[uint64]endpoint{}, draining: map[uint64]endpoint{}}
	if err := d.readTable(s.path(tableName)); err != nil {
		s.log.Error(err, "The last table of endpoints is not used")
	}
	var err error
	if d.board, d.fresh, err = openBoard(s.path(boardName)); err != nil {
		return err
	}
	s.dictionary, s.renderer.module = d, module
	return replaceFile(s.path(scriptName), []byte(script), atomicfile.Process)
}

// Reloads is why each change of endpoints reloads nginx; empty if none does.
func (s *Server) Reloads() string { return s.reloads }

// makeDir creates a directory that nginx's workers can read, even as nobody.
func makeDir(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, 0o755) // whatever the umask is
}

// workersUser returns root if nginx's default, nobody, cannot access dir, for example below the runtime directory of
// root's systemd.
func workersUser(dir string) string {
	if os.Geteuid() != 0 {
		return ""
	}
	for {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o001 == 0 {
			return "root"
		}
		if dir == "/" {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

func findBinary(name string) (string, error) {
	if name != "" {
		return exec.LookPath(name)
	}
	for _, n := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		if path, err := exec.LookPath(n); err == nil {
			return path, nil
		}
	}
	return "", errors.New("nginx is not installed: on Debian, apt-get install nginx-light libnginx-mod-http-lua")
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// Apply makes nginx serve c as far as nginx -t accepts it, and returns when that is in effect: no worker accepts
// connections with an older configuration. If c is already served, only the status page is updated. On an error nginx
// keeps its previous configuration.
func (s *Server) Apply(ctx context.Context, c Configuration) (Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if c.Settings, err = c.Settings.check(); err != nil {
		return Result{}, err
	}
	if c.Dir != s.dir {
		return Result{}, fmt.Errorf("the configuration is for %s, this nginx runs in %s", c.Dir, s.dir)
	}
	c.User = cmp.Or(c.User, s.user)
	running := s.proc != nil && !s.proc.exited()
	result := Result{Reloads: s.reloads}
	var fed error
	all := c.Routes
	var shared []routing.Route
	if s.dictionary != nil {
		var refused []v1.RouteRefusal
		all, refused = acceptable(c.Routes)
		c.Refused = append(slices.Clone(c.Refused), refused...)
		shared, c.Routes = separate(all)
		// First: a new server has its endpoints when it comes, and hosts and endpoints change also if nginx refuses the rest.
		if result.Changed, fed = s.handOver(ctx, all, running); fed != nil {
			s.log.V(1).Info("Handing over the table of endpoints failed", "error", fed.Error())
		}
		c.Routes = withoutEndpoints(c.Routes)
	}
	c, err = s.configure(ctx, c, running, &result)
	if s.dictionary != nil && s.proc != nil && !s.proc.exited() {
		unasked := s.confirm(ctx)
		result.Endpoints = unasked == nil
		err = errors.Join(err, unasked, s.keepHosts())
		result.Draining = s.drainingNow(time.Now())
		counts, uncounted := s.counts(ctx, all)
		if result.Counts = counts; uncounted != nil {
			s.log.V(1).Info("Reading the counts of responses failed", "error", uncounted.Error())
		}
	}
	if err != nil {
		return result, err
	}
	if s.dictionary != nil {
		c.Routes = withEndpoints(sorted(append(slices.Clone(c.Routes), shared...)), all)
	}
	return result, errors.Join(s.writeApps(c), s.writeStatus(c, result.Generation))
}

// configure makes nginx run with c as far as nginx -t accepts it, and returns that.
func (s *Server) configure(ctx context.Context, c Configuration, running bool, result *Result) (Configuration, error) {
	defer s.renderer.keep(c.Routes)
	c = s.memory.without(c, time.Now())
	r, err := s.renderer.render(c, s.template)
	if err != nil || !running || !bytes.Equal(r.text, s.current) {
		if running {
			s.closeKept(s.workers(), true) // while the candidate is tested, most kept connections come by
			defer func() { s.closeKept(s.workers(), false) }()
			if s.adopted { // an upgrade, probably: nothing hurries it
				sleep(ctx, closeKeptFor)
				s.adopted = false
			}
		}
		if r, c, err = s.candidate(ctx, c); err != nil {
			return c, err
		}
	}
	result.Generation, result.Refused = r.generation, c.Refused
	if running && !s.doubtful && bytes.Equal(r.text, s.current) {
		return c, nil
	}
	result.Changed, result.Reloaded = true, true
	if !running && s.proc != nil {
		if err := s.retireOrphans(ctx, s.proc.session); err != nil {
			return c, err
		}
	}
	return c, s.put(ctx, r.text, running)
}

// withoutEndpoints is the part of routes that is configuration where endpoints are data.
func withoutEndpoints(routes []routing.Route) []routing.Route {
	out := slices.Clone(routes)
	for i := range out {
		out[i].Upstreams, out[i].DrainTimeout, out[i].Count = nil, 0, ""
	}
	return out
}

// withEndpoints gives each route the endpoints that it has in all.
func withEndpoints(routes, all []routing.Route) []routing.Route {
	upstreams := make(map[string][]routing.Upstream, len(all))
	for _, r := range all {
		upstreams[r.App] = r.Upstreams
	}
	out := slices.Clone(routes)
	for i := range out {
		out[i].Upstreams = upstreams[out[i].App]
	}
	return out
}

// SetDraining sets whether load balancers should leave this machine: what /-/healthz answers. nginx is not reloaded.
func (s *Server) SetDraining(draining bool) error {
	if draining {
		return os.WriteFile(s.path(drainingName), nil, 0o644)
	}
	err := os.Remove(s.path(drainingName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// put replaces nginx.conf and puts it into effect. If that fails, the old file is restored, so that the one on disk is
// always one that nginx ran with. nginx may still have read the new one and serve it later: see doubtful.
func (s *Server) put(ctx context.Context, text []byte, running bool) error {
	old := s.current
	if err := replaceFile(s.path("nginx.conf"), text, atomicfile.Power); err != nil {
		return err
	}
	s.current = text
	var err error
	if running {
		err = s.checkNewListens(old, text)
		if err == nil {
			err = s.reload(ctx, text)
		}
	} else {
		err = s.spawn(ctx, text)
	}
	if err != nil && old != nil {
		if s.doubtful { // before the file looks as if nothing had been
			err = errors.Join(err, s.doubt(true))
		}
		s.current = old
		err = errors.Join(err, replaceFile(s.path("nginx.conf"), old, atomicfile.Power))
	}
	return err
}
