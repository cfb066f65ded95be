package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// recentEvents is how many events describe shows.
const recentEvents = 10

func (a *app) describeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "describe app|unit|machine|source NAME...", Short: "Show the details of an app, a unit, a machine or a source",
		Long: `Shows the desired and the actual state, and why they differ: conditions, instances with their machines and endpoints,
the constraints that keep a unit off machines, and the last events.`,
		Example: "  fleetctl describe app hello\n  fleetctl describe unit example-app@1\n  fleetctl describe machine 8abff2e7",
		Args:    atLeast(1, "a kind (app, unit, machine or source) and a name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			args = splitArgs(args)
			if len(args) < 2 {
				return usage("missing name: give a kind and a name")
			}
			describe := map[string]func(context.Context, string) error{
				"app": a.describeApp, "apps": a.describeApp, "unit": a.describeUnit, "units": a.describeUnit,
				"machine": a.describeMachine, "machines": a.describeMachine, "source": a.describeSource, "sources": a.describeSource,
			}[args[0]]
			if describe == nil {
				return usage("%q cannot be described: use app, unit, machine or source", args[0])
			}
			return a.each(args[1:], func(name string) error { return describe(cmd.Context(), name) })
		},
		ValidArgsFunction: a.completeKindAndName,
	}
}

// fact is one line of a description.
type fact struct{ name, value string }

// facts writes aligned lines, without those that have no value.
func (a *app) facts(list []fact) {
	w := tabwriter.NewWriter(a.Out, 0, 8, 2, ' ', 0)
	for _, f := range list {
		if f.value != "" {
			fmt.Fprintf(w, "%s:\t%s\n", f.name, printable(f.value))
		}
	}
	w.Flush()
}

// section writes a title and an indented table, or a note that it is empty.
func (a *app) section(title string, t *table) {
	if len(t.rows) == 0 {
		a.say("%s: none", title)
		return
	}
	a.say("%s:", title)
	w := tabwriter.NewWriter(a.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "  %s\n", strings.Join(t.columns, "\t"))
	for _, row := range t.rows {
		for i := range row {
			row[i] = printable(row[i])
		}
		fmt.Fprintf(w, "  %s\n", strings.Join(row, "\t"))
	}
	w.Flush()
}

func (a *app) describeApp(ctx context.Context, name string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	object, err := client.Get[wire.App](ctx, c, client.Path("apps", name), nil)
	if err != nil {
		return err
	}
	units, err := client.List[v1.Unit](ctx, c, client.Path("units"), url.Values{"owner": {name}})
	if err != nil {
		return err
	}
	endpoints, err := client.List[wire.Endpoint](ctx, c, client.Path("apps", name, "endpoints"), nil)
	if err != nil {
		return err
	}
	facts := appFacts(object)
	if from, err := a.sourceOf(ctx, c, name); err != nil {
		return err
	} else if from != "" {
		facts = append(facts, fact{"Source", from})
	} else if from, err = a.commitOfApp(ctx, c, name); err != nil {
		return err
	} else if from != "" {
		facts = append(facts, fact{"Commit", from})
	}
	a.facts(facts)
	if object.Manifest != "" {
		a.say("Manifest:    not accepted, see fleetctl get app %s -o yaml", name)
	}
	t := &table{columns: []string{"CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"}}
	if object.Status != nil {
		for _, c := range object.Status.Conditions {
			t.add(plain, c.Type, c.Status, c.Reason, c.LastTransitionTime.UTC().Format(time.RFC3339), c.Message)
		}
	}
	a.section("Conditions", t)
	if object.Status != nil && object.Status.Rejected != nil {
		if seen := a.rejected(ctx, name, object.Status).seen(); seen != "" {
			a.say("Taken back:%s", seen)
		}
	}
	a.section("Instances", a.instances(units, endpoints))
	a.notPlaced(units)
	return a.recent(ctx, "app/"+name)
}

