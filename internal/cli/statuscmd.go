package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// exitInactive is the exit code of systemctl status for a unit that does not run.
const exitInactive = 3

func (a *app) statusCommand() *cobra.Command {
	var port int
	cmd := &cobra.Command{
		Use: "status UNIT...", Short: "Show the status of units as systemctl status does",
		Long: `Shows state and last lines of units on their machines; of a global unit on each machine. Over ssh it is the output of systemctl
status; through fleetd it has the same form, without the processes. The exit code is that of systemctl: 0 if all run, 3 if one is
inactive or failed.` + overHelp + nameHelp,
		Example: "  fleetctl status example-app@1\n  fleetctl --tunnel 10.0.0.1 status example-app@1 example-app@2",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 { // no error in the original
				a.note("No units given")
			}
			first := true
			return a.each(args, func(typed string) error {
				if !first {
					a.say("") // as systemctl does
				}
				first = false
				return a.status(cmd.Context(), typed, port, a.wantsSSH(cmd))
			})
		},
		ValidArgsFunction: a.completeNames(func() shower { return &unitKind }),
	}
	cmd.Flags().IntVar(&port, "ssh-port", sshPort, "port of ssh on the machine")
	cmd.Flags().Bool("no-block", false, "ignored") // scripts of the original pass it
	_ = cmd.Flags().MarkHidden("no-block")
	return cmd
}

func (a *app) status(ctx context.Context, typed string, port int, overSSH bool) error {
	unit, err := a.remoteUnit(ctx, typed)
	if err != nil {
		return exitOne(err)
	}
	machines := unit.Status.Machines
	if !isGlobal(unit) {
		on, err := machineOf(unit)
		if err != nil {
			return err
		}
		machines = []v1.UnitOnMachine{on}
	}
	if len(machines) == 0 {
		return fmt.Errorf("unit %s is not on any machine", unit.Metadata.Name)
	}
	code := exitOK
	for i, on := range machines {
		if i > 0 {
			a.say("")
		}
		err := a.either(overSSH, func() error { return a.statusThroughAPI(ctx, unit, on) },
			func() error {
				return a.runOn(ctx, on, port, []string{"systemctl", "status", "-l", "--no-pager", unit.Metadata.Name})
			})
		if err != nil {
			code = cmp.Or(code, a.report(err))
		}
	}
	if code != exitOK {
		return errReported{code}
	}
	return nil
}

// statusThroughAPI shows what fleetd knows in the form of systemctl status.
func (a *app) statusThroughAPI(ctx context.Context, unit v1.Unit, on v1.UnitOnMachine) error {
	state := v1.UnitState{LoadState: "not-found", ActiveState: "inactive", SubState: "dead"}
	if on.State != nil {
		state = *on.State
	}
	name := unit.Metadata.Name
	a.say("%s %s%s", bullet(state.ActiveState), name, a.safe(prefixed(" - ", fileOf(unit).Description)))
	a.say("     Loaded: %s (%s)", state.LoadState, cmp.Or(string(unit.Spec.DesiredState), "no desired state"))
	a.say("     Active: %s", activeText(state, a.now()))
	a.say("    Machine: %s", a.machine(on.Machine, on.Address))
	c, err := a.client()
	if err != nil {
		return err
	}
	if text := statusText(ctx, c, name, on); text != "" {
		a.say("     Status: \"%s\"", a.safe(text))
	}
	if process := processText(state); process != "" {
		a.say("    Process: %s", process)
	}
	if why := cmp.Or(on.Reason, state.Message); why != "" {
		a.say("     Reason: %s", a.safe(why))
	}
	before := "\n"
	err = a.unitLogs(ctx, name, logOptions{lines: 10, machine: on.Machine}, func(e wire.LogEntry) error {
		_, err := fmt.Fprintln(a.Out, before+journalLine(e, formats["short"], a.safe))
		before = ""
		return err
	})
	if err != nil {
		a.note("fleetctl: no journal: %v", err)
	}
	if state.ActiveState == "inactive" || state.ActiveState == "failed" {
		return errReported{exitInactive}
	}
	return nil
}

func prefixed(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

// bullet is what systemctl begins with.
func bullet(active string) string {
	switch active {
	case "inactive", "maintenance":
		return "○"
	case "failed":
		return "×"
	case "reloading":
		return "↻"
	}
	return "●"
}

// activeText is, for example, "active (running) since Fri 2026-01-02 03:04:05 UTC; 5min ago".
func activeText(s v1.UnitState, now time.Time) string {
	detail := s.SubState
	if s.Result != "" && s.Result != "success" {
		detail = "Result: " + s.Result
	}
	text := fmt.Sprintf("%s (%s)", s.ActiveState, detail)
	if s.Since.IsZero() {
		return text
	}
	return fmt.Sprintf("%s since %s; %s ago", text, s.Since.Local().Format("Mon 2006-01-02 15:04:05 MST"), span(now.Sub(s.Since)))
}

// processText says how the main process ended and how often it was started again.
func processText(s v1.UnitState) string {
	var parts []string
	if s.ExitCode != "" && (s.ExitStatus != 0 || s.ActiveState == "failed") {
		parts = append(parts, fmt.Sprintf("code=%s, status=%d", s.ExitCode, s.ExitStatus))
	}
	if s.Restarts > 0 {
		parts = append(parts, fmt.Sprintf("restarts=%d", s.Restarts))
	}
	return strings.Join(parts, ", ")
}

// span is a duration in the two largest units of systemd.time(7).
func span(d time.Duration) string {
	units := []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, " days"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}
	d = max(d, 0).Truncate(time.Second)
	for i, u := range units {
		if d < u.length && i < len(units)-1 {
			continue
		}
		n := d / u.length
		text := fmt.Sprintf("%d%s", n, u.name)
		if n == 1 && i == 0 {
			text = "1 day"
		}
		if i == len(units)-1 {
			return text
		}
		if rest := (d - n*u.length) / units[i+1].length; rest > 0 {
			text += fmt.Sprintf(" %d%s", rest, units[i+1].name)
		}
		return text
	}
	return ""
}
