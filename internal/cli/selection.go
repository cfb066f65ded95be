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

NAME may be a pattern with *, ? and [...]. An argument with =, such as app=example-app, selects by label, like --selector;
units of an app have the label app.`

// selection is the set of objects that a command applies to.
type selection struct {
	names, patterns []string
	query           url.Values
}

// selected sorts arguments into names, patterns and label selectors. Names cannot contain =.
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

// all reports whether no object is excluded by name.
func (s selection) all() bool { return len(s.names)+len(s.patterns) == 0 }

// has reports whether the selection includes that name. As in names, .service may be omitted in patterns.
func (s selection) has(name string) bool {
	return s.all() || slices.Contains(s.names, name) || slices.ContainsFunc(s.patterns, func(p string) bool {
		whole, _ := path.Match(p, name)
		short, _ := path.Match(p, shortName(name))
		return whole || short
	})
}

// fetch reads the selected objects, sorted by name, and reports names that do not exist.
func (k *kind[T]) fetch(ctx context.Context, a *app, s selection) ([]T, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	// A request for a single object does not support file contents or label selectors.
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
		if s.query.Has("labelSelector") { // it may exist without the labels
			return nil
		}
		return wire.Fail(wire.ReasonNotFound, "%s/%s does not exist", k.singular, name)
	})
}

// told reports whether the error has been printed, so that what was read can still be shown.
func told(err error) bool {
	var reported errReported
	return err == nil || errors.As(err, &reported)
}
