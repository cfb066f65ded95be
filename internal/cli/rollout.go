package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

func (a *app) rolloutCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rollout status|pause|resume|abort app/NAME", Short: "Show, pause, resume or abort the roll-out of an app",
		Long: `Shows how far the newest revision of an app is, pauses or resumes its roll-out, or takes it back. What is asked for is stored, and also
holds for the next leader.`,
		Example: "  fleetctl rollout status app/hello --wait\n  fleetctl rollout pause app/hello\n  fleetctl rollout abort app/hello",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q%s", "rollout "+args[0], suggestion(cmd, args[0]))
			}
			return usage("say what to do: rollout status, pause, resume or abort")
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(a.rolloutStatusCommand(),
		a.rolloutAction(wire.Pause, "Replace no further instance of an app",
			`No further instance is replaced, until fleetctl rollout resume. An instance that has left the routers to be replaced returns as it
was; one that was replaced stays. That holds for later manifests, too. Restarts, drains and scaling go on, and so does the return to
a former revision.`),
		a.rolloutAction(wire.Resume, "Go on with a paused roll-out",
			"Goes on where fleetctl rollout pause has stopped it."),
		a.rolloutAction(wire.Abort, "Return to the revision before",
			`Takes the newest revision back, like update.onFailure: revert: the revision before it is rolled out again, and the newest one is not
tried again until the manifest changes. The manifest stays as it is; apply --wait ends with exit code 5. A roll-out that is complete is
undone by fleetctl undo.`))
	return cmd
}

func (a *app) rolloutAction(action, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: action + " app/NAME", Short: short, Long: long, Example: "  fleetctl rollout " + action + " app/hello", Args: oneApp,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, _ := appNamed(args)
			return a.post(cmd.Context(), client.Request{Path: client.Path("apps", name, "rollout")}, wire.RolloutRequest{Action: action}, "")
		},
		ValidArgsFunction: a.completeApp,
	}
}

// post sends a request and says what the answer says.
func (a *app) post(ctx context.Context, request client.Request, body any, suffix string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	if request.Body, err = json.Marshal(body); err != nil {
		return err
	}
	request.Method, request.ContentType = http.MethodPost, wire.JSON
	answer, err := c.Write(ctx, request)
	if err != nil {
		return err
	}
	a.tellWarnings("fleetctl", answer.Warnings)
	a.say("%s%s", answer.Message, suffix)
	return nil
}

func (a *app) rolloutStatusCommand() *cobra.Command {
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "status app/NAME", Short: "Show how far the roll-out of an app is",
		Long: `Shows how far the newest revision of an app is, as soon as the controllers have looked at its manifest, for 5 s at most. With --wait, or --watch, it follows the roll-out until it is complete, and writes the
progress to standard error. It ends earlier where an instance cannot become ready, or the revision was taken back (exit code 5), or
after --timeout (exit code 4).`,
		Example: `  fleetctl rollout status app/hello
  fleetctl rollout status app/hello --wait --timeout 10m
  fleetctl rollout status app/hello -o json | jq -r .outcome`,
		Args: oneApp,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, _ := appNamed(args)
			if wait || a.watch {
				if err := a.waitRollout(cmd.Context(), name, timeout); err != nil {
					return err
				}
			}
			return a.rolloutStatus(cmd.Context(), name)
		},
		ValidArgsFunction: a.completeApp,
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "follow the roll-out until it ends")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long --wait may take")
	return cmd
}

// waitRollout follows the roll-out of the stored manifest.
func (a *app) waitRollout(ctx context.Context, name string, timeout time.Duration) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	object, err := client.Get[wire.App](ctx, c, client.Path("apps", name), nil)
	if err != nil {
		return err
	}
	return a.waitUndone(ctx, []string{name}, &wire.Status{ResourceVersion: object.Metadata.ResourceVersion}, undoOptions{wait: true, timeout: timeout})
}

func (a *app) rolloutStatus(ctx context.Context, name string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	is, err := observedRollout(ctx, c, name)
	switch {
	case err != nil:
		return err
	case a.output == "json":
		return a.printJSON(is)
	case a.output == "yaml":
		return a.printYAML(is)
	case a.output == "name":
		a.say("app/%s", name)
		return nil
	}
	a.say("%s", rolloutLine(is))
	return nil
}

// observeTimeout is how long "rollout status" waits for the controllers to look at a manifest: usually they have within milliseconds.
const observeTimeout = 5 * time.Second

// observedRollout reads how far a roll-out is as soon as the controllers have looked at the manifest, or that they have not.
func observedRollout(ctx context.Context, c *client.Client, name string) (is wire.Rollout, err error) {
	for deadline := time.Now().Add(observeTimeout); ; {
		is, err = client.Get[wire.Rollout](ctx, c, client.Path("apps", name, "rollout"), nil)
		if err != nil || !is.Unobserved || time.Now().After(deadline) {
			return is, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return is, ctx.Err()
		}
	}
}

// rolloutLine says in one line how far a roll-out is.
func rolloutLine(is wire.Rollout) string {
	line := "app/" + is.App + ": "
	if is.Revision != 0 {
		line += fmt.Sprintf("revision %d ", is.Revision)
	}
	line += is.Outcome
	if is.Paused {
		line += ", paused"
	}
	if !is.Unobserved && slices.Contains([]string{wire.Complete, wire.InProgress, wire.Stalled}, is.Outcome) {
		of := "it"
		if is.Counted != 0 {
			of = fmt.Sprintf("revision %d", is.Counted)
		}
		line += fmt.Sprintf(", %d of %d instances are of %s, %d ready", is.Replicas.Updated, is.Replicas.Desired, of, is.Replicas.Ready)
	}
	if message := strings.TrimSpace(is.Message); message != "" {
		line += "\n  " + strings.ReplaceAll(message, "\n", "\n  ")
	}
	return line
}
