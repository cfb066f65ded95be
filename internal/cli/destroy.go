package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// destroy deletes units. Those that do not exist are reported and skipped.
func (a *app) destroy(ctx context.Context, args []string, o stateOptions) error {
	found := false
	err := a.each(args, func(arg string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		name := unitOf(arg)
		unit, err := a.unitWithFile(ctx, name)
		if err == nil {
			_, err = c.Write(ctx, client.Request{Method: http.MethodDelete, Path: client.Path("units", name)})
		}
		if err != nil {
			return a.skipUnknown(err)
		}
		found = true
		if o.attempts > 0 && !o.noBlock && !isGlobal(unit) {
			if err := a.waitGone(ctx, name, o.patience()); err != nil {
				return fmt.Errorf("unit %s was deleted and is still on a machine: %w", name, err)
			}
		}
		a.say("Destroyed %s", name)
		return nil
	})
	if !found && err == nil {
		a.note("Units not found in registry")
	}
	return err
}

// waitGone waits until no machine reports the unit.
func (a *app) waitGone(ctx context.Context, name string, patience time.Duration) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	on := map[string]bool{}
	complete := false // the states of before have been read
	for event, err := range client.Follow[wire.InstanceState](ctx, c, client.Path("states"), url.Values{"unitName": {name}}, false) {
		switch {
		case err != nil:
			return err
		case event.Type == wire.Bookmark:
			complete = true
		case event.Type == wire.Deleted:
			delete(on, event.Object.Machine)
		default:
			on[event.Object.Machine] = true
		}
		if complete && len(on) == 0 {
			return nil
		}
	}
	return endOfWait(ctx)
}
