package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

func (a *app) restartCommand() *cobra.Command {
	o := stateOptions{verb: "restart", state: v1.Launched, done: "launched"}
	cmd := &cobra.Command{
		Use: "restart app/NAME|UNIT...", Short: "Stop apps and units and start them again",
		Long: `Restarts all instances of an app, or the instances that are named, one after the other: each is taken out of the
routers first, and the next one follows when it is ready again. A global app is one unit, which restarts on all
machines at once. Instances that were stopped by hand stay so, unless they are named.

Units of no app are stopped and started at once, all side by side.` + nameHelp,
		Example: "  fleetctl restart app/example-app\n  fleetctl restart example-app@1 example-app@2\n  fleetctl restart registry --no-block",
		Args:    atLeast(1, "the app or the unit's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.restart(cmd.Context(), args, o)
		},
		ValidArgsFunction: a.completeAppsAndUnits,
	}
	o.addFlags(cmd)
	return cmd
}

// rollout is an app of which instances are restarted. units are those that are named; none for all.
type rollout struct {
	app   string
	units []string
	all   bool
}

// restart sorts what is named: instances by their app, other units alone. Everything goes on side by side.
func (a *app) restart(ctx context.Context, args []string, o stateOptions) error {
	if _, err := a.client(); err != nil {
		return err
	}
	var alone []string
	var rollouts []*rollout
	of := map[string]*rollout{}
	sorted := a.each(args, func(arg string) error {
		owner, unit, err := a.restarted(ctx, arg)
		switch {
		case err != nil:
			return err
		case owner == "":
			alone = append(alone, unit)
			return nil
		case of[owner] == nil:
			of[owner] = &rollout{app: owner}
			rollouts = append(rollouts, of[owner])
		}
		of[owner].all = of[owner].all || unit == ""
		of[owner].units = append(of[owner].units, unit)
		return nil
	})
	jobs := []func() error{func() error { return a.bring(ctx, alone, o) }}
	for _, r := range rollouts {
		jobs = append(jobs, func() error { return a.roll(ctx, r, o) })
	}
	errs := make(chan error)
	for _, job := range jobs {
		go func() { errs <- job() }() // ends with the job; each is received
	}
	for range jobs {
		if err := <-errs; sorted == nil && err != nil {
			sorted = errReported{a.report(err)}
		} else {
			a.report(err)
		}
	}
	return sorted
}

// restarted says which app's instance an argument names; of app/NAME the unit is empty, of other units the app.
func (a *app) restarted(ctx context.Context, arg string) (app, unit string, err error) {
	if kind, name, ok := strings.Cut(arg, "/"); ok {
		if kind != "app" && kind != "apps" || name == "" {
			return "", "", usage("%q: write app/NAME, or the name of a unit", arg)
		}
		return name, "", nil
	}
	c, err := a.client()
	if err != nil {
		return "", "", err
	}
	name := unitName(arg)
	stored, err := client.Get[v1.Unit](ctx, c, client.Path("units", name), nil)
	if err != nil {
		return "", "", err
	}
	owner := stored.Metadata.Owner
	if _, sidekick, ours := v1.ParseAppUnit(owner, name); !ours || sidekick {
		owner = "" // what announces an instance is restarted alone
	}
	return owner, name, nil
}

// roll has instances of one app restarted, and waits until all have been and are ready.
func (a *app) roll(ctx context.Context, r *rollout, o stateOptions) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	request := wire.RestartRequest{Units: r.units}
	if r.all {
		request.Units = nil
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	data, err := c.Do(ctx, client.Request{Method: http.MethodPost, Path: client.Path("apps", r.app, "restart"), Body: body, ContentType: wire.JSON})
	if err != nil {
		return err
	}
	var restart wire.Restart
	if err := json.Unmarshal(data, &restart); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	switch {
	case len(restart.Units) == 0:
		a.say("app/%s: no instance is to run", r.app)
		return nil
	case o.noBlock:
		a.say("Triggered app/%s restart", r.app)
		return nil
	}
	if n := len(restart.Units); n > 1 {
		a.note("app/%s: %d instances are restarted, one after the other", r.app, n)
	}
	ctx, cancel := context.WithTimeout(ctx, o.patience())
	defer cancel()
	if err := a.waitRestarted(ctx, r.app, restart); err != nil {
		return fmt.Errorf("app/%s is not restarted: %w", r.app, err)
	}
	return nil
}

// waitRestarted follows the units of an app until all that were to be restarted have been, and says so of each.
func (a *app) waitRestarted(ctx context.Context, app string, restart wire.Restart) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	left := map[string]bool{}
	for _, unit := range restart.Units {
		left[unit] = true
	}
	for event, err := range client.Follow[v1.Unit](ctx, c, client.Path("units"), url.Values{"owner": {app}}, false) {
		name := event.Object.Metadata.Name
		switch {
		case err != nil:
			return err
		case event.Type == wire.Bookmark || !left[name]:
			continue
		case event.Type == wire.Deleted:
			return fmt.Errorf("unit %s was removed", name)
		}
		where, done, err := a.hasRestarted(event.Object, restart.RequestedAt)
		if err != nil {
			return err
		}
		if !done {
			continue
		}
		a.say("Unit %s launched on %s", name, where)
		if delete(left, name); len(left) == 0 {
			return nil
		}
	}
	return endOfWait(ctx)
}

// hasRestarted reports whether the unit runs by that request, and its app's controller is done with it: it is ready.
func (a *app) hasRestarted(unit v1.Unit, requestedAt string) (where string, done bool, err error) {
	if o := unit.Status.Override; o == nil || o.RequestedAt != requestedAt {
		return "", false, fmt.Errorf("something else was asked of unit %s meanwhile", unit.Metadata.Name)
	}
	where, done, err = a.unitHas(unit, v1.Launched, requestedAt)
	return where, done && !unit.Status.Changing, err
}

// patience is how long to wait.
func (o stateOptions) patience() time.Duration {
	if o.attempts > 0 {
		return time.Duration(o.attempts) * time.Second
	}
	return o.timeout
}
