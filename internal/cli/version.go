package cli

import (
	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/version"
)

func (a *app) versionCommand() *cobra.Command {
	var server bool
	cmd := &cobra.Command{
		Use: "version", Short: "Show the version of fleetctl",
		Long: "Shows fleetctl's version, as --version does; with --server also that of the fleetd at --endpoint.", Example: "  fleetctl version --server",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.say("fleetctl version %s", version.String())
			if !server {
				return nil
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			there, err := client.Get[wire.Version](cmd.Context(), c, "/version", nil)
			if err != nil {
				return err
			}
			a.say("fleetd version %s", there.Version)
			return nil
		},
	}
	cmd.Flags().BoolVar(&server, "server", false, "show the version of fleetd as well")
	return cmd
}

// versionInHelp ends the help of fleetctl itself with its version, as the original does.
func versionInHelp(root *cobra.Command) {
	root.SetHelpTemplate(root.HelpTemplate() + "{{if not .HasParent}}\nVersion:\n  {{.Version}}\n{{end}}")
}
