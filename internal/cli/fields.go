package cli

import (
	"slices"
	"strings"
)

// field is a column. Each kind has one list of them, used by get, -o wide, list-* and --fields.
type field[T any] struct {
	name string
	cell func(a *app, row T) string
	// file marks columns read from the unit's file, which fleetd has to be asked for.
	file bool
	// each marks columns of a single machine; an object has one row per machine.
	each bool
}

// fields is a list of columns.
type fields[T any] []field[T]

func (f fields[T]) names() string {
	var names []string
	for _, c := range f {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

// choose returns the columns of these names.
func (f fields[T]) choose(names string) (fields[T], error) {
	var chosen fields[T]
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(f, func(c field[T]) bool { return c.name == strings.ToLower(strings.TrimSpace(name)) })
		if i < 0 {
			return nil, usage("--fields: unknown column %q: use one or more of %s", name, f.names())
		}
		chosen = append(chosen, f[i])
	}
	return chosen, nil
}

// subset reports whether all names are among others; both are lists as in --fields.
func (f fields[T]) subset(names, others string) bool {
	for name := range strings.SplitSeq(names, ",") {
		if !slices.Contains(strings.Split(others, ","), strings.ToLower(strings.TrimSpace(name))) {
			return false
		}
	}
	return true
}

// must is choose for names built into the program.
func (f fields[T]) must(names string) fields[T] {
	chosen, err := f.choose(names)
	if err != nil {
		panic(err)
	}
	return chosen
}

// whole returns the columns that are not of a single machine.
func (f fields[T]) whole() fields[T] {
	return slices.DeleteFunc(slices.Clone(f), func(c field[T]) bool { return c.each })
}

// file reports whether any column is read from the unit's file.
func (f fields[T]) file() bool {
	return slices.ContainsFunc(f, func(c field[T]) bool { return c.file })
}

func (f fields[T]) columns() []string {
	var names []string
	for _, c := range f {
		names = append(names, strings.ToUpper(c.name))
	}
	return names
}

func (f fields[T]) cells(a *app, row T) []string {
	var out []string
	for _, c := range f {
		out = append(out, c.cell(a, row))
	}
	return out
}
