package v1

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Limits of a manifest. They keep what a reader allocates in proportion to what was written.
const (
	// MaxManifestSize is the size of one document in bytes (etcd refuses little more).
	MaxManifestSize = 1 << 20

	maxManifestLines = 100_000 // line breaks and commas together: each makes a node or two
	maxManifestNodes = 50_000  // visited nodes, aliases followed
	maxManifestDepth = 32

	// MaxManifestErrors is how many errors are told one by one. The last one says how many more there are.
	MaxManifestErrors = 100
)

// ManifestError is one thing that is wrong with a manifest.
type ManifestError struct {
	// Line is where in the text that was read, from 1; 0 where the object did not come from a text.
	Line int `json:"line,omitempty"`
	// Field is the path of the field, such as spec.ports[0].port; empty where the text could not be read at all.
	Field string `json:"field,omitempty"`
	// Message says what is wrong and what to write instead.
	Message string `json:"message"`
	// More is set where this stands for further errors, which are not told: how many they are.
	More int `json:"more,omitempty"`
}

// Error is "line 12: spec.replicas: message", without the parts that are not known.
func (e *ManifestError) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	return b.String() + e.Message
}

// ManifestErrors is everything that is wrong with a manifest.
type ManifestErrors []*ManifestError

// Error has one line for each error.
func (l ManifestErrors) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Summary is an error's text for events and conditions: where a manifest is wrong in a hundred places, the first ten.
func Summary(err error) string {
	const most, size = 10, 2000
	lines := strings.Split(err.Error(), "\n")
	count := len(lines)
	if errs := (ManifestErrors)(nil); errors.As(err, &errs) {
		count += errs.Count() - len(errs)
	}
	if len(lines) > most {
		lines = append(lines[:most], fmt.Sprintf("and %d more", count-most))
	}
	return shorten(strings.Join(lines, "\n"), size)
}

// Count is how many errors there are, also those that are not told.
func (l ManifestErrors) Count() int {
	n := 0
	for _, e := range l {
		n += max(e.More, 1)
	}
	return n
}

// capped tells the first errors one by one and counts the rest: the text of a manifest can have 50,000 of them.
func (l ManifestErrors) capped() ManifestErrors {
	told := slices.DeleteFunc(slices.Clone(l), func(e *ManifestError) bool { return e.More > 0 })
	told = told[:min(len(told), MaxManifestErrors)]
	if more := l.Count() - len(told); more > 0 {
		told = append(told, moreErrors(more))
	}
	return told
}

func moreErrors(n int) *ManifestError {
	return &ManifestError{Message: fmt.Sprintf("and %d more", n), More: n}
}

// Err is the list as an error: nil where it is empty.
func (l ManifestErrors) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}

func (l *ManifestErrors) add(field, format string, args ...any) {
	*l = append(*l, &ManifestError{Field: field, Message: fmt.Sprintf(format, args...)})
}

// Object is one document of a manifest: exactly one of App and Unit is set.
type Object struct {
	// Line is where the document begins in the text that was read, from 1.
	Line int
	// Raw is the document as it was written.
	Raw  []byte
	App  *App
	Unit *Unit
}

// Kind is the object's kind.
func (o Object) Kind() string {
	if o.App != nil {
		return KindApp
	}
	return KindUnit
}

// Name is the object's name.
func (o Object) Name() string {
	if o.App != nil {
		return o.App.Metadata.Name
	}
	return o.Unit.Metadata.Name
}

// ParseApp reads an App from YAML or JSON, fills in the defaults and validates it. Unknown fields and wrong
// types are refused. The error is ManifestErrors: all that is wrong, with line and field. A status is ignored.
func ParseApp(data []byte) (*App, error) {
	object, err := parseDocument(data, 1, KindApp)
	if err != nil {
		return nil, err
	}
	return object.App, nil
}

// ParseAppNamed is ParseApp for a manifest that is stored under a name, which metadata.name has to repeat.
func ParseAppNamed(name string, data []byte) (*App, error) {
	object, err := parseDocument(data, 1, KindApp)
	if err != nil {
		return nil, err
	}
	if app := object.App; app.Metadata.Name != name {
		message := fmt.Sprintf("%q is stored under the name %q: give both the same name", app.Metadata.Name, name)
		return nil, ManifestErrors{{Line: object.lines.find("metadata.name"), Field: "metadata.name", Message: message}}
	}
	return object.App, nil
}

// ParseUnit is ParseApp for a Unit.
func ParseUnit(data []byte) (*Unit, error) {
	object, err := parseDocument(data, 1, KindUnit)
	if err != nil {
		return nil, err
	}
	return object.Unit, nil
}

