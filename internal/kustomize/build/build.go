// Package build builds kustomizations from files in memory, with the kustomize library. Nothing outside of the files is read: remote
// bases, plugins and helm are refused before the library sees them. Only cmd/fleet-kustomize links it.
package build

import (
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/fleet-starter/fleet/internal/kustomize"
)

// configurationFile is added to each kustomization: it has images and replicas know the fields of an App.
const configurationFile = ".fleet-fields.yaml"

const configuration = `images:
- {kind: App, path: spec/container/image}
replicas:
- {kind: App, path: spec/replicas, create: true}
nameReference:
- kind: Source
  fieldSpecs:
  - {kind: Source, path: spec/dependsOn}
`

// Build builds the kustomization in a directory of the tree; "" is the root.
func Build(files []kustomize.File, dir string) kustomize.Result {
	t := newTree(files)
	file, err := t.file(dir)
	if err != nil {
		return kustomize.Result{Fault: err.Error()}
	}
	if err := t.check(dir); err != nil {
		return kustomize.Result{File: file, Fault: err.Error()}
	}
	objects, err := t.build(dir)
	if err != nil {
		return kustomize.Result{File: file, Fault: file + ": " + err.Error()}
	}
	return kustomize.Result{File: file, Objects: objects}
}

func (t *tree) build(dir string) ([]kustomize.Object, error) {
	disk := filesys.MakeFsInMemory()
	for name, data := range t.files {
		if k := t.checked[path.Dir("/"+name)]; k != nil && kustomize.IsFile(name) {
			k.Configurations = append(k.Configurations, configurationFile)
			text, err := yaml.Marshal(k)
			if err != nil {
				return nil, err
			}
			data = text
			if err := disk.WriteFile(path.Join("/", path.Dir(name), configurationFile), []byte(configuration)); err != nil {
				return nil, err
			}
		}
		if err := disk.WriteFile("/"+name, data); err != nil {
			return nil, err
		}
	}
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions, options.PluginConfig = types.LoadRestrictionsRootOnly, types.DisabledPluginConfig()
	built, err := krusty.MakeKustomizer(options).Run(disk, path.Join("/", dir))
	if err != nil {
		return nil, plain(err)
	}
	objects := make([]kustomize.Object, 0, built.Size())
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			return nil, err
		}
		objects = append(objects, kustomize.Object{Name: strings.ToLower(r.GetKind()) + "/" + r.GetName(), Text: string(text)})
	}
	return objects, nil
}

// longestFault is how much of kustomize's words is told.
const longestFault = 400

// plain is one line of kustomize's words, without how it came to them.
func plain(err error) error {
	text := err.Error()
	// A resource is tried as a file, then as a directory: only the former is of interest.
	if _, inner, ok := strings.Cut(text, "accumulation err='"); ok {
		if first, _, ok := strings.Cut(inner, "': must build at directory"); ok {
			text = first
		}
	}
	text = strings.TrimPrefix(text, "accumulating resources: ")
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > longestFault {
		text = strings.ToValidUTF8(text[:longestFault], "") + "..."
	}
	return fmt.Errorf("%s", text)
}
