package template

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

// pureFuncs depend only on their arguments.
var pureFuncs = template.FuncMap{
	"base":           path.Base,
	"dir":            path.Dir,
	"split":          strings.Split,
	"join":           strings.Join,
	"toUpper":        strings.ToUpper,
	"toLower":        strings.ToLower,
	"contains":       strings.Contains,
	"replace":        strings.Replace,
	"trimSuffix":     strings.TrimSuffix,
	"json":           jsonObject,
	"jsonArray":      jsonArray,
	"map":            newMap,
	"base64Encode":   base64Encode,
	"base64Decode":   base64Decode,
	"parseBool":      strconv.ParseBool,
	"atoi":           strconv.Atoi,
	"seq":            seq,
	"add":            func(a, b int) int { return a + b },
	"sub":            func(a, b int) int { return a - b },
	"mul":            func(a, b int) int { return a * b },
	"div":            div,
	"mod":            mod,
	"reverse":        reverse,
	"sortByLength":   sortByLength,
	"sortKVByLength": sortKVByLength,
}

// seqMax keeps a misplaced value, such as a port, from filling the memory.
const seqMax = 1 << 16

var errDivideByZero = errors.New("division by zero")

func jsonObject(data string) (map[string]any, error) {
	var v map[string]any
	err := json.Unmarshal([]byte(data), &v)
	return v, err
}

func jsonArray(data string) ([]any, error) {
	var v []any
	err := json.Unmarshal([]byte(data), &v)
	return v, err
}

func newMap(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("map needs pairs of a key and a value, got %d arguments", len(pairs))
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		k, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("map key %d is a %T, not a string", i/2+1, pairs[i])
		}
		m[k] = pairs[i+1]
	}
	return m, nil
}

func base64Encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func base64Decode(s string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	return string(b), err
}

// seq counts from first to last, both included, like seq(1).
func seq(first, last int) ([]int, error) {
	if last >= first && uint(last)-uint(first) >= seqMax {
		return nil, fmt.Errorf("seq %d %d is longer than %d", first, last, seqMax)
	}
	var out []int
	for i := first; i <= last; i++ {
		out = append(out, i)
	}
	return out, nil
}

func div(a, b int) (int, error) {
	if b == 0 {
		return 0, errDivideByZero
	}
	return a / b, nil
}

func mod(a, b int) (int, error) {
	if b == 0 {
		return 0, errDivideByZero
	}
	return a % b, nil
}

// reverse takes a result of gets, getvs or ls; it does not change its argument.
func reverse(list any) (any, error) {
	switch l := list.(type) {
	case []string:
		l = slices.Clone(l)
		slices.Reverse(l)
		return l, nil
	case KVPairs:
		l = slices.Clone(l)
		slices.Reverse(l)
		return l, nil
	}
	return nil, fmt.Errorf("reverse takes a list of strings or of pairs, not a %T", list)
}

// sortByLength sorts by length, shortest first, and is stable.
func sortByLength(list []string) []string {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b string) int { return len(a) - len(b) })
	return list
}

func sortKVByLength(list KVPairs) KVPairs {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b KVPair) int { return len(a.Key) - len(b.Key) })
	return list
}
