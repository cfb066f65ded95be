package main

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"unicode"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

const intro = `# App reference

<!-- Generated from apis/v1 by hack/update-generated.sh. Do not edit. -->

An App is one YAML or JSON document. It begins with

    apiVersion: fleet/v1
    kind: App

Unknown fields are refused. Where a string is expected, a number or a boolean is taken literally. An editor that
knows JSON schemas checks a manifest while you type: put

    # yaml-language-server: $schema=../docs/reference/app.schema.json

into its first line, with the path to [app.schema.json](app.schema.json).

Notes:

- A changed manifest replaces instances one at a time: each is taken out of the routers first, and the next one follows
  when it is active, healthy and announced again. An instance that is not announced counts after it was active for 2 s.
- A changed global app is replaced on one machine after the other, or on as many at once as update.maxUnavailable says.
- The unit files of a revision stay what they were when it was accepted: an upgrade of fleetd replaces nothing.
- env, and the words of exec.command and of container.command, args, options and volumes, reach the process byte for byte,
  line breaks, quotes, backslashes and dollar signs included, with two exceptions in the words (none in env):
  - Specifiers are expanded: %i, %t and the others of systemd.unit(5); write %% for the character. So it is in envFiles, too.
  - ` + "`" + `${VARIABLE}` + "`" + ` is replaced by the variable's value, as one piece, or by nothing if it is not set. Variables come
    from env (of exec), from envFiles and from the machine's own environment (FLEET_MACHINE_ID, FLEET_MACHINE_IP ...). Write
    ` + "`" + `$${VARIABLE}` + "`" + ` for the characters ` + "`" + `${VARIABLE}` + "`" + `: of dollar signs right before {VARIABLE} two make one. Any other $
    is literal: ` + "`" + `$VARIABLE` + "`" + `, ` + "`" + `$$` + "`" + ` and ` + "`" + `$(date)` + "`" + ` stay as they are. The path of the program itself has no variables.
`

const amounts = `
## Amounts

Amounts of CPU and memory have the same notation everywhere: here, in CPU= and Memory= of [X-Fleet], and in flags.

| text | amount |
|---|---|
| CPU: 2, 0.5, 1.25 | cores |
| CPU: 500m | thousandths of a core, without fractions |
| memory: 1048576, 1024B | bytes |
| memory: 64K, 256M, 1.5G, 1T, 1P, 1E | powers of 1024, as in systemd; fractions of a byte are dropped |
| memory: 64Ki, 256Mi, 1.5Gi, 1Ti, 1Pi, 1Ei | the same, as in Kubernetes |
| 0 | nothing is set aside; as the bodySize of a route, no limit |

Blanks are allowed before a memory suffix. Other suffixes (MB, MiB, k), signs, exponents and percent are refused.
K, M, G and T are powers of 1000 in Kubernetes, and of 1024 here.
`

// referenceOf generates a table for each part of an App.
func referenceOf(docs docs) []byte {
	out := bytes.NewBufferString(intro)
	r := reference{docs: docs, sections: map[reflect.Type]string{}}
	r.find(reflect.TypeFor[v1.App](), "")
	for _, s := range r.order {
		r.section(out, s, r.sections[s])
	}
	out.WriteString(amounts)
	return out.Bytes()
}

// reference has one section for each type, under the first path it appears at.
type reference struct {
	docs     docs
	order    []reflect.Type
	sections map[reflect.Type]string
}

func (r *reference) find(t reflect.Type, path string) {
	if _, seen := r.sections[t]; seen {
		return
	}
	r.order, r.sections[t] = append(r.order, t), path
	for _, f := range fieldsOf(t, path, r.docs) {
		if element, at := elementOf(f.typ, f.path); element.Kind() == reflect.Struct && element != amount && !f.doc.readOnly {
			r.find(element, at)
		}
	}
}

func (r *reference) section(out *bytes.Buffer, t reflect.Type, path string) {
	title, docs := path, r.docs
	if path == "" {
		title = "App"
	}
	fmt.Fprintf(out, "\n## %s\n\n%s\n\n| field | type | default | description |\n|---|---|---|---|\n", title, withoutName(docs[t.Name()], t.Name()))
	for _, f := range fieldsOf(t, path, docs) {
		name := f.name
		if f.required && path != "" {
			name += " (required)"
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s |\n", name, r.typeName(f.typ), escape(f.doc.fallback), escape(f.doc.text))
	}
}

func (r *reference) typeName(t reflect.Type) string {
	switch {
	case t == duration:
		return "duration"
	case t == hostPort:
		return "number or auto"
	case t == stringList:
		return "text or list"
	case t == amount:
		return "number or share"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return r.typeName(t.Elem())
	case reflect.Slice:
		return "list of " + r.typeName(t.Elem())
	case reflect.Map:
		return "map of " + r.typeName(t.Elem())
	case reflect.Struct:
		path, ok := r.sections[t]
		if !ok {
			return "fields"
		}
		return "[" + path + "](#" + anchor(path) + ")"
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	}
	return "number"
}

// anchor is the anchor that GitHub gives a heading.
func anchor(path string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(".[]", r) {
			return -1
		}
		return unicode.ToLower(r)
	}, path)
}

func escape(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`).Replace(s)
}
