package cli

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/fleet-starter/fleet/apis/quantity"
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

func (a *app) describeUnit(ctx context.Context, typed string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	name := unitName(typed)
	unit, err := client.Get[v1.Unit](ctx, c, client.Path("units", name), url.Values{"file": {"true"}})
	if err != nil {
		return err
	}
	byHand := ""
	if unit.Status.StoppedByHand {
		byHand = "stopped by hand: fleetctl start " + shortName(name)
	}
	a.facts([]fact{
		{"Unit", name}, {"Owner", unit.Metadata.Owner}, {"Labels", pairs(unit.Metadata.Labels)}, {"Version", unit.Metadata.ResourceVersion},
		{"Desired state", string(unit.Spec.DesiredState)}, {"Requested", unit.Spec.RequestedAt},
		{"By hand", byHand}, {"File", unit.Spec.Hash},
	})
	options := &table{columns: []string{"OPTION", "VALUE"}}
	for _, o := range fileOf(unit).Options {
		options.add(plain, o.Name, o.Value)
	}
	a.section("[X-Fleet]", options)
	t := &table{columns: []string{"MACHINE", "LOAD", "ACTIVE", "SUB", "RESULT", "SINCE", "MESSAGE"}}
	for _, l := range unitLines(unit) {
		result, since := "", ""
		if s := l.on.State; s != nil {
			result = s.Result
			if !s.Since.IsZero() {
				since = s.Since.UTC().Format(time.RFC3339)
			}
		}
		if l.on.Machine != "" {
			t.add(plain, a.machine(l.on.Machine, l.on.Address), l.load, l.active, l.sub, result, since, l.reason)
		}
	}
	a.section("Machines", t)
	for _, l := range unitLines(unit) {
		p := l.on.Placement
		if p != nil && p.Assigned != "" {
			a.say("Ports on %s: %s", a.machine(l.on.Machine, l.on.Address), a.safe(string(p.Assigned)))
		}
		if p != nil && p.Note != "" {
			a.say("On %s %s", a.machine(l.on.Machine, l.on.Address), a.safe(p.Note))
		}
	}
	for _, l := range unitLines(unit) {
		if s := l.on.State; s != nil && s.Output != "" {
			a.say("Last lines on %s:", a.machine(l.on.Machine, l.on.Address))
			for line := range strings.SplitSeq(s.Output, "\n") {
				a.say("  %s", a.safe(line))
			}
		}
	}
	a.statusTexts(ctx, c, unit)
	a.notPlaced([]v1.Unit{unit})
	return a.recent(ctx, "unit/"+name)
}

// statusTextWithin is how long a description waits for what only the units' machines know.
const statusTextWithin = 3 * time.Second

// statusTexts shows what the unit's processes say of themselves, such as that the registry's storage is away. Machines that do not
// answer, or whose fleetd is older, are left out: the rest of the description does not need them.
func (a *app) statusTexts(ctx context.Context, c *client.Client, unit v1.Unit) {
	lines := unitLines(unit)
	texts := make([]string, len(lines))
	var asking sync.WaitGroup
	for i, l := range lines {
		asking.Go(func() { texts[i] = statusText(ctx, c, unit.Metadata.Name, l.on) })
	}
	asking.Wait()
	for i, l := range lines {
		if texts[i] != "" {
			a.say("Status on %s: %s", a.machine(l.on.Machine, l.on.Address), a.safe(texts[i]))
		}
	}
}

// statusText is what a unit's process says of itself on a machine; "" if it says nothing, does not run, or cannot be asked.
func statusText(ctx context.Context, c *client.Client, name string, on v1.UnitOnMachine) string {
	if s := on.State; s == nil || s.ActiveState == "inactive" || s.ActiveState == "failed" || !strings.HasSuffix(name, ".service") {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, statusTextWithin)
	defer cancel()
	said, err := client.Get[wire.UnitStatusText](ctx, c, client.Path("units", name, "statustext"), url.Values{"machine": {on.Machine}})
	if err != nil {
		return ""
	}
	return said.StatusText
}

func (a *app) describeMachine(ctx context.Context, typed string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	id, err := a.machineNamed(ctx, typed)
	if err != nil {
		return err
	}
	m, err := client.Get[v1.Machine](ctx, c, client.Path("machines", id), nil)
	if err != nil {
		return err
	}
	units, err := client.List[v1.Unit](ctx, c, client.Path("units"), nil)
	if err != nil {
		return err
	}
	a.facts([]fact{
		{"Machine", id}, {"Address", m.Spec.Address}, {"Metadata", metadata(&m)}, {"State", machineState(m)},
		{"CPU", known(m.Spec.Capacity.CPU, quantity.FormatCores)}, {"Memory", known(m.Spec.Capacity.Memory, quantity.ApproximateMemory)}, {"Endpoint", m.Spec.Endpoint},
		{"Boot", m.Spec.BootID}, {"Versions", pairs(m.Spec.Versions)},
	})
	t := &table{columns: []string{"UNIT", "ACTIVE", "SUB", "OWNER"}}
	for _, unit := range units {
		for _, l := range unitLines(unit) {
			if l.on.Machine == id {
				t.add(plain, unit.Metadata.Name, l.active, l.sub, unit.Metadata.Owner)
			}
		}
	}
	a.section("Units", t)
	return a.recent(ctx, "machine/"+id)
}
