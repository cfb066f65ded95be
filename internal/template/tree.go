package template

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
)

// KVPair is a key and its value, as get and gets return them.
type KVPair struct {
	Key   string
	Value string
}

// KVPairs is a list of pairs, sorted by key unless a function says otherwise.
type KVPairs []KVPair

// Tree is an immutable set of keys and values, read like a directory tree.
//
// Keys are kept sorted, so that everything below a directory is contiguous: a template that reads n directories in turn costs
// what it reads, not n times the whole tree.
type Tree struct {
	pairs KVPairs
}

// NewTree holds the keys and values of m. A key without a leading slash gets one.
func NewTree(m map[string]string) *Tree {
	t := &Tree{pairs: make(KVPairs, 0, len(m))}
	for k, v := range m {
		if !strings.HasPrefix(k, "/") {
			k = "/" + k
		}
		t.pairs = append(t.pairs, KVPair{Key: k, Value: v})
	}
	slices.SortFunc(t.pairs, func(a, b KVPair) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return strings.Compare(a.Value, b.Value)
	})
	return t
}

// Exists reports whether key has a value. A directory has none.
func (t *Tree) Exists(key string) bool {
	_, ok := t.find(key)
	return ok
}

// Get returns the pair at key, or an error if there is none.
func (t *Tree) Get(key string) (KVPair, error) {
	kv, ok := t.find(key)
	if !ok {
		return KVPair{}, fmt.Errorf("key does not exist: %s", key)
	}
	return kv, nil
}

// GetValue returns the value at key; if there is none, the first of defaults, and without a default an error.
func (t *Tree) GetValue(key string, defaults ...string) (string, error) {
	kv, err := t.Get(key)
	if err != nil && len(defaults) > 0 {
		return defaults[0], nil
	}
	return kv.Value, err
}

// GetAll returns the pairs whose keys match pattern, in the syntax of
// path.Match, sorted by key; none is not an error.
func (t *Tree) GetAll(pattern string) (KVPairs, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	prefix := pattern
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		prefix = pattern[:i]
	}
	out := KVPairs{}
	for _, kv := range t.below(prefix) {
		if ok, _ := path.Match(pattern, kv.Key); ok {
			out = append(out, kv)
		}
	}
	return out, nil
}

// GetAllValues returns the values of GetAll, sorted by value.
func (t *Tree) GetAllValues(pattern string) ([]string, error) {
	pairs, err := t.GetAll(pattern)
	out := make([]string, 0, len(pairs))
	for _, kv := range pairs {
		out = append(out, kv.Value)
	}
	slices.Sort(out)
	return out, err
}

// List returns the names directly below dir, files and directories, sorted. A
// dir that is itself a key is listed by its own last name, as confd does.
func (t *Tree) List(dir string) []string {
	out := t.children(dir, false)
	if t.Exists(dir) {
		out = append(out, path.Base(dir))
		slices.Sort(out)
		out = slices.Compact(out)
	}
	return out
}

// ListDir returns the names directly below dir that have keys below them, sorted.
func (t *Tree) ListDir(dir string) []string { return t.children(dir, true) }

func (t *Tree) children(dir string, onlyDirs bool) []string {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	out := []string{}
	for _, kv := range t.below(prefix) {
		name, _, isDir := strings.Cut(kv.Key[len(prefix):], "/")
		if name != "" && (isDir || !onlyDirs) {
			out = append(out, name)
		}
	}
	slices.Sort(out) // "a-b" sorts before "a/x" but after "a"
	return slices.Compact(out)
}

// below returns the run of pairs whose keys begin with prefix.
func (t *Tree) below(prefix string) KVPairs {
	from := t.search(prefix)
	n := sort.Search(len(t.pairs)-from, func(i int) bool {
		return !strings.HasPrefix(t.pairs[from+i].Key, prefix)
	})
	return t.pairs[from : from+n]
}

func (t *Tree) find(key string) (KVPair, bool) {
	i := t.search(key)
	if i == len(t.pairs) || t.pairs[i].Key != key {
		return KVPair{}, false
	}
	return t.pairs[i], true
}

func (t *Tree) search(key string) int {
	return sort.Search(len(t.pairs), func(i int) bool { return t.pairs[i].Key >= key })
}
