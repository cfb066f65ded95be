package cli

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/api/client"
)

// completionTimeout keeps a shell from blocking on a cluster that does not answer.
const completionTimeout = 2 * time.Second

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeNames completes names of a kind that are not yet on the command line.
func (a *app) completeNames(of func() shower) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		return a.candidates(cmd.Context(), of(), args, typed), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeKindAndName completes kinds, then names.
func (a *app) completeKindAndName(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		k, err := findKind(args[0])
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.candidates(cmd.Context(), k, args[1:], typed), cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, k := range kinds {
		if name := k.names()[0]; strings.HasPrefix(name, typed) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeAppsAndUnits completes app/NAME and units.
func (a *app) completeAppsAndUnits(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	var out []string
	if name, isApp := strings.CutPrefix(typed, "app/"); isApp || strings.HasPrefix("app/", typed) {
		for _, app := range a.candidates(cmd.Context(), &appKind, nil, name) {
			if !slices.Contains(args, "app/"+app) {
				out = append(out, "app/"+app)
			}
		}
	}
	return append(out, a.candidates(cmd.Context(), &unitKind, args, typed)...), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) candidates(ctx context.Context, k shower, given []string, typed string) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	var out []string
	for _, name := range k.complete(ctx, a) {
		if strings.HasPrefix(name, typed) && !slices.Contains(given, name) {
			out = append(out, name)
		}
	}
	return out
}

// complete lists the names of a kind; none if the cluster does not answer.
func (k *kind[T]) complete(ctx context.Context, a *app) []string {
	c, err := a.client()
	if err != nil {
		return nil
	}
	objects, err := client.List[T](ctx, c, client.Path(k.plural), url.Values{})
	if err != nil {
		return nil
	}
	var names []string
	for _, o := range objects {
		names = append(names, k.name(o))
	}
	return names
}
