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
)

// kind defines how objects of one type are fetched and shown.
type kind[T any] struct {
	singular, plural string
	aliases          []string
	name             func(T) string
	// fields are all columns; table names those shown, wide those added by -o wide.
	fields      fields[T]
	table, wide string
	// rows splits an object into its lines; nil means one line.
	rows func(object T) []T
	// colour returns the colour of the object's lines; nil means none.
	colour func(T) string
	// yaml writes the object as YAML; nil means converted from its JSON.
	yaml func(a *app, ctx context.Context, object T) error
	// resume means that the object is made of one row, so that an interrupted watch can continue.
	resume bool
	// argument converts an argument to a name; nil means that it is the name.
	argument func(a *app, ctx context.Context, typed string) (string, error)
}

var appKind = kind[wire.App]{
	singular: "app", plural: "apps",
	name: func(o wire.App) string { return o.Metadata.Name },
	fields: fields[wire.App]{
		{name: "app", cell: func(_ *app, o wire.App) string { return o.Metadata.Name }},
		{name: "ready", cell: func(_ *app, o wire.App) string {
			if o.Status == nil {
				return "-"
			}
			return fmt.Sprintf("%d/%d", o.Status.Replicas.Ready, o.Status.Replicas.Desired)
		}},
		{name: "updated", cell: func(_ *app, o wire.App) string {
			if o.Status == nil {
				return "-"
			}
			return strconv.Itoa(int(o.Status.Replicas.Updated))
		}},
		{name: "status", cell: func(_ *app, o wire.App) string { return summary(o).Message }},
		{name: "available", cell: func(_ *app, o wire.App) string { return strconv.Itoa(int(statusOrNone(o).Replicas.Active)) }},
		{name: "revision", cell: func(_ *app, o wire.App) string { return strconv.FormatInt(statusOrNone(o).AcceptedRevision, 10) }},
		{name: "image", cell: func(_ *app, o wire.App) string {
			switch {
			case o.Spec.Container != nil:
				return o.Spec.Container.Image
			case o.Spec.Exec != nil:
				return strings.Join(o.Spec.Exec.Command, " ")
			}
			return "-"
		}},
	},
	table: "app,ready,updated,status", wide: "available,revision,image",
	colour: func(o wire.App) string {
		switch {
		case o.Status == nil || v1.IsTrue(o.Status.Conditions, v1.Ready):
			return plain
		case summary(o).Phase == v1.AppBroken:
			return red
		}
		return yellow
	},
	yaml: (*app).printAppYAML,
}

func statusOrNone(o wire.App) v1.AppStatus {
	if o.Status == nil {
		return v1.AppStatus{}
	}
	return *o.Status
}

// summary returns the app's summary as reported by fleetd. For an older fleetd, which has none, it is derived from the
// Ready condition.
func summary(o wire.App) v1.AppSummary {
	status := statusOrNone(o)
	c := v1.FindCondition(status.Conditions, v1.Ready)
	switch {
	case status.Summary != nil:
		return *status.Summary
	case c == nil:
		return v1.AppSummary{Phase: v1.AppPending, Message: v1.AppPending}
	case c.Status == v1.ConditionTrue:
		return v1.AppSummary{Phase: v1.AppReady, Message: v1.AppReady}
	}
	return v1.AppSummary{Phase: v1.AppProgressing, Message: cmp.Or(c.Message, v1.AppProgressing)}
}

// lineOf returns the single line of a unit that apart has split.
func lineOf(o v1.Unit) unitLine { return unitLines(o)[0] }

