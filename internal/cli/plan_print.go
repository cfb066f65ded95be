package cli

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

// printPlan writes what would happen.
func (a *app) printPlan(plan *wire.Plan) error {
	switch a.output {
	case "json":
		return a.printJSON(plan)
	case "yaml":
		return a.printYAML(plan)
	}
	if !plan.Changed() {
		for _, note := range plan.Notes {
			a.say("note: %s", note)
		}
		a.say("nothing would happen")
		return nil
	}
	for _, c := range plan.Changes {
		a.say("%s would be %s%s", c.Object, cmp.Or(c.Message, strings.ToLower(c.Reason)), ends(c))
	}
	for _, note := range plan.Notes {
		a.say("note: %s", note)
	}
	if err := a.printActions(plan); err != nil {
		return err
	}
	for _, r := range plan.Routes {
		a.say("hosts of app/%s: %s", r.App, hostsChange(r))
		for _, why := range r.Refused {
			a.say("  %s", why)
		}
	}
	for _, u := range plan.Unplaced {
		a.say("%s would have no machine", u.Unit)
	}
	a.say("%s", planned(plan))
	return nil
}

// ends is what ends with an app.
func ends(c wire.PlanChange) string {
	if c.Ends == nil {
		return ""
	}
	text := "; it ends " + countOf(c.Ends.Instances, "instance")
	if len(c.Ends.Hosts) > 0 {
		text += " and the routes of " + hostNames(strings.TrimPrefix(c.Object, "app/"), c.Ends.Hosts)
	}
	return text
}

// hostNames are the hosts of an app.
func hostNames(app string, hosts []string) string {
	named := make([]string, len(hosts))
	for i, host := range hosts {
		if named[i] = host; host == "" {
			named[i] = app + ".<domain>"
		}
	}
	return strings.Join(named, " ")
}

// printActions writes the actions as a table; only those that people care about, unless -o wide asks for all.
func (a *app) printActions(plan *wire.Plan) error {
	actions := plan.Visible()
	if a.output == "wide" {
		actions = plan.Actions
	}
	if len(actions) == 0 {
		return nil
	}
	t := &table{columns: []string{"STEP", "ACTION", "WHAT", "MACHINE", "WHY"}}
	for i, action := range actions {
		what, machine := action.Unit, a.machineID(action.Machine)
		if what == "" && action.App != "" {
			what = "app/" + action.App
		}
		if action.From != "" {
			machine = a.machineID(action.From) + " -> " + machine
		}
		why := action.Reason
		if action.Message != "" {
			why += ": " + action.Message
		}
		colour := plain
		if action.Action == wire.ActionRefuse || action.Action == wire.ActionWarn || action.Action == wire.ActionFreeze {
			colour = yellow
		}
		t.add(colour, strconv.Itoa(i+1), action.Action, what, machine, why)
	}
	return a.printTable(t)
}

// hostsChange is how the hosts of an app change.
func hostsChange(r wire.PlanRoute) string {
	names := func(hosts []string) string {
		if len(hosts) == 0 {
			return "none"
		}
		return hostNames(r.App, hosts)
	}
	if len(r.Before) == 0 {
		return names(r.After)
	}
	return names(r.After) + " instead of " + names(r.Before)
}

// planned sums up what would happen.
func planned(plan *wire.Plan) string {
	counts := map[string]int{}
	for _, action := range plan.Visible() {
		counts[action.Action]++
	}
	var parts []string
	for _, c := range []struct{ action, text string }{
		{wire.ActionCreate, "created"}, {wire.ActionSurge, "started beside others"}, {wire.ActionReplace, "replaced"}, {wire.ActionMove, "moved"},
		{wire.ActionStop, "stopped"}, {wire.ActionRemove, "removed"},
	} {
		if n := counts[c.action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c.text))
		}
	}
	if n := len(plan.Unplaced); n > 0 {
		parts = append(parts, fmt.Sprintf("%d without a machine", n))
	}
	if len(parts) == 0 {
		return "plan: no unit is created, replaced, moved or removed"
	}
	return "plan: " + strings.Join(parts, ", ")
}
