// Command router keeps this machine's nginx routing to the instances that are announced in etcd.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/apis/quantity"
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/route"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/logging"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/template"
	"github.com/fleet-starter/fleet/internal/version"
)

const usage = `router keeps nginx routing to the instances that are announced in etcd.

The machine's identity and etcd's address come from the environment (FLEET_MACHINE_ID, FLEET_ETCD_SERVERS
...), which fleetd keeps in %t/fleet/environment. Killed, or restarted by systemd, it leaves nginx serving;
started again, it goes on with that nginx. Stopped with SIGTERM, it ends nginx after the requests in flight.

Example:
  router --listen 80 --domain example.com --dir /run/fleet/router

Flags:
`

// options are the flags.
type options struct {
	settings         nginx.Settings
	prefixes         []string
	all              bool
	template, format string
	stateFile        string
	ttl, checkEvery  time.Duration
	machine, root    string
	address          netip.Addr
	allowed          []netip.Prefix
	verbosity        int
}

func main() { os.Exit(logged()) }

// logged runs the router with its log and returns the exit code.
func logged() int {
	stderr := logging.Stderr()
	defer stderr.Close()
	if err := run(os.Args[1:], stderr); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(stderr, "router:", err)
		return 1
	}
	return 0
}

func run(args []string, stderr io.Writer) error {
	opts, err := parse(args)
	if err != nil {
		return err
	}
	var level logging.Level
	level.Set(opts.verbosity)
	log, err := logging.New(stderr, opts.format, &level)
	if err != nil {
		return err
	}
	server, err := newServer(opts, log)
	if err != nil {
		return err
	}
	defer server.Close()
	config, err := store.ConfigFrom(os.Getenv)
	if err != nil {
		return err
	}
	client, err := store.Dial(config)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return serve(ctx, opts, log, server, client, etcdPorts(config.Endpoints))
}

// etcdPorts are the ports of etcd's servers.
func etcdPorts(servers []string) map[int]string {
	ports := map[int]string{}
	for _, server := range servers {
		if _, hostPort, ok := strings.Cut(server, "://"); ok {
			server = hostPort
		}
		if _, port, err := net.SplitHostPort(strings.TrimRight(server, "/")); err == nil {
			number, _ := strconv.Atoi(port) // not a number: no endpoint can have it
			ports[number] = "etcd"
		}
	}
	return ports
}

