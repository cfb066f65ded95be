package cli

import (
	"context"
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

// shower is a kind of any type.
type shower interface {
	names() []string
	show(ctx context.Context, a *app, names []string, q url.Values) error
	complete(ctx context.Context, a *app) []string
}

// kinds are the kinds that get supports.
var kinds = []shower{&appKind, &unitKind, &machineKind, &eventKind, &endpointKind, &sourceKind}

func (k *kind[T]) names() []string { return append([]string{k.plural, k.singular}, k.aliases...) }

func findKind(name string) (shower, error) {
	var all []string
	for _, k := range kinds {
		if slices.Contains(k.names(), name) {
			return k, nil
		}
		all = append(all, k.names()[0])
	}
	return nil, usage("unknown kind %q: use one of %s", name, strings.Join(all, ", "))
}

func (a *app) getCommand() *cobra.Command {
	var selector string
	cmd := &cobra.Command{
		Use: "get KIND [NAME|PATTERN|LABEL=VALUE...]", Short: "Show apps, units, machines, events, endpoints or sources",
		Long: `Shows all objects of a kind, or the named ones. KIND is apps, units, machines, events, endpoints or sources;
KIND/NAME works as well: app/hello.

With -o yaml an app is shown as it is stored, comments included, followed by its status. If the stored manifest is
invalid, its text is shown with the condition Accepted=False, which names the line and the field.` + selectionHelp,
		Example: `  fleetctl get apps
  fleetctl get app hello -o yaml
  fleetctl get units -l -o wide
  fleetctl get machines -o json
  fleetctl get apps --selector tier=web -w`,
		Args: atLeast(1, "a kind (apps, units, machines, events, endpoints, sources)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			args = splitArgs(args)
			k, err := findKind(args[0])
			if err != nil {
				return err
			}
			q := url.Values{}
			if selector != "" {
				q.Set("labelSelector", selector)
			}
			return k.show(cmd.Context(), a, args[1:], q)
		},
		ValidArgsFunction: a.completeKindAndName,
	}
	cmd.Flags().StringVar(&selector, "selector", "", "only objects with these labels, such as tier=web,env!=test")
	return cmd
}

// splitArgs splits kind/name.
func splitArgs(args []string) []string {
	if k, name, ok := strings.Cut(args[0], "/"); ok {
		return append([]string{k, name}, args[1:]...)
	}
	return args
}

// show lists the selected objects and, with --watch, their changes.
func (k *kind[T]) show(ctx context.Context, a *app, names []string, q url.Values) error {
	chosen, err := k.selected(ctx, a, names, q)
	if err != nil {
		return err
	}
	if a.watch {
		return k.follow(ctx, a, chosen)
	}
	objects, failed := k.fetch(ctx, a, chosen)
	if !told(failed) {
		return failed
	}
	single := len(chosen.names) == 1 && len(chosen.patterns) == 0
	if len(objects) > 0 || chosen.all() || len(chosen.patterns) > 0 {
		if err := k.print(ctx, a, objects, single && len(objects) == 1); err != nil {
			return err
		}
	}
	return failed
}

// follow shows the existing objects and then every change.
func (k *kind[T]) follow(ctx context.Context, a *app, chosen selection) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	path := client.Path(k.plural)
	if len(chosen.names) == 1 && len(chosen.patterns) == 0 {
		path = client.Path(k.plural, chosen.names[0])
	}
	var first []T
	begun := false
	for event, err := range client.Follow[T](ctx, c, path, chosen.query, k.resume) {
		switch {
		case err != nil && ctx.Err() != nil:
			return nil // interrupted by the user
		case err != nil:
			return err
		case event.Type == wire.Bookmark && !begun:
			begun = true
			if err := k.print(ctx, a, first, false); err != nil {
				return err
			}
			a.noLegend = true
		case event.Type == wire.Bookmark, !chosen.has(k.name(event.Object)):
		case !begun:
			first = append(first, event.Object)
		default:
			if err := k.printChange(ctx, a, event); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *kind[T]) printChange(ctx context.Context, a *app, event wire.Event[T]) error {
	if event.Type == wire.Deleted && (a.output == "table" || a.output == "wide") {
		if k.resume { // an expired event is not worth showing
			return nil
		}
		a.say("%s/%s deleted", k.singular, k.name(event.Object))
		return nil
	}
	if a.output == "json" {
		return json.NewEncoder(a.Out).Encode(event)
	}
	return k.print(ctx, a, []T{event.Object}, false)
}

// print writes objects in the --output format. single is set for one object requested by name.
func (k *kind[T]) print(ctx context.Context, a *app, objects []T, single bool) error {
	switch a.output {
	case "name":
		for _, o := range objects {
			a.say("%s/%s", k.singular, k.name(o))
		}
		return nil
	case "json":
		if single {
			return a.printJSON(objects[0])
		}
		return a.printJSON(wire.List[T]{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: "List"}, Items: append([]T{}, objects...)})
	case "yaml":
		return k.printYAML(ctx, a, objects)
	}
	names := k.table
	if a.output == "wide" {
		names += "," + k.wide
	}
	t := k.tabulate(a, k.fields.must(names), objects, k.rows)
	if a.output == "wide" && len(t.rows) > 0 && !a.watch {
		t.dropEmpty("REASON")
	}
	return a.printTable(t)
}

// tabulate makes a table. rows returns the rows of an object; nil means one each.
func (k *kind[T]) tabulate(a *app, columns fields[T], objects []T, rows func(T) []T) *table {
	t := &table{columns: columns.columns()}
	for _, o := range objects {
		colour, lines := plain, []T{o}
		if k.colour != nil {
			colour = k.colour(o)
		}
		if rows != nil {
			lines = rows(o)
		}
		for _, row := range lines {
			t.add(colour, columns.cells(a, row)...)
		}
	}
	return t
}

// printYAML writes each object as a document.
func (k *kind[T]) printYAML(ctx context.Context, a *app, objects []T) error {
	for i, o := range objects {
		if i > 0 {
			fmt.Fprintln(a.Out, "---")
		}
		var err error
		if k.yaml != nil {
			err = k.yaml(a, ctx, o)
		} else {
			err = a.printYAML(o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
