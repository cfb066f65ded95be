package keyspace

import (
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// decodeState decodes a state as fleetd writes it: an object of plain strings and small numbers. encoding/json, the fallback
// for everything else, takes five times as long, and a new leader decodes every state of the cluster.
func decodeState(data []byte) (v1.UnitState, error) {
	var s v1.UnitState
	if eachField(string(data), stateFields(&s)) {
		return s, nil
	}
	return decodeJSON[v1.UnitState](data)
}

// stateFields sets the fields of s.
func stateFields(s *v1.UnitState) fields {
	return fields{
		text:   func(name, value string) bool { return setState(s, name, value) },
		number: func(name string, value int) bool { return setStateNumber(s, name, value) },
	}
}

// setState sets one field. Strings that differ between states are copied, so that they do not keep the whole stored text
// alive.
func setState(s *v1.UnitState, name, value string) bool {
	switch name {
	case "loadState":
		s.LoadState = value
	case "activeState":
		s.ActiveState = value
	case "subState":
		s.SubState = value
	case "result":
		s.Result = value
	case "hash":
		s.Hash = value
	case "desiredState":
		s.DesiredState = v1.DesiredState(value)
	case "requestedAt":
		s.RequestedAt = strings.Clone(value)
	case "invocationID":
		s.InvocationID = strings.Clone(value)
	case "message":
		s.Message = strings.Clone(value)
	case "jobResult":
		s.JobResult = value
	case "exitCode":
		s.ExitCode = value
	case "output":
		s.Output = strings.Clone(value)
	case "since":
		return s.Since.UnmarshalText([]byte(value)) == nil
	default:
		return false
	}
	return true
}

func setStateNumber(s *v1.UnitState, name string, value int) bool {
	switch name {
	case "restarts":
		s.Restarts = value
	case "exitStatus":
		s.ExitStatus = value
	default:
		return false
	}
	return true
}

// fields receive the fields of an object by the type of their values, and report whether they know them.
type fields struct {
	text   func(name, value string) bool
	number func(name string, value int) bool
}

// eachField passes on the fields of a JSON object, in order. It reports whether it understood the whole object: names and
// values are strings of printable ASCII without escapes, or numbers of a few digits, without blanks in between, and to
// accepted each.
func eachField(object string, to fields) bool {
	rest, ok := strings.CutPrefix(object, "{")
	for ok {
		var name string
		if name, rest, ok = cutString(rest); !ok {
			break
		}
		if rest, ok = strings.CutPrefix(rest, ":"); !ok {
			break
		}
		if rest, ok = to.cutValue(name, rest); !ok {
			return false
		}
		if rest == "}" {
			return true
		}
		rest, ok = strings.CutPrefix(rest, ",")
	}
	return false
}

// cutValue passes on the value at the beginning and returns the rest.
func (f fields) cutValue(name, text string) (rest string, ok bool) {
	if value, rest, ok := cutString(text); ok {
		return rest, f.text(name, value)
	}
	value, rest, ok := cutNumber(text)
	return rest, ok && f.number(name, value)
}

// maxDigits keeps a number from overflowing.
const maxDigits = 9

// cutNumber cuts a number off the beginning: digits without a sign or leading zeros.
func cutNumber(text string) (value int, rest string, ok bool) {
	digits := 0
	for digits < len(text) && '0' <= text[digits] && text[digits] <= '9' {
		value = 10*value + int(text[digits]-'0')
		if digits++; digits > maxDigits {
			return 0, "", false
		}
	}
	return value, text[digits:], digits == 1 || digits > 1 && text[0] != '0'
}

// cutString cuts a quoted string off the beginning.
func cutString(text string) (value, rest string, ok bool) {
	if text, ok = strings.CutPrefix(text, `"`); !ok {
		return "", "", false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"':
			return text[:i], text[i+1:], true
		case c == '\\' || c < ' ' || c > '~':
			return "", "", false
		}
	}
	return "", "", false
}
