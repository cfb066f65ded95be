package cli

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

func (a *app) scaleCommand() *cobra.Command {
	var o undoOptions
	cmd := &cobra.Command{
		Use: "scale app/NAME N", Short: "Set the number of instances of an app",
		Long: `Sets spec.replicas in the stored manifest, and leaves every other byte of it as it is, comments included. That is a new revision, as an
apply makes it: it starts or removes instances, and replaces none. A global app runs on each machine that matches, and cannot be scaled.

Set the number in the manifest's file, too: the next apply of that file stores what is in it.`,
		Example: "  fleetctl scale app/hello 5\n  fleetctl scale app/hello 5 --wait",
		Args: func(_ *cobra.Command, args []string) error {
			_, _, err := scaled(args)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name, replicas, _ := scaled(args)
			q, suffix := dryRun(o.dryRun)
			request := client.Request{Path: client.Path("apps", name, "scale"), Query: q}
			if err := a.post(cmd.Context(), request, wire.ScaleRequest{Replicas: &replicas, Note: o.note}, suffix); err != nil || o.dryRun || !o.wait {
				return err
			}
			return a.waitRollout(cmd.Context(), name, o.timeout)
		},
		ValidArgsFunction: a.completeApp,
	}
	f := cmd.Flags()
	f.StringVar(&o.note, "note", "", "a note for fleetctl history")
	f.BoolVar(&o.dryRun, "dry-run", false, "check and report what would change, without storing it")
	f.BoolVar(&o.wait, "wait", false, "wait until all are ready")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long --wait may take")
	return cmd
}

// scaled reads app/NAME N, or app NAME N.
func scaled(args []string) (name string, replicas int32, err error) {
	if len(args) < 2 {
		return "", 0, usage("give app/NAME and the number of instances, such as scale app/hello 5")
	}
	last := len(args) - 1
	if name, err = appNamed(args[:last]); err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(args[last], 10, 31)
	if err != nil {
		return "", 0, usage("%q is not a number of instances", args[last])
	}
	return name, int32(n), nil
}
