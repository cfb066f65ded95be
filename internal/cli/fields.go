package cli

import (
	"slices"
	"strings"
)

// field is a column of list-units and its like, chosen with --fields.
type field[T any] struct {
	name string
	cell func(a *app, row T) string
}

func fieldNames[T any](fields []field[T]) string {
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
	}
	return strings.Join(names, ", ")
}

// choose finds the fields by their names.
func choose[T any](fields []field[T], names, otherwise string) ([]field[T], error) {
	if names == "" {
		names = otherwise
	}
	var chosen []field[T]
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(fields, func(f field[T]) bool { return f.name == strings.ToLower(strings.TrimSpace(name)) })
		if i < 0 {
			return nil, usage("--fields: %q is no column: write some of %s", name, fieldNames(fields))
		}
		chosen = append(chosen, fields[i])
	}
	return chosen, nil
}

func columns[T any](fields []field[T]) []string {
	var names []string
	for _, f := range fields {
		names = append(names, strings.ToUpper(f.name))
	}
	return names
}

func cells[T any](a *app, fields []field[T], row T) []string {
	var out []string
	for _, f := range fields {
		out = append(out, f.cell(a, row))
	}
	return out
}

func printRows[T any](a *app, fields []field[T], rows []T) error {
	t := &table{columns: columns(fields)}
	for _, row := range rows {
		t.add(plain, cells(a, fields, row)...)
	}
	return a.printTable(t)
}
