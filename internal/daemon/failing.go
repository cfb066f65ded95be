package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/controller"
)

// watchEvery is how often the controllers are checked. Nothing is written unless something changed.
const watchEvery = 10 * time.Second

// watchControllers publishes which controllers keep failing in the machine's presence, for the scheduler, people and their
// tools, and records an event when one starts and when it stops failing.
func (a *Agent) watchControllers(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.tellFailing(a.Metrics.Failing())
		}
	}
}

// The reasons of machine events.
const (
	reasonFailing = "ControllerFailing" // a controller of its fleetd has been failing for a minute, or one reconciliation has taken three
	reasonWorks   = "ControllerWorks"   // that controller works again
)

func (a *Agent) tellFailing(list []controller.Failing) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.machine.Spec.Failing
	after := nextFailing(before, list)
	if maps.Equal(before, after) {
		return
	}
	id := a.machine.Metadata.Name
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if before[name] == "" {
			a.Log.Error(errors.New(after[name]), "Controller keeps failing", "controller", name)
			a.Events.Record(v1.KindMachine, id, v1.EventWarning, reasonFailing, after[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if after[name] == "" {
			a.Log.Info("Controller works again", "controller", name)
			a.Events.Record(v1.KindMachine, id, v1.EventNormal, reasonWorks, name+" works again")
		}
	}
	a.machine.Spec.Failing = after
	a.presence.Update(a.machine)
}

// nextFailing returns the message for each controller that keeps failing. The first message stays, so that it is written
// once.
func nextFailing(before map[string]string, list []controller.Failing) map[string]string {
	after := map[string]string{}
	for _, f := range list {
		if _, ok := after[f.Controller]; ok {
			continue // the first key is enough
		}
		if after[f.Controller] = before[f.Controller]; after[f.Controller] == "" {
			after[f.Controller] = f.String()
		}
	}
	return after
}

// maxTold is the number of failing keys to list.
const maxTold = 5

// failing is the error that lists failing keys.
func failing(list []controller.Failing) error {
	var errs []error
	for i, f := range list {
		if i == maxTold {
			errs = append(errs, fmt.Errorf("and %d more", len(list)-i))
			break
		}
		errs = append(errs, errors.New(f.String()))
	}
	return errors.Join(errs...)
}
