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

MACHINE is an ID or a unique prefix of it; an absent machine needs its full ID.`

func (a *app) cordonCommand() *cobra.Command {
	return a.machineCommand(&cobra.Command{
		Use: "cordon MACHINE...", Short: "Keep new units off machines",
		Long:    "Keeps new units off machines. Units that run there stay." + machineHelp,
		Example: "  fleetctl cordon 8abff2e7",
	}, `{"cordoned": true}`, "cordoned", nil)
}

func (a *app) uncordonCommand() *cobra.Command {
	return a.machineCommand(&cobra.Command{
		Use: "uncordon MACHINE...", Short: "Allow new units on machines again",
		Long:    "Ends cordon and drain. Units that were moved off a machine do not move back by themselves." + machineHelp,
		Example: "  fleetctl uncordon 8abff2e7",
	}, `{"cordoned": false, "drain": false}`, "uncordoned", nil)
}

func (a *app) drainCommand() *cobra.Command {
	var noBlock bool
	var timeout time.Duration
	cmd := a.machineCommand(&cobra.Command{
		Use: "drain MACHINE...", Short: "Move units off machines and keep new ones off",
		Long: `Moves units to other machines, the instances of an app one at a time: each is taken out of the routers first, and the
next one follows when it is active and announced again. An instance of an image stays until the machine that it moves to has
pulled that. Global units and units that fit no other machine stay.
Returns when no other unit is left. uncordon ends the drain.` + machineHelp,
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

// machineCommand completes a command that patches each machine and prints "machine/ID done" as kubectl does; then, if
// set, runs after all are patched.
func (a *app) machineCommand(cmd *cobra.Command, patch, done string, then func(ctx context.Context, id string) error) *cobra.Command {
	cmd.Args = atLeast(1, "a machine ID")
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
		id, err = typed, nil // it may be absent
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

// waitDrained returns when every unit that can move has left the machine, and reports those that stay.
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
		case wire.Bookmark: // all existing units were sent
			known = true
		case wire.Added, wire.Modified:
			why, on = leftOn(id, event.Object)
		}
		if _, looked := globals[name]; on && !looked { // reading all units' files would be expensive
			unit, err := a.unitWithFile(ctx, name)
			switch {
			case err == nil:
				globals[name] = isGlobal(unit)
			case !client.NotFound(err): // otherwise it is deleted, which the next event says
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

// leftOn reports whether a unit is placed or still running on the machine, and why it has to stay.
func leftOn(id string, unit v1.Unit) (why string, on bool) {
	for _, m := range unit.Status.Machines {
		runs := m.State != nil && m.State.ActiveState != "inactive" && m.State.ActiveState != "failed"
		on = on || m.Machine == id && (m.Placement != nil || runs)
	}
	if !on {
		return "", false
	}
	if unit.Status.Unplaced != nil {
		return unit.Status.Unplaced.Message, true
	}
	for _, m := range unit.Status.Machines {
		if m.Placement == nil && m.State != nil && m.State.Prepared.Waits() != "" {
			why = "machine " + m.Machine + " first has to have its image: " + still(m.State.Prepared)
		}
	}
	return why, true
}

// still is what keeps a machine from being ready, without the numbers that change all the time.
func still(is v1.Prepared) string {
	if is.State != v1.PreparedPulling {
		return is.Waits()
	}
	pulling, _, _ := strings.Cut(is.Waits(), " (")
	return pulling
}

// unitsLeft formats the remaining units on one line.
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
