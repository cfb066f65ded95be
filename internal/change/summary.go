package change

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Limits of a summary.
const (
	maxFields = 3  // fields that it names; the rest is counted
	maxValue  = 60 // bytes of a value; a longer one is only said to have changed
)

// Summary says in one line what changed between two specs that have their defaults, such as "replicas from 1 to 2; env.DEBUG set to 1".
// before is nil for the first revision.
func Summary(before, after *v1.AppSpec) string {
	if before == nil {
		return "created: " + runs(after)
	}
	old, next := flat(before), flat(after)
	var paths []string
	for path, value := range old {
		if next[path] != value {
			paths = append(paths, path)
		}
	}
	for path := range next {
		if _, was := old[path]; !was {
			paths = append(paths, path)
		}
	}
	if len(paths) == 0 {
		return "no field"
	}
	slices.SortFunc(paths, byWeight)
	var words []string
	for _, path := range paths[:min(len(paths), maxFields)] {
		words = append(words, one(path, old, next))
	}
	if more := len(paths) - maxFields; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, "; ")
}

// runs is what an app runs, and how often.
func runs(spec *v1.AppSpec) string {
	what := ""
	switch {
	case spec.Container != nil:
		what = spec.Container.Image
	case spec.Exec != nil:
		what = strings.Join(spec.Exec.Command, " ")
	}
	if len(what) > maxValue {
		what = what[:maxValue] + "..."
	}
	if spec.Global {
		return strings.ToValidUTF8(what, "") + ", global"
	}
	replicas := "replicas"
	if spec.Instances() == 1 {
		replicas = "replica"
	}
	return fmt.Sprintf("%s, %d %s", strings.ToValidUTF8(what, ""), spec.Instances(), replicas)
}

// first are the fields that people look for first.
var first = []string{"container.image", "exec.command", "replicas", "global"}

// byWeight sorts paths: those of first, then by name.
func byWeight(a, b string) int {
	i, j := slices.Index(first, a), slices.Index(first, b)
	switch {
	case i >= 0 && j >= 0:
		return i - j
	case i >= 0:
		return -1
	case j >= 0:
		return 1
	}
	return strings.Compare(a, b)
}

func one(path string, old, next map[string]string) string {
	before, was := old[path]
	after, is := next[path]
	long := len(before) > maxValue || len(after) > maxValue
	switch {
	case !is:
		return path + " removed"
	case !was && long:
		return path + " added"
	case !was:
		return path + " set to " + after
	case long:
		return path + " changed"
	}
	return path + " from " + before + " to " + after
}

// flat maps the path of each field that is set to its value as text. A list of plain values is one value.
func flat(spec *v1.AppSpec) map[string]string {
	out := map[string]string{}
	data, err := json.Marshal(spec)
	if err != nil {
		return out
	}
	var tree any
	if json.Unmarshal(data, &tree) == nil {
		flatten("", tree, out)
	}
	return out
}

func flatten(path string, value any, out map[string]string) {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			flatten(join(path, name), inner, out)
		}
	case []any:
		if text, ok := words(v); ok {
			out[path] = text
			return
		}
		for i, inner := range v {
			flatten(path+"["+strconv.Itoa(i)+"]", inner, out)
		}
	case nil:
	default:
		out[path] = scalar(v)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// words joins a list of plain values; ok is false for other lists.
func words(list []any) (text string, ok bool) {
	var all []string
	for _, value := range list {
		switch value.(type) {
		case map[string]any, []any:
			return "", false
		}
		all = append(all, scalar(value))
	}
	return strings.Join(all, " "), true
}

// scalar is a plain value as text; one that is empty or has blanks or line breaks is quoted.
func scalar(value any) string {
	switch v := value.(type) {
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case string:
		if v == "" || strings.ContainsAny(v, " \t\n\r") {
			return strconv.Quote(v)
		}
		return v
	}
	return fmt.Sprint(value)
}
