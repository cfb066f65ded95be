package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Source is where values come from.
type Source struct {
	// File is the configuration file. Empty means DefaultFile, which may be absent.
	File string
	// Environ is a list of NAME=value, as os.Environ gives it.
	Environ []string
	// Flags are the values given on the command line, by the key's name.
	Flags map[string]string
}

// Load reads all sources. The error contains every problem found, one per line, each with its place. Warnings are lines for
// the log.
func Load(src Source) (c *Config, warnings []string, err error) {
	env := environment(src.Environ)
	l := &loader{c: defaults()}
	file := firstOf(src.File, env("FLEET_CONFIG"), DefaultFile)
	data, err := os.ReadFile(file)
	switch {
	case err == nil:
		l.file(file, string(data))
	case errors.Is(err, fs.ErrNotExist) && file == DefaultFile:
	default:
		l.errs = append(l.errs, fmt.Errorf("configuration file: %w", err))
	}
	for _, k := range keys {
		if v := env(k.Variable()); v != "" {
			l.set(k.Variable(), k, v)
		}
		if v, ok := src.Flags[k.Name]; ok {
			l.set("--"+k.Flag(), k, v)
		}
	}
	l.c.complete(env)
	l.errs = append(l.errs, l.c.check()...)
	if len(l.errs) > 0 {
		return nil, l.warnings, errors.Join(l.errs...)
	}
	return l.c, l.warnings, nil
}

type loader struct {
	c        *Config
	errs     []error
	warnings []string
}

func (l *loader) set(place string, k Key, value string) {
	if err := k.set(l.c, value); err != nil {
		if k.Secret {
			err = errors.New("not a valid value")
		}
		l.errs = append(l.errs, fmt.Errorf("%s: %s: %w", place, k.Name, err))
	}
}

// file reads the text of a configuration file.
func (l *loader) file(name, text string) {
	assignments, errs := parse(name, text)
	l.errs = append(l.errs, errs...)
	seen := map[string]int{}
	for _, a := range assignments {
		place := fmt.Sprintf("%s:%d", name, a.line)
		if before, twice := seen[a.key]; twice {
			l.warnings = append(l.warnings, fmt.Sprintf("%s: %s: also set on line %d; this line wins", place, a.key, before))
		}
		seen[a.key] = a.line
		if why, ok := meaningless[a.key]; ok {
			l.warnings = append(l.warnings, fmt.Sprintf("%s: %s: no longer has any effect (%s): remove it", place, a.key, why))
			continue
		}
		k, ok := find(a.key)
		if !ok {
			l.errs = append(l.errs, fmt.Errorf("%s: %s: unknown key%s", place, a.key, suggestion(a.key)))
			continue
		}
		l.set(place, k, a.value)
	}
}

func find(name string) (Key, bool) {
	for _, k := range keys {
		if k.Name == name {
			return k, true
		}
	}
	return Key{}, false
}

// suggestion catches common slips: dashes, capital letters, the variable's name.
func suggestion(name string) string {
	plain := strings.TrimPrefix(strings.ReplaceAll(strings.ToLower(name), "-", "_"), "fleet_")
	if _, ok := find(plain); ok {
		return fmt.Sprintf(": did you mean %s?", plain)
	}
	return ""
}

type assignment struct {
	line       int
	key, value string
}

// parse reads key=value lines. Lines starting with # or ; are comments; a value may be quoted.
func parse(name, text string) ([]assignment, []error) {
	var found []assignment
	var errs []error
	line := 0
	for l := range strings.Lines(text) {
		line++
		l = strings.TrimSpace(l)
		if l == "" || l[0] == '#' || l[0] == ';' {
			continue
		}
		key, value, ok := strings.Cut(l, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			errs = append(errs, fmt.Errorf("%s:%d: %q is not key=value", name, line, l))
			continue
		}
		value, err := unquote(strings.TrimSpace(value))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %s: %w", name, line, key, err))
			continue
		}
		found = append(found, assignment{line, key, value})
	}
	return found, errs
}

func unquote(v string) (string, error) {
	if v == "" || (v[0] != '"' && v[0] != '\'') {
		return v, nil
	}
	if len(v) < 2 || v[len(v)-1] != v[0] {
		return "", fmt.Errorf("missing closing quote %c", v[0])
	}
	return v[1 : len(v)-1], nil
}

func environment(environ []string) func(string) string {
	values := make(map[string]string, len(environ))
	for _, pair := range environ {
		k, v, _ := strings.Cut(pair, "=")
		values[k] = v
	}
	return func(name string) string { return values[name] }
}
