package v1

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// PreviewApp returns the manifest of an app's copy for a preview, with its text: with the suffix, and the preview's host. copied are the
// apps that are copied with it; the names of their units follow. The rest of the text, comments included, stays.
func PreviewApp(raw []byte, app *App, p *PreviewOf, copied []string) (*App, []byte, error) {
	if err := noPreview(app); err != nil {
		return nil, nil, err
	}
	root, failure := readNode(raw)
	if failure != nil {
		return nil, nil, failure
	}
	root = unaliased(root)
	copied = slices.Clone(copied)
	slices.SortFunc(copied, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) }) // web-discovery before web
	e := previewEdit{suffix: "-" + p.Suffix, copied: copied}
	e.edit(root, app, p)
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, nil, fmt.Errorf("its copy cannot be written: %w", err)
	}
	changed, err := ParseApp(text.Bytes())
	if err != nil {
		return nil, nil, err
	}
	return changed, text.Bytes(), nil
}

// noPreview says why an app can have no copy beside it.
func noPreview(app *App) error {
	s := &app.Spec
	published := s.Container != nil && !slices.ContainsFunc(s.Container.Options, func(o string) bool { return strings.HasPrefix(o, "--net") })
	for i, port := range s.Ports {
		if !port.HostPort.IsAuto() && !published {
			return fmt.Errorf("spec.ports[%d].hostPort: a preview cannot have port %s of the machine, too: write auto, and listen on $%s", i, port.HostPort, VariablePort)
		}
	}
	if s.Container == nil {
		return nil
	}
	for i, volume := range s.Container.Volumes {
		if parts := strings.Split(volume, ":"); len(parts) < 3 || !slices.Contains(strings.Split(parts[2], ","), "ro") {
			return fmt.Errorf("spec.container.volumes[%d]: a preview would write to the data of the app itself: mount it with :ro, or set the annotation %s: %s, "+
				"which leaves the app out of previews", i, AnnotationPreviews, PreviewsNone)
		}
	}
	return nil
}

// previewEdit changes the tree of a manifest.
type previewEdit struct {
	suffix string
	copied []string
}

func (e *previewEdit) edit(root *yaml.Node, app *App, p *PreviewOf) {
	name, spec := app.Metadata.Name, nodeAt(root, "spec")
	setNode(nodeAt(root, "metadata"), "name", textNode(name+e.suffix))
	if app.Spec.Announce != nil {
		route := nodeAt(spec, "route")
		if route == nil || route.Kind != yaml.MappingNode {
			route = &yaml.Node{Kind: yaml.MappingNode}
			setNode(spec, "route", route)
		}
		setNode(route, "hosts", &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{textNode(previewHost(p.Host, name, p.Suffix))}})
	}
	if container := app.Spec.Container; container != nil {
		if container.Name != "" {
			setNode(nodeAt(spec, "container"), "name", textNode(container.Name+e.suffix))
		}
		if ports := nodeAt(spec, "ports"); ports != nil {
			for i, port := range ports.Content {
				if !app.Spec.Ports[i].HostPort.IsAuto() { // it is published, so that the container listens as before
					setNode(port, "hostPort", textNode(HostPortAuto.String()))
				}
			}
		}
	}
	placement := nodeAt(spec, "placement")
	e.follow(nodeAt(placement, "conflicts"))
	e.follow(nodeAt(placement, "machineOf"))
	e.follow(nodeAt(spec, "unit"))
}

// follow adds the suffix to the names of copied apps' units, in all values below a node.
func (e *previewEdit) follow(n *yaml.Node) {
	switch {
	case n == nil:
	case n.Kind == yaml.ScalarNode:
		words := strings.Split(n.Value, " ")
		for i := range words {
			words[i] = e.unit(words[i])
		}
		n.Value = strings.Join(words, " ")
	case n.Kind == yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			e.follow(n.Content[i])
		}
	default:
		for _, c := range n.Content {
			e.follow(c)
		}
	}
}

// unitRest is what follows the app's name in the name of one of its units, or a pattern of them.
var unitRest = regexp.MustCompile(`^(` + sidekickSuffix + `|` + releaseSuffix + `)?(@[^\s]*)?\.service$`)

// unit is the name of a unit, or a pattern, in the preview.
func (e *previewEdit) unit(word string) string {
	for _, app := range e.copied {
		if rest, ok := strings.CutPrefix(word, app); ok && unitRest.MatchString(rest) {
			return app + e.suffix + rest
		}
	}
	return word
}

// nodeAt is the value of a mapping's key; nil if there is none.
func nodeAt(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// setNode sets the value of a mapping's key.
func setNode(n *yaml.Node, key string, value *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			value.LineComment = n.Content[i+1].LineComment
			n.Content[i+1] = value
			return
		}
	}
	n.Content = append(n.Content, textNode(key), value)
}

func textNode(text string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(text)
	return n
}

// unaliased is a copy of a tree with all aliases written out. Parsing has bounded how many values they make.
func unaliased(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	own := *n
	own.Anchor, own.Content = "", make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		own.Content[i] = unaliased(c)
	}
	return &own
}
