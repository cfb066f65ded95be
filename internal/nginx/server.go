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
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/template"
)

const (
	socketName = "status.sock"
	// drainingName is a file that is there while the machine is drained: /-/healthz answers 503 then. Custom templates may
	// look at it, too.
	drainingName = "draining"

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
	Log           logr.Logger
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

	mu       sync.Mutex
	current  []byte   // nginx.conf: the last configuration that nginx accepted
	doubtful bool     // it may have loaded a later one that did not come into effect in time
	proc     *process // nil: not running
	exited   chan struct{}
	watch    sync.WaitGroup
	renderer renderer
	memory   memory // results of nginx -t
	tests    int    // number of runs of nginx -t
	closing  bool   // Stop or Close was called: an exit is expected
}

// Result is the outcome of Apply.
type Result struct {
	// Changed is false if nginx already ran with exactly this configuration and was left alone.
	Changed bool
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
		log: o.Log, exited: make(chan struct{}),
	}
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("directory %q of nginx is not an absolute path", o.Dir)
	}
	for _, d := range []string{s.dir, s.path("tmp"), s.path("status")} {
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
	return s, nil
}

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
	return "", errors.New("nginx is not installed: on Debian, apt-get install nginx-light")
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
	defer s.renderer.keep(c.Routes)
	c = s.memory.without(c, time.Now())
	r, err := s.renderer.render(c, s.template)
	if err != nil || !running || !bytes.Equal(r.text, s.current) {
		if r, c, err = s.candidate(ctx, c); err != nil {
			return Result{}, err
		}
	}
	result := Result{Generation: r.generation, Refused: c.Refused}
	if !running || s.doubtful || !bytes.Equal(r.text, s.current) {
		result.Changed = true
		if err := s.put(ctx, r.text, running); err != nil {
			return Result{}, err
		}
	}
	return result, s.writeStatus(c, r.generation)
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
	if err := replaceFile(s.path("nginx.conf"), text); err != nil {
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
		s.current = old
		err = errors.Join(err, replaceFile(s.path("nginx.conf"), old))
	}
	return err
}
