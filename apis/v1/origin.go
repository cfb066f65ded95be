package v1

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Origin returns the field of an App's manifest, and its line, that a constraint of one of its units comes from. Line is 0 and field a
// hint where no field says so: a sidekick has to be beside its instance because the App has announce.
func (a *App) Origin(manifest []byte, c Constraint) (field string, line int) {
	field = a.fieldOf(c)
	root, err := readNode(manifest)
	if err != nil {
		return field, 0
	}
	return field, lineOf(root, field)
}

// fieldOf returns the field's path as errors have it.
func (a *App) fieldOf(c Constraint) string {
	s := &a.Spec
	if c.Unit != "" && strings.HasPrefix(c.Unit, a.Metadata.Name+"-discovery") {
		switch c.Option {
		case "MachineOf":
			return "spec.announce"
		case "MachineMetadata": // a global app's sidekick has the same
		default:
			return ""
		}
	}
	p := s.Placement
	if p == nil {
		p = &PlacementRules{}
	}
	key, _, _ := strings.Cut(c.Value, "=")
	switch _, keyed := p.MachineMetadata[key]; {
	case c.Option == "MachineID" && p.MachineID != "":
		return "spec.placement.machineID"
	case c.Option == "MachineMetadata" && keyed:
		return fmt.Sprintf("spec.placement.machineMetadata[%s]", key)
	case c.Option == "Conflicts" && valueOf(p.Conflicts, c) >= 0:
		return fmt.Sprintf("spec.placement.conflicts[%d]", valueOf(p.Conflicts, c))
	case c.Option == "MachineOf" && valueOf(p.MachineOf, c) >= 0:
		return fmt.Sprintf("spec.placement.machineOf[%d]", valueOf(p.MachineOf, c))
	case c.Option == "CPU" || c.Option == "Memory":
		return "spec.resources.requests." + strings.ToLower(c.Option)
	case c.Option == "Ports" || c.Option == "AutoPorts":
		i := slices.IndexFunc(s.Ports, func(p Port) bool {
			return c.Option == "AutoPorts" && p.HostPort.IsAuto() || c.Option == "Ports" && p.HostPort.String() == c.Value
		})
		if i >= 0 {
			return fmt.Sprintf("spec.ports[%d].hostPort", i)
		}
	}
	return fmt.Sprintf("spec.unit[X-Fleet][%s]", c.Option)
}

// valueOf returns which of the values is that of the constraint, in which specifiers are expanded.
func valueOf(values []string, c Constraint) int {
	prefix, instance, _ := strings.Cut(strings.TrimSuffix(c.Unit, ".service"), "@")
	expand := strings.NewReplacer("%%", "%", "%i", instance, "%p", prefix, "%n", c.Unit, "%N", strings.TrimSuffix(c.Unit, ".service"))
	return slices.IndexFunc(values, func(value string) bool { return expand.Replace(value) == c.Value })
}

// lineOf returns the line of a field such as spec.ports[0].hostPort or spec.placement.machineMetadata[zone]; 0 if it is not written.
func lineOf(n *yaml.Node, field string) (line int) {
	for field != "" && n != nil {
		key, end := strings.TrimPrefix(field, "."), 0
		if inner, bracket := strings.CutPrefix(key, "["); bracket {
			end = strings.Index(inner, "]")
			key, field = inner[:end], inner[end+1:]
		} else if end = strings.IndexAny(key, ".["); end >= 0 {
			key, field = key[:end], key[end:]
		} else {
			field = ""
		}
		n, line = child(n, key)
	}
	return line
}

// child returns an entry of a mapping or a list, and its line.
func child(n *yaml.Node, key string) (*yaml.Node, int) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if i, err := strconv.Atoi(key); err == nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
		return n.Content[i], n.Content[i].Line
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1], n.Content[i].Line
		}
	}
	return nil, 0
}
