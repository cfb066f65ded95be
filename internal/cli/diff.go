package cli

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// diffOptions are the flags of diff.
type diffOptions struct {
	files     []string
	recursive bool
	revisions []string
	git       fromGit
}

func (a *app) diffCommand() *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff -f FILE|DIRECTORY|- | diff --from-git DIRECTORY | diff app/NAME [--revision N [--revision M]] | diff source/NAME",
		Short: "Show what an apply would change, what differs between two revisions, or from Git",
		Long: `With -f or --from-git, shows what fleetctl apply would change: of each app the fields of its manifest, defaults included, then the unit
files that its instances run with; of each unit its fields and its file. Nothing is stored.

With app/NAME, shows what differs between two of its revisions: from the first --revision to the second, or to the last one of
the app. Without --revision it is the change that the last revision made.

With source/NAME, shows how what is stored differs from the commit that the source has applied, object by object, after a line that
says why: it was undone, the app or the source is paused, or it is about to be put back. The leader knows the commit, or reads it.

The output is a unified diff, as diff -u prints it. With -o json it is a list with the texts before and after.

Exit codes: 0 nothing differs, 1 something does, 2 and more an error, as kubectl diff has them.`,
		Example: `  fleetctl diff -f example-app.yaml
  fleetctl diff -f manifests/ -R
  fleetctl diff app/hello
  fleetctl diff app/hello --revision 3 --revision 5
  fleetctl diff source/prod`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(o.files)+len(o.git.dir) > 0 && (len(args) > 0 || len(o.revisions) > 0):
				return usage("give either -f or app/NAME with its revisions, not both")
			case o.git != (fromGit{}):
				return o.git.check(len(o.files) > 0 || o.recursive)
			case len(o.files) > 0:
				return nil
			case len(o.revisions) > 2:
				return usage("--revision is given %d times: two revisions are compared", len(o.revisions))
			case len(args) == 0:
				return usage("nothing to compare: give -f FILE, or app/NAME")
			}
			if source := sourceIn(args); source != "" {
				if len(o.revisions) > 0 {
					return usage("a source has no revisions: --revision is for app/NAME")
				}
				return nil
			}
			_, err := appNamed(args)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			diffs, err := a.diffs(cmd.Context(), args, o)
			if err == nil {
				err = a.printDiffs(diffs)
			}
			if err != nil {
				return errReported{max(a.report(err), exitUsage)} // 1 means that something differs
			}
			if len(diffs) > 0 {
				return errReported{exitError}
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			apps, directive := a.completeApp(cmd, args, typed)
			if len(args) > 0 {
				return apps, directive
			}
			sources, directive := a.completeSource(cmd, args, typed)
			return append(apps, sources...), directive
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.files, "filename", "f", nil, "a file, a directory, or - for standard input; may be repeated")
	f.BoolVarP(&o.recursive, "recursive", "R", false, "include subdirectories")
	f.StringArrayVar(&o.revisions, "revision", nil, "a revision to compare; may be given twice")
	o.git.flags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("revision", a.completeRevision)
	return cmd
}

// sourceIn returns the name in source/NAME, or source NAME; empty: it is something else.
func sourceIn(args []string) string {
	if words := splitArgs(args); len(words) == 2 && (words[0] == "source" || words[0] == "sources") {
		return words[1]
	}
	return ""
}

// completeRevision completes the numbers of the revisions of the app on the command line.
func (a *app) completeRevision(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	name, err := appNamed(args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	c, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	revisions, _ := client.List[wire.Revision](ctx, c, client.Path("apps", name, "revisions"), nil) // none if the cluster does not answer
	var out []string
	for _, r := range revisions {
		if number := strconv.FormatInt(r.Number, 10); r.Number > 0 && strings.HasPrefix(number, typed) {
			out = append(out, number+"\t"+r.Change)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// diffs returns what differs, object by object.
func (a *app) diffs(ctx context.Context, args []string, o diffOptions) ([]wire.Diff, error) {
	if len(o.files) > 0 || o.git.dir != "" {
		return a.diffsOfFiles(ctx, o)
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	if source := sourceIn(args); source != "" {
		d, err := client.Get[wire.Drift](ctx, c, client.Path("sources", source, "diff"), nil)
		return d.Objects, err
	}
	name, _ := appNamed(args)
	q := url.Values{}
	for i, revision := range o.revisions {
		q.Set([]string{"from", "to"}[i], revision)
	}
	d, err := client.Get[wire.Diff](ctx, c, client.Path("apps", name, "diff"), q)
	if err != nil || len(d.Files) == 0 {
		return nil, err
	}
	return []wire.Diff{d}, nil
}

// diffsOfFiles returns what storing the manifests would change.
func (a *app) diffsOfFiles(ctx context.Context, o diffOptions) ([]wire.Diff, error) {
	manifests, faults, err := a.read(ctx, o.files, o.recursive, o.git)
	switch {
	case err != nil:
		return nil, err
	case faults > 0:
		return nil, errReported{exitError}
	}
	var diffs []wire.Diff
	size := partSize
	if o.git.dir != "" {
		size = len(manifests) // as it is applied: together
	}
	for part := range slices.Chunk(manifests, size) {
		answer, err := a.sendApply(ctx, part, "", url.Values{"diff": {"true"}, "dryRun": {"true"}})
		if err != nil {
			return nil, a.refused(part, err)
		}
		for i, item := range answer.Items {
			if len(item.Diff) > 0 {
				to := part[i].file
				if c := part[i].commit; c != nil {
					to = fmt.Sprintf("%s, commit %s", part[i].place, c.Short())
				}
				diffs = append(diffs, wire.Diff{From: "stored", To: to, Files: item.Diff})
			}
		}
	}
	return diffs, nil
}

func (a *app) printDiffs(diffs []wire.Diff) error {
	switch a.output {
	case "json":
		return a.printJSON(append([]wire.Diff{}, diffs...))
	case "yaml":
		return a.printYAML(append([]wire.Diff{}, diffs...))
	}
	for _, d := range diffs {
		if d.Why != "" {
			a.say("# %s: %s", d.Files[0].Name, d.Why)
		}
		for _, f := range d.Files {
			text := diff.Diff(f.Name+" ("+d.From+")", []byte(f.Before), f.Name+" ("+d.To+")", []byte(f.After))
			for line := range strings.Lines(string(text)) {
				if !strings.HasPrefix(line, "diff ") { // its two names have blanks
					a.sayDiff(strings.TrimSuffix(line, "\n"))
				}
			}
		}
	}
	return nil
}

const green = "\x1b[32m"

// sayDiff writes a line of a diff, on a terminal in colour.
func (a *app) sayDiff(line string) {
	colour := plain
	switch {
	case !a.Terminal || a.Plain:
	case strings.HasPrefix(line, "-"):
		colour = red
	case strings.HasPrefix(line, "+"):
		colour = green
	}
	if colour != plain {
		line = colour + line + reset
	}
	a.say("%s", line)
}
