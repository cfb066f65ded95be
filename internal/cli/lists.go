package cli

import (
	"cmp"
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// onlyAFile reports whether the unit is a file that is not meant to run yet, which only list-unit-files shows.
func onlyAFile(unit v1.Unit) bool {
	return unit.Spec.DesiredState == v1.Inactive && len(unit.Status.Machines) == 0 && !unit.Status.StoppedByHand
}

// listedUnits is unitKind without the units that are only files.
func listedUnits() *kind[v1.Unit] {
	k := unitKind
	k.rows = func(unit v1.Unit) []v1.Unit {
		if unit.Status != nil && onlyAFile(unit) {
			return nil
		}
		return apart(unit)
	}
	return &k
}

func (a *app) listUnitsCommand() *cobra.Command {
	var fields, selector string
	cmd := &cobra.Command{
		Use: "list-units [NAME|PATTERN|LABEL=VALUE...]", Short: "Show units, their machines and their states",
		Long: `Shows one line for each unit on each of its machines. On a terminal, and with -o wide, a unit that is not on any machine
has "-" there, and the column REASON says why. -o wide adds columns, --fields selects them:
` + unitKind.fields.names() + `.

For scripts, output that is not a terminal has the original's columns and rows: units with a state that their machine reports.
It is the same with --fields, if all of them are the original's: ` + strings.ReplaceAll(originalFields, ",", ", ") + `.` + selectionHelp,
		Example: `  fleetctl list-units
  fleetctl list-units app=example-app
  fleetctl list-units 'example-*'
  fleetctl list-units --fields unit,machine,hash --no-legend
  fleetctl list-units -w`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.output != "table" && fields == "" || a.watch {
				return listedUnits().show(cmd.Context(), a, args, labelled(selector))
			}
			return a.lenient(a.listUnits(cmd.Context(), args, fields, labelled(selector)), exitOK)
		},
		ValidArgsFunction: a.completeNames(func() shower { return &unitKind }),
	}
	cmd.Flags().StringVar(&fields, "fields", "", "comma-separated list of columns")
	cmd.Flags().StringVar(&selector, "selector", "", "only units with these labels, such as app=example-app")
	a.addListFlags(cmd)
	return cmd
}

// labelled returns the query for objects with these labels.
func labelled(selector string) url.Values {
	if selector == "" {
		return url.Values{}
	}
	return url.Values{"labelSelector": {selector}}
}

// originalFields are the columns of list-units that the original has.
const originalFields = "unit,machine,load,active,sub,hash"

// listUnits writes a table of units: the original's columns and rows for scripts, reasons and units without a machine for
// people.
func (a *app) listUnits(ctx context.Context, args []string, names string, q url.Values) error {
	rows := apart
	columns := names
	switch {
	case columns == "" && a.Terminal:
		columns = unitKind.table + ",reason"
	case columns == "":
		columns, rows = unitKind.table, reported
	case unitKind.fields.subset(names, originalFields):
		rows = reported
	}
	chosen, err := unitKind.fields.choose(columns)
	if err != nil {
		return err
	}
	if chosen.file() {
		q.Set("file", "true")
	}
	which, err := unitKind.selected(ctx, a, args, q)
	if err != nil {
		return err
	}
	units, failed := unitKind.fetch(ctx, a, which)
	if !told(failed) {
		return failed
	}
	units = slices.DeleteFunc(units, func(u v1.Unit) bool { return onlyAFile(u) && !slices.Contains(which.names, u.Metadata.Name) })
	t := unitKind.tabulate(a, chosen, units, rows)
	if names == "" {
		t.dropEmpty("REASON")
	}
	return firstError(a.printTable(t), failed)
}

// reported splits a unit into one for each machine that is present and reports it.
func reported(unit v1.Unit) []v1.Unit {
	return slices.DeleteFunc(apart(unit), func(u v1.Unit) bool {
		return u.Status == nil || len(u.Status.Machines) == 0 || u.Status.Machines[0].State == nil || u.Status.Machines[0].Address == ""
	})
}

// addListFlags adds the flags that all lists share.
func (a *app) addListFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.strict, "strict", false, "fail if something that is named does not exist (exit code 3)")
}

// targetOf is where a unit is to run: "global" or its machine.
func targetOf(a *app, u v1.Unit) string {
	if isGlobal(u) {
		return "global"
	}
	for _, m := range u.Status.Machines {
		if m.Placement != nil {
			return a.machine(m.Machine, m.Address)
		}
	}
	return "-"
}

// currentState returns the unit's current state; for a global unit, the state on its machines.
func currentState(_ *app, u v1.Unit) string {
	if isGlobal(u) {
		return "-"
	}
	for _, m := range u.Status.Machines {
		if m.Placement != nil && m.State != nil && m.State.DesiredState != "" {
			return string(m.State.DesiredState)
		}
	}
	return string(v1.Inactive)
}

