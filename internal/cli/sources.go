package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

var sourceKind = kind[wire.Source]{
	singular: "source", plural: "sources",
	name: func(o wire.Source) string { return o.Metadata.Name },
	fields: fields[wire.Source]{
		{name: "source", cell: func(_ *app, o wire.Source) string { return o.Metadata.Name }},
		{name: "ready", cell: func(_ *app, o wire.Source) string { return sourceCondition(o, v1.Ready).Status }},
		{name: "commit", cell: func(a *app, o wire.Source) string {
			if c := sourceStatus(o).Applied; c != nil {
				return a.short(c.Hash)
			}
			return "-"
		}},
		{name: "objects", cell: func(_ *app, o wire.Source) string { return strconv.Itoa(len(sourceStatus(o).Inventory)) }},
		{name: "status", cell: func(_ *app, o wire.Source) string {
			c := sourceCondition(o, v1.Ready)
			first, _, _ := strings.Cut(c.Message, "\n")
			return cmp.Or(first, c.Reason)
		}},
		{name: "url", cell: func(_ *app, o wire.Source) string { return o.Spec.Git.URL }},
		{name: "follows", cell: func(_ *app, o wire.Source) string {
			return cmp.Or(o.Spec.Git.Commit, o.Spec.Git.Semver, strings.TrimPrefix(strings.TrimPrefix(o.Spec.Git.Reference(), "refs/heads/"), "refs/"))
		}},
		{name: "path", cell: func(_ *app, o wire.Source) string { return o.Spec.Git.Path }},
	},
	table: "source,ready,commit,objects,status", wide: "url,follows,path",
	colour: func(o wire.Source) string {
		switch c := sourceCondition(o, v1.Ready); {
		case c.Status == v1.ConditionTrue:
			return plain
		case sourceCondition(o, v1.Synced).Status == v1.ConditionFalse:
			return red
		}
		return yellow
	},
}

func sourceStatus(o wire.Source) v1.SourceStatus {
	if o.Status == nil {
		return v1.SourceStatus{}
	}
	return *o.Status
}

// sourceCondition is a condition of a source; before the leader has looked, one that says so.
func sourceCondition(o wire.Source, kind string) v1.Condition {
	if c := v1.FindCondition(sourceStatus(o).Conditions, kind); c != nil {
		return *c
	}
	return v1.Condition{Type: kind, Status: v1.ConditionUnknown, Reason: v1.ReasonPending, Message: "not looked at yet"}
}

func (a *app) describeSource(ctx context.Context, name string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	o, err := client.Get[wire.Source](ctx, c, client.Path("sources", name), nil)
	if err != nil {
		return err
	}
	a.facts(sourceFacts(o))
	conditions := &table{columns: []string{"CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"}}
	for _, c := range sourceStatus(o).Conditions {
		conditions.add(plain, c.Type, c.Status, c.Reason, c.LastTransitionTime.UTC().Format(time.RFC3339), c.Message)
	}
	a.section("Conditions", conditions)
	objects := &table{columns: []string{"OBJECT", "FILE", "BLOB", "HELD"}}
	for _, object := range sourceStatus(o).Inventory {
		objects.add(plain, strings.ToLower(object.Kind)+"/"+object.Name, fmt.Sprintf("%s:%d", object.Path, object.Line), a.short(object.Blob), object.Held)
	}
	a.section("Objects", objects)
	if previews := previewsOf(a, sourceStatus(o).Previews); len(previews.rows) > 0 {
		a.section("Previews", previews)
	}
	return a.recent(ctx, "source/"+name)
}

// previewsOf are the previews of a source.
func previewsOf(a *app, previews []v1.SourcePreview) *table {
	t := &table{columns: []string{"PREVIEW", "BRANCH", "COMMIT", "SINCE"}}
	for _, p := range previews {
		source := "source/" + p.Source
		if p.Ended {
			source = "ended"
		}
		t.add(plain, source, p.Branch, a.short(p.Commit), p.Since.UTC().Format(time.RFC3339))
	}
	return t
}

