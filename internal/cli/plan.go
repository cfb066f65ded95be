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
	remove                    []string
	source                    string
	allowPrune                bool
	drain, lose, metadata, to []string
	git                       fromGit
}

func (a *app) planCommand() *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use: "plan [-f FILE|DIRECTORY|- | --from-git DIRECTORY] [--source NAME] [--delete app/NAME] [--drain MACHINE] [--lose MACHINE] [--add CPU,MEMORY]", Short: "Show what an apply, or the loss of a machine, would do",
		Long: `Shows what would happen, step by step, and stores nothing: which revisions are accepted, which instances are created, replaced
and removed, in which order and how, on which machines they are placed and why, what fits nowhere and why, and which hosts are
routed. With -f or --from-git it is what fleetctl apply would do, with --delete what fleetctl delete would. The other flags ask what if: --drain,
--lose and --add suppose that machines are drained, vanish or join; they may be combined, also with -f and --delete.

With --source NAME -f DIRECTORY it is what that source would do, if the manifests of its repository were those of the directory and
its subdirectories: what it would prune, too. With --source NAME --from-git DIRECTORY it is what that source would do, if the HEAD of the
repository in DIRECTORY, or --ref, were the newest commit of its own. Of that it reads what the leader would: the path of the source's
manifest, from Git and never from the work tree, and the signature if the source asks for one. What the source would refuse is an error,
with its reason; --allow-prune supposes that people allow it to delete more than half of what it has applied.

fleetd runs its controllers on a copy of the cluster in which everything succeeds at once: images can be pulled, instances start
and pass their health checks. What fails today is supposed to go on failing. -o wide shows the details, too: what is done to
sidekicks, and the bookkeeping.

Steps come in this order. Nothing waits for the end of an instance that is removed (remove, take off), which comes when its machine is
done with it, nor for the report that a unit fits nowhere (refuse).

--out FILE saves the plan. fleetctl apply FILE does what it says and nothing else: it is refused if something else would happen
by then. A plan that supposes something, or is one of a source, is only for reading: push the manifests instead.

--add is the capacity of one machine, such as 4cpu,8G; 2x4cpu,8G are two of them, and further KEY=VALUE are their metadata.

Exit codes: 0 nothing would happen, 1 something would, 2 and more an error, as diff has them.`,
		Example: `  fleetctl plan -f example-app.yaml
  fleetctl plan -f manifests/ -R --out plan.json && fleetctl apply plan.json
  fleetctl plan --source prod -f clusters/prod
  fleetctl plan --source prod --from-git . --ref feature
  fleetctl plan --delete app/hello
  fleetctl plan --drain 8abff2e7
  fleetctl plan --lose-metadata zone=a --add 2x4cpu,8G,zone=b`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := noArgs(cmd, args); err != nil {
				return err
			}
			if o.source != "" && o.git.path != "" {
				return usage("--source NAME reads the path of its manifest: leave out --path")
			}
			return o.git.check(len(o.files) > 0 || o.recursive || o.source == "" && len(o.remove) > 0)
		},
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
	f.StringArrayVar(&o.remove, "delete", nil, "plan that app/NAME or unit/NAME is deleted; may be repeated")
	f.StringVar(&o.source, "source", "", "what this source would do, if its repository had the files of -f, or the commit of --from-git")
	f.BoolVar(&o.allowPrune, "allow-prune", false, "with --source: suppose that it may delete more than half of its objects")
	f.StringVar(&o.out, "out", "", "save the plan in this file")
	f.StringArrayVar(&o.drain, "drain", nil, "suppose that this machine is drained; may be repeated")
	f.StringArrayVar(&o.lose, "lose", nil, "suppose that this machine vanishes; may be repeated")
	f.StringArrayVar(&o.metadata, "lose-metadata", nil, "suppose that all machines with this KEY=VALUE vanish; may be repeated")
	f.StringArrayVar(&o.to, "add", nil, "suppose that machines join: [N x]CPU,MEMORY[,KEY=VALUE]; may be repeated")
	o.git.flags(cmd)
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
	request.Delete = o.remove
	if len(o.files)+len(o.remove) == 0 && o.git.dir == "" && request.WhatIf.IsZero() {
		return nil, usage("nothing to plan: give -f FILE, --from-git DIRECTORY, --delete app/NAME, or what to suppose: --drain, --lose, --lose-metadata, --add")
	}
	var manifests []manifest
	if o.source == "" && (len(o.files) > 0 || o.git.dir != "") {
		faults := 0
		if manifests, faults, err = a.read(ctx, o.files, o.recursive, o.git); err != nil {
			return nil, err
		}
		if faults > 0 {
			return nil, errReported{exitError}
		}
	}
	for _, m := range manifests {
		request.Manifests = append(request.Manifests, string(m.Raw))
	}
	request.Git = commitOf(manifests)
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

// sourceFiles reads all manifests that a source would find in directories, or in a commit. Their faults are the source's to tell.
func (a *app) sourceFiles(ctx context.Context, o planOptions) (*wire.SourceFiles, error) {
	switch {
	case o.source == "" && o.allowPrune:
		return nil, usage("--allow-prune belongs to --source NAME")
	case o.source == "":
		return nil, nil
	case len(o.files) == 0 && o.git.dir == "":
		return nil, usage("--source %s: give -f DIRECTORY, with the manifests that its repository would have, or --from-git DIRECTORY, with a commit of it", o.source)
	}
	source := &wire.SourceFiles{Name: strings.TrimPrefix(o.source, "source/"), AllowPrune: o.allowPrune}
	if o.git.dir != "" {
		return source, a.readFor(ctx, o.git, source)
	}
	paths, err := manifestFiles(o.files, true)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		data, err := a.readFile(path)
		if err != nil {
			return nil, err
		}
		file := wire.SourceFile{Path: path}
		file.SetContent(data)
		source.Files = append(source.Files, file)
	}
	return source, nil
}

// whatIf reads the flags that suppose something.
func (a *app) whatIf(ctx context.Context, o planOptions) (w wire.WhatIf, err error) {
	if w.Source, err = a.sourceFiles(ctx, o); err != nil {
		return w, err
	}
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
		if i >= len(saved.Request.Manifests) { // it was deleted
			continue
		}
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
