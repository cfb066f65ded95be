package v1

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder fills an object from a YAML tree and records the line of every field. It continues after errors, so that all
// of them are reported at once.
type decoder struct {
	lines   lineIndex
	errs    ManifestErrors // at most MaxManifestErrors
	more    int            // number of further errors
	nodes   int
	aborted bool
}

// lineIndex maps field paths to lines.
type lineIndex map[string]int

// find returns the line of the field or, if it was not written, of its nearest enclosing field.
func (l lineIndex) find(field string) int {
	for {
		if line, ok := l[field]; ok {
			return line
		}
		cut := strings.LastIndexAny(field, ".[")
		if cut < 0 {
			return l[""]
		}
		field = field[:cut]
	}
}

func (d *decoder) root(n *yaml.Node, object any) {
	d.value(n, reflect.ValueOf(object).Elem(), "", 0)
}

func (d *decoder) fail(n *yaml.Node, path, format string, args ...any) {
	if len(d.errs) == MaxManifestErrors {
		d.more++
		return
	}
	d.errs = append(d.errs, &ManifestError{Line: n.Line, Field: path, Message: fmt.Sprintf(format, args...)})
}

// withoutReported drops validation errors for fields that failed to decode.
func (d *decoder) withoutReported(errs ManifestErrors) ManifestErrors {
	return slices.DeleteFunc(errs, func(e *ManifestError) bool {
		return slices.ContainsFunc(d.errs, func(r *ManifestError) bool {
			return within(r.Field, e.Field) || within(e.Field, r.Field)
		})
	})
}

// within reports whether field equals other or is part of it.
func within(field, other string) bool {
	rest, ok := strings.CutPrefix(field, other)
	return ok && other != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// value decodes one node. Every visit counts against the limit, so nested aliases cannot blow up.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, depth int) {
	if _, ok := d.lines[path]; !ok {
		d.lines[path] = n.Line
	}
	if n = d.enter(n, path, depth); n == nil {
		return
	}
	switch {
	case isNull(n):
		return // as in JSON: not set
	case n.Kind == yaml.ScalarNode && !plainTag(n), n.Kind == yaml.MappingNode && n.ShortTag() != "!!map",
		n.Kind == yaml.SequenceNode && n.ShortTag() != "!!seq":
		d.fail(n, path, "the tag %s is not allowed: write the plain value", quoteShort(n.Tag))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.content(n, v.Elem(), path, depth)
	default:
		d.content(n, v, path, depth)
	}
}

// enter follows an alias and enforces the limits. It returns nil if decoding must stop.
func (d *decoder) enter(n *yaml.Node, path string, depth int) *yaml.Node {
	if d.aborted {
		return nil
	}
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	d.nodes++
	switch {
	case d.nodes > maxManifestNodes:
		d.fail(n, path, "more than %d values (aliases count each time): split the manifest", maxManifestNodes)
	case depth > maxManifestDepth:
		d.fail(n, path, "nested more than %d levels deep", maxManifestDepth)
	default:
		return n
	}
	d.aborted = true
	return nil
}

