package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/apis/quantity"
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// planOptions are the flags of plan.
type planOptions struct {
	files                     []string
	recursive                 bool
	out                       string
	drain, lose, metadata, to []string
}

func (a *app) planCommand() *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use: "plan [-f FILE|DIRECTORY|-] [--drain MACHINE] [--lose MACHINE] [--add CPU,MEMORY]", Short: "Show what an apply, or the loss of a machine, would do",
		Long: `Shows what would happen, step by step, and stores nothing: which revisions are accepted, which instances are created, replaced
and removed, in which order and how, on which machines they are placed and why, what fits nowhere and why, and which hosts are
routed. With -f it is what fleetctl apply -f would do. The other flags ask what if: --drain, --lose and --add suppose that
machines are drained, vanish or join; they may be combined, also with -f.

fleetd runs its controllers on a copy of the cluster in which everything succeeds at once: images can be pulled, instances start
and pass their health checks. What fails today is supposed to go on failing. -o wide shows the details, too: what is done to
sidekicks, and the bookkeeping.

--out FILE saves the plan. fleetctl apply FILE does what it says and nothing else: it is refused if something else would happen
by then.

--add is the capacity of one machine, such as 4cpu,8G; 2x4cpu,8G are two of them, and further KEY=VALUE are their metadata.

Exit codes: 0 nothing would happen, 1 something would, 2 and more an error, as diff has them.`,
		Example: `  fleetctl plan -f example-app.yaml
  fleetctl plan -f manifests/ -R --out plan.json && fleetctl apply plan.json
  fleetctl plan --drain 8abff2e7
  fleetctl plan --lose-metadata zone=a --add 2x4cpu,8G,zone=b`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, err := a.plan(cmd.Context(), o)
			if err == nil {
				err = a.printPlan(plan)
			}
			if err == nil && o.out != "" {
				err = savePlan(o.out, plan)
			}
			if err != nil {
				return errReported{max(a.report(err), exitUsage)} // 1 means that something would happen
			}
			if plan.Changed() {
				return errReported{exitError}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.files, "filename", "f", nil, "a file, a directory, or - for standard input; may be repeated")
	f.BoolVarP(&o.recursive, "recursive", "R", false, "include subdirectories")
	f.StringVar(&o.out, "out", "", "save the plan in this file")
	f.StringArrayVar(&o.drain, "drain", nil, "suppose that this machine is drained; may be repeated")
	f.StringArrayVar(&o.lose, "lose", nil, "suppose that this machine vanishes; may be repeated")
	f.StringArrayVar(&o.metadata, "lose-metadata", nil, "suppose that all machines with this KEY=VALUE vanish; may be repeated")
	f.StringArrayVar(&o.to, "add", nil, "suppose that machines join: [N x]CPU,MEMORY[,KEY=VALUE]; may be repeated")
	for _, machine := range []string{"drain", "lose"} {
		_ = cmd.RegisterFlagCompletionFunc(machine, a.completeNames(func() shower { return &machineKind }))
	}
	return cmd
}

// plan asks fleetd what would happen.
func (a *app) plan(ctx context.Context, o planOptions) (*wire.Plan, error) {
	var request wire.PlanRequest
	var err error
	if request.WhatIf, err = a.whatIf(ctx, o); err != nil {
		return nil, err
	}
	if len(o.files) == 0 && request.WhatIf.IsZero() {
		return nil, usage("nothing to plan: give -f FILE, or what to suppose: --drain, --lose, --lose-metadata, --add")
	}
	var manifests []manifest
	if len(o.files) > 0 {
		faults := 0
		if manifests, faults, err = a.readManifests(o.files, o.recursive); err != nil {
			return nil, err
		}
		if faults > 0 {
			return nil, errReported{exitError}
		}
	}
	for _, m := range manifests {
		request.Manifests = append(request.Manifests, string(m.Raw))
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	data, err := c.Do(ctx, client.Request{Method: http.MethodPost, Path: client.Path("plans"), Body: body, ContentType: wire.JSON, NoTimeout: true})
	switch {
	case err != nil && len(manifests) == 0:
		return nil, err
	case err != nil:
		return nil, a.refused(manifests, err)
	}
	plan := &wire.Plan{}
	if err := json.Unmarshal(data, plan); err != nil {
		return nil, fmt.Errorf("cannot decode the plan: %w", err)
	}
	return plan, nil
}

// whatIf reads the flags that suppose something.
func (a *app) whatIf(ctx context.Context, o planOptions) (w wire.WhatIf, err error) {
	for _, list := range []struct {
		typed []string
		ids   *[]string
	}{{o.drain, &w.Drain}, {o.lose, &w.Lose}} {
		for _, typed := range list.typed {
			id, err := a.machineNamed(ctx, typed)
			if err != nil {
				return w, err
			}
			*list.ids = append(*list.ids, id)
		}
	}
	for _, pair := range o.metadata {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" || value == "" {
			return w, usage("--lose-metadata %q: write KEY=VALUE, such as zone=a", pair)
		}
		if w.LoseMetadata == nil {
			w.LoseMetadata = map[string]string{}
		}
		w.LoseMetadata[key] = value
	}
	for _, text := range o.to {
		machines, err := parseMachines(text)
		if err != nil {
			return w, usage("--add %q: %v: write [Nx]CPU,MEMORY[,KEY=VALUE], such as 4cpu,8G or 2x4cpu,8G,zone=b", text, err)
		}
		w.Add = append(w.Add, machines...)
	}
	return w, nil
}

