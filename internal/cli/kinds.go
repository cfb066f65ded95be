package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/apis/quantity"
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/instance"
)

// kind is how objects of one sort are asked for and shown.
type kind[T any] struct {
	singular, plural string
	aliases          []string
	name             func(T) string
	columns, wide    []string
	// rows are the object's lines, with the cells of the wide columns behind the others.
	rows func(a *app, object T) [][]string
	// colour of the object's lines; nil for none.
	colour func(T) string
	// yaml writes the object other than by its JSON; nil for that.
	yaml func(a *app, ctx context.Context, object T) error
	// resume: one row makes the object, so that a watch can go on where it was cut.
	resume bool
	// argument makes a name of what was typed; nil for itself.
	argument func(a *app, ctx context.Context, typed string) (string, error)
}

var appKind = kind[wire.App]{
	singular: "app", plural: "apps",
	name:    func(o wire.App) string { return o.Metadata.Name },
	columns: []string{"APP", "READY", "UPDATED", "STATUS"}, wide: []string{"AVAILABLE", "REVISION", "IMAGE"},
	rows: appRows,
	colour: func(o wire.App) string {
		switch {
		case o.Status == nil || v1.IsTrue(o.Status.Conditions, v1.Ready):
			return plain
		case broken(o.Status.Conditions) != nil:
			return red
		}
		return yellow
	},
	yaml: (*app).printAppYAML,
}

func appRows(_ *app, o wire.App) [][]string {
	status := v1.AppStatus{}
	if o.Status != nil {
		status = *o.Status
	}
	ready, updated := "-", "-"
	if o.Status != nil {
		ready = fmt.Sprintf("%d/%d", status.Replicas.Ready, status.Replicas.Desired)
		updated = strconv.Itoa(int(status.Replicas.Updated))
	}
	what := "-"
	if o.Spec.Container != nil {
		what = o.Spec.Container.Image
	} else if o.Spec.Exec != nil {
		what = strings.Join(o.Spec.Exec.Command, " ")
	}
	return [][]string{{o.Metadata.Name, ready, updated, appState(o),
		strconv.Itoa(int(status.Replicas.Active)), strconv.FormatInt(status.AcceptedRevision, 10), what}}
}

// broken is the condition that keeps an app from being ready and will not mend by waiting, or nil.
func broken(conditions []v1.Condition) *v1.Condition {
	for _, name := range []string{v1.Accepted, v1.Scheduled, v1.Progressing, v1.Routed, v1.Ready} {
		if c := v1.FindCondition(conditions, name); c != nil && c.Status == v1.ConditionFalse && !passing(*c) {
			return c
		}
	}
	return nil
}

// passing reports whether a condition is False for the time being only.
func passing(c v1.Condition) bool {
	switch c.Type {
	case v1.Progressing: // False is also the rest after a roll-out
		return c.Reason != "RolloutStalled" && c.Reason != "MoveStalled"
	case v1.Scheduled:
		return c.Reason == "Pending" // else it names the constraint
	case v1.Routed:
		return c.Reason == "NoRouter" || c.Reason == "RouterFailing" // one may come, or recover; else another app has the host
	case v1.Ready:
		return !instance.State(c.Reason).Final()
	}
	return false
}

// appState is one word or line on how an app does.
func appState(o wire.App) string {
	if o.Status == nil || len(o.Status.Conditions) == 0 {
		return "Pending"
	}
	if c := broken(o.Status.Conditions); c != nil {
		return c.Reason + ": " + c.Message
	}
	if v1.IsTrue(o.Status.Conditions, v1.Ready) {
		return "Ready"
	}
	progress, ready := message(o.Status.Conditions, v1.Progressing), message(o.Status.Conditions, v1.Ready)
	if !v1.IsTrue(o.Status.Conditions, v1.Progressing) || strings.HasPrefix(ready, progress) {
		progress = ready // there is none, or this says as much and more
	}
	return cmp.Or(progress, "Progressing")
}

func message(conditions []v1.Condition, name string) string {
	if c := v1.FindCondition(conditions, name); c != nil {
		return c.Message
	}
	return ""
}