// ParseManifests reads all documents of a text, separated by lines of "---". Lines in errors count from the
// beginning of the text. Documents without content are left out.
func ParseManifests(data []byte) ([]Object, error) {
	var objects []Object
	var all ManifestErrors
	for _, d := range splitDocuments(data) {
		object, err := parseDocument(d.raw, d.line, "")
		var errs ManifestErrors
		switch {
		case errors.Is(err, errEmpty):
		case errors.As(err, &errs):
			all = append(all, errs...)
		default:
			objects = append(objects, object.Object)
		}
	}
	return objects, all.capped().Err()
}

type document struct {
	raw  []byte
	line int
}

// splitDocuments cuts before each line that begins with "---": inside a document such a line cannot stand,
// whatever it is part of would have to be indented.
func splitDocuments(data []byte) []document {
	var documents []document
	current := document{line: 1}
	start, line := 0, 1
	for pos := 0; pos < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		text := bytes.TrimRight(data[pos:end], " \t\r\n")
		if bytes.Equal(text, []byte("---")) || bytes.HasPrefix(text, []byte("--- ")) {
			current.raw = data[start:pos]
			documents = append(documents, current)
			current, start = document{line: line}, pos
		}
		pos = end
	}
	current.raw = data[start:]
	return append(documents, current)
}

// errEmpty is what a document without content gives.
var errEmpty = &ManifestError{Message: "the manifest is empty: write an App, beginning with apiVersion: " + APIVersion}

type parsed struct {
	Object
	lines lineIndex
}

// parseDocument reads one document whose first line is line; kind restricts what it may be.
func parseDocument(data []byte, line int, kind string) (parsed, error) {
	object, err := decodeDocument(data, kind)
	object.Line, object.Raw = line, data
	if err == nil {
		return object, nil
	}
	for _, e := range err {
		if e == errEmpty && kind == "" {
			return object, errEmpty
		}
		if e.Line > 0 && e != errEmpty {
			e.Line += line - 1
		}
	}
	return object, err
}

func decodeDocument(data []byte, kind string) (parsed, ManifestErrors) {
	root, err := readNode(data)
	if err != nil {
		return parsed{}, ManifestErrors{err}
	}
	d := decoder{lines: lineIndex{}}
	var meta TypeMeta
	if err := readType(root, kind, &meta); err != nil {
		return parsed{}, ManifestErrors{err}
	}
	object := parsed{lines: d.lines}
	var validate func() ManifestErrors
	switch meta.Kind {
	case KindApp:
		app := &App{}
		d.root(root, app)
		object.App, validate = app, func() ManifestErrors { app.Status = nil; app.Default(); return app.Validate() }
	case KindUnit:
		unit := &Unit{}
		d.root(root, unit)
		object.Unit, validate = unit, func() ManifestErrors { unit.Status = nil; unit.Default(); return unit.Validate() }
	}
	errs := d.errs
	switch {
	case d.more > 0: // what validation would say of fields that were not even read is of no use
		errs = append(errs, moreErrors(d.more))
	case !d.aborted:
		errs = append(errs, d.withoutReported(validate())...)
	}
	for _, e := range errs {
		if e.Line == 0 && e.More == 0 {
			e.Line = d.lines.find(e.Field)
		}
	}
	slices.SortStableFunc(errs, func(a, b *ManifestError) int { return cmp.Compare(a.Line, b.Line) })
	return object, errs.capped()
}

// readType says what the document is, before anything else is made of it.
func readType(root *yaml.Node, want string, meta *TypeMeta) *ManifestError {
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch root.Content[i].Value {
		case "apiVersion":
			meta.APIVersion = root.Content[i+1].Value
		case "kind":
			meta.Kind = root.Content[i+1].Value
		}
	}
	kinds := "App or Unit"
	if want != "" {
		kinds = want
	}
	switch {
	case meta.APIVersion != APIVersion:
		return typeError(root, "apiVersion", meta.APIVersion, APIVersion)
	case want != "" && meta.Kind != want, meta.Kind != KindApp && meta.Kind != KindUnit:
		return typeError(root, "kind", meta.Kind, kinds)
	}
	return nil
}

func typeError(root *yaml.Node, field, got, want string) *ManifestError {
	line := root.Line
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == field {
			line = root.Content[i].Line
		}
	}
	if got == "" {
		return &ManifestError{Line: line, Field: field, Message: fmt.Sprintf("missing: write %s: %s", field, want)}
	}
	return &ManifestError{Line: line, Field: field, Message: fmt.Sprintf("%s is not known here: write %s", quoteShort(got), want)}
}
