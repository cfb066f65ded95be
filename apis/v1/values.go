package v1

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// Duration is a time.Duration that is written as "30s" or "5m".
type Duration time.Duration

// Std returns d as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String formats d as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes d as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// IsZero reports whether d is unset.
func (d Duration) IsZero() bool { return d == 0 }

// UnmarshalJSON parses a string such as "30s". A bare number is an error: it has no unit.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("%s is not a duration: use a string with a unit, such as \"30s\" or \"5m\"", data)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration: use a number with a unit, such as \"30s\" or \"5m\"", s)
	}
	*d = Duration(v)
	return nil
}

// StringList is one value or a list of values. Numbers and booleans are kept as written.
type StringList []string

// UnmarshalJSON reads a scalar or a list of scalars.
func (l *StringList) UnmarshalJSON(data []byte) error {
	var many []json.RawMessage
	if err := json.Unmarshal(data, &many); err != nil || many == nil {
		many = []json.RawMessage{data}
	}
	list := make(StringList, 0, len(many))
	for _, raw := range many {
		s, err := scalar(raw)
		if err != nil {
			return err
		}
		list = append(list, s)
	}
	*l = list
	return nil
}

// MarshalJSON encodes a single value as a string, any other number of values as a list.
func (l StringList) MarshalJSON() ([]byte, error) {
	if len(l) == 1 {
		return json.Marshal(l[0])
	}
	return json.Marshal([]string(l))
}

func scalar(raw json.RawMessage) (string, error) {
	var s string
	if err := json.Unmarshal(raw, &s); err == nil && string(raw) != "null" {
		return s, nil
	}
	switch raw[0] {
	case '{', '[', 'n':
		return "", fmt.Errorf("%s is not a value: use a string, a number, true or false, or a list of them", shorten(string(raw), 40))
	}
	return string(raw), nil
}

// EndpointsDigest is a short digest of a set of endpoints, key to value, independent of their order.
func EndpointsDigest(endpoints map[string]string) string {
	return SortedEndpointsDigest(func(yield func(string, string) bool) {
		for _, k := range slices.Sorted(maps.Keys(endpoints)) {
			if !yield(k, endpoints[k]) {
				return
			}
		}
	})
}

// SortedEndpointsDigest is the EndpointsDigest of endpoints that come in the order of their keys.
func SortedEndpointsDigest(endpoints iter.Seq2[string, string]) string {
	h, line := sha256.New(), []byte{}
	for k, v := range endpoints {
		line = append(append(append(append(line[:0], k...), 0), v...), 0)
		h.Write(line)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
