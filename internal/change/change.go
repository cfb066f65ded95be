// Package change says what differs between two states of an object: in one line, or as texts to compare. It is pure.
package change

import (
	"sigs.k8s.io/yaml"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// Text is a text with its name.
type Text struct{ Name, Text string }

// Fields returns an object's name, labels, annotations and spec as YAML, defaults included and sorted.
func Fields(meta v1.ObjectMeta, spec any) (string, error) {
	data, err := yaml.Marshal(map[string]any{
		"metadata": v1.ObjectMeta{Name: meta.Name, Labels: meta.Labels, Annotations: meta.Annotations}, "spec": spec})
	return string(data), err
}

// Files pairs texts of the same name, and returns those that differ: in the order of before, then what is only in after.
func Files(before, after []Text) []wire.DiffFile {
	files := []wire.DiffFile{}
	old := map[string]bool{}
	for _, b := range before {
		old[b.Name] = true
		next := ""
		for _, a := range after {
			if a.Name == b.Name {
				next = a.Text
			}
		}
		if next != b.Text {
			files = append(files, wire.DiffFile{Name: b.Name, Before: b.Text, After: next})
		}
	}
	for _, a := range after {
		if !old[a.Name] && a.Text != "" {
			files = append(files, wire.DiffFile{Name: a.Name, After: a.Text})
		}
	}
	return files
}
