package v1

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ScaleManifest returns the text of a valid App's manifest with another spec.replicas. Not a byte is changed beside that number.
func ScaleManifest(name string, raw []byte, replicas int32) ([]byte, error) {
	before, err := ParseAppNamed(name, raw)
	if err != nil {
		return nil, err
	}
	if before.Spec.Global {
		return nil, fmt.Errorf("app/%s is global: it runs one instance on each machine that matches placement.machineMetadata, and has no replicas to set", name)
	}
	if replicas < 0 || replicas > MaxReplicas {
		return nil, fmt.Errorf("%d instances: use a number from 0 to %d", replicas, MaxReplicas)
	}
	if before.Spec.Instances() == replicas && before.Spec.Replicas != nil {
		return raw, nil
	}
	root, failure := readNode(raw)
	if failure != nil {
		return nil, failure
	}
	scaled, ok := writeReplicas(raw, root, strconv.Itoa(int(replicas)))
	after, err := ParseAppNamed(name, scaled)
	if !ok || err != nil {
		return nil, notEditable(name)
	}
	before.Spec.Replicas = &replicas
	if !SameSpec(&before.Spec, &after.Spec) {
		return nil, notEditable(name)
	}
	return scaled, nil
}

func notEditable(name string) error {
	return fmt.Errorf("the manifest of app/%s cannot be changed in place, because of how spec is written: set spec.replicas in its file and apply that", name)
}

// writeReplicas writes the number over the one that is there, or as the first field of spec.
func writeReplicas(raw []byte, root *yaml.Node, number string) ([]byte, bool) {
	_, spec := fieldOf(root, "spec")
	if spec == nil || spec.Kind != yaml.MappingNode || len(spec.Content) == 0 {
		return nil, false
	}
	if _, value := fieldOf(spec, "replicas"); value != nil {
		at, ok := offsetOf(raw, value)
		if !ok || value.Kind != yaml.ScalarNode || value.Style != 0 || !bytes.HasPrefix(raw[at:], []byte(value.Value)) {
			return nil, false
		}
		return slices.Concat(raw[:at], []byte(number), raw[at+len(value.Value):]), true
	}
	first := spec.Content[0]
	at, ok := offsetOf(raw, first)
	if !ok {
		return nil, false
	}
	text := "replicas: " + number + "\n" + strings.Repeat(" ", first.Column-1)
	if spec.Style&yaml.FlowStyle != 0 {
		text = "replicas: " + number + ", "
		if first.Style&(yaml.DoubleQuotedStyle) != 0 { // JSON
			text = `"replicas": ` + number + ", "
		}
	}
	return slices.Concat(raw[:at], []byte(text), raw[at:]), true
}

// fieldOf is the last field of that name in a mapping.
func fieldOf(n *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			key, value = n.Content[i], n.Content[i+1]
		}
	}
	return key, value
}

// offsetOf is where a node begins in the text. Its column counts characters.
func offsetOf(raw []byte, n *yaml.Node) (int, bool) {
	at := 0
	for range n.Line - 1 {
		end := bytes.IndexByte(raw[at:], '\n')
		if end < 0 {
			return 0, false
		}
		at += end + 1
	}
	line, _, _ := bytes.Cut(raw[at:], []byte("\n"))
	characters := []rune(string(line))
	if n.Column < 1 || n.Column > len(characters) {
		return 0, false
	}
	return at + len(string(characters[:n.Column-1])), true
}
