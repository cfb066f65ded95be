package keyspace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unique"

	"sigs.k8s.io/yaml"
)

// Collection is one row of the table: the prefix of its keys and the codec of its values.
type Collection[T any] struct {
	prefix string
	encode func(T) ([]byte, error)
	decode func([]byte) (T, error)
	// names says which names there are in the row; nil: any.
	names func(string) bool
	// leased: the row's keys end with who put them.
	leased bool
}

// named restricts a row to the names that its objects can have: other keys below its prefix are foreign.
func (c Collection[T]) named(names func(string) bool) Collection[T] {
	c.names = names
	return c
}

// underLease is for rows whose objects live as long as a lease does.
func (c Collection[T]) underLease() Collection[T] {
	c.leased = true
	return c
}

// Leased tells whether the row's objects live under a lease. No process maintains a key without one: it is foreign.
func (c Collection[T]) Leased() bool { return c.leased }

// defaulted fills in what the writer of a value did not know of.
func (c Collection[T]) defaulted(fill func(*T)) Collection[T] {
	decode := c.decode
	c.decode = func(data []byte) (T, error) {
		value, err := decode(data)
		if err == nil {
			fill(&value)
		}
		return value, err
	}
	return c
}

// sharing has what is read point to texts that it shares with others: of 100,000 units most have the same few.
func (c Collection[T]) sharing(share func(*T)) Collection[T] {
	decode := c.decode
	c.decode = func(data []byte) (T, error) {
		value, err := decode(data)
		share(&value)
		return value, err
	}
	return c
}

// shared replaces texts by the one copy that there is of each.
func shared(texts ...*string) {
	for _, text := range texts {
		if *text != "" {
			*text = unique.Make(*text).Value()
		}
	}
}

// Prefix returns the prefix of the row's keys, with its slash at the end.
func (c Collection[T]) Prefix() string { return c.prefix }

// Key returns the key of the object of that name.
func (c Collection[T]) Key(name string) string { return c.prefix + name }

// maxName is longer than any name that an object has. etcd takes keys as long as a request: what is said of one, with its
// name in it, would be too long to be written.
const maxName = 1024

// Name undoes Key. ok is false where the key is not of this row, such as a foreign one below its prefix.
func (c Collection[T]) Name(key string) (name string, ok bool) {
	name, ok = strings.CutPrefix(key, c.prefix)
	return name, ok && name != "" && len(name) <= maxName && (c.names == nil || c.names(name))
}

// Encode writes a value as it is stored.
func (c Collection[T]) Encode(value T) ([]byte, error) { return c.encode(value) }

// Decode reads a stored value. The error says what is wrong, not which key: the caller knows it.
func (c Collection[T]) Decode(data []byte) (T, error) { return c.decode(data) }

// raw keeps bytes as they are.
func raw(prefix string) Collection[[]byte] {
	same := func(b []byte) ([]byte, error) { return b, nil }
	return Collection[[]byte]{prefix: prefix, encode: same, decode: same}
}

// text keeps a string as it is.
func text(prefix string) Collection[string] {
	return Collection[string]{
		prefix: prefix,
		encode: func(s string) ([]byte, error) { return []byte(s), nil },
		decode: func(b []byte) (string, error) { return string(b), nil },
	}
}

// jsonOf writes JSON. Unknown fields are let pass: a newer fleetd may have written them.
func jsonOf[T any](prefix string) Collection[T] {
	return Collection[T]{prefix: prefix, encode: encodeJSON[T], decode: decodeJSON[T]}
}

// manifest is jsonOf for rows that people write with etcdctl: YAML is read too, and unknown fields are
// refused, because there they are a slip of the pen.
func manifest[T any](prefix string) Collection[T] {
	return Collection[T]{prefix: prefix, encode: encodeJSON[T], decode: func(data []byte) (T, error) {
		var value T
		if isJSON(data) {
			d := json.NewDecoder(bytes.NewReader(data))
			d.DisallowUnknownFields()
			err := d.Decode(&value)
			return value, err
		}
		err := yaml.UnmarshalStrict(data, &value)
		return value, err
	}}
}

func encodeJSON[T any](value T) ([]byte, error) { return json.Marshal(value) }

func decodeJSON[T any](data []byte) (T, error) {
	var value T
	if len(data) == 0 {
		return value, fmt.Errorf("the value is empty: expected a JSON object")
	}
	err := json.Unmarshal(data, &value)
	return value, err
}

func isJSON(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
}
