// Package cli implements fleetctl's commands on top of the HTTP API.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/ssh"
	"github.com/fleet-starter/fleet/internal/version"
)

// The exit codes of fleetctl.
const (
	exitOK       = 0
	exitError    = 1
	exitUsage    = 2
	exitNotFound = 3
	exitTimeout  = 4
	exitRejected = 5
	exitOutdated = 6
)

// IO is the environment that fleetctl runs in. Data goes to Out, everything else to Err.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	// Environ lists the variables as os.Environ does. Nil: misspelt ones are not told.
	Environ func() []string
	// Terminal means that Out is a terminal; Plain that it gets no colours.
	Terminal, Plain bool
}

// System returns the process's own environment.
func System() IO {
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Environ: os.Environ, Terminal: terminal,
		Plain: os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"}
}

// app is one run of fleetctl.
type app struct {
	IO
	access
	output   string
	watch    bool
	noLegend bool
	full     bool
	// strict asks for exit codes that the original does not have, see compat.go.
	strict    bool
	connected *client.Client
	// tunnelled is the connection of --tunnel, hostKeys what is known of machines' keys.
	tunnelled *ssh.Tunnel
	hostKeys  *ssh.HostKeys
	// ctx ends with the run. completing means that a shell asks for completions, and no person can be asked.
	ctx        context.Context
	completing bool
	now        func() time.Time
	// telling serializes lines written by concurrent goroutines.
	telling sync.Mutex
}

// errUsage marks a wrong command line.
var errUsage = errors.New("usage")

// errTimeout means that waiting took too long.
var errTimeout = errors.New("timed out")

// errReported means that the error has been printed already.
type errReported struct{ code int }

func (e errReported) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// Main runs fleetctl and returns its exit code.
func Main(ctx context.Context, args []string, world IO) int {
	a := &app{IO: world, now: time.Now, ctx: ctx}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(world.In)
	root.SetOut(world.Out)
	root.SetErr(world.Err)
	running := false
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		running = true
		a.completing = strings.HasPrefix(cmd.Name(), cobra.ShellCompRequestCmd)
		if err := a.connection(cmd); err != nil {
			return err
		}
		return a.checkGlobals(cmd)
	}
	err := root.ExecuteContext(ctx)
	a.close()
	if err != nil && !running {
		err = fmt.Errorf("%w%w", err, silent{errUsage})
	}
	return a.report(err)
}

// Command is fleetctl's command, for manual pages and shells' completion. Main runs it.
func Command(world IO) *cobra.Command {
	a := &app{IO: world, now: time.Now}
	return a.root()
}

// silent wraps an error that is matched but not shown.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

func usage(format string, args ...any) error {
	return fmt.Errorf("%w%w", fmt.Errorf(format, args...), silent{errUsage})
}

// report prints the error and returns its exit code.
func (a *app) report(err error) int {
	var reported errReported
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled): // interrupted, or no longer needed
		return exitError
	case errors.As(err, &reported):
		return reported.code
	}
	for line := range strings.Lines(err.Error()) {
		a.note("fleetctl: %s", strings.TrimRight(line, "\n"))
	}
	if errors.Is(err, errUsage) {
		a.note("fleetctl: see fleetctl help, or fleetctl COMMAND --help")
	}
	return exitCode(err)
}

func exitCode(err error) int {
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errTimeout):
		return exitTimeout
	case errors.As(err, new(*rejectedError)):
		return exitRejected
	case statusOf(err) != nil && statusOf(err).Reason == wire.ReasonPlanOutdated:
		return exitOutdated
	case errors.Is(err, errSSH):
		return exitSSH
	case client.NotFound(err), errors.Is(err, errNoImage):
		return exitNotFound
	}
	return exitError
}

// each runs f for every argument, reports failures, and returns the first one's exit code.
func (a *app) each(args []string, f func(string) error) error {
	code := exitOK
	for _, arg := range args {
		if err := f(arg); err != nil {
			if failed := a.report(err); code == exitOK {
				code = failed
			}
		}
	}
	if code != exitOK {
		return errReported{code}
	}
	return nil
}

