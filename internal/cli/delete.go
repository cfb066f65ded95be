package cli

import (
	"context"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

func (a *app) deleteCommand() *cobra.Command {
	var files []string
	var recursive, missingIsFine bool
	var o sourceDeletion
	cmd := &cobra.Command{
		Use: "delete app|unit|source NAME... | -f FILE", Short: "Delete apps, units and sources",
		Long: `Deletes objects by name, or those defined in files. Deleting an app also deletes its units, its endpoints and its
route. A unit of an app cannot be deleted: delete the app.

Of a source it has to be said what becomes of what it has applied: with --keep that stays, with --prune it is deleted with the
source.`,
		Example: "  fleetctl delete app hello\n  fleetctl delete app/hello unit/a.service\n  fleetctl delete -f manifests/\n  fleetctl delete source/prod --keep",
		Args: func(_ *cobra.Command, args []string) error {
			if len(files) == 0 && len(args) == 0 {
				return usage("nothing to delete: give app NAME, unit NAME, source NAME, or -f FILE")
			}
			if len(files) > 0 && len(args) > 0 {
				return usage("give either names or -f, not both")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var targets []deletion
			var err error
			if len(files) > 0 {
				targets, err = a.targetsOf(files, recursive)
			} else {
				targets, err = parseTargets(args)
			}
			if err != nil {
				return err
			}
			return a.deleteAll(cmd.Context(), targets, missingIsFine, o)
		},
		ValidArgsFunction: a.completeKindAndName,
	}
	f := cmd.Flags()
	f.StringArrayVarP(&files, "filename", "f", nil, "delete the objects in a file, a directory, or - for standard input; may be repeated")
	f.BoolVarP(&recursive, "recursive", "R", false, "include subdirectories")
	f.BoolVar(&o.keep, "keep", false, "of a source: what it has applied stays")
	f.BoolVar(&o.prune, "prune", false, "of a source: what it has applied is deleted, too")
	f.BoolVar(&missingIsFine, "ignore-not-found", false, "do not fail if an object does not exist")
	return cmd
}

// deletion is an object to delete.
type deletion struct{ singular, plural, name string }

// sourceDeletion says what becomes of what a source has applied.
type sourceDeletion struct{ keep, prune bool }

func (a *app) targetsOf(files []string, recursive bool) ([]deletion, error) {
	manifests, faults, err := a.readManifests(files, recursive)
	switch {
	case err != nil:
		return nil, err
	case faults > 0:
		return nil, errReported{exitError}
	}
	var targets []deletion
	for _, m := range manifests {
		kind := strings.ToLower(m.Kind())
		targets = append(targets, deletion{kind, kind + "s", m.Name()})
	}
	return targets, nil
}

// parseTargets parses "app a b" and "app/a unit/b.service".
func parseTargets(args []string) ([]deletion, error) {
	var targets []deletion
	kindName := ""
	for i, arg := range args {
		words := splitArgs([]string{arg})
		switch {
		case len(words) == 2 && kindName == "":
			t, err := newTarget(words[0], words[1])
			if err != nil {
				return nil, err
			}
			targets = append(targets, t)
		case i == 0:
			kindName = arg
			if _, err := newTarget(arg, ""); err != nil {
				return nil, err
			}
		case kindName == "":
			return nil, usage("invalid argument %q: use app/NAME or unit/NAME", arg)
		default:
			t, err := newTarget(kindName, arg)
			if err != nil {
				return nil, err
			}
			targets = append(targets, t)
		}
	}
	if len(targets) == 0 {
		return nil, usage("missing name of the object to delete")
	}
	return targets, nil
}

func newTarget(kindName, name string) (deletion, error) {
	switch kindName {
	case "app", "apps":
		return deletion{"app", "apps", name}, nil
	case "unit", "units":
		return deletion{"unit", "units", unitName(name)}, nil
	case "source", "sources":
		return deletion{"source", "sources", name}, nil
	}
	return deletion{}, usage("%q cannot be deleted: use app, unit or source", kindName)
}

func (a *app) deleteOne(ctx context.Context, c *client.Client, t deletion, o sourceDeletion) (*wire.Status, error) {
	if t.singular == "source" {
		return a.deleteSource(ctx, t.name, o.keep, o.prune)
	}
	return c.Write(ctx, client.Request{Method: http.MethodDelete, Path: client.Path(t.plural, t.name)})
}

func (a *app) deleteAll(ctx context.Context, targets []deletion, missingIsFine bool, o sourceDeletion) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	code := exitOK
	for _, t := range targets {
		answer, err := a.deleteOne(ctx, c, t, o)
		switch {
		case err == nil:
			a.say("%s", answer.Message)
			if answer.Apply != "" && a.Terminal {
				a.note("fleetctl: to bring it back: fleetctl undo --apply %s", answer.Apply)
			}
		case missingIsFine && client.NotFound(err):
		default:
			if failed := a.report(err); code == exitOK {
				code = failed
			}
		}
	}
	if code != exitOK {
		return errReported{code}
	}
	return nil
}
