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

// Limits of a manifest. They keep memory use proportional to its size.
const (
	// MaxManifestSize is the maximum size of one document in bytes (etcd's limit is slightly higher).
	MaxManifestSize = 1 << 20

	maxManifestLines = 100_000 // line breaks plus commas: each makes one or two nodes
	maxManifestNodes = 50_000  // visited nodes, aliases followed
	maxManifestDepth = 32

	// MaxManifestErrors is how many errors are listed. One more entry counts the rest.
	MaxManifestErrors = 100
)

// ManifestError is one error in a manifest.
type ManifestError struct {
	// Line is the line in the input, from 1; 0 if the object was not parsed from text.
	Line int `json:"line,omitempty"`
	// Field is the field's path, such as spec.ports[0].port; empty if the text could not be parsed.
	Field string `json:"field,omitempty"`
	// Message says what is wrong and what to write instead.
	Message string `json:"message"`
	// More, if set, is the number of further errors that this entry stands for.
	More int `json:"more,omitempty"`
}

// Error formats e as "line 12: spec.replicas: message", omitting what is unknown.
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

// ManifestErrors is all errors in a manifest.
type ManifestErrors []*ManifestError

// Error has one line per error.
func (l ManifestErrors) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Summary shortens an error for events and conditions, to the first ten lines and a count of the rest.
func Summary(err error) string {
	const most, size = 10, 2500
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

// Count is the number of errors, including unlisted ones.
func (l ManifestErrors) Count() int {
	n := 0
	for _, e := range l {
		n += max(e.More, 1)
	}
	return n
}

// capped lists the first MaxManifestErrors errors and counts the rest: a manifest can have 50,000.
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

// Err returns the list as an error, nil if it is empty.
func (l ManifestErrors) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}

func (l *ManifestErrors) add(field, format string, args ...any) {
	*l = append(*l, &ManifestError{Field: field, Message: fmt.Sprintf(format, args...)})
}

// Object is one document of a manifest, with exactly one of App, Unit and Source set.
type Object struct {
	// Line is the document's first line in the input, from 1.
	Line int
	// Raw is the document's text.
	Raw    []byte
	App    *App
	Unit   *Unit
	Source *Source
}

func (o Object) Kind() string {
	switch {
	case o.App != nil:
		return KindApp
	case o.Source != nil:
		return KindSource
	}
	return KindUnit
}

func (o Object) Name() string {
	switch {
	case o.App != nil:
		return o.App.Metadata.Name
	case o.Source != nil:
		return o.Source.Metadata.Name
	}
	return o.Unit.Metadata.Name
}

// ParseApp parses an App from YAML or JSON, sets defaults and validates it. Unknown fields and wrong types are errors;
// status is ignored. The error is ManifestErrors with all errors, each with line and field.
func ParseApp(data []byte) (*App, error) {
	object, err := parseDocument(data, 1, KindApp)
	if err != nil {
		return nil, err
	}
	return object.App, nil
}

// ParseAppNamed is ParseApp for a manifest stored under a name, which metadata.name must match.
func ParseAppNamed(name string, data []byte) (*App, error) {
	object, err := parseDocument(data, 1, KindApp)
	if err != nil {
		return nil, err
	}
	if got := object.App.Metadata.Name; got != name {
		return nil, object.misnamed(got, name)
	}
	return object.App, nil
}

func (p *parsed) misnamed(got, name string) error {
	message := fmt.Sprintf("%q does not match the name %q that the manifest is stored under: use the same name", got, name)
	return ManifestErrors{{Line: p.lines.find("metadata.name"), Field: "metadata.name", Message: message}}
}

// ParseUnit is ParseApp for a Unit.
func ParseUnit(data []byte) (*Unit, error) {
	object, err := parseDocument(data, 1, KindUnit)
	if err != nil {
		return nil, err
	}
	return object.Unit, nil
}

// ParseSource is ParseApp for a Source stored under a name, which metadata.name must match.
func ParseSource(name string, data []byte) (*Source, error) {
	object, err := parseDocument(data, 1, KindSource)
	if err != nil {
		return nil, err
	}
	if got := object.Source.Metadata.Name; got != name {
		return nil, object.misnamed(got, name)
	}
	return object.Source, nil
}

// ParseManifests parses all documents of a text, separated by "---" lines. Lines in errors count from the beginning of
// the text. Empty documents are skipped.
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
		case object.Source != nil && object.Source.Spec.Preview != nil:
			all = append(all, &ManifestError{Line: d.line - 1 + object.lines.find("spec.preview"), Field: "spec.preview",
				Message: "is only set by the source whose preview it is: remove it"})
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

// splitDocuments splits before each line that begins with "---". Such a line cannot occur inside a document, where it
// would be indented.
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

// errEmpty is returned for a document without content.
var errEmpty = &ManifestError{Message: "the manifest is empty: write an App that begins with apiVersion: " + APIVersion}

type parsed struct {
	Object
	lines lineIndex
}

// parseDocument parses one document that begins at the given line; kind, if set, is the only kind allowed.
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
	case KindSource:
		source := &Source{}
		d.root(root, source)
		object.Source, validate = source, func() ManifestErrors { source.Status = nil; source.Default(); return source.Validate() }
	}
	errs := d.errs
	switch {
	case d.more > 0: // fields are missing from the object, so do not validate it
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

// readType reads apiVersion and kind, which decide how the rest is decoded.
func readType(root *yaml.Node, want string, meta *TypeMeta) *ManifestError {
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch root.Content[i].Value {
		case "apiVersion":
			meta.APIVersion = root.Content[i+1].Value
		case "kind":
			meta.Kind = root.Content[i+1].Value
		}
	}
	kinds := "App, Unit or Source"
	if want != "" {
		kinds = want
	}
	switch {
	case meta.APIVersion != APIVersion:
		return typeError(root, "apiVersion", meta.APIVersion, APIVersion)
	case want != "" && meta.Kind != want, meta.Kind != KindApp && meta.Kind != KindUnit && meta.Kind != KindSource:
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
		return &ManifestError{Line: line, Field: field, Message: fmt.Sprintf("missing: add %s: %s", field, want)}
	}
	return &ManifestError{Line: line, Field: field, Message: fmt.Sprintf("unknown %s %s: use %s", field, quoteShort(got), want)}
}
