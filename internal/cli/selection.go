package cli

import (
	"context"
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

const selectionHelp = `

NAME may be a pattern with *, ? and [...]. What has = in it, such as app=example-app, selects by labels, as --selector
does; a unit of an app has the label app.`

// selection is which objects of a kind a command is about.
type selection struct {
	names, patterns []string
	query           url.Values
}

// selected sorts arguments: names, patterns, and selectors of labels, which no name can be.
func (k *kind[T]) selected(ctx context.Context, a *app, args []string, q url.Values) (s selection, err error) {
	s.query = url.Values{}
	for key, values := range q {
		s.query[key] = values
	}
	var selectors []string
	if given := q.Get("labelSelector"); given != "" {
		selectors = append(selectors, given)
	}
	for _, arg := range args {
		switch {
		case strings.Contains(arg, "="):
			selectors = append(selectors, arg)
			continue
		case strings.ContainsAny(arg, "*?["):
			if _, err := path.Match(arg, ""); err != nil {
				return s, usage("%q is not a pattern: close every [", arg)
			}
			s.patterns = append(s.patterns, arg)
			continue
		case k.argument != nil:
			if arg, err = k.argument(a, ctx, arg); err != nil {
				return s, err
			}
		}
		s.names = append(s.names, arg)
	}
	if len(selectors) > 0 {
		s.query.Set("labelSelector", strings.Join(selectors, ","))
	}
	return s, nil
}

// all: nothing is left out by its name.
func (s selection) all() bool { return len(s.names)+len(s.patterns) == 0 }

// has: an object of that name is meant. In patterns .service may be left out, as in names.
func (s selection) has(name string) bool {
	return s.all() || slices.Contains(s.names, name) || slices.ContainsFunc(s.patterns, func(p string) bool {
		whole, _ := path.Match(p, name)
		short, _ := path.Match(p, shortName(name))
		return whole || short
	})
}

// fetch reads what is selected, in the order of its names; what was named and is not there is told.
func (k *kind[T]) fetch(ctx context.Context, a *app, s selection) ([]T, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	// A single object is answered without its file's text, and whatever its labels.
	if len(s.patterns) == 0 && len(s.names) > 0 && !s.query.Has("labelSelector") && !s.query.Has("contents") {
		var objects []T
		return objects, a.each(s.names, func(name string) error {
			object, err := client.Get[T](ctx, c, client.Path(k.plural, name), s.query)
			if err == nil {
				objects = append(objects, object)
			}
			return err
		})
	}
	objects, err := client.List[T](ctx, c, client.Path(k.plural), s.query)
	if err != nil {
		return nil, err
	}
	objects = slices.DeleteFunc(objects, func(o T) bool { return !s.has(k.name(o)) })
	return objects, a.each(s.names, func(name string) error {
		if slices.ContainsFunc(objects, func(o T) bool { return k.name(o) == name }) {
			return nil
		}
		if s.query.Has("labelSelector") { // it may be there, and not have the labels
			return nil
		}
		return wire.Fail(wire.ReasonNotFound, "%s/%s does not exist", k.singular, name)
	})
}

// told: what went wrong was told already; what could be read is shown.
func told(err error) bool {
	var reported errReported
	return err == nil || errors.As(err, &reported)
}
