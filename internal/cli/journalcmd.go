package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/ssh"
)

const overHelp = `

It is read over ssh if a flag or variable about ssh is given (--tunnel, --ssh-username, --known-hosts-file,
--strict-host-key-checking, --ssh-port), else through fleetd, with no access to the machine needed. Where one cannot, the
other is tried and standard error says so. On the unit's own machine no ssh is needed.`

// journalOptions are the flags of journal.
type journalOptions struct {
	lines  int
	follow bool
	output string
	port   int
	sudo   bool
}

func (a *app) journalCommand() *cobra.Command {
	var o journalOptions
	cmd := &cobra.Command{
		Use: "journal UNIT", Short: "Show the journal of a unit as journalctl does",
		Long: `Shows the last lines of a unit's journal. --output is that of journalctl; fleetd knows ` + strings.Join(journalFormats(), ", ") + `,
all others and --sudo need ssh. A global unit has a journal on each of its machines: see fleetctl logs --machine.` + overHelp + nameHelp,
		Example: "  fleetctl journal --lines 100 example-app@1\n  fleetctl --tunnel 10.0.0.1 journal -f example-app@1\n  fleetctl journal --output cat example-app@1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("expected one unit, got %d arguments", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.lines < 0 {
				return usage("--lines %d: must be 0 or more", o.lines)
			}
			return a.journal(cmd.Context(), args[0], o, o.sudo || a.wantsSSH(cmd))
		},
		ValidArgsFunction: a.completeNames(func() shower { return &unitKind }),
	}
	f := cmd.Flags()
	f.IntVarP(&o.lines, "lines", "n", 10, "number of past lines to show")
	f.BoolVarP(&o.follow, "follow", "f", false, "keep showing new lines")
	f.StringVarP(&o.output, "output", "o", "short", "format of journalctl")
	f.IntVar(&o.port, "ssh-port", sshPort, "port of ssh on the machine")
	f.BoolVar(&o.sudo, "sudo", false, "run journalctl with sudo")
	return cmd
}

// wantsSSH reports whether a flag or variable about ssh is given.
func (a *app) wantsSSH(cmd *cobra.Command) bool {
	return cmd.Flags().Changed("ssh-port") || slices.ContainsFunc(sshFlags, func(name string) bool { return a.set[name] })
}

func (a *app) journal(ctx context.Context, typed string, o journalOptions, overSSH bool) error {
	unit, err := a.remoteUnit(ctx, typed)
	if err != nil {
		return exitOne(err)
	}
	name := unit.Metadata.Name
	if isGlobal(unit) {
		return fmt.Errorf("unit %s is global and has a journal on each machine: use fleetctl logs %s --machine ID", name, shortName(name))
	}
	on, err := machineOf(unit)
	if err != nil {
		return err
	}
	command := []string{"journalctl", "--unit", name, "--no-pager", "-n", strconv.Itoa(o.lines), "--output", o.output}
	if o.sudo {
		command = append([]string{"sudo"}, command...)
	}
	if o.follow {
		command = append(command, "-f")
	}
	format, known := formats[o.output]
	throughAPI := func() error { return a.journalThroughAPI(ctx, name, on, o, format) }
	if !known || o.sudo {
		return a.runOn(ctx, on, o.port, command)
	}
	return a.either(overSSH, throughAPI, func() error { return a.runOn(ctx, on, o.port, command) })
}

// either runs one way to reach a machine and, if that is closed, the other.
func (a *app) either(overSSH bool, throughAPI, throughSSH func() error) error {
	if overSSH {
		err := throughSSH()
		if !unreached(err) {
			return err
		}
		a.note("fleetctl: %v; asking fleetd instead", err)
		return throughAPI()
	}
	err := throughAPI()
	if !elsewhere(err) {
		return err
	}
	a.note("fleetctl: %v; trying ssh", err)
	return throughSSH()
}