// maxAdded is how many machines one --add may have.
const maxAdded = 1000

// parseMachines reads [Nx]CPU,MEMORY[,KEY=VALUE].
func parseMachines(text string) ([]wire.NewMachine, error) {
	parts := strings.Split(text, ",")
	n := 1
	if count, rest, ok := strings.Cut(parts[0], "x"); ok {
		parsed, err := strconv.Atoi(count)
		if err != nil || parsed < 1 || parsed > maxAdded {
			return nil, fmt.Errorf("%q is not a number from 1 to %d", count, maxAdded)
		}
		n, parts[0] = parsed, rest
	}
	if len(parts) < 2 {
		return nil, fmt.Errorf("the memory is missing")
	}
	var m wire.NewMachine
	var err error
	if m.Capacity.CPU, err = quantity.ParseCPU(strings.TrimSuffix(parts[0], "cpu")); err != nil {
		return nil, err
	}
	if m.Capacity.Memory, err = quantity.ParseMemory(parts[1]); err != nil {
		return nil, err
	}
	for _, pair := range parts[2:] {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%q is not KEY=VALUE", pair)
		}
		if m.Metadata == nil {
			m.Metadata = map[string]string{}
		}
		m.Metadata[key] = value
	}
	machines := make([]wire.NewMachine, n)
	for i := range machines {
		machines[i] = m
	}
	return machines, nil
}

func savePlan(file string, plan *wire.Plan) error {
	data, err := json.MarshalIndent(plan, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

func (a *app) printPlan(plan *wire.Plan) error {
	switch a.output {
	case "json":
		return a.printJSON(plan)
	case "yaml":
		return a.printYAML(plan)
	}
	if !plan.Changed() {
		a.say("nothing would happen")
		return nil
	}
	for _, c := range plan.Changes {
		a.say("%s would be %s", c.Object, strings.ToLower(c.Reason))
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
		named := make([]string, len(hosts))
		for i, host := range hosts {
			if named[i] = host; host == "" {
				named[i] = r.App + ".<domain>"
			}
		}
		return strings.Join(named, " ")
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

// applyPlan does what a saved plan says.
func (a *app) applyPlan(ctx context.Context, file string, o applyOptions) error {
	data, err := a.readFile(file)
	if err != nil {
		return err
	}
	var saved struct {
		v1.TypeMeta
		Request wire.PlanRequest `json:"request"`
	}
	if err := json.Unmarshal(data, &saved); err != nil || saved.Kind != wire.PlanKind {
		return usage("%s is no saved plan (fleetctl plan -f FILE --out PLAN makes one): manifests are applied with -f %s", file, file)
	}
	note, err := json.Marshal(o.note)
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	body := []byte(`{"plan":` + string(data) + `,"note":` + string(note) + `}`)
	answer, err := c.Write(ctx, client.Request{Method: http.MethodPost, Path: client.Path("plans", "apply"), Body: body, ContentType: wire.JSON, NoTimeout: true})
	if err != nil {
		return err
	}
	if a.output == "json" {
		return a.printJSON(answer)
	}
	var manifests []manifest
	var revisions []int64
	for i, item := range answer.Items {
		a.say("%s", item.Message)
		objects, err := v1.ParseManifests([]byte(saved.Request.Manifests[i]))
		if err != nil || len(objects) != 1 {
			return fmt.Errorf("%s: cannot read the manifest of %s: %w", file, item.Message, err)
		}
		revision, _ := strconv.ParseInt(item.ResourceVersion, 10, 64)
		manifests, revisions = append(manifests, manifest{file: file, Object: objects[0]}), append(revisions, revision)
	}
	if !o.wait {
		return nil
	}
	return a.waitFor(ctx, manifests, revisions, o.timeout)
}
