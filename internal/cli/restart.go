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
		Long: `Restarts all instances of an app, or the named instances, one at a time: each is taken out of the routers first, and
the next one follows when it is ready again. A global app is a single unit, which restarts on all machines at once.
Instances stopped by hand stay stopped unless they are named.

Units that do not belong to an app are restarted immediately and concurrently. An inactive unit is not started.` + nameHelp,
		Example: "  fleetctl restart app/example-app\n  fleetctl restart example-app@1 example-app@2\n  fleetctl restart registry --no-block",
		RunE: a.ofUnits("app/NAME or a unit's name", func(ctx context.Context, args []string) error {
			return a.restart(ctx, args, o)
		}),
		ValidArgsFunction: a.completeAppsAndUnits,
	}
	o.addFlags(cmd)
	a.addStrict(cmd)
	return cmd
}

// rollout is the restart of an app's instances. units are the named ones; empty means all.
type rollout struct {
	app   string
	units []string
	all   bool
}

// restart groups the arguments: instances by app, other units alone. All are restarted concurrently.
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
		case err != nil || owner+unit == "":
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
		go func() { errs <- job() }() // ends with the job; every result is received
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

// restarted returns the app and the instance that an argument names: unit is empty for app/NAME, app is empty for other
// units, and both for a unit that is inactive, which is reported.
func (a *app) restarted(ctx context.Context, arg string) (app, unit string, err error) {
	if kind, name, ok := strings.Cut(arg, "/"); ok && (kind == "app" || kind == "apps") && name != "" && !isUnit(name) {
		return name, "", nil
	}
	c, err := a.client()
	if err != nil {
		return "", "", err
	}
	name := unitOf(arg)
	stored, err := client.Get[v1.Unit](ctx, c, client.Path("units", name), url.Values{"file": {"true"}})
	switch {
	case err != nil:
		return "", "", err
	case idle(stored):
		a.note("Unable to restart unit %s in state inactive", name)
		return "", "", nil
	}
	owner := stored.Metadata.Owner
	if _, sidekick, ours := v1.ParseAppUnit(owner, name); !ours || sidekick {
		owner = "" // a sidekick is restarted on its own
	}
	return owner, name, nil
}

// roll restarts instances of one app and waits until all are restarted and ready.
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
		return fmt.Errorf("cannot decode the answer: %w", err)
	}
	switch {
	case len(restart.Units) == 0:
		a.say("app/%s: no instance to restart", r.app)
		return nil
	case o.noBlock:
		a.say("Triggered app/%s restart", r.app)
		return nil
	}
	if n := len(restart.Units); n > 1 {
		a.note("app/%s: restarting %d instances, one at a time", r.app, n)
	}
	ctx, cancel := context.WithTimeout(ctx, o.patience())
	defer cancel()
	if err := a.waitRestarted(ctx, r, restart); err != nil {
		return fmt.Errorf("restart of app/%s failed: %w", r.app, err)
	}
	return nil
}

// waitRestarted follows the units of an app until all requested restarts are done, and reports each. Of a whole app, what is removed
// meanwhile, such as an instance that another one has replaced, need not be restarted.
func (a *app) waitRestarted(ctx context.Context, r *rollout, restart wire.Restart) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	left := map[string]bool{}
	for _, unit := range restart.Units {
		left[unit] = true
	}
	for event, err := range client.Follow[v1.Unit](ctx, c, client.Path("units"), url.Values{"owner": {r.app}}, false) {
		name := event.Object.Metadata.Name
		switch {
		case err != nil:
			return err
		case event.Type == wire.Bookmark || !left[name]:
			continue
		case event.Type == wire.Deleted && !r.all:
			return fmt.Errorf("unit %s was removed", name)
		case event.Type == wire.Deleted:
			a.note("Unit %s was removed", name)
			if delete(left, name); len(left) == 0 {
				return nil
			}
			continue
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

// hasRestarted reports whether the unit runs as of that request and is ready.
func (a *app) hasRestarted(unit v1.Unit, requestedAt string) (where string, done bool, err error) {
	if o := unit.Status.Override; o == nil || o.RequestedAt != requestedAt {
		return "", false, fmt.Errorf("unit %s received another request in the meantime", unit.Metadata.Name)
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