func sourceFacts(o wire.Source) []fact {
	status := sourceStatus(o)
	list := []fact{{"Source", o.Metadata.Name}, {"Labels", pairs(o.Metadata.Labels)}, {"Version", o.Metadata.ResourceVersion}}
	if o.Manifest != "" {
		return append(list, fact{"Manifest", "not accepted, see fleetctl get source " + o.Metadata.Name + " -o yaml"})
	}
	if preview := o.Spec.Preview; preview != nil {
		list = append(list, fact{"Preview of", "source/" + preview.Source})
	}
	git := o.Spec.Git
	prune := "no: what is removed from the repository goes on"
	if o.Spec.Prune {
		prune = "yes"
	}
	list = append(list, fact{"URL", git.URL}, fact{"Follows", cmp.Or(git.Reference(), git.Commit, "the highest tag of "+git.Semver)}, fact{"Path", git.Path}, fact{"Interval", o.Spec.Interval.String()},
		fact{"Prune", prune}, fact{"Waits for", strings.Join(o.Spec.DependsOn, ", ")}, fact{"Applied", commitText(status.Applied)}, fact{"Being applied", commitText(status.Staged)},
		fact{"Refused", commitText(status.Failed)}, fact{"Reported", reportText(status.Reported)})
	if w := o.Wish; w != nil {
		suspended := ""
		if w.Suspended {
			suspended = "yes, by fleetctl suspend"
		}
		list = append(list, fact{"Suspended", suspended}, fact{"Adopts", strings.Join(w.Adopt, ", ")}, fact{"Disowns", strings.Join(w.Disown, ", ")})
	}
	return list
}

// commitText says which commit it is; "" for none.
func commitText(c *v1.SourceCommit) string {
	if c == nil {
		return ""
	}
	text := fmt.Sprintf("%s, %s, %s: %s", c.Hash, c.Time.UTC().Format(time.RFC3339), c.Author, c.Subject)
	if c.Tag != "" {
		text = c.Tag + ", " + text
	}
	if c.Signer != "" {
		text += ", signed by " + c.Signer
	}
	return text
}

// reportText says what the Git server was told; "" for nothing.
func reportText(r *v1.CommitReport) string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf("%s of %s, %s: %s", r.State, r.Commit, r.Time.UTC().Format(time.RFC3339), r.Description)
}

// oneSource returns the name in source/NAME, or NAME.
func oneSource(_ *cobra.Command, args []string) error {
	if len(args) != 1 || sourceName(args[0]) == "" {
		return usage("give one source, such as source/prod")
	}
	return nil
}

func sourceName(arg string) string {
	kind, name, both := strings.Cut(arg, "/")
	switch {
	case !both:
		return arg
	case kind == "source" || kind == "sources":
		return name
	}
	return ""
}

func (a *app) askSource(ctx context.Context, name string, request wire.SourceRequest) error {
	return a.post(ctx, client.Request{Path: client.Path("sources", name, "wish")}, request, "")
}

func (a *app) syncCommand() *cobra.Command {
	var allowPrune, wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "sync source/NAME", Short: "Look at a source's repository now",
		Long: `Looks at the repository of a source now, instead of at its next interval. With --wait, it returns when the newest commit is applied
and all apps of the source are ready, or as soon as the commit is refused.

A commit that would delete more than half of a source's objects is refused: that is what a merge that went wrong looks like. With
--allow-prune the commit that was refused is applied; a later one has to be allowed again.`,
		Example: "  fleetctl sync source/prod\n  fleetctl sync source/prod --wait --timeout 10m\n  fleetctl sync source/prod --allow-prune",
		Args:    oneSource,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := sourceName(args[0])
			if err := a.askSource(cmd.Context(), name, wire.SourceRequest{Action: wire.Sync, AllowPrune: allowPrune}); err != nil || !wait {
				return err
			}
			return a.waitSynced(cmd.Context(), name, timeout)
		},
		ValidArgsFunction: a.completeSource,
	}
	cmd.Flags().BoolVar(&allowPrune, "allow-prune", false, "let the commit that was refused delete more than half of the objects")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the newest commit is applied and its apps are ready")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long --wait may take")
	return cmd
}

// waitSynced waits until the request of now is answered.
func (a *app) waitSynced(ctx context.Context, name string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := a.client()
	if err != nil {
		return err
	}
	o, err := client.Get[wire.Source](ctx, c, client.Path("sources", name), nil)
	if err != nil {
		return err
	}
	asked := ""
	if o.Wish != nil {
		asked = o.Wish.RequestedAt
	}
	told := newProgress(a)
	err = a.waitForSource(ctx, name, func(status *v1.SourceStatus) bool { return status.Handled >= asked }, told)
	if err == nil {
		told.say("source/"+name, "ready")
	}
	return err
}

// waitForSource returns when a source is ready, or cannot become so; answered says whether a status is about what is waited for.
func (a *app) waitForSource(ctx context.Context, name string, answered func(*v1.SourceStatus) bool, told *progress) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	for event, err := range client.Follow[wire.Source](ctx, c, client.Path("sources", name), nil, false) {
		switch {
		case err != nil:
			return err
		case event.Type == wire.Deleted:
			return errors.New("it was deleted")
		case event.Type == wire.Bookmark, event.Object.Status == nil, !answered(event.Object.Status):
			continue
		}
		ready, synced := sourceCondition(event.Object, v1.Ready), sourceCondition(event.Object, v1.Synced)
		switch {
		case ready.Status == v1.ConditionTrue:
			return nil
		case synced.Status == v1.ConditionFalse && synced.Reason != v1.ReasonFetching && synced.Reason != v1.ReasonWaiting:
			return fmt.Errorf("%s: %s", synced.Reason, synced.Message)
		}
		told.say("source/"+name, ready.Message)
	}
	if err := endOfWait(ctx); errors.Is(err, errTimeout) {
		return fmt.Errorf("%w; see fleetctl describe source %s", err, name)
	}
	return ctx.Err()
}