func appFacts(o wire.App) []fact {
	s := o.Spec
	list := []fact{
		{"App", o.Metadata.Name}, {"Description", s.Description}, {"Labels", pairs(o.Metadata.Labels)}, {"Version", o.Metadata.ResourceVersion},
	}
	if o.Status != nil {
		list = append(list, fact{"Revision", strconv.FormatInt(o.Status.AcceptedRevision, 10)})
	}
	if o.Manifest != "" {
		return list
	}
	switch {
	case s.Container != nil:
		list = append(list, fact{"Container", s.Container.Image})
	case s.Exec != nil:
		list = append(list, fact{"Exec", strings.Join(s.Exec.Command, " ")})
	}
	if s.Global {
		list = append(list, fact{"Replicas", "one on every machine that matches"})
	} else if s.Replicas != nil {
		list = append(list, fact{"Replicas", strconv.Itoa(int(*s.Replicas))})
	}
	var ports []string
	for _, p := range s.Ports {
		text := p.Name + " " + p.HostPort.String()
		if p.Port != 0 {
			text += fmt.Sprintf("->%d", p.Port)
		}
		ports = append(ports, text)
	}
	list = append(list, fact{"Ports", strings.Join(ports, ", ")})
	list = append(list, optionFacts(s.Placement.Options())...)
	if s.Announce != nil {
		list = append(list, fact{"Announced", fmt.Sprintf("below %s/%s, for %s beyond its machine", s.Announce.Prefix, o.Metadata.Name, s.Announce.TTL)})
	}
	list = append(list, fact{"Health check", healthText(s.HealthCheck)})
	if s.Route != nil {
		list = append(list, fact{"Hosts", strings.Join(s.Route.Hosts, ", ")})
	}
	return list
}

// optionFacts are the options of [X-Fleet], a line each with all its values.
func optionFacts(options []v1.UnitOption) (list []fact) {
	for _, o := range options {
		if n := len(list); n > 0 && list[n-1].name == o.Name {
			list[n-1].value += " " + o.Value
		} else {
			list = append(list, fact{o.Name, o.Value})
		}
	}
	return list
}

func healthText(h *v1.HealthCheck) string {
	if h == nil {
		return ""
	}
	what := ""
	switch {
	case h.HTTP != nil:
		what = "http " + h.HTTP.Path
	case h.TCP != nil:
		what = "tcp " + h.TCP.Port
	case h.Exec != nil:
		what = strings.Join(h.Exec.Command, " ")
	}
	return fmt.Sprintf("%s, every %s", what, h.Interval)
}

// announcedBy identifies the unit that an endpoint announces; machine is set for global units only.
type announcedBy struct{ unit, machine string }

// instances returns the table of an app's units and their endpoints.
func (a *app) instances(units []v1.Unit, endpoints []wire.Endpoint) *table {
	announced := map[announcedBy]string{}
	for _, e := range endpoints {
		announced[announcedBy{cmp.Or(e.Unit, e.Instance+".service"), e.Machine}] = e.Address // an older fleetd does not report the unit
	}
	t := &table{columns: []string{"UNIT", "MACHINE", "ACTIVE", "SUB", "ENDPOINT"}}
	for _, unit := range units {
		if strings.Contains(unit.Metadata.Name, "@.") {
			continue
		}
		for _, l := range unitLines(unit) {
			endpoint := cmp.Or(announced[announcedBy{unit.Metadata.Name, ""}], announced[announcedBy{unit.Metadata.Name, l.on.Machine}])
			t.add(plain, unit.Metadata.Name, a.machine(l.on.Machine, l.on.Address), l.active, l.sub, endpoint)
		}
	}
	return t
}

// notPlaced prints the constraints that keep each unit off machines.
func (a *app) notPlaced(units []v1.Unit) {
	heading := "Not placed:"
	for _, unit := range units {
		if unit.Status == nil || unit.Status.Unplaced == nil {
			continue
		}
		if heading != "" {
			a.say("%s", heading)
			heading = ""
		}
		a.say("  %s: %s", unit.Metadata.Name, printable(unit.Status.Unplaced.Message))
		for _, r := range unit.Status.Unplaced.Reasons {
			var ids []string
			for _, id := range r.Machines {
				ids = append(ids, a.machineID(id))
			}
			more := ""
			if r.Count > len(r.Machines) && len(r.Machines) > 0 {
				more = fmt.Sprintf(" and %d more", r.Count-len(r.Machines))
			}
			if r.Count == 0 { // no machine is affected
				a.say("    %s: %s", r.Reason, printable(r.Message))
				continue
			}
			a.say("    %s keeps it off %d: %s [%s%s]", r.Reason, r.Count, printable(r.Message), strings.Join(ids, " "), more)
		}
	}
}

func (a *app) recent(ctx context.Context, object string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	events, err := client.List[v1.Event](ctx, c, client.Path("events"), url.Values{"for": {object}})
	if err != nil {
		return err
	}
	a.section("Events", eventKind.tabulate(a, eventKind.fields.must(eventKind.table), events[max(0, len(events)-recentEvents):], nil))
	return nil
}
