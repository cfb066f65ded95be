package cli

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fleet-starter/fleet/internal/api/client"
)

// access are the global flags that say where fleetd is and how to reach it.
type access struct {
	endpoint   string
	timeout    time.Duration
	caFile     string
	certFile   string
	keyFile    string
	tunnel     string
	sshUser    string
	sshTimeout time.Duration
	knownHosts string
	checkHosts bool
	debug      bool
	// set are the flags and variables that were given, by the name of the flag.
	set map[string]bool
}

// sshFlags are the global flags that are about ssh alone.
var sshFlags = []string{"tunnel", "ssh-username", "known-hosts-file", "strict-host-key-checking"}

// deprecatedFlags of the original are accepted: what they do instead.
var deprecatedFlags = map[string]string{
	"driver":           "fleetctl talks to fleetd's API only, at --endpoint",
	"etcd-key-prefix":  "fleetctl does not talk to etcd",
	"experimental-api": "there is one API only",
	"etcd-cafile":      "it means --ca-file",
	"etcd-certfile":    "it means --cert-file",
	"etcd-keyfile":     "it means --key-file",
}

// envPrefix begins the variables of fleetctl.
const envPrefix = "FLEETCTL_"

func (r *access) flags(flags *pflag.FlagSet) {
	r.timeout, r.sshTimeout = 10*time.Second, 10*time.Second
	flags.StringVar(&r.endpoint, "endpoint", client.DefaultEndpoint, "address of fleetd: unix:///path, http://host:port or https://host:port; of several, separated by commas, the first reachable one is used")
	flags.Var((*seconds)(&r.timeout), "request-timeout", "timeout of a single request, in seconds or with a unit; 0 for none")
	flags.StringVar(&r.caFile, "ca-file", "", "certificate authorities of https:// endpoints, in PEM (default the system's)")
	flags.StringVar(&r.certFile, "cert-file", "", "client certificate for https:// endpoints, in PEM")
	flags.StringVar(&r.keyFile, "key-file", "", "key of the client certificate, in PEM")
	flags.StringVar(&r.tunnel, "tunnel", "", "host[:port] of a machine to reach --endpoint through, with ssh")
	flags.StringVar(&r.sshUser, "ssh-username", "core", "user name for ssh")
	flags.Var((*seconds)(&r.sshTimeout), "ssh-timeout", "timeout of setting up an ssh connection, in seconds or with a unit")
	flags.StringVar(&r.knownHosts, "known-hosts-file", "~/.fleetctl/known_hosts", "host keys of machines, for ssh")
	flags.BoolVar(&r.checkHosts, "strict-host-key-checking", true, "check host keys of machines; =false trusts any")
	flags.BoolVar(&r.debug, "debug", false, "tell of every request and ssh connection on standard error")
	// The values are not used, or those of the flags that took their place.
	flags.String("driver", "API", "deprecated")
	flags.String("etcd-key-prefix", "", "deprecated")
	flags.Bool("experimental-api", true, "deprecated")
	flags.StringVar(&r.caFile, "etcd-cafile", "", "deprecated")
	flags.StringVar(&r.certFile, "etcd-certfile", "", "deprecated")
	flags.StringVar(&r.keyFile, "etcd-keyfile", "", "deprecated")
	for name := range deprecatedFlags {
		_ = flags.MarkHidden(name)
	}
}

// variables are the flags that are also variables of the environment.
var variables = []string{"endpoint", "request-timeout", "ca-file", "cert-file", "key-file", "tunnel", "ssh-username", "ssh-timeout", "known-hosts-file",
	"strict-host-key-checking", "debug", "driver", "etcd-key-prefix", "experimental-api", "etcd-cafile", "etcd-certfile", "etcd-keyfile"}

// variable returns the name of a flag's variable.
func variable(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment takes the values of variables that are set and not empty. It is called once the command line is
// parsed, and changes no flag that was given there.
func (a *app) fromEnvironment(flags *pflag.FlagSet) error {
	a.set = map[string]bool{}
	for _, name := range variables {
		// A command's own flag of the same name hides the global one, which still has its variable.
		flag := flags.Lookup(name)
		value := a.Getenv(variable(name))
		if a.set[name] = flag.Changed || value != ""; flag.Changed || value == "" {
			continue
		}
		if err := flag.Value.Set(value); err != nil {
			return usage("%s=%s: %v", variable(name), value, err)
		}
	}
	return nil
}

// tellDeprecated warns of flags and variables without effect, and of variables that fleetctl does not know: one that is
// misspelt may be all that says which cluster is meant.
func (a *app) tellDeprecated(flags *pflag.FlagSet) {
	for _, name := range variables {
		why, deprecated := deprecatedFlags[name]
		switch {
		case !deprecated || !a.set[name]:
		case flags.Changed(name):
			a.note("fleetctl: warning: --%s is deprecated: %s", name, why)
		default:
			a.note("fleetctl: warning: %s is deprecated: %s", variable(name), why)
		}
	}
	if a.Environ == nil {
		return
	}
	for _, pair := range a.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || value == "" || slices.ContainsFunc(variables, func(v string) bool { return variable(v) == name }) {
			continue
		}
		a.note("fleetctl: warning: %s is not a variable of fleetctl and has no effect: see fleetctl help", name)
	}
}

// longNames lets the original's short spellings with two dashes be used: --f, --A, --l and --h.
func longNames(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if long, ok := map[string]string{"f": "follow", "A": "forward-agent", "l": "full", "h": "help"}[name]; ok {
		name = long
	}
	return pflag.NormalizedName(name)
}

// seconds is a duration that may be given as a number of seconds, as in the original.
type seconds time.Duration

// Set implements pflag.Value.
func (s *seconds) Set(text string) error {
	d, err := time.ParseDuration(text)
	if n, failed := strconv.ParseFloat(text, 64); failed == nil && !math.IsNaN(n) && math.Abs(n) < 1e9 {
		d, err = time.Duration(n*float64(time.Second)), nil
	}
	if err != nil || d < 0 {
		return fmt.Errorf("must be a number of seconds such as 3 or 0.5, or a duration such as 3s or 1m")
	}
	*s = seconds(d)
	return nil
}

// String implements pflag.Value.
func (s *seconds) String() string { return time.Duration(*s).String() }

// Type implements pflag.Value.
func (s *seconds) Type() string { return "duration" }

// home replaces a leading ~ with the home directory.
func (a *app) home(path string) string {
	rest, found := strings.CutPrefix(path, "~/")
	if !found {
		return path
	}
	dir := a.Getenv("HOME")
	if dir == "" {
		dir, _ = os.UserHomeDir() // without one, the path is below the root
	}
	return filepath.Join(dir, rest)
}

// connection prepares the flags about the connection, once the command line is known.
func (a *app) connection(cmd *cobra.Command) error {
	flags := cmd.Root().PersistentFlags()
	if err := a.fromEnvironment(flags); err != nil {
		return err
	}
	a.tellDeprecated(flags)
	if (a.certFile == "") != (a.keyFile == "") {
		return usage("--cert-file and --key-file belong together: give both")
	}
	return nil
}
