// Command gen generates documentation from the code: the App reference and the JSON schema for editors from the types in
// apis/v1, fleetd's configuration, fleetctl's commands, the API's paths, and the page of reasons, with what fleetctl explain says
// of them, from their constants.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

func main() {
	check := flag.Bool("check", false, "write nothing, fail if a file is not up to date")
	top := flag.String("top", ".", "the checkout's directory")
	flag.Parse()
	if err := run(*top, *check); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(top string, check bool) error {
	docs, err := readDocs(filepath.Join(top, "apis/v1"))
	if err != nil {
		return err
	}
	schema, err := schemaOf(docs)
	if err != nil {
		return err
	}
	reasons, list, err := reasonsOf(top)
	if err != nil {
		return err
	}
	texts, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return err
	}
	commands, err := commandsOf()
	if err != nil {
		return err
	}
	paths, err := apiOf(top)
	if err != nil {
		return err
	}
	for _, file := range []struct {
		path string
		text []byte
	}{
		{"docs/reference/app.md", referenceOf(docs)},
		{"docs/reference/app.schema.json", schema},
		{"docs/reference/configuration.md", configOf()},
		{"docs/reference/fleetctl.md", commands},
		{"docs/reference/api.md", paths},
		{"docs/reasons.md", reasons},
		{"internal/cli/reasons.json", append(texts, '\n')},
	} {
		path := filepath.Join(top, file.path)
		stored, err := os.ReadFile(path)
		switch {
		case err == nil && bytes.Equal(stored, file.text):
		case check:
			return fmt.Errorf("%s is not up to date: run hack/update-generated.sh", file.path)
		default:
			if err := os.WriteFile(path, file.text, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// field is a field as it appears in manifests.
type field struct {
	name     string
	path     string // such as spec.ports[].name
	typ      reflect.Type
	doc      doc
	required bool
}

// fieldsOf lists the fields of a struct in order, including those of embedded structs.
func fieldsOf(t reflect.Type, path string, docs docs) []field {
	var list []field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			list = append(list, fieldsOf(f.Type, path, docs)...)
			continue
		}
		name, optional := jsonName(f)
		at := name
		if path != "" {
			at = path + "." + name
		}
		list = append(list, field{name: name, path: at, typ: f.Type, doc: docs.field(t, f.Name), required: !optional})
	}
	return list
}

// elementOf strips pointers, lists and maps and returns the element type, and the path of one element.
func elementOf(t reflect.Type, path string) (reflect.Type, string) {
	for t != stringList && t != amount {
		switch t.Kind() {
		case reflect.Pointer:
			t = t.Elem()
			continue
		case reflect.Slice:
			t, path = t.Elem(), path+"[]"
			continue
		case reflect.Map:
			t, path = t.Elem(), path+"[]"
			continue
		}
		break
	}
	return t, path
}

var (
	stringList = reflect.TypeFor[v1.StringList]()
	duration   = reflect.TypeFor[v1.Duration]()
	hostPort   = reflect.TypeFor[v1.HostPort]()
	amount     = reflect.TypeFor[v1.IntOrPercent]()
)