var unitKind = kind[v1.Unit]{
	singular: "unit", plural: "units",
	name:     func(o v1.Unit) string { return o.Metadata.Name },
	columns:  []string{"UNIT", "MACHINE", "ACTIVE", "SUB"},
	wide:     []string{"LOAD", "DESIRED", "OWNER", "SHA256", "REASON"},
	argument: func(_ *app, _ context.Context, typed string) (string, error) { return unitName(typed), nil },
	rows: func(a *app, o v1.Unit) [][]string {
		var rows [][]string
		for _, l := range unitLines(o) {
			rows = append(rows, []string{o.Metadata.Name, a.machine(l.on.Machine, l.on.Address), l.active, l.sub,
				l.load, string(o.Spec.DesiredState), o.Metadata.Owner, a.short(o.Spec.Hash), l.reason})
		}
		return rows
	},
	colour: func(o v1.Unit) string {
		for _, l := range unitLines(o) {
			if l.active == "failed" || l.unplaced {
				return red
			}
		}
		return plain
	},
}

var machineKind = kind[v1.Machine]{
	singular: "machine", plural: "machines",
	name:    func(o v1.Machine) string { return o.Metadata.Name },
	columns: []string{"MACHINE", "IP", "METADATA"}, wide: []string{"CPU", "MEMORY", "STATE", "ENDPOINT", "FLEETD"},
	argument: (*app).machineNamed,
	rows: func(a *app, o v1.Machine) [][]string {
		return [][]string{{a.machineID(o.Metadata.Name), o.Spec.Address, metadata(&o),
			known(o.Spec.Capacity.CPU, quantity.FormatCores), known(o.Spec.Capacity.Memory, quantity.ApproximateMemory), machineState(o), o.Spec.Endpoint, o.Spec.Versions["fleetd"]}}
	},
}

var eventKind = kind[v1.Event]{
	singular: "event", plural: "events", resume: true,
	name:    func(o v1.Event) string { return o.Time.UTC().Format(time.RFC3339Nano) },
	columns: []string{"TIME", "TYPE", "REASON", "OBJECT", "MESSAGE"}, wide: []string{"SOURCE", "ON"},
	rows: func(a *app, o v1.Event) [][]string {
		return [][]string{{o.Time.UTC().Format(time.RFC3339), o.Type, o.Reason,
			strings.ToLower(o.Kind) + "/" + o.Name, o.Message, o.Source, a.machineID(o.Machine)}}
	},
	colour: func(o v1.Event) string {
		if o.Type == v1.EventWarning {
			return yellow
		}
		return plain
	},
}

var endpointKind = kind[wire.Endpoint]{
	singular: "endpoint", plural: "endpoints", resume: true,
	name:    func(o wire.Endpoint) string { return o.App + "/" + o.Instance },
	columns: []string{"APP", "INSTANCE", "ADDRESS"}, wide: []string{"KEY"},
	rows: func(_ *app, o wire.Endpoint) [][]string {
		return [][]string{{o.App, o.Instance, o.Address, o.Key}}
	},
}

// machineID is cut to 8 digits, as the original does, unless --full is given.
func (a *app) machineID(id string) string {
	if len(id) <= 8 || a.full {
		return id
	}
	return id[:8] + "..."
}

// machine is a machine in a table: id/ip, or "-" for none.
func (a *app) machine(id, address string) string {
	switch {
	case id == "":
		return "-"
	case address == "":
		return a.machineID(id) + "/-"
	}
	return a.machineID(id) + "/" + address
}

// short is a hash cut to 7 digits, unless --full is given.
func (a *app) short(hash string) string {
	if len(hash) <= 7 || a.full {
		return hash
	}
	return hash[:7]
}

func metadata(m *v1.Machine) string { return pairs(wire.Metadata(m)) }

// pairs writes a map as k=v,k=v.
func pairs(m map[string]string) string {
	var list []string
	for k, v := range m {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

func machineState(m v1.Machine) string {
	switch {
	case m.Config != nil && m.Config.Drain:
		return "draining"
	case m.Config != nil && m.Config.Cordoned:
		return "cordoned"
	case len(m.Spec.Failing) > 0:
		return machineHealth(m)
	}
	return "ready"
}

// known leaves out an amount that the machine does not know.
func known(n int64, format func(int64) string) string {
	if n == 0 {
		return ""
	}
	return format(n)
}
