package main

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// evaluation evaluates the expressions of a template as Azure does, as far as the template uses them. What Azure makes up, such as
// the IDs of a deployment, has some value of the same type.
type evaluation struct {
	template   template
	parameters map[string]any
	copyIndex  int
	// names are those of the template's resources, by type, once they are known.
	names map[string]map[string]bool
}

const group = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/fleet"

// value returns a value with its expressions evaluated.
func (e *evaluation) value(value any) (any, error) {
	switch v := value.(type) {
	case string:
		if !expression(v) {
			return v, nil
		}
		p := reader{evaluation: e, rest: strings.TrimSuffix(v[1:], "]")}
		result, err := p.expression()
		if err == nil && (p.rest != "" || !strings.HasSuffix(v, "]")) {
			err = errors.New("it does not end with its last bracket")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v, err)
		}
		return result, nil
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			var err error
			if list[i], err = e.value(item); err != nil {
				return nil, err
			}
		}
		return list, nil
	case map[string]any:
		object := make(map[string]any, len(v))
		for key, item := range v {
			var err error
			if object[key], err = e.value(item); err != nil {
				return nil, err
			}
		}
		return object, nil
	}
	return value, nil
}

// reader reads an expression: calls, texts, numbers, and properties of what a call returns.
type reader struct {
	*evaluation
	rest string
}

func (p *reader) expression() (any, error) {
	p.rest = strings.TrimLeft(p.rest, " ")
	switch {
	case p.rest == "":
		return nil, errors.New("it ends too soon")
	case p.rest[0] == '\'':
		return p.text()
	case digit(p.rest[0]):
		return strconv.ParseFloat(p.take(digit), 64)
	}
	name := p.take(letter)
	if !strings.HasPrefix(p.rest, "(") {
		return nil, fmt.Errorf("%q is no call", cmp.Or(name, p.rest))
	}
	p.rest = p.rest[1:]
	var args []any
	for p.rest = strings.TrimLeft(p.rest, " "); !strings.HasPrefix(p.rest, ")"); {
		arg, err := p.expression()
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
		p.rest = strings.TrimLeft(p.rest, " ")
		if !strings.HasPrefix(p.rest, ")") && !strings.HasPrefix(p.rest, ",") {
			return nil, fmt.Errorf("neither , nor ) after an argument of %s", name)
		}
		p.rest = strings.TrimPrefix(p.rest, ",")
	}
	p.rest = p.rest[1:]
	value, err := p.call(name, args)
	for err == nil && strings.HasPrefix(p.rest, ".") {
		p.rest = p.rest[1:]
		property := p.take(letter)
		object, _ := value.(map[string]any)
		if value = object[property]; value == nil {
			err = fmt.Errorf("%s has no property %q", name, property)
		}
	}
	return value, err
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digit(c) }

func (p *reader) take(is func(byte) bool) string {
	n := 0
	for n < len(p.rest) && is(p.rest[n]) {
		n++
	}
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	return taken
}

// text reads 'a text', in which two quotes are one.
func (p *reader) text() (any, error) {
	var text strings.Builder
	for {
		before, after, found := strings.Cut(p.rest[1:], "'")
		if !found {
			return nil, errors.New("a text does not end")
		}
		text.WriteString(before)
		if p.rest = after; !strings.HasPrefix(p.rest, "'") {
			return text.String(), nil
		}
		text.WriteByte('\'')
	}
}

// signatures are the functions with the types of their arguments: s(tring), n(umber), a(ny); a last + allows more of them.
var signatures = map[string]string{
	"parameters": "s", "variables": "s", "resourceGroup": "", "resourceId": "ss+", "subscriptionResourceId": "ss+", "reference": "s+", "copyIndex": "n*",
	"concat": "a+", "replace": "sss", "base64": "s", "uniqueString": "s+", "guid": "s+", "add": "nn", "mod": "nn", "string": "a",
}

func checkArguments(name string, args []any) error {
	signature, ok := signatures[name]
	if !ok {
		return fmt.Errorf("no function %q is known", name)
	}
	types := strings.TrimRight(signature, "+*")
	if len(args) < len(types) && !strings.HasSuffix(signature, "*") || len(args) > len(types) && !strings.HasSuffix(signature, "+") {
		return fmt.Errorf("%s has %d arguments", name, len(args))
	}
	for i, arg := range args {
		var ok bool
		switch types[min(i, len(types)-1)] {
		case 's':
			_, ok = arg.(string)
		case 'n':
			_, ok = arg.(float64)
		default:
			ok = true
		}
		if !ok {
			return fmt.Errorf("%s: argument %d has the wrong type: %v", name, i+1, arg)
		}
	}
	return nil
}

func (e *evaluation) call(name string, args []any) (any, error) {
	if err := checkArguments(name, args); err != nil {
		return nil, err
	}
	texts := make([]string, len(args))
	number := make([]float64, len(args))
	for i, arg := range args {
		texts[i] = fmt.Sprint(arg)
		number[i], _ = arg.(float64)
	}
	switch name {
	case "parameters":
		if v, ok := e.parameters[texts[0]]; ok {
			return e.value(v)
		}
		return nil, fmt.Errorf("there is no parameter %q", texts[0])
	case "variables":
		if v, ok := e.template.Variables[texts[0]]; ok {
			return e.value(v)
		}
		return nil, fmt.Errorf("there is no variable %q", texts[0])
	case "resourceGroup":
		return map[string]any{"id": group, "location": "westeurope"}, nil
	case "resourceId":
		return e.resourceID(texts[0], texts[1:])
	case "subscriptionResourceId":
		return "/subscriptions/00000000-0000-0000-0000-000000000000/providers/" + texts[0] + "/" + texts[1], nil
	case "reference":
		return map[string]any{"ipAddress": "192.0.2.1", "identity": map[string]any{"principalId": "11111111-1111-1111-1111-111111111111"}}, nil
	case "copyIndex":
		return float64(e.copyIndex) + sum(number), nil
	case "concat":
		return strings.Join(texts, ""), nil
	case "replace":
		return strings.ReplaceAll(texts[0], texts[1], texts[2]), nil
	case "base64":
		return base64.StdEncoding.EncodeToString([]byte(texts[0])), nil
	case "uniqueString":
		return "abcdefghijklm", nil
	case "guid":
		return "22222222-2222-2222-2222-222222222222", nil
	case "add":
		return number[0] + number[1], nil
	case "mod":
		return float64(int(number[0]) % int(number[1])), nil
	}
	return texts[0], nil // string
}

func sum(list []float64) (s float64) {
	for _, n := range list {
		s += n
	}
	return s
}

// resourceID is the ID of a resource, or of a part of one: Microsoft.X/a/b has two names. The resource has to be in the template.
func (e *evaluation) resourceID(kind string, names []string) (string, error) {
	types := strings.Split(kind, "/")
	if len(types) != len(names)+1 {
		return "", fmt.Errorf("%s has %d names", kind, len(names))
	}
	top := types[0] + "/" + types[1]
	if e.names != nil && !e.names[top][names[0]] {
		return "", fmt.Errorf("the template has no %s %q", top, names[0])
	}
	id := group + "/providers/" + types[0]
	for i, name := range names {
		id += "/" + types[i+1] + "/" + name
	}
	return id, nil
}
