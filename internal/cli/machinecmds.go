package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

const machineHelp = `

A machine is named by its ID or by the beginning of it; one that is away by its whole ID.`

func (a *app) cordonCommand() *cobra.Command {
	return a.machineCommand(&cobra.Command{
		Use: "cordon MACHINE...", Short: "Keep new units off machines",
		Long:    "Keeps new units off machines. What runs there stays." + machineHelp,
		Example: "  fleetctl cordon 8abff2e7",
	}, `{"cordoned": true}`, "cordoned", nil)
}

func (a *app) uncordonCommand() *cobra.Command {
	return a.machineCommand(&cobra.Command{
		Use: "uncordon MACHINE...", Short: "Let units on machines again",
		Long:    "Ends cordon and drain. What was moved off a machine does not come back by itself." + machineHelp,
		Example: "  fleetctl uncordon 8abff2e7",
	}, `{"cordoned": false, "drain": false}`, "uncordoned", nil)
}

func (a *app) drainCommand() *cobra.Command {
	var noBlock bool
	var timeout time.Duration
	cmd := a.machineCommand(&cobra.Command{
		Use: "drain MACHINE...", Short: "Move the units off machines, and keep new ones off",
		Long: `Moves units to other machines, of an app one instance after the other: out of the routers first, and the next one when
the one before is active and announced again. One that fits nowhere else stays, and so do global units.
Ends when nothing else is left; uncordon takes it back.` + machineHelp,
		Example: "  fleetctl drain 8abff2e7\n  fleetctl drain 8abff2e7 --timeout 30m\n  fleetctl uncordon 8abff2e7",
	}, `{"drain": true}`, "draining", func(ctx context.Context, id string) error {
		if noBlock {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if err := a.waitDrained(ctx, id); err != nil {
			return fmt.Errorf("machine/%s: %w", id, err)
		}
		a.say("machine/%s drained", id)
		return nil
	})
	cmd.Flags().BoolVar(&noBlock, "no-block", false, "do not wait")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait for each machine")
	return cmd
}

// machineCommand completes a command that sets something for each machine and says so in kubectl's words; then, where
// there is one, begins when it is set for all.
func (a *app) machineCommand(cmd *cobra.Command, patch, done string, then func(ctx context.Context, id string) error) *cobra.Command {
	cmd.Args = atLeast(1, "the machine's ID")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var set []string
		failed := a.each(args, func(typed string) error {
			id, err := a.setMachine(cmd.Context(), typed, patch, done)
			if err == nil {
				set = append(set, id)
			}
			return err
		})
		if then == nil {
			return failed
		}
		return cmp.Or(failed, a.each(set, func(id string) error { return then(cmd.Context(), id) }))
	}
	cmd.ValidArgsFunction = a.completeNames(func() shower { return &machineKind })
	return cmd
}

var wholeID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func (a *app) setMachine(ctx context.Context, typed, patch, done string) (id string, err error) {
	c, err := a.client()
	if err != nil {
		return "", err
	}
	id, err = a.machineNamed(ctx, typed)
	if client.NotFound(err) && wholeID.MatchString(typed) {
		id, err = typed, nil // it may be away
	}
	if err != nil {
		return "", err
	}
	answer, err := c.Write(ctx, client.Request{Method: http.MethodPatch, Path: client.Path("machines", id), Body: []byte(patch), ContentType: wire.MergePatch})
	switch {
	case err != nil:
		return "", err
	case answer.Reason == wire.ReasonUnchanged:
		a.say("machine/%s already %s", id, done)
	default:
		a.say("machine/%s %s", id, done)
	}
	return id, nil
}

// waitDrained ends when no unit that could go is left on a machine, and tells of those that are.
func (a *app) waitDrained(ctx context.Context, id string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	left, globals, known, told := map[string]string{}, map[string]bool{}, false, ""
	for event, err := range client.Follow[v1.Unit](ctx, c, client.Path("units"), nil, false) {
		if err != nil {
			return err
		}
		name := event.Object.Metadata.Name
		why, on := "", false
		switch event.Type {
		case wire.Bookmark: // all that exists was told
			known = true
		case wire.Added, wire.Modified:
			why, on = leftOn(id, event.Object)
		}
		if _, looked := globals[name]; on && !looked { // the files of all units would be many
			unit, err := a.unitWithFile(ctx, name)
			switch {
			case err == nil:
				globals[name] = isGlobal(unit)
			case !client.NotFound(err): // else it is deleted, which is told next
				return cmp.Or(endOfWait(ctx), err)
			}
		}
		delete(left, name)
		if on && !globals[name] {
			left[name] = why
		}
		switch text := unitsLeft(left); {
		case !known:
		case len(left) == 0:
			return nil
		case text != told:
			a.note("machine/%s: %s", id, text)
			told = text
		}
	}
	return endOfWait(ctx)
}

// leftOn reports whether a unit is on the machine, placed or still running, and why it stays where it fits nowhere else.
func leftOn(id string, unit v1.Unit) (why string, on bool) {
	for _, m := range unit.Status.Machines {
		runs := m.State != nil && m.State.ActiveState != "inactive" && m.State.ActiveState != "failed"
		on = on || m.Machine == id && (m.Placement != nil || runs)
	}
	if on && unit.Status.Unplaced != nil {
		why = unit.Status.Unplaced.Message
	}
	return why, on
}

// unitsLeft is what is left in one line.
func unitsLeft(left map[string]string) string {
	const few = 4
	names := slices.Sorted(maps.Keys(left))
	more, why := "", ""
	if len(names) > few {
		more = fmt.Sprintf(" and %d more", len(names)-few)
	}
	for _, name := range slices.Backward(names) {
		if left[name] != "" {
			why = "; " + name + ": " + left[name]
		}
	}
	return fmt.Sprintf("%d left: %s%s%s", len(names), strings.Join(names[:min(few, len(names))], ", "), more, why)
}