var unitKind = kind[v1.Unit]{
	singular: "unit", plural: "units",
	name: func(o v1.Unit) string { return o.Metadata.Name },
	fields: fields[v1.Unit]{
		{name: "unit", cell: func(_ *app, o v1.Unit) string { return o.Metadata.Name }},
		{name: "machine", each: true, cell: func(a *app, o v1.Unit) string {
			l := lineOf(o)
			return a.machine(l.on.Machine, l.on.Address)
		}},
		{name: "load", each: true, cell: func(_ *app, o v1.Unit) string { return lineOf(o).load }},
		{name: "active", each: true, cell: func(_ *app, o v1.Unit) string { return lineOf(o).active }},
		{name: "sub", each: true, cell: func(_ *app, o v1.Unit) string { return lineOf(o).sub }},
		{name: "ports", each: true, cell: func(_ *app, o v1.Unit) string {
			if p := lineOf(o).on.Placement; p != nil {
				return string(p.Assigned)
			}
			return ""
		}},
		{name: "phase", each: true, cell: func(_ *app, o v1.Unit) string { return string(cmp.Or(lineOf(o).on.Phase, o.Status.Phase)) }},
		{name: "hash", file: true, cell: func(a *app, o v1.Unit) string { return a.short(fileOf(o).SHA1) }},
		{name: "sha256", cell: func(a *app, o v1.Unit) string { return a.short(o.Spec.Hash) }},
		{name: "dstate", cell: func(_ *app, o v1.Unit) string { return string(o.Spec.DesiredState) }},
		{name: "state", file: true, cell: currentState},
		{name: "target", file: true, cell: targetOf},
		{name: "desc", file: true, cell: func(_ *app, o v1.Unit) string { return fileOf(o).Description }},
		{name: "global", file: true, cell: func(_ *app, o v1.Unit) string { return strconv.FormatBool(isGlobal(o)) }},
		{name: "tmachine", file: true, cell: targetOf},
		{name: "owner", cell: func(_ *app, o v1.Unit) string { return o.Metadata.Owner }},
		{name: "reason", each: true, cell: func(_ *app, o v1.Unit) string { return lineOf(o).reason }},
	},
	table: "unit,machine,active,sub", wide: "load,dstate,owner,sha256,reason",
	rows:     apart,
	argument: func(_ *app, _ context.Context, typed string) (string, error) { return unitName(typed), nil },
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
	name: func(o v1.Machine) string { return o.Metadata.Name },
	fields: fields[v1.Machine]{
		{name: "machine", cell: func(a *app, o v1.Machine) string { return a.machineID(o.Metadata.Name) }},
		{name: "ip", cell: func(_ *app, o v1.Machine) string { return o.Spec.Address }},
		{name: "metadata", cell: func(_ *app, o v1.Machine) string { return metadata(&o) }},
		{name: "cpu", cell: func(_ *app, o v1.Machine) string { return known(o.Spec.Capacity.CPU, quantity.FormatCores) }},
		{name: "memory", cell: func(_ *app, o v1.Machine) string { return known(o.Spec.Capacity.Memory, quantity.ApproximateMemory) }},
		{name: "state", cell: func(_ *app, o v1.Machine) string { return machineState(o) }},
		{name: "endpoint", cell: func(_ *app, o v1.Machine) string { return o.Spec.Endpoint }},
		{name: "fleetd", cell: func(_ *app, o v1.Machine) string { return o.Spec.Versions["fleetd"] }},
		{name: "health", cell: func(_ *app, o v1.Machine) string { return machineHealth(o) }},
	},
	table: "machine,ip,metadata", wide: "cpu,memory,state,endpoint,fleetd",
	argument: (*app).machineNamed,
}

var eventKind = kind[v1.Event]{
	singular: "event", plural: "events", resume: true,
	name: func(o v1.Event) string { return o.Time.UTC().Format(time.RFC3339Nano) },
	fields: fields[v1.Event]{
		{name: "time", cell: func(_ *app, o v1.Event) string { return o.Time.UTC().Format(time.RFC3339) }},
		{name: "type", cell: func(_ *app, o v1.Event) string { return o.Type }},
		{name: "reason", cell: func(_ *app, o v1.Event) string { return o.Reason }},
		{name: "object", cell: func(_ *app, o v1.Event) string { return strings.ToLower(o.Kind) + "/" + o.Name }},
		{name: "message", cell: func(_ *app, o v1.Event) string { return o.Message }},
		{name: "source", cell: func(_ *app, o v1.Event) string { return o.Source }},
		{name: "on", cell: func(a *app, o v1.Event) string { return a.machineID(o.Machine) }},
	},
	table: "time,type,reason,object,message", wide: "source,on",
	colour: func(o v1.Event) string {
		if o.Type == v1.EventWarning {
			return yellow
		}
		return plain
	},
}

var endpointKind = kind[wire.Endpoint]{
	singular: "endpoint", plural: "endpoints", resume: true,
	name: func(o wire.Endpoint) string { return o.App + "/" + o.Instance },
	fields: fields[wire.Endpoint]{
		{name: "app", cell: func(_ *app, o wire.Endpoint) string { return o.App }},
		{name: "instance", cell: func(_ *app, o wire.Endpoint) string { return o.Instance }},
		{name: "address", cell: func(_ *app, o wire.Endpoint) string { return o.Address }},
		{name: "key", cell: func(_ *app, o wire.Endpoint) string { return o.Key }},
	},
	table: "app,instance,address", wide: "key",
}

// machineID returns the ID cut to 8 digits, as in the original, unless --full is given.
func (a *app) machineID(id string) string {
	if len(id) <= 8 || a.full {
		return id
	}
	return id[:8] + "..."
}

// machine formats a machine as id/ip, or "-" for none.
func (a *app) machine(id, address string) string {
	switch {
	case id == "":
		return "-"
	case address == "":
		return a.machineID(id) + "/-"
	}
	return a.machineID(id) + "/" + address
}

// short returns a hash cut to 7 digits, unless --full is given.
func (a *app) short(hash string) string {
	if len(hash) <= 7 || a.full {
		return hash
	}
	return hash[:7]
}

func metadata(m *v1.Machine) string { return pairs(wire.Metadata(m)) }

// pairs formats a map as k=v,k=v.
func pairs(m map[string]string) string {
	var list []string
	for k, v := range m {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

// machineState returns the machine's state; empty for an older fleetd, which does not report it.
func machineState(m v1.Machine) string {
	if m.Status == nil {
		return ""
	}
	return m.Status.State
}

// known formats an amount; empty if the machine does not know it.
func known(n int64, format func(int64) string) string {
	if n == 0 {
		return ""
	}
	return format(n)
}
