package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fleet-starter/fleet/internal/config"
	"github.com/fleet-starter/fleet/internal/daemon"
	"github.com/fleet-starter/fleet/internal/version"
)

// newRun returns the command that runs the daemon.
func newRun() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "fleetd",
		Short: "Run this machine's part of the cluster",
		Long: `fleetd starts the units that are placed on this machine, serves the API and, where it is elected, decides for the
whole cluster. Each key of the configuration file is also a variable, FLEET_<KEY>, and a flag; flags go first.`,
		Version:       version.String(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd, config.Source{File: file, Environ: os.Environ(), Flags: given(cmd.Flags())})
		},
	}
	cmd.SetVersionTemplate("fleetd version {{.Version}}\n")
	cmd.Flags().StringVar(&file, "config", "", "configuration file (default "+config.DefaultFile+")")
	for _, k := range config.Keys() {
		usage := k.Usage
		if k.Default != "" {
			usage += " (default " + k.Default + ")"
		}
		cmd.Flags().String(k.Flag(), "", usage)
		if k.Bool {
			cmd.Flags().Lookup(k.Flag()).NoOptDefVal = "true"
		}
	}
	return cmd
}

// given returns the flags on the command line, by the names of the keys.
func given(flags *pflag.FlagSet) map[string]string {
	values := map[string]string{}
	flags.Visit(func(f *pflag.Flag) { values[strings.ReplaceAll(f.Name, "-", "_")] = f.Value.String() })
	return values
}

func run(cmd *cobra.Command, src config.Source) error {
	cfg, warnings, err := config.Load(src)
	if err != nil {
		return fmt.Errorf("invalid configuration:\n%w", err)
	}
	d := daemon.New(cfg, daemon.Options{
		Log:    cmd.ErrOrStderr(),
		Out:    cmd.OutOrStdout(),
		Reload: func() (*config.Config, []string, error) { return config.Load(src) },
	})
	for _, w := range warnings {
		d.Logger().Info("Configuration warning", "warning", w)
	}
	return d.Run(cmd.Context())
}