// unreached reports whether ssh failed for another reason than a host key, about which nothing must be done behind the
// user's back.
func unreached(err error) bool {
	var unknown *ssh.UnknownHostError
	var changed *ssh.ChangedHostError
	return errors.Is(err, errSSH) && !errors.As(err, &unknown) && !errors.As(err, &changed)
}

// elsewhere reports whether fleetd cannot read the journal of another machine, or is the original, which never can.
func elsewhere(err error) bool {
	status := statusOf(err)
	var unreachable *client.UnreachableError
	var reported errReported
	if status == nil {
		return err != nil && !errors.As(err, &reported) && !errors.As(err, &unreachable) && !errors.Is(err, context.Canceled)
	}
	return slices.Contains([]string{wire.ReasonElsewhere, wire.ReasonMachineUnreachable, wire.ReasonForbidden}, status.Reason)
}

func (a *app) journalThroughAPI(ctx context.Context, unit string, on v1.UnitOnMachine, o journalOptions, format func(wire.LogEntry) string) error {
	q := logOptions{follow: o.follow, lines: o.lines, machine: on.Machine}
	switch {
	case o.lines == 0 && !o.follow:
		return nil
	case o.lines == 0: // 0 means all to fleetd
		q.since = a.now().UTC().Format(time.RFC3339)
	}
	return a.unitLogs(ctx, unit, q, func(e wire.LogEntry) error {
		_, err := fmt.Fprintln(a.Out, journalLine(e, format, a.safe))
		return err
	})
}

// formats are the values of journalctl's --output that need no more than what fleetd answers: what precedes the message.
var formats = map[string]func(wire.LogEntry) string{
	"cat":           func(wire.LogEntry) string { return "" },
	"short":         stamped("Jan 02 15:04:05"),
	"short-precise": stamped("Jan 02 15:04:05.000000"),
	"short-iso":     stamped("2006-01-02T15:04:05-0700"),
	"short-full":    stamped("Mon 2006-01-02 15:04:05 MST"),
}

func journalFormats() (names []string) {
	for name := range formats {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func stamped(layout string) func(wire.LogEntry) string {
	return func(e wire.LogEntry) string {
		// An older fleetd does not tell the name of the machine.
		who := cmp.Or(e.Hostname, e.Machine[:min(8, len(e.Machine))]) + " " + e.Identifier
		if e.PID != "" {
			who += "[" + e.PID + "]"
		}
		return e.Time.Local().Format(layout) + " " + who + ": "
	}
}

// journalLine indents what follows the first line of a message, as journalctl does.
func journalLine(e wire.LogEntry, before func(wire.LogEntry) string, safe func(string) string) string {
	prefix := before(e)
	var lines []string
	for line := range strings.SplitSeq(e.Message, "\n") {
		lines = append(lines, safe(line))
	}
	return prefix + strings.Join(lines, "\n"+strings.Repeat(" ", len(prefix)))
}

// runOn runs a command on a machine: directly on this one, else over ssh. Its exit code becomes that of fleetctl.
func (a *app) runOn(ctx context.Context, on v1.UnitOnMachine, port int, command []string) error {
	if id, err := os.ReadFile("/etc/machine-id"); a.tunnel == "" && err == nil && strings.TrimSpace(string(id)) == on.Machine {
		return a.runHere(ctx, command)
	}
	s, err := a.connect(ctx, ssh.Address(on.Address, port))
	if err != nil {
		return err
	}
	defer s.Close()
	streams := a.streams()
	streams.In = nil // neither journalctl nor systemctl reads
	code, err := s.Run(ctx, ssh.Quote(command...), streams)
	switch {
	case err != nil:
		return sshFailure(err)
	case code != exitOK:
		return errReported{code}
	}
	return nil
}

func (a *app) runHere(ctx context.Context, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = a.Out, a.Err
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit) && exit.Exited():
		return errReported{exit.ExitCode()}
	}
	return err
}
