// Command example-app is the web application that the examples and the tests deploy: a page that says which instance
// answered, and controls to make it slow, unhealthy, hang or exit. It uses only the standard library.
//
// The controls (POST /control/...) are open to every client. Start it with --control=false where that matters.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// Version is set at link time; --version-label and EXAMPLE_VERSION override it.
var Version = "dev"

// config is the configuration from flags and environment. A flag overrides its variable.
type config struct {
	listen      string
	instance    string
	machine     string
	version     string
	control     bool
	failHealth  bool
	hang        bool
	delay       time.Duration
	failPercent int
	startDelay  time.Duration
	exitAfter   time.Duration
	gracePeriod time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	cfg, err := parse(os.Args[1:], os.Getenv, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2) // the flag package has printed the error
	}
	if err := run(ctx, cfg, os.Stdout, os.Exit); err != nil {
		fmt.Fprintln(os.Stderr, "example-app:", err)
		os.Exit(1)
	}
}

func parse(args []string, getenv func(string) string, stderr io.Writer) (config, error) {
	host, _ := os.Hostname()
	ip := cmp.Or(getenv("FLEET_MACHINE_IP"), getenv("HOST"))
	env := envReader{getenv: getenv}
	cfg := config{
		listen:      net.JoinHostPort(ip, cmp.Or(getenv("PORT"), "3000")),
		instance:    cmp.Or(getenv("FLEET_UNIT"), "example-app"),
		machine:     cmp.Or(getenv("FLEET_MACHINE_ID"), ip, host),
		version:     cmp.Or(getenv("EXAMPLE_VERSION"), Version),
		control:     true,
		failHealth:  env.boolean("EXAMPLE_FAIL_HEALTH"),
		hang:        env.boolean("EXAMPLE_HANG"),
		delay:       env.duration("EXAMPLE_DELAY"),
		startDelay:  env.duration("EXAMPLE_START_DELAY"),
		exitAfter:   env.duration("EXAMPLE_EXIT_AFTER"),
		gracePeriod: 5 * time.Second,
	}
	fs := flag.NewFlagSet("example-app", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&cfg.listen, "listen", cfg.listen, "`host:port` to listen on ($FLEET_MACHINE_IP or $HOST, and $PORT)")
	fs.StringVar(&cfg.instance, "instance", cfg.instance, "name of this instance, such as %n of its unit ($FLEET_UNIT)")
	fs.StringVar(&cfg.machine, "machine", cfg.machine, "machine that it runs on ($FLEET_MACHINE_ID)")
	fs.StringVar(&cfg.version, "version-label", cfg.version, "version to show ($EXAMPLE_VERSION)")
	fs.BoolVar(&cfg.control, "control", cfg.control, "allow POST /control/...")
	fs.BoolVar(&cfg.failHealth, "fail-health", cfg.failHealth, "fail the health check from the start ($EXAMPLE_FAIL_HEALTH)")
	fs.BoolVar(&cfg.hang, "hang", cfg.hang, "answer nothing but /control from the start ($EXAMPLE_HANG)")
	fs.DurationVar(&cfg.delay, "delay", cfg.delay, "wait this long before every answer but /healthz ($EXAMPLE_DELAY)")
	fs.IntVar(&cfg.failPercent, "fail-percent", 0, "answer this share of the requests, but /healthz, with 500")
	fs.DurationVar(&cfg.startDelay, "start-delay", cfg.startDelay, "wait this long before listening ($EXAMPLE_START_DELAY)")
	fs.DurationVar(&cfg.exitAfter, "exit-after", cfg.exitAfter, "exit with status 1 after this long; 0 means never ($EXAMPLE_EXIT_AFTER)")
	fs.DurationVar(&cfg.gracePeriod, "grace-period", cfg.gracePeriod, "how long requests in flight may take after SIGTERM")
	if err := fs.Parse(args); err != nil {
		return config{}, err
	}
	if env.err == nil && fs.NArg() > 0 {
		env.err = fmt.Errorf("unexpected argument %q: options begin with --", fs.Arg(0))
	}
	if env.err != nil {
		fmt.Fprintln(stderr, "example-app:", env.err)
	}
	return cfg, env.err
}

// envReader reads typed variables and keeps the first error.
type envReader struct {
	getenv func(string) string
	err    error
}

func (r *envReader) boolean(name string) bool {
	v, err := strconv.ParseBool(cmp.Or(r.getenv(name), "false"))
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("$%s is %q: want true or false", name, r.getenv(name))
	}
	return v
}

func (r *envReader) duration(name string) time.Duration {
	v, err := time.ParseDuration(cmp.Or(r.getenv(name), "0"))
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("$%s is %q: want a duration such as 500ms or 2s", name, r.getenv(name))
	}
	return v
}

// run serves until ctx ends, then finishes the requests in flight.
func run(ctx context.Context, cfg config, stdout io.Writer, exit func(int)) error {
	if cfg.exitAfter > 0 {
		defer time.AfterFunc(cfg.exitAfter, func() { exit(1) }).Stop()
	}
	select {
	case <-time.After(cfg.startDelay):
	case <-ctx.Done():
		return nil
	}
	l, err := net.Listen("tcp", cfg.listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", cfg.listen, err)
	}
	a := newApp(cfg, exit)
	srv := &http.Server{Handler: a.handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	fmt.Fprintf(stdout, "%s version %s listens on http://%s\n", cfg.instance, cfg.version, l.Addr())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	fmt.Fprintf(stdout, "%s is stopping\n", cfg.instance)
	grace, cancel := context.WithTimeout(context.Background(), cfg.gracePeriod)
	defer cancel()
	a.stop() // close websockets and release hanging requests
	if err := srv.Shutdown(grace); err != nil {
		srv.Close()
	}
	a.sockets.Wait()
	<-served
	return nil
}
