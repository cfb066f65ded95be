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
	// names reports whether a name is valid in the row; nil: any name is.
	names func(string) bool
	// leased: the row's keys live under a lease.
	leased bool
}

// named restricts a row to valid names: other keys below its prefix are foreign.
func (c Collection[T]) named(names func(string) bool) Collection[T] {
	c.names = names
	return c
}

// underLease marks a row whose objects live under a lease.
func (c Collection[T]) underLease() Collection[T] {
	c.leased = true
	return c
}

// Leased reports whether the row's objects live under a lease. A key without one is foreign: no process maintains it.
func (c Collection[T]) Leased() bool { return c.leased }

// defaulted fills in fields that an older writer did not know.
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

// sharing deduplicates strings in decoded values: most of 100,000 units have the same few texts.
func (c Collection[T]) sharing(share func(*T)) Collection[T] {
	decode := c.decode
	c.decode = func(data []byte) (T, error) {
		value, err := decode(data)
		share(&value)
		return value, err
	}
	return c
}

// shared replaces each text by the one shared copy of it.
func shared(texts ...*string) {
	for _, text := range texts {
		if *text != "" {
			*text = unique.Make(*text).Value()
		}
	}
}

// Prefix returns the prefix of the row's keys, with a trailing slash.
func (c Collection[T]) Prefix() string { return c.prefix }

// Key returns the key of the object of that name.
func (c Collection[T]) Key(name string) string { return c.prefix + name }

// maxName is longer than the name of any object. etcd accepts keys as long as a request; an event about such a key would be
// too long to store.
const maxName = 1024

// Name is the inverse of Key. ok is false if the key does not belong to the row, such as a foreign one below its prefix.
func (c Collection[T]) Name(key string) (name string, ok bool) {
	name, ok = strings.CutPrefix(key, c.prefix)
	return name, ok && name != "" && len(name) <= maxName && (c.names == nil || c.names(name))
}

// Encode encodes a value for storage.
func (c Collection[T]) Encode(value T) ([]byte, error) { return c.encode(value) }

// Decode decodes a stored value. The error does not name the key: the caller knows it.
func (c Collection[T]) Decode(data []byte) (T, error) { return c.decode(data) }

// raw stores bytes as they are.
func raw(prefix string) Collection[[]byte] {
	same := func(b []byte) ([]byte, error) { return b, nil }
	return Collection[[]byte]{prefix: prefix, encode: same, decode: same}
}

// text stores a string as it is.
func text(prefix string) Collection[string] {
	return Collection[string]{
		prefix: prefix,
		encode: func(s string) ([]byte, error) { return []byte(s), nil },
		decode: func(b []byte) (string, error) { return string(b), nil },
	}
}

// jsonOf stores JSON. Unknown fields are ignored: a newer fleetd may have written them.
func jsonOf[T any](prefix string) Collection[T] {
	return Collection[T]{prefix: prefix, encode: encodeJSON[T], decode: decodeJSON[T]}
}

// manifest is jsonOf for rows that people write with etcdctl: it also reads YAML, and rejects unknown fields, which are
// likely typos.
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
