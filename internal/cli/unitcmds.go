package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
)

// stateOptions are the flags of the commands that set a unit's state.
type stateOptions struct {
	verb    string // start, stop ...: also the last segment of the request's path
	state   v1.DesiredState
	done    string // "launched": Unit X launched on M
	create  bool   // the unit may be a file or an instance of a template
	skip    bool   // a unit that does not exist is no error
	replace bool
	noBlock bool
	// attempts is the original's --block-attempts: one per second.
	attempts int
	timeout  time.Duration
}

const nameHelp = `

The suffix .service may be omitted. Of a path, such as units/hello.service, the last part is the unit's name.`

const lookupHelp = `

A name is looked up in the cluster, then as a file here, then as an instance of a template in the cluster
(example-app@1 of example-app@.service), then of a template file here. If the options in the file or template
found differ from those of the unit in the cluster, the cluster's is used with a warning. With --replace the file here,
the template here, or the template in the cluster, in this order, replaces it, and a running unit is restarted. With
--replace a template's name stands for its running instances: each is replaced when the one before is active.`

func (a *app) submitCommand() *cobra.Command {
	var replace bool
	cmd := &cobra.Command{
		Use: "submit FILE...", Short: "Store unit files in the cluster, without running them",
		Long:    "Stores units and templates from files. An existing unit is not changed unless --replace is given. A loaded or\nlaunched unit is not replaced, and a warning says so: see start --replace." + nameHelp,
		Example: "  fleetctl submit example-app@.service\n  fleetctl submit units/*.service --replace",
		RunE: a.ofUnits("a unit file", func(ctx context.Context, args []string) error {
			return a.each(args, func(arg string) error {
				name, how, err := a.ensure(ctx, arg, replace, v1.Inactive)
				if err == nil && (how == created || how == replaced) {
					a.say("Unit %s inactive", name)
				}
				return err
			})
		}),
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "replace the unit in the cluster")
	a.addStrict(cmd)
	addSign(cmd)
	return cmd
}

func (a *app) loadCommand() *cobra.Command {
	return a.stateCommand(stateOptions{verb: "load", state: v1.Loaded, done: "loaded", create: true},
		"Place units on machines without starting them", lookupHelp)
}

func (a *app) startCommand() *cobra.Command {
	return a.stateCommand(stateOptions{verb: "start", state: v1.Launched, done: "launched", create: true},
		"Start units, and wait until they are active", "\nA failed or stopped unit is started again. A service that ends with an error within a second of its start has not\n"+
			"started: its result and its last log lines are printed, and the exit code is 1."+lookupHelp)
}

func (a *app) stopCommand() *cobra.Command {
	return a.stateCommand(stateOptions{verb: "stop", state: v1.Loaded, done: "loaded", skip: true},
		"Stop units; they stay on their machines", "\nA unit of an app stays stopped until it is started again.")
}

func (a *app) unloadCommand() *cobra.Command {
	return a.stateCommand(stateOptions{verb: "unload", state: v1.Inactive, done: "inactive", skip: true},
		"Stop units and take them off their machines", "")
}

func (a *app) stateCommand(o stateOptions, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use: o.verb + " UNIT...", Short: short, Long: short + "." + long + nameHelp,
		Example: fmt.Sprintf("  fleetctl %[1]s example-app@1\n  fleetctl %[1]s example-app@{1,2}.service --no-block", o.verb),
		RunE: a.ofUnits("a unit's name", func(ctx context.Context, args []string) error {
			if !o.create || !o.replace {
				return a.bring(ctx, args, o)
			}
			templates := slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return !isTemplate(arg) })
			err := a.each(templates, func(arg string) error { return a.replaceInstances(ctx, arg, o) })
			return firstError(err, a.bring(ctx, slices.DeleteFunc(args, isTemplate), o))
		}),
		ValidArgsFunction: a.completeNames(func() shower { return &unitKind }),
	}
	o.addFlags(cmd)
	a.addStrict(cmd)
	if o.create {
		addSign(cmd)
	}
	return cmd
}

func (o *stateOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.noBlock, "no-block", false, "do not wait")
	f.IntVar(&o.attempts, "block-attempts", 0, "number of seconds to wait, instead of --timeout")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait")
	if o.create {
		f.BoolVar(&o.replace, "replace", false, "replace the unit in the cluster if it differs")
	}
}

func (a *app) destroyCommand() *cobra.Command {
	o := stateOptions{verb: "destroy"}
	cmd := &cobra.Command{
		Use: "destroy UNIT...", Short: "Stop units and remove them from the cluster",
		Long: `Stops units, takes them off their machines and deletes them, without waiting until they have stopped, unless
--block-attempts is given. A unit of an app cannot be destroyed: delete the app.` + nameHelp,
		Example: "  fleetctl destroy example-app@1\n  fleetctl destroy example-app@.service",
		RunE: a.ofUnits("a unit's name", func(ctx context.Context, args []string) error {
			return a.destroy(ctx, args, o)
		}),
		ValidArgsFunction: a.completeNames(func() shower { return &unitKind }),
	}
	cmd.Flags().BoolVar(&o.noBlock, "no-block", false, "do not wait until the units have stopped")
	cmd.Flags().IntVar(&o.attempts, "block-attempts", 0, "wait this many seconds until the units have stopped")
	a.addStrict(cmd)
	return cmd
}

func (a *app) catCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cat UNIT", Short: "Show a unit's file, byte for byte",
		Long:    "Writes the stored text of a unit or template, including its [X-Fleet] section." + nameHelp,
		Example: "  fleetctl cat example-app@1\n  fleetctl cat example-app@.service > example-app@.service",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) != 1 && a.strict:
				return usage("expected one unit, got %d arguments", len(args))
			case len(args) != 1:
				return errors.New("one unit must be named")
			}
			return a.lenient(a.cat(cmd.Context(), args[0]), exitError)
		},
		ValidArgsFunction: a.completeNames(func() shower { return &unitKind }),
	}
	a.addStrict(cmd)
	return cmd
}

func (a *app) cat(ctx context.Context, arg string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	text, err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: client.Path("units", unitOf(arg), "file")})
	if err == nil {
		_, err = a.Out.Write(text)
	}
	return err
}
