// Command announcer is the sidekick of one instance: it checks the instance's health and publishes its ip:port in etcd while
// it is healthy.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/announce"
	"github.com/fleet-starter/fleet/internal/logging"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/version"
)

const usage = `announcer publishes one instance in etcd for as long as it is healthy.

The machine's address and etcd's come from the environment (FLEET_MACHINE_IP, FLEET_ETCD_SERVERS ...),
which fleetd keeps in %t/fleet/environment. Without a health flag it checks that the port accepts connections.

Example:
  announcer --app example-app --instance example-app@1 --port 3000 --health-http /healthz

Flags:
`

func main() {
	// One announcer runs beside every instance, so trade a little garbage collection for memory.
	debug.SetGCPercent(25)
	debug.SetMemoryLimit(6 << 20)
	os.Exit(logged())
}

// logged runs the announcer with its log and returns the exit code.
func logged() int {
	stderr := logging.Stderr()
	defer stderr.Close()
	if err := run(os.Args[1:], stderr); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(stderr, "announcer:", err)
		return 1
	}
	return 0
}

func run(args []string, stderr io.Writer) error {
	var opts announce.Options
	var host, port, healthHTTP, healthTCP, healthExec, format string
	flags := flag.NewFlagSet("announcer", flag.ExitOnError)
	flags.Usage = func() {
		_, _ = io.WriteString(flags.Output(), usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&opts.App, "app", "", "name of the app")
	flags.StringVar(&opts.Instance, "instance", "", "name of the instance, such as example-app@1")
	flags.StringVar(&opts.Prefix, "prefix", v1.DefaultAnnouncePrefix, "directory in etcd")
	flags.StringVar(&host, "host", os.Getenv("FLEET_MACHINE_IP"), "address at which the instance is reachable")
	flags.StringVar(&port, "port", "", "port at which the instance is reachable")
	flags.DurationVar(&opts.TTL, "ttl", 30*time.Second, "how long the key outlives its machine")
	flags.StringVar(&healthHTTP, "health-http", "", "healthy if GET of this URL, or of this path on the announced port, returns 200 to 399")
	flags.StringVar(&healthTCP, "health-tcp", "", "healthy if this host:port, or this port, accepts connections")
	flags.StringVar(&healthExec, "health-exec", "", "healthy if this program, run with the arguments after the flags, exits with 0")
	flags.DurationVar(&opts.Interval, "interval", 5*time.Second, "time between probes")
	flags.DurationVar(&opts.Timeout, "timeout", 2*time.Second, "timeout of a probe")
	flags.IntVar(&opts.Thresholds.Healthy, "healthy-threshold", 1, "consecutive successful probes before the instance is announced")
	flags.IntVar(&opts.Thresholds.Unhealthy, "unhealthy-threshold", 3, "consecutive failed probes before it is withdrawn")
	flags.StringVar(&format, "log-format", logging.Text, "text or json")
	showVersion := flags.Bool("version", false, "print the version")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *showVersion {
		fmt.Println("announcer version", version.String())
		return nil
	}
	log, err := logging.New(stderr, format, nil)
	if err != nil {
		return err
	}
	opts.Log = log.WithName("announce")
	opts.Address = net.JoinHostPort(host, port)
	opts.Probe = probe(opts.Address, healthHTTP, healthTCP, healthExec, flags.Args())
	config, err := store.ConfigFrom(os.Getenv)
	if err != nil {
		return err
	}
	client, err := store.Dial(config)
	if err != nil {
		return err
	}
	defer client.Close()
	opts.Store = client
	controller, err := announce.New(opts)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return controller.Run(ctx)
}

// probe returns the probe that the flags configure. A path or a port alone refers to the announced address.
func probe(address, http, tcp, exec string, args []string) announce.Probe {
	host, _, _ := net.SplitHostPort(address)
	switch {
	case exec != "":
		return announce.ExecProbe(append([]string{exec}, args...))
	case strings.HasPrefix(http, "/"):
		return announce.HTTPProbe("http://" + address + http)
	case http != "":
		return announce.HTTPProbe(http)
	case tcp != "" && !strings.Contains(tcp, ":"):
		return announce.TCPProbe(net.JoinHostPort(host, tcp))
	case tcp != "":
		return announce.TCPProbe(tcp)
	}
	return announce.TCPProbe(address)
}