const longHelp = `fleetctl runs apps and systemd units on a cluster of machines.

It talks to fleetd over its unix socket, over HTTP or HTTPS, or through ssh: see --endpoint and --tunnel.
A flag about the connection is also a variable: --ssh-username is FLEETCTL_SSH_USERNAME. The flag precedes the variable.
Data goes to standard output, everything else to standard error.

Exit codes:
  0  done
  1  an error (diff, plan: something differs or would happen; their errors are 2 and more)
  2  the command line is wrong
  3  an object does not exist (stop, destroy and others exit as the original does: see --strict)
  4  timed out while waiting
  5  a changed manifest failed and was taken back (update.onFailure: revert)
  6  a saved plan is out of date: something else would happen now
255  ssh failed (ssh, status, journal)`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "fleetctl", Short: "Run apps and units on a cluster of machines", Long: longHelp,
		Example: `  fleetctl apply -f manifests/
  fleetctl list-units
  fleetctl --endpoint http://127.0.0.11:49153 get apps
  fleetctl --tunnel 10.0.0.1 list-machines`,
		Version: version.String(), SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return cmd.Help()
		},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q%s", args[0], suggestion(cmd, args[0]))
			}
			return nil
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetVersionTemplate("fleetctl version {{.Version}}\n")
	flags := root.PersistentFlags()
	a.access.flags(flags)
	flags.StringVarP(&a.output, "output", "o", "table", "table, wide, json, yaml or name")
	flags.BoolVarP(&a.watch, "watch", "w", false, "keep showing changes")
	flags.BoolVar(&a.noLegend, "no-legend", false, "omit the column names")
	flags.BoolVarP(&a.full, "full", "l", false, "do not shorten machine IDs and hashes")
	root.AddCommand(a.applyCommand(), a.diffCommand(), a.planCommand(), a.historyCommand(), a.undoCommand(), a.explainCommand(), a.rolloutCommand(), a.scaleCommand(), a.getCommand(), a.describeCommand(), a.deleteCommand(),
		a.syncCommand(), a.traceCommand(), a.suspendCommand(), a.resumeCommand(), a.adoptCommand(), a.disownCommand(),
		a.submitCommand(), a.loadCommand(), a.startCommand(), a.stopCommand(), a.unloadCommand(), a.restartCommand(), a.destroyCommand(),
		a.catCommand(), a.listUnitsCommand(), a.listUnitFilesCommand(), a.listMachinesCommand(),
		a.cordonCommand(), a.uncordonCommand(), a.drainCommand(),
		a.sshCommand(), a.statusCommand(), a.journalCommand(), a.fdForwardCommand(),
		a.eventsCommand(), a.logsCommand(), a.pushCommand(), a.verifyCommand(), a.importCommand(), a.versionCommand())
	versionInHelp(root)
	root.SetGlobalNormalizationFunc(longNames)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%v", err) })
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
	return root
}

var outputs = []string{"table", "wide", "json", "yaml", "name"}

// showing are the commands that support --output and --watch.
var showing = []string{"get", "list-units", "list-unit-files", "list-machines", "events", "rollout status", "trace"}

func (a *app) checkGlobals(cmd *cobra.Command) error {
	_, name, _ := strings.Cut(cmd.CommandPath(), " ")
	for flag, commands := range map[string][]string{"output": append(slices.Clone(showing), "push", "journal", "apply", "history", "diff", "plan", "explain"), "watch": showing} {
		if cmd.Flags().Changed(flag) && !slices.Contains(commands, name) {
			return usage("--%s is not supported by %s: use it with %s", flag, name, strings.Join(commands, ", "))
		}
	}
	if !slices.Contains(outputs, a.output) {
		return usage("unknown --output %q: use one of %s", a.output, strings.Join(outputs, ", "))
	}
	return nil
}

func suggestion(cmd *cobra.Command, arg string) string {
	if names := cmd.SuggestionsFor(arg); len(names) > 0 {
		return ": did you mean " + strings.Join(names, " or ") + "?"
	}
	return ""
}

// note writes a line that is not data to Err.
func (a *app) note(format string, args ...any) { a.tell(a.Err, format, args...) }

// say writes a line of data to Out.
func (a *app) say(format string, args ...any) { a.tell(a.Out, format, args...) }

func (a *app) tell(out io.Writer, format string, args ...any) {
	a.telling.Lock()
	defer a.telling.Unlock()
	fmt.Fprintf(out, format+"\n", args...)
}

// atLeast requires n or more arguments.
func atLeast(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < n {
			return usage("%s is missing", what)
		}
		return nil
	}
}

// noArgs requires that there are no arguments.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("this command takes no arguments, got %q", args[0])
	}
	return nil
}

// statusOf returns the API's answer in an error, or nil.
func statusOf(err error) *wire.Status {
	var status *wire.Status
	errors.As(err, &status)
	return status
}