func (d *decoder) content(n *yaml.Node, v reflect.Value, path string, depth int) {
	if v.Addr().Type().Implements(unmarshaler) {
		if text, ok := d.json(n, path, depth); ok {
			if err := v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON([]byte(text)); err != nil {
				d.fail(n, path, "%s", shorten(err.Error(), 150))
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, path, depth)
	case reflect.Map:
		d.mapping(n, v, path, depth)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.fail(n, path, "expected a list, got %s", describe(n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			if isNull(item) {
				d.fail(item, at, "empty list item: set a value or remove it")
				continue
			}
			d.value(item, v.Index(i), at, depth+1)
		}
	default:
		d.scalar(n, v, path)
	}
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string, depth int) {
	fields := fieldsOf(v.Type())
	d.pairs(n, path, join, func(key, at string, keyNode, item *yaml.Node) {
		index, ok := fields[key]
		switch {
		case !ok:
			d.fail(keyNode, at, "unknown field%s", suggest(key, fields))
		case path == "" && key == "status": // read-only: ignored on input
		default:
			d.lines[at] = keyNode.Line
			d.value(item, v.FieldByIndex(index), at, depth+1)
		}
	})
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string, depth int) {
	v.Set(reflect.MakeMap(v.Type()))
	d.pairs(n, path, keyed, func(key, at string, keyNode, item *yaml.Node) {
		if isNull(item) {
			d.fail(keyNode, at, "no value: set one, or \"\" for the empty string")
			return
		}
		d.lines[at] = keyNode.Line
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(item, element, at, depth+1)
		v.SetMapIndex(reflect.ValueOf(key), element)
	})
}

// pairs visits the entries of a mapping. Keys must be plain strings and unique.
func (d *decoder) pairs(n *yaml.Node, path string, field func(path, key string) string, visit func(key, at string, keyNode, item *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "expected a mapping, got %s", describe(n))
		return
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content) && !d.aborted; i += 2 {
		key := n.Content[i]
		switch {
		case key.ShortTag() == "!!merge":
			d.fail(key, path, "merge keys (<<) are not supported: repeat the fields")
			continue
		case key.Kind != yaml.ScalarNode || isNull(key):
			d.fail(key, path, "keys must be plain strings, got %s", describe(key))
			continue
		}
		if line, twice := seen[key.Value]; twice {
			d.fail(key, field(path, key.Value), "duplicate key, first set in line %d: remove one", line)
			continue
		}
		seen[key.Value] = key.Line
		visit(key.Value, field(path, key.Value), key, n.Content[i+1])
	}
}

// leadingZero matches octal notation of YAML 1.1 and C: some parsers read 0100 as 64, others as 100.
var leadingZero = regexp.MustCompile(`^[-+]?0[0-9]`)

// scalar decodes strings, numbers and booleans. A string field takes a number or boolean as written.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.String:
		if n.Kind != yaml.ScalarNode {
			d.fail(n, path, "expected a string, got %s", describe(n))
			return
		}
		v.SetString(n.Value)
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
			d.fail(n, path, "expected true or false, got %s", describe(n))
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int32, reflect.Int64:
		number, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		switch {
		case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" && n.ShortTag() != "!!float":
			d.fail(n, path, "expected an integer, got %s", describe(n))
		case leadingZero.MatchString(n.Value):
			d.fail(n, path, "expected a decimal integer, got %s, which YAML 1.1 reads as octal: remove the leading zero", shorten(n.Value, 40))
		case err != nil && strings.Trim(n.Value, "-+0123456789") == "":
			d.fail(n, path, "%s is out of range", shorten(n.Value, 40))
		case err != nil:
			d.fail(n, path, "expected a decimal integer, got %s", shorten(n.Value, 40))
		default:
			v.SetInt(number)
		}
	default:
		d.fail(n, path, "fields of type %s are not supported", v.Type())
	}
}

// json encodes a node as JSON, for types with their own UnmarshalJSON.
func (d *decoder) json(n *yaml.Node, path string, depth int) (string, bool) {
	if n = d.enter(n, path, depth); n == nil {
		return "", false
	}
	switch {
	case n.Kind == yaml.SequenceNode:
		items := make([]string, 0, len(n.Content))
		for _, item := range n.Content {
			text, ok := d.json(item, path, depth+1)
			if !ok {
				return "", false
			}
			items = append(items, text)
		}
		return "[" + strings.Join(items, ",") + "]", true
	case n.Kind == yaml.MappingNode:
		d.fail(n, path, "expected a value or a list of values, got a mapping")
		return "", false
	case isNull(n):
		return "null", true
	case !plainTag(n):
		d.fail(n, path, "the tag %s is not allowed: write the plain value", quoteShort(n.Tag))
		return "", false
	case (n.ShortTag() == "!!int" || n.ShortTag() == "!!float" || n.ShortTag() == "!!bool") && json.Valid([]byte(n.Value)):
		return n.Value, true
	}
	text, err := json.Marshal(n.Value)
	return string(text), err == nil
}