func (a *app) suspendCommand() *cobra.Command {
	return a.sourceAction(wire.Suspend, "Apply nothing of a source until it is resumed",
		`Applies nothing of a source, and puts back nothing that is edited past it, until fleetctl resume. What runs goes on.`)
}

func (a *app) resumeCommand() *cobra.Command {
	return a.sourceAction(wire.Resume, "Go on with a suspended source", "Goes on where fleetctl suspend has stopped a source.")
}

func (a *app) sourceAction(action, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: action + " source/NAME", Short: short, Long: long, Example: "  fleetctl " + action + " source/prod", Args: oneSource,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.askSource(cmd.Context(), sourceName(args[0]), wire.SourceRequest{Action: action})
		},
		ValidArgsFunction: a.completeSource,
	}
}

func (a *app) adoptCommand() *cobra.Command {
	return a.ownCommand(wire.Adopt, "Let a source take over apps that exist",
		`Lets a source replace apps that people have applied by what its repository says of them. Without that, a commit with such an app is
refused. An app that is byte for byte as in the repository needs no adoption.`)
}

func (a *app) disownCommand() *cobra.Command {
	return a.ownCommand(wire.Disown, "Take apps out of a source's hands",
		`Has a source leave apps alone, although they are in its repository: it neither changes nor deletes them until fleetctl adopt.`)
}

func (a *app) ownCommand(action, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: action + " source/NAME app/NAME...", Short: short, Long: long, Example: "  fleetctl " + action + " source/prod app/web app/api",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 || sourceName(args[0]) == "" {
				return usage("give a source and one app or more, such as source/prod app/web")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.askSource(cmd.Context(), sourceName(args[0]), wire.SourceRequest{Action: action, Objects: args[1:]})
		},
		ValidArgsFunction: a.completeSource,
	}
}

// deleteSource deletes a source, and what it has applied if that is asked for.
func (a *app) deleteSource(ctx context.Context, name string, keep, prune bool) (*wire.Status, error) {
	if keep == prune {
		return nil, usage("source/%s: give --keep, and what it has applied stays, or --prune, and it is deleted, too", name)
	}
	objects := wire.ObjectsKeep
	if prune {
		objects = wire.ObjectsPrune
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	return c.Write(ctx, client.Request{Method: http.MethodDelete, Path: client.Path("sources", name), Query: url.Values{"objects": {objects}}})
}

// completeSource completes source/NAME.
func (a *app) completeSource(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return a.completeAppsAndUnits(cmd, args, typed)
	}
	var out []string
	if name, ok := strings.CutPrefix(typed, "source/"); ok || strings.HasPrefix("source/", typed) {
		for _, source := range a.candidates(cmd.Context(), &sourceKind, nil, name) {
			out = append(out, "source/"+source)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// commitOfApp says which file of which commit an app is from, if fleetctl apply --from-git has written its manifest; "" if not.
func (a *app) commitOfApp(ctx context.Context, c *client.Client, name string) (string, error) {
	revisions, err := client.List[wire.Revision](ctx, c, client.Path("apps", name, "revisions"), nil)
	if err != nil || len(revisions) == 0 {
		return "", err
	}
	last := revisions[len(revisions)-1]
	if last.Commit == "" || strings.HasPrefix(last.From, "source/") {
		return "", nil
	}
	return fmt.Sprintf("%s by %s: %s, %s", a.short(last.Commit), last.Author, last.Subject, last.File), nil
}

// sourceOf says which source and which file of which commit an app is from; "" if people applied it.
func (a *app) sourceOf(ctx context.Context, c *client.Client, name string) (string, error) {
	sources, err := client.List[wire.Source](ctx, c, client.Path("sources"), nil)
	if older(err) {
		return "", nil
	}
	for _, source := range sources {
		for _, o := range sourceStatus(source).Inventory {
			if o.Kind != v1.KindApp || o.Name != name {
				continue
			}
			from := fmt.Sprintf("source/%s, %s:%d", source.Metadata.Name, o.Path, o.Line)
			if commit := source.Status.Applied; commit != nil {
				from += fmt.Sprintf(", commit %s by %s: %s", a.short(commit.Hash), commit.Author, commit.Subject)
			}
			if o.Held != "" {
				from += "; not as in the repository: " + o.Held
			}
			return from, nil
		}
	}
	return "", err
}