func parse(args []string) (options, error) {
	var opts options
	var listen, address string
	flags := flag.NewFlagSet("router", flag.ExitOnError)
	flags.Usage = func() {
		_, _ = io.WriteString(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&opts.settings.Dir, "dir", "/run/fleet/router", "directory for everything that nginx writes")
	flags.StringVar(&opts.stateFile, "state-file", "", "file on disk from which nginx is served after a reboot while etcd is unreachable; beside it, FILE.draining is there while the machine is drained")
	flags.StringVar(&listen, "listen", "80", "port or address:port to listen on")
	flags.StringVar(&opts.settings.StatusListen, "status-listen", "", "additional address:port only for the status page")
	flags.StringVar(&opts.settings.Domain, "domain", "", "an app without hosts is served as <app>.<domain>")
	flags.Func("prefix", "directory of endpoints in etcd, or of keys for the template; may be repeated (default "+v1.DefaultAnnouncePrefix+")", func(prefix string) error {
		opts.prefixes = append(opts.prefixes, prefix)
		return route.CheckPrefix(prefix)
	})
	flags.BoolVar(&opts.all, "all-endpoints", false, "also serve endpoints that belong to no App or unit")
	flags.Func("allow-endpoints", "network (CIDR) outside the cluster in which endpoints are allowed; may be repeated (default: only addresses of machines)", func(s string) error {
		network, err := v1.ParseNetwork(s)
		opts.allowed = append(opts.allowed, network)
		return err
	})
	flags.Func("trusted-proxies", "network (CIDR) of proxies whose X-Forwarded-* and Forwarded headers are passed on; those of other clients are replaced; may be repeated", func(s string) error {
		opts.settings.TrustedProxies = append(opts.settings.TrustedProxies, s)
		_, err := v1.ParseNetwork(s)
		return err
	})
	flags.DurationVar(&opts.settings.Timeout, "timeout", nginx.DefaultTimeout, "how long an app may send nothing before and during a response, unless its route sets it")
	opts.settings.BodySize = nginx.DefaultBodySize
	flags.Func("body-size", "maximum size of a request body unless the app's route sets it, 0 for no limit (default 1G)", func(s string) error {
		_, err := quantity.ParseMemory(s)
		opts.settings.BodySize = (&v1.Route{BodySize: s}).MaxBody()
		return err
	})
	flags.StringVar(&opts.settings.AccessLog, "access-log", "off", "off, stdout, a file, or syslog:server=... as in nginx's configuration")
	flags.StringVar(&opts.settings.User, "user", "", "`USER` of nginx's workers if nginx is started by root")
	flags.IntVar(&opts.settings.Workers, "workers", 0, "number of nginx worker processes, 0 for one per core")
	flags.DurationVar(&opts.settings.ShutdownTimeout, "shutdown-timeout", nginx.DefaultShutdownTimeout, "how long requests and websockets may outlive a reload of nginx, which a change of an app's limits needs")
	flags.StringVar(&opts.template, "template", "", "confd template to use instead of the built-in one")
	flags.StringVar(&opts.machine, "machine", os.Getenv("FLEET_MACHINE_ID"), "ID of this machine")
	flags.StringVar(&address, "machine-ip", os.Getenv("FLEET_MACHINE_IP"), "IP address of this machine")
	flags.StringVar(&opts.root, "etcd-key-prefix", os.Getenv("FLEET_ETCD_KEY_PREFIX"), "root of fleet's keys in etcd")
	flags.DurationVar(&opts.ttl, "ttl", route.DefaultTTL, "how long roll-outs wait for a vanished router")
	flags.DurationVar(&opts.checkEvery, "cache-check-interval", store.CheckEvery, "how often the caches are compared with etcd")
	flags.StringVar(&opts.format, "log-format", logging.Text, "text or json")
	flags.IntVar(&opts.verbosity, "verbosity", 0, "log level")
	showVersion := flags.Bool("version", false, "print the version")
	if err := flags.Parse(args); err != nil {
		return opts, err
	}
	if *showVersion {
		fmt.Println("router version", version.String())
		os.Exit(0)
	}
	if flags.NArg() > 0 {
		return opts, fmt.Errorf("unexpected argument %q: router takes only flags, see --help", flags.Arg(0))
	}
	if opts.machine == "" {
		return opts, errors.New("machine ID unknown: set FLEET_MACHINE_ID or --machine")
	}
	if address != "" {
		var err error
		if opts.address, err = netip.ParseAddr(address); err != nil {
			return opts, fmt.Errorf("machine-ip: %w: set FLEET_MACHINE_IP or --machine-ip", err)
		}
	}
	if opts.settings.AccessLog == "stdout" {
		opts.settings.AccessLog = nginx.StdoutLog(os.Stdout)
	}
	opts.settings.Listen = []string{listen}
	return opts, nil
}

// newServer takes over nginx's directory.
func newServer(opts options, log logr.Logger) (*nginx.Server, error) {
	var own *template.Template
	if opts.template != "" {
		text, err := os.ReadFile(opts.template)
		if err != nil {
			return nil, err
		}
		if own, err = template.New(filepath.Base(opts.template), string(text)); err != nil {
			return nil, err
		}
	}
	return nginx.New(nginx.Options{Dir: opts.settings.Dir, Template: own, Log: log.WithName("nginx")})
}

// debounce is how long changes are gathered: longer if each reloads nginx.
func debounce(server *nginx.Server) time.Duration {
	if server.Reloads() != "" {
		return route.DefaultDebounce
	}
	return route.DictionaryDebounce
}

// serve routes until ctx ends, then stops nginx. If requests cannot be served it returns the reason, and leaves nginx as it
// is.
func serve(ctx context.Context, opts options, log logr.Logger, server *nginx.Server, client store.Interface, reserved map[int]string) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	keys := keyspace.New(opts.root)
	drain := route.Drain{Store: client, Keys: keys, Machine: opts.machine, Set: server.SetDraining, Log: log.WithName("drain")}
	if opts.stateFile != "" {
		drain.StateFile = opts.stateFile + ".draining"
	}
	if err := drain.Restore(); err != nil {
		log.Error(err, "What load balancers were told before is unknown, waiting for etcd", "file", drain.StateFile)
	}
	front := newServing(server, opts.settings, log, fail)
	if _, err := front.Start(ctx); err != nil {
		return err
	}
	recorder := events.New(client, keys, events.Options{Source: "route", Machine: opts.machine, Log: log})
	controller := route.New(route.Options{
		Store: client, Keys: keys, Nginx: front, Events: recorder, Log: log.WithName("route"),
		Machine: opts.machine, Address: opts.address, Allowed: opts.allowed, Reserved: reserved,
		Prefixes: opts.prefixes, All: opts.all, Template: opts.template != "", Settings: opts.settings, StateFile: opts.stateFile, TTL: opts.ttl, Debounce: debounce(server),
		Caches: []cache.Option{cache.RecordDiffers(recorder), cache.WithCheckEvery(opts.checkEvery)},
	})
	var parts sync.WaitGroup
	parts.Go(func() { _ = recorder.Run(ctx) })
	parts.Go(func() { front.watch(ctx) })
	parts.Go(func() { drain.Run(ctx) })
	err := controller.Run(ctx)
	parts.Wait()
	if reason := new(cannotServe); errors.As(context.Cause(ctx), reason) {
		return reason
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 8*time.Second)
	defer cancel()
	if again, why := restarting(stopping); again {
		log.Info("Leaving nginx to the next router", "reason", "Restart")
		return err // its record stays, too: roll-outs wait for the next router, until the lease ends
	} else if why != nil {
		log.V(1).Info("Whether this is a restart is not known", "error", why.Error())
	}
	return errors.Join(err, controller.Resign(stopping), server.Stop(stopping))
}
