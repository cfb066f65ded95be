// Package template renders confd templates: Go's text/template with the
// functions that confd documents, over a tree of etcd keys and values.
//
// It has the functions of confd's docs/templates.md except the encrypted ones (cget, cgets, cgetv, cgetvs), for which there
// are no keys here.
package template

import (
	"fmt"
	"io"
	"maps"
	"os"
	"text/template"
	"time"
)

// Template is a parsed template. It holds no tree and may be executed many times, also concurrently.
type Template struct {
	t    *template.Template
	host Host
}

// Host is what a template may query from its machine. A nil field means the real thing; tests and previews set fixed answers.
type Host struct {
	Now       func() time.Time
	LookupEnv func(name string) (value string, ok bool)
	// FileExists reports whether a path exists.
	FileExists func(path string) bool
	Hostname   func() (string, error)
	Resolver   Resolver
}

// New parses text. The error names the template and the line, for example
// `template: apps.tmpl:3: function "gett" not defined`.
func New(name, text string) (*Template, error) { return NewFor(Host{}, name, text) }

// NewFor is New for a template that queries h instead of its machine.
func NewFor(h Host, name, text string) (*Template, error) {
	h = h.withDefaults()
	t, err := template.New(name).Funcs(h.funcs(&Tree{})).Parse(text)
	if err != nil {
		return nil, err
	}
	return &Template{t: t, host: h}, nil
}

// Execute renders the template over tree. If a function fails, such as get for a key that the tree does not have, the error
// has the template's name and the line; part of the text may have been written by then.
func (t *Template) Execute(w io.Writer, tree *Tree) error {
	c, err := t.t.Clone()
	if err != nil {
		return fmt.Errorf("copy template %s: %w", t.t.Name(), err)
	}
	return c.Funcs(treeFuncs(tree)).Execute(w, nil)
}

// Name is the name that New was given.
func (t *Template) Name() string { return t.t.Name() }

func (h Host) withDefaults() Host {
	if h.Now == nil {
		h.Now = time.Now
	}
	if h.LookupEnv == nil {
		h.LookupEnv = os.LookupEnv
	}
	if h.FileExists == nil {
		h.FileExists = func(path string) bool { _, err := os.Stat(path); return err == nil }
	}
	if h.Hostname == nil {
		h.Hostname = os.Hostname
	}
	if h.Resolver == nil {
		h.Resolver = systemResolver{}
	}
	return h
}

func (h Host) funcs(tree *Tree) template.FuncMap {
	m := maps.Clone(pureFuncs)
	maps.Copy(m, h.hostFuncs())
	maps.Copy(m, treeFuncs(tree))
	return m
}

func treeFuncs(tree *Tree) template.FuncMap {
	return template.FuncMap{
		"exists": tree.Exists,
		"ls":     tree.List,
		"lsdir":  tree.ListDir,
		"get":    tree.Get,
		"gets":   tree.GetAll,
		"getv":   tree.GetValue,
		"getvs":  tree.GetAllValues,
	}
}
