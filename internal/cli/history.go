package cli

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

func (a *app) historyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "history app/NAME", Short: "Show the revisions of an app: time, user, what changed",
		Long: `Shows the revisions of an app that are kept, the last ten, the oldest first. BY is the user who wrote the manifest through
fleetd's unix socket (also over --tunnel: then it is the user of ssh), or the address of a client on another machine. It is
"unknown" where the manifest was written to etcd directly. A manifest that is not accepted is the last line, without a number.

OUTCOME is complete, in progress, stalled, superseded, rejected or pending. -o wide adds the ID of the apply, for fleetctl undo
--apply, and the commit, its author and the file where the manifest is from Git; with -o json each revision has its spec.`,
		Example: "  fleetctl history app/hello\n  fleetctl history app/hello -o wide\n  fleetctl history app/hello -o json | jq -r .items[].change",
		Args:    oneApp,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, _ := appNamed(args)
			return a.history(cmd.Context(), name)
		},
		ValidArgsFunction: a.completeApp,
	}
}

// oneApp requires app/NAME, or app NAME.
func oneApp(_ *cobra.Command, args []string) error {
	_, err := appNamed(args)
	return err
}

// appNamed returns the name in app/NAME, or app NAME.
func appNamed(args []string) (string, error) {
	if len(args) == 0 {
		return "", usage("app/NAME is missing")
	}
	words := splitArgs(args)
	if len(words) != 2 || words[0] != "app" && words[0] != "apps" || words[1] == "" {
		return "", usage("invalid argument %q: use app/NAME", strings.Join(args, " "))
	}
	return words[1], nil
}

// completeApp completes app/NAME.
func (a *app) completeApp(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	var out []string
	if name, isApp := strings.CutPrefix(typed, "app/"); len(args) == 0 && (isApp || strings.HasPrefix("app/", typed)) {
		for _, app := range a.candidates(cmd.Context(), &appKind, nil, name) {
			out = append(out, "app/"+app)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

var revisionKind = kind[wire.Revision]{
	singular: "revision", plural: "revisions",
	name: func(o wire.Revision) string { return strconv.FormatInt(o.Number, 10) },
	fields: fields[wire.Revision]{
		{name: "revision", cell: func(_ *app, o wire.Revision) string {
			if o.Number == 0 {
				return ""
			}
			return strconv.FormatInt(o.Number, 10)
		}},
		{name: "time", cell: func(_ *app, o wire.Revision) string {
			if o.Time.IsZero() {
				return ""
			}
			return o.Time.UTC().Format(time.RFC3339)
		}},
		{name: "by", cell: func(_ *app, o wire.Revision) string { return cmp.Or(o.User, o.From, "unknown") }},
		{name: "change", cell: func(_ *app, o wire.Revision) string { return o.Change }},
		{name: "outcome", cell: func(_ *app, o wire.Revision) string {
			if o.Message == "" {
				return o.Outcome
			}
			return o.Outcome + ": " + o.Message
		}},
		{name: "note", cell: func(_ *app, o wire.Revision) string { return o.Note }},
		{name: "apply", cell: func(_ *app, o wire.Revision) string { return o.Apply }},
		{name: "commit", cell: func(a *app, o wire.Revision) string { return a.short(o.Commit) }},
		{name: "author", cell: func(_ *app, o wire.Revision) string { return o.Author }},
		{name: "file", cell: func(_ *app, o wire.Revision) string { return o.File }},
	},
	table: "revision,time,by,change,note,outcome", wide: "apply,commit,author,file",
	colour: func(o wire.Revision) string {
		if o.Outcome == wire.Rejected || o.Outcome == wire.Stalled {
			return red
		}
		return plain
	},
}

func (a *app) history(ctx context.Context, name string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	revisions, err := client.List[wire.Revision](ctx, c, client.Path("apps", name, "revisions"), nil)
	if err != nil {
		return err
	}
	switch a.output {
	case "yaml":
		return a.printYAML(wire.List[wire.Revision]{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: "List"}, Items: revisions})
	case "json", "name":
		return revisionKind.print(ctx, a, revisions, false)
	}
	names := revisionKind.table
	if a.output == "wide" {
		names += "," + revisionKind.wide
	}
	t := revisionKind.tabulate(a, revisionKind.fields.must(names), revisions, nil)
	for _, column := range []string{"NOTE", "COMMIT", "AUTHOR", "FILE"} {
		t.dropEmpty(column)
	}
	return a.printTable(t)
}
