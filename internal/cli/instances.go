package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
)

// replaceInstances stores a template's file and replaces the template's instances that are in the state that the command is for.
// One follows when the one before is there with the new file: a file that does not start leaves the others running with theirs.
func (a *app) replaceInstances(ctx context.Context, typed string, o stateOptions) error {
	dir, template := filepath.Split(typed)
	template, how, err := a.ensure(ctx, dir+template, true, v1.Inactive)
	if err != nil {
		return err
	}
	if how == created || how == replaced {
		a.say("Unit %s inactive", template)
	}
	instances, err := a.instancesOf(ctx, template, o.state)
	if err != nil {
		return err
	}
	if len(instances) == 0 {
		a.note("No instance of %s is %s", template, o.state)
	}
	for i, name := range instances {
		if err := a.bring(ctx, []string{dir + name}, o); err != nil {
			if left := instances[i+1:]; len(left) > 0 {
				a.note("fleetctl: not replaced, because %s failed: %s", name, strings.Join(left, ", "))
			}
			return err
		}
	}
	return nil
}

// instancesOf returns the instances of a template that are to be in a state and belong to no app, in the order of their names.
func (a *app) instancesOf(ctx context.Context, template string, state v1.DesiredState) (names []string, err error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	units, err := client.List[v1.Unit](ctx, c, client.Path("units"), nil)
	if err != nil {
		return nil, fmt.Errorf("the instances of %s are not known: %w", template, err)
	}
	for _, u := range units {
		if isInstance(u.Metadata.Name, template) && u.Metadata.Owner == "" && u.Spec.DesiredState == state {
			names = append(names, u.Metadata.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
