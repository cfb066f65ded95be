package cli

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

func (a *app) traceCommand() *cobra.Command {
	return &cobra.Command{
		Use: "trace UNIT", Short: "Follow a unit from its commit to the routers",
		Long: `Shows the whole way of a unit: the commit, the manifest, the revision, the unit file, the unit, its placements, the processes, the
endpoints and what each router serves; each with its key in etcd and the revision of that key's last change.`,
		Example: "  fleetctl trace example-app@1\n  fleetctl trace example-app@1 -o json",
		Args:    oneUnit,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			steps, err := client.Get[[]wire.TraceStep](cmd.Context(), c, client.Path("units", unitName(args[0]), "trace"), nil)
			switch {
			case err != nil:
				return err
			case a.output == "json":
				return a.printJSON(steps)
			case a.output == "yaml":
				return a.printYAML(steps)
			}
			t := &table{columns: []string{"STEP", "KEY", "REVISION", "WHAT"}}
			for _, s := range steps {
				revision := ""
				if s.Revision != 0 {
					revision = strconv.FormatInt(s.Revision, 10)
				}
				t.add(plain, s.Step, s.Key, revision, s.Text)
			}
			return t.write(a.Out, !a.noLegend, false)
		},
		ValidArgsFunction: a.completeNames(func() shower { return &unitKind }),
	}
}

func oneUnit(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("give one unit, such as example-app@1")
	}
	return nil
}
