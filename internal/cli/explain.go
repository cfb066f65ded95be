package cli

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// reasonTexts are those of docs/reasons.md, generated from the same constants.
//
//go:embed reasons.json
var reasonTexts []byte

// reasonText is what one reason means.
type reasonText struct {
	Reason string `json:"reason"`
	Where  string `json:"where"`
	Means  string `json:"means"`
	Do     string `json:"do,omitempty"`
}

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use: "explain UNIT|app/NAME [MACHINE] | explain REASON", Short: "Say why a unit is where it is, or on no machine, and what would change that",
		Long: `Says of a unit that has a machine why it is there, and why on no other one. Of a unit without a machine it names a smallest set of
constraints that keeps it off all of them, each with the manifest or the unit file and the line there, and a smallest change that
gives it a machine. With app/NAME it does so for all units of the app; with MACHINE it gives every reason why the unit is not there.

The answer is made by plans of the scheduler itself, on a copy of what is stored: nothing is changed. What is to be placed or moved
now counts as done.

explain REASON says what a reason means, which other commands, events and logs show, and what to do about it. It needs no cluster.`,
		Example: `  fleetctl explain hello@4
  fleetctl explain app/hello
  fleetctl explain hello@4 3f2ae5f1
  fleetctl explain MachineMetadata
  fleetctl explain hello@4 -o json | jq .items[].changes`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usage("nothing to explain: give a unit, app/NAME, or a reason")
			case len(args) > 2:
				return usage("too many arguments: give a unit and, if you want, a machine")
			case len(args) == 2 && strings.HasPrefix(args[0], "app/"):
				return usage("a machine is given with a unit, not with app/NAME")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if texts := reasonsNamed(args[0]); len(texts) > 0 && len(args) == 1 {
				return a.explainReason(texts)
			}
			return a.explain(cmd.Context(), args)
		},
		ValidArgsFunction: a.completeExplain,
	}
}

// completeExplain completes apps, units and reasons, then machines.
func (a *app) completeExplain(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		out, _ := a.completeAppsAndUnits(cmd, args, typed)
		for _, r := range reasonsNamed("") {
			if strings.HasPrefix(r.Reason, typed) && typed != "" && !slices.Contains(out, r.Reason) {
				out = append(out, r.Reason)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	case 1:
		return a.candidates(cmd.Context(), &machineKind, nil, typed), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// reasonsNamed returns what a reason means, wherever it is met; all reasons for "".
func reasonsNamed(name string) []reasonText {
	var all []reasonText
	if err := json.Unmarshal(reasonTexts, &all); err != nil {
		return nil // it is generated, and a test reads it
	}
	return slices.DeleteFunc(all, func(r reasonText) bool { return name != "" && r.Reason != name })
}

func (a *app) explainReason(texts []reasonText) error {
	switch a.output {
	case "json":
		return a.printJSON(texts)
	case "yaml":
		return a.printYAML(texts)
	}
	for _, r := range texts {
		a.say("%s (%s): %s", r.Reason, r.Where, r.Means)
		if r.Do != "" {
			a.say("  what to do: %s", r.Do)
		}
	}
	return nil
}

func (a *app) explain(ctx context.Context, args []string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	path, q := client.Path("units", unitName(args[0]), "explain"), url.Values{}
	if name, isApp := strings.CutPrefix(args[0], "app/"); isApp {
		path = client.Path("apps", name, "explain")
	}
	if len(args) == 2 {
		q.Set("machine", args[1])
	}
	list, err := client.Get[wire.List[v1.Explanation]](ctx, c, path, q)
	switch {
	case client.NotFound(err) && len(args) == 1 && !strings.ContainsAny(args[0], "/@."):
		return wire.Fail(wire.ReasonNotFound, "%s is neither a unit nor a reason: fleetctl list-units shows the units, docs/reasons.md the reasons", args[0])
	case err != nil:
		return err
	}
	switch a.output {
	case "json":
		return a.printJSON(list)
	case "yaml":
		return a.printYAML(list)
	}
	if len(list.Items) == 0 {
		a.note("%s has no units: fleetctl describe says why", args[0])
	}
	for i, why := range list.Items {
		if i > 0 && len(why.Machines) == 0 {
			a.say("")
		}
		a.sayExplanation(why, len(list.Items) == 1, len(args) == 2)
	}
	return nil
}

// sayExplanation prints an explanation; where says the machines, too, and one that it is about one machine alone.
func (a *app) sayExplanation(why v1.Explanation, where, one bool) {
	switch {
	case one && len(why.Elsewhere) == 0:
		a.say("%s is there: %s", why.Unit, why.Message)
	case len(why.Machines) > 0:
		a.say("%s is on %s: %s", why.Unit, strings.Join(a.machineIDs(why.Machines), ", "), why.Message)
	case !one:
		a.say("%s has no machine: %s", why.Unit, why.Message)
	}
	if len(why.Constraints) > 0 {
		a.say("What keeps it off, each of them needed:")
		for _, c := range why.Constraints {
			a.say("  %s", a.placed(c))
		}
	}
	if len(why.Changes) > 0 {
		a.say("The smallest change that gives it a machine:")
		for _, c := range why.Changes {
			line := c.Message
			if c.Unit != "" {
				line = a.placed(c.Constraint) + ": " + line
			}
			a.say("  %s", line)
		}
	}
	if !where {
		return
	}
	if len(why.Elsewhere) > 0 && !one {
		a.say("Why it is not on:")
	}
	for _, m := range why.Elsewhere {
		a.sayNotThere(m, why.Unit, one)
	}
	if why.More > 0 {
		a.say("  and %d more machines: fleetctl explain %s MACHINE", why.More, why.Unit)
	}
}

func (a *app) sayNotThere(m v1.NotThere, unit string, one bool) {
	id, indent := a.machineIDs([]string{m.Machine})[0], "  "
	if one {
		indent, id = "", unit+" on "+id
	}
	if len(m.Reasons) == 0 {
		a.say("%s%s: it would fit there", indent, id)
	}
	for _, r := range m.Reasons {
		a.say("%s%s: %s: %s", indent, id, r.Reason, r.Message)
	}
}

// placed says where a constraint is written, and what it asks for.
func (a *app) placed(c v1.Constraint) string {
	what := c.Option + "=" + c.Value
	switch {
	case c.Unit == "":
		return fmt.Sprintf("machine %s: %s", a.machineIDs([]string{c.Machine})[0], c.Option)
	case c.Object == "":
		return c.Unit + ": " + what
	case c.Line == 0 && c.Field != "":
		return fmt.Sprintf("%s: %s (from %s)", c.Object, what, c.Field)
	case c.Field != "":
		return fmt.Sprintf("%s line %d, %s (%s)", c.Object, c.Line, c.Field, what)
	}
	return fmt.Sprintf("%s line %d: %s", c.Object, c.Line, what)
}

// machineIDs are machine IDs as tables show them.
func (a *app) machineIDs(ids []string) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = a.machineID(id)
	}
	return out
}
