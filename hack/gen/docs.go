package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
)

// doc is the documentation of a field.
type doc struct {
	text     string
	fallback string // the default
	readOnly bool
}

// docs are the comments of types and their fields: "AppSpec", "AppSpec.Replicas".
type docs map[string]string

// readDocs reads a package's comments.
func readDocs(dir string) (docs, error) {
	comments := docs{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			if types, ok := d.(*ast.GenDecl); ok && types.Tok == token.TYPE {
				comments.read(types)
			}
		}
	}
	return comments, nil
}

func (d docs) read(types *ast.GenDecl) {
	for _, spec := range types.Specs {
		t := spec.(*ast.TypeSpec)
		d[t.Name.Name] = plain(types.Doc.Text())
		structure, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range structure.Fields.List {
			for _, name := range f.Names {
				d[t.Name.Name+"."+name.Name] = plain(f.Doc.Text())
			}
		}
	}
}

func plain(comment string) string { return strings.Join(strings.Fields(comment), " ") }

var (
	fallback = regexp.MustCompile(`\s*Default:? (.+?)\.(?:\s|$)`)
)

// field returns the documentation of a field, with the default split off.
func (d docs) field(t reflect.Type, name string) doc {
	text := d[t.Name()+"."+name]
	if text == "" {
		return doc{}
	}
	out := doc{readOnly: strings.Contains(text, "Read-only")}
	if match := fallback.FindStringSubmatch(text); match != nil {
		out.fallback = match[1]
		text = strings.TrimSpace(strings.Replace(text, match[0], " ", 1))
	}
	out.text = withoutName(text, name)
	return out
}

// withoutName removes the Go name that comments begin with.
func withoutName(text, name string) string {
	rest, named := strings.CutPrefix(text, name+" ")
	for _, verb := range []string{"is ", "are "} {
		rest = strings.TrimPrefix(rest, verb)
	}
	if !named || rest == "" {
		return text
	}
	return strings.ToUpper(rest[:1]) + rest[1:]
}

// jsonName returns a field's name in manifests and whether it is optional.
func jsonName(f reflect.StructField) (name string, optional bool) {
	name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name, strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
}
