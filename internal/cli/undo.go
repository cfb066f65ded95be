package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// undoOptions are the flags of undo.
type undoOptions struct {
	to      int64
	apply   string
	note    string
	dryRun  bool
	wait    bool
	timeout time.Duration
}

func (a *app) undoCommand() *cobra.Command {
	var o undoOptions
	cmd := &cobra.Command{
		Use: "undo app/NAME [--to N] | undo --apply ID", Short: "Return an app to an earlier revision, or take a whole apply back",
		Long: `Stores the manifest of an earlier revision again, byte for byte, comments included. It becomes a new revision, which rolls out
like any other; fleetctl history has a note of it. Without --to it is the last revision that differs from what the manifest asks
for now: a second undo returns to where the first one began. A manifest that is not accepted is replaced by that of the last
accepted revision, and a deleted app returns as long as its revisions are kept, for some minutes.

--apply takes back everything that one apply changed, in one transaction: what it changed is as it was before, and what it created
is deleted. If one of its objects was changed since, nothing is, and each is named. The ID is in fleetctl history -o wide.`,
		Example: `  fleetctl undo app/hello
  fleetctl undo app/hello --to 3 --wait
  fleetctl undo --apply 20260102T030405Z-4c2b37 --dry-run`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.apply != "" && (len(args) > 0 || cmd.Flags().Changed("to")):
				return usage("give either app/NAME or --apply ID, not both")
			case o.apply != "":
				return nil
			case len(args) == 0:
				return usage("nothing to undo: give app/NAME, or --apply ID")
			case cmd.Flags().Changed("to") && o.to <= 0:
				return usage("--to %d: give the number of a revision, as fleetctl history shows it", o.to)
			}
			_, err := appNamed(args)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.apply != "" {
				return a.undoApply(cmd.Context(), o)
			}
			name, _ := appNamed(args)
			return a.undoApp(cmd.Context(), name, o)
		},
		ValidArgsFunction: a.completeApp,
	}
	f := cmd.Flags()
	f.Int64Var(&o.to, "to", 0, "the revision to return to")
	f.StringVar(&o.apply, "apply", "", "the ID of an apply to take back as a whole")
	f.StringVar(&o.note, "note", "", "a note for fleetctl history")
	f.BoolVar(&o.dryRun, "dry-run", false, "check and report what would change, without storing it")
	f.BoolVar(&o.wait, "wait", false, "wait until all are ready")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long --wait may take")
	_ = cmd.RegisterFlagCompletionFunc("to", a.completeRevision)
	_ = cmd.RegisterFlagCompletionFunc("apply", a.completeApply)
	return cmd
}

// completeApply completes the IDs of applies, the last ones first.
func (a *app) completeApply(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	c, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	applies, _ := client.List[wire.Apply](ctx, c, client.Path("applies"), nil) // none if the cluster does not answer
	var out []string
	for i := len(applies) - 1; i >= 0; i-- {
		if name := applies[i].Metadata.Name; strings.HasPrefix(name, typed) {
			out = append(out, name+"\t"+objectsOf(applies[i]))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// objectsOf lists the objects of an apply.
func objectsOf(apply wire.Apply) string {
	var names []string
	for _, o := range apply.Objects {
		names = append(names, strings.ToLower(o.Kind)+"/"+o.Name)
	}
	return strings.Join(names, " ")
}

func (a *app) sendUndo(ctx context.Context, path string, o undoOptions) (*wire.Status, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(wire.UndoRequest{To: o.to, Note: o.note})
	if err != nil {
		return nil, err
	}
	q, _ := dryRun(o.dryRun)
	return c.Write(ctx, client.Request{Method: http.MethodPost, Path: path, Query: q, Body: body, ContentType: wire.JSON})
}

func (a *app) undoApp(ctx context.Context, name string, o undoOptions) error {
	answer, err := a.sendUndo(ctx, client.Path("apps", name, "undo"), o)
	if err != nil {
		return err
	}
	a.tellUndone([]*wire.Status{answer}, o)
	return a.waitUndone(ctx, []string{name}, answer, o)
}

func (a *app) undoApply(ctx context.Context, o undoOptions) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	answer, err := a.sendUndo(ctx, client.Path("applies", o.apply, "undo"), o)
	if err != nil {
		return err
	}
	a.tellUndone(answer.Items, o)
	if o.dryRun || !o.wait {
		return nil
	}
	apply, err := client.Get[wire.Apply](ctx, c, client.Path("applies", o.apply), nil)
	if err != nil {
		return err
	}
	var names []string
	for _, object := range apply.Objects {
		if object.Kind == v1.KindApp && !object.Created {
			names = append(names, object.Name)
		}
	}
	return a.waitUndone(ctx, names, answer, o)
}

func (a *app) tellUndone(items []*wire.Status, o undoOptions) {
	_, suffix := dryRun(o.dryRun)
	for _, item := range items {
		a.tellWarnings("fleetctl", item.Warnings)
		a.say("%s%s", item.Message, suffix)
	}
}

// waitUndone waits for the apps that were written at the answer's revision, if --wait asks for that.
func (a *app) waitUndone(ctx context.Context, names []string, answer *wire.Status, o undoOptions) error {
	if o.dryRun || !o.wait || len(names) == 0 {
		return nil
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	revision, _ := strconv.ParseInt(answer.ResourceVersion, 10, 64)
	var manifests []manifest
	var revisions []int64
	for _, name := range names {
		object, err := client.Get[wire.App](ctx, c, client.Path("apps", name), nil)
		if err != nil {
			return err
		}
		manifests, revisions = append(manifests, manifest{Object: v1.Object{App: &object.App}}), append(revisions, revision)
	}
	return a.waitFor(ctx, manifests, revisions, o.timeout)
}
