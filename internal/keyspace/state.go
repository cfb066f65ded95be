package keyspace

import (
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// decodeState reads a state as fleetd writes it: an object of plain strings. encoding/json, which reads whatever else there
// is, takes five times as long, and a leader that begins reads every state of the cluster.
func decodeState(data []byte) (v1.UnitState, error) {
	var s v1.UnitState
	if eachString(string(data), func(name, value string) bool { return setState(&s, name, value) }) {
		return s, nil
	}
	return decodeJSON[v1.UnitState](data)
}

// setState sets one field. What each state has of its own is copied, so that it keeps no more of the stored text alive.
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
	case "since":
		return s.Since.UnmarshalText([]byte(value)) == nil
	default:
		return false
	}
	return true
}

// eachString calls field with the fields of a JSON object, in order, and reports whether that was all there is: names and
// values are strings of printable ASCII without escapes and blanks between them, and field took each.
func eachString(object string, field func(name, value string) bool) bool {
	rest, ok := strings.CutPrefix(object, "{")
	for ok {
		var name, value string
		if name, rest, ok = cutString(rest); !ok {
			break
		}
		if rest, ok = strings.CutPrefix(rest, ":"); !ok {
			break
		}
		if value, rest, ok = cutString(rest); !ok || !field(name, value) {
			return false
		}
		if rest == "}" {
			return true
		}
		rest, ok = strings.CutPrefix(rest, ",")
	}
	return false
}

// cutString cuts a string in quotes off the beginning.
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