// isGlobal reports whether the unit's file says Global. An older fleetd does not report that: then a unit placed on
// several machines is global.
func isGlobal(u v1.Unit) bool {
	if u.Status.File == nil {
		placed := 0
		for _, m := range u.Status.Machines {
			if m.Placement != nil {
				placed++
			}
		}
		return placed > 1
	}
	return u.Status.File.Global
}

func (a *app) listUnitFilesCommand() *cobra.Command {
	var fields, selector string
	cmd := &cobra.Command{
		Use: "list-unit-files [NAME|PATTERN|LABEL=VALUE...]", Short: "Show all unit files in the cluster, including templates",
		Long:    `Shows every unit that was submitted or generated for an app. --fields selects columns: ` + unitKind.fields.whole().names() + `.` + selectionHelp,
		Example: "  fleetctl list-unit-files\n  fleetctl list-unit-files 'example-*' --fields unit,desc",
		RunE: func(cmd *cobra.Command, args []string) error {
			if slices.Contains(strings.Split(fields, ","), "tmachine") {
				a.note(`fleetctl: warning: the field "tmachine" is deprecated: use "target"`)
			}
			q := labelled(selector)
			if a.output != "table" && fields == "" || a.watch {
				if !a.watch {
					q.Set("contents", "true")
				}
				return unitKind.show(cmd.Context(), a, args, q)
			}
			chosen, err := unitKind.fields.whole().choose(cmp.Or(fields, "unit,hash,dstate,state,target"))
			if err != nil {
				return err
			}
			q.Set("file", "true")
			which, err := unitKind.selected(cmd.Context(), a, args, q)
			if err != nil {
				return err
			}
			units, failed := unitKind.fetch(cmd.Context(), a, which)
			if !told(failed) {
				return failed
			}
			return a.lenient(firstError(a.printTable(unitKind.tabulate(a, chosen, units, nil)), failed), exitOK)
		},
		ValidArgsFunction: a.completeNames(func() shower { return &unitKind }),
	}
	cmd.Flags().StringVar(&fields, "fields", "", "comma-separated list of columns")
	cmd.Flags().StringVar(&selector, "selector", "", "only units with these labels, such as app=example-app")
	a.addListFlags(cmd)
	return cmd
}

// machineHealth names the machine's controllers that keep failing.
func machineHealth(m v1.Machine) string {
	if len(m.Spec.Failing) == 0 {
		return "ok"
	}
	return strings.Join(slices.Sorted(maps.Keys(m.Spec.Failing)), ",") + " failing"
}

// noteFailing reports problems of machines on standard error, because the original's columns have no place for them.
func (a *app) noteFailing(machines []v1.Machine) {
	for _, m := range machines {
		if m.Status == nil {
			continue
		}
		for _, warning := range m.Status.Warnings {
			a.note("fleetctl: machine %s: %s", a.machineID(m.Metadata.Name), warning)
		}
	}
}

func (a *app) listMachinesCommand() *cobra.Command {
	var fields string
	cmd := &cobra.Command{
		Use: "list-machines", Short: "Show the machines that are present",
		Long:    `Shows the machines whose fleetd is alive. -o wide adds columns, --fields selects them: ` + machineKind.fields.names() + `.`,
		Example: "  fleetctl list-machines\n  fleetctl list-machines --full\n  fleetctl list-machines -o wide",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && a.strict {
				return noArgs(cmd, args)
			}
			if a.output != "table" && fields == "" || a.watch {
				return machineKind.show(cmd.Context(), a, nil, nil)
			}
			chosen, err := machineKind.fields.choose(cmp.Or(fields, machineKind.table))
			if err != nil {
				return err
			}
			machines, err := a.machines(cmd.Context())
			if err != nil {
				return err
			}
			a.noteFailing(machines)
			return a.printTable(machineKind.tabulate(a, chosen, machines, nil))
		},
	}
	cmd.Flags().StringVar(&fields, "fields", "", "comma-separated list of columns")
	a.addListFlags(cmd)
	return cmd
}

func (a *app) machines(ctx context.Context) ([]v1.Machine, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	return client.List[v1.Machine](ctx, c, client.Path("machines"), nil)
}

// machineNamed finds a machine by its ID or a unique prefix of it.
func (a *app) machineNamed(ctx context.Context, typed string) (string, error) {
	machines, err := a.machines(ctx)
	if err != nil {
		return "", err
	}
	prefix := strings.TrimSuffix(typed, "...")
	if prefix == "" {
		return "", usage("the machine's ID is empty")
	}
	var found []string
	for _, m := range machines {
		if m.Metadata.Name == typed {
			return typed, nil
		}
		if strings.HasPrefix(m.Metadata.Name, prefix) {
			found = append(found, m.Metadata.Name)
		}
	}
	switch len(found) {
	case 0:
		return "", wire.Fail(wire.ReasonNotFound, "machine/%s does not exist", typed)
	case 1:
		return found[0], nil
	}
	return "", usage("ambiguous machine ID %q, matches %s: give more digits", typed, strings.Join(found, ", "))
}
