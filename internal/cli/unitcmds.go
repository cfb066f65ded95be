package cli

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
)

// stateOptions are the flags of the commands that bring units to a state.
type stateOptions struct {
	verb    string // start, stop ...: also the last part of the request's path
	state   v1.DesiredState
	done    string // "launched": Unit X launched on M
	create  bool   // the unit may be a file or an instance of a template
	replace bool
	noBlock bool
	// attempts is the original's --block-attempts: once a second.
	attempts int
	timeout  time.Duration
}

const nameHelp = `

.service may be left out of names.`

const lookupHelp = `

A name is looked for in the cluster, then as a file here, then as an instance of a template in the cluster
(example-app@1 of example-app@.service), then as one of a template here. A file or a template that differs from
what the cluster has only warns, without --replace. With it the file here, the template here, or the template in the
cluster, whichever is found first, takes the place of the unit's, and what runs is restarted.`

func (a *app) submitCommand() *cobra.Command {
	var replace bool
	cmd := &cobra.Command{
		Use: "submit FILE...", Short: "Store unit files in the cluster, without running them",
		Long:    "Stores units and templates from files. Submitting again changes nothing, unless --replace is given. A unit that\nis loaded or launched is not replaced: see start --replace." + nameHelp,
		Example: "  fleetctl submit example-app@.service\n  fleetctl submit units/*.service --replace",
		Args:    atLeast(1, "the unit file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(args, func(arg string) error {
				name, err := a.ensure(cmd.Context(), arg, replace, v1.Inactive)
				if err == nil {
					a.say("Unit %s inactive", name)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "put the file in the place of what the cluster has")
	return cmd
}

func (a *app) loadCommand() *cobra.Command {
	return a.stateCommand(stateOptions{verb: "load", state: v1.Loaded, done: "loaded", create: true},
		"Place units on machines without starting them", lookupHelp)
}

func (a *app) startCommand() *cobra.Command {
	return a.stateCommand(stateOptions{verb: "start", state: v1.Launched, done: "launched", create: true},
		"Start units, and wait until they are active", "\nOne that has failed or was stopped is started again."+lookupHelp)
}

func (a *app) stopCommand() *cobra.Command {
	return a.stateCommand(stateOptions{verb: "stop", state: v1.Loaded, done: "loaded"},
		"Stop units; they stay on their machines", "\nA unit of an app stays stopped until it is started again.")
}

func (a *app) unloadCommand() *cobra.Command {
	return a.stateCommand(stateOptions{verb: "unload", state: v1.Inactive, done: "inactive"},
		"Stop units and take them off their machines", "")
}

func (a *app) stateCommand(o stateOptions, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use: o.verb + " UNIT...", Short: short, Long: short + "." + long + nameHelp,
		Example: fmt.Sprintf("  fleetctl %[1]s example-app@1\n  fleetctl %[1]s example-app@{1,2}.service --no-block", o.verb),
		Args:    atLeast(1, "the unit's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.bring(cmd.Context(), args, o)
		},
		ValidArgsFunction: a.completeNames(func() shower { return &unitKind }),
	}
	o.addFlags(cmd)
	return cmd
}

func (o *stateOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.noBlock, "no-block", false, "do not wait")
	f.IntVar(&o.attempts, "block-attempts", 0, "wait that many seconds instead of --timeout")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait")
	if o.create {
		f.BoolVar(&o.replace, "replace", false, "put a file that differs in the place of what the cluster has")
	}
}

func (a *app) destroyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "destroy UNIT...", Short: "Stop units and remove them from the cluster",
		Long:    "Stops units, takes them off their machines and forgets them. Units of an app are refused: delete the app." + nameHelp,
		Example: "  fleetctl destroy example-app@1\n  fleetctl destroy example-app@.service",
		Args:    atLeast(1, "the unit's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(args, func(arg string) error {
				c, err := a.client()
				if err != nil {
					return err
				}
				name := unitName(arg)
				if _, err := c.Write(cmd.Context(), client.Request{Method: http.MethodDelete, Path: client.Path("units", name)}); err != nil {
					return err
				}
				a.say("Destroyed %s", name)
				return nil
			})
		},
		ValidArgsFunction: a.completeNames(func() shower { return &unitKind }),
	}
}

func (a *app) catCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cat UNIT", Short: "Show a unit's file, byte for byte",
		Long:    "Writes the text of a unit or template as the cluster has it, with its [X-Fleet] section." + nameHelp,
		Example: "  fleetctl cat example-app@1\n  fleetctl cat example-app@.service > example-app@.service",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("one unit's name is wanted, got %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			text, err := c.Do(cmd.Context(), client.Request{Method: http.MethodGet, Path: client.Path("units", unitName(args[0]), "file")})
			if err == nil {
				_, err = a.Out.Write(text)
			}
			return err
		},
		ValidArgsFunction: a.completeNames(func() shower { return &unitKind }),
	}
}
