package build

import (
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/kustomize/api/types"

	"github.com/fleet-starter/fleet/internal/kustomize"
)

// tree is a repository's files.
type tree struct {
	files   map[string][]byte // by path
	dirs    map[string]bool
	refused map[string]string // why a path cannot be used
	// checked are the kustomizations that are part of the build, by directory, with a slash before it.
	checked map[string]*types.Kustomization
}

func newTree(files []kustomize.File) *tree {
	t := &tree{files: map[string][]byte{}, dirs: map[string]bool{".": true}, refused: map[string]string{}, checked: map[string]*types.Kustomization{}}
	for _, f := range files {
		if f.Refused != "" {
			t.refused[f.Path] = f.Refused
		} else {
			t.files[f.Path] = f.Data
		}
		for dir := path.Dir(f.Path); !t.dirs[dir]; dir = path.Dir(dir) {
			t.dirs[dir] = true
		}
	}
	return t
}

// file is the path of the kustomization in a directory.
func (t *tree) file(dir string) (string, error) {
	var found []string
	for _, name := range kustomize.FileNames {
		name = path.Join(dir, name)
		if why := t.refused[name]; why != "" {
			return "", fmt.Errorf("%s %s", name, why)
		}
		if _, ok := t.files[name]; ok {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%s has no kustomization.yaml", place(dir))
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s: %s has %s, too: remove one", found[0], place(dir), path.Base(found[1]))
}

func place(dir string) string {
	if dir == "" || dir == "." {
		return "the repository"
	}
	return dir
}

// refused are fields that need what fleet does not have or does not run.
func refused(k *types.Kustomization) string {
	for _, f := range []struct {
		field, why string
		is         bool
	}{
		{"generators", "plugins are not run: write the manifests", len(k.Generators) > 0},
		{"transformers", "plugins are not run: use patches, replacements or labels", len(k.Transformers) > 0},
		{"validators", "plugins are not run: fleet checks manifests itself", len(k.Validators) > 0},
		{"helmCharts", "helm is not run: commit the manifests that it writes", len(k.HelmCharts) > 0 || k.HelmGlobals != nil},
		{"helmChartInflationGenerator", "helm is not run: commit the manifests that it writes", len(k.HelmChartInflationGenerator) > 0},
		{"configMapGenerator", "fleet has no ConfigMaps: write env of the app", len(k.ConfigMapGenerator) > 0},
		{"secretGenerator", "fleet has no Secrets of Kubernetes: write envFiles of the app, and never a secret into a repository", len(k.SecretGenerator) > 0},
	} {
		if f.is {
			return f.field + ": " + f.why
		}
	}
	return ""
}

// check reads a kustomization and those that it refers to, each once, and refuses what does not come from the tree.
func (t *tree) check(dir string) error {
	if t.checked[path.Join("/", dir)] != nil {
		return nil
	}
	file, err := t.file(dir)
	if err != nil {
		return err
	}
	k := &types.Kustomization{}
	if err := k.Unmarshal(t.files[file]); err != nil {
		return fmt.Errorf("%s: %w", file, plain(err))
	}
	if err := k.CheckEmpty(); err != nil {
		return fmt.Errorf("%s: is empty: list resources", file)
	}
	t.checked[path.Join("/", dir)] = k
	if why := refused(k); why != "" {
		return fmt.Errorf("%s: %s", file, why)
	}
	for _, e := range entries(k) {
		target, err := t.resolve(dir, e)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", file, e.field, err)
		}
		if t.dirs[target] {
			if _, err := t.file(target); err != nil {
				return fmt.Errorf("%s: %s: %w", file, e.field, err)
			}
			if err := t.check(target); err != nil {
				return err
			}
		}
	}
	return nil
}

// entry is a path in a kustomization.
type entry struct {
	field, value string
	base         bool // it may be a directory
}

// entries are all paths of a kustomization.
func entries(k *types.Kustomization) (list []entry) {
	each := func(field string, values []string, base bool) {
		for i, value := range values {
			list = append(list, entry{fmt.Sprintf("%s[%d]", field, i), value, base})
		}
	}
	each("resources", k.Resources, true)
	each("bases", k.Bases, true) //lint:ignore SA1019 repositories have it still
	each("components", k.Components, true)
	each("crds", k.Crds, false)
	each("configurations", k.Configurations, false)
	patches := func(field string, patches []types.Patch) {
		for i, p := range patches {
			if p.Path != "" {
				list = append(list, entry{fmt.Sprintf("%s[%d].path", field, i), p.Path, false})
			}
		}
	}
	patches("patches", k.Patches)
	patches("patchesJson6902", k.PatchesJson6902) //lint:ignore SA1019 repositories have it still
	//lint:ignore SA1019 repositories have it still
	for i, p := range k.PatchesStrategicMerge {
		if !strings.Contains(string(p), "\n") && !strings.Contains(string(p), "{") { // else it is the patch itself
			list = append(list, entry{fmt.Sprintf("patchesStrategicMerge[%d]", i), string(p), false})
		}
	}
	for i, r := range k.Replacements {
		if r.Path != "" {
			list = append(list, entry{fmt.Sprintf("replacements[%d].path", i), r.Path, false})
		}
	}
	if file := k.OpenAPI["path"]; file != "" {
		list = append(list, entry{"openapi.path", file, false})
	}
	return list
}

// resolve returns the file or directory of the tree that an entry names.
func (t *tree) resolve(dir string, e entry) (string, error) {
	quoted := fmt.Sprintf("%q", shortened(e.value))
	if remote(e.value) {
		return "", fmt.Errorf("%s is not in this repository: nothing is read from elsewhere: commit what it has", quoted)
	}
	target := path.Join(dir, e.value)
	if e.value == "" || path.IsAbs(e.value) || target == ".." || strings.HasPrefix(target, "../") {
		return "", fmt.Errorf("%s leads out of the repository", quoted)
	}
	for at := target; at != "."; at = path.Dir(at) {
		if why := t.refused[at]; why != "" {
			return "", fmt.Errorf("%s %s", at, why)
		}
	}
	if _, is := t.files[target]; is {
		if dir != "" && dir != "." && !strings.HasPrefix(target, dir+"/") {
			return "", fmt.Errorf("%s is not below %s: make its directory a base, with a kustomization of its own", quoted, dir)
		}
		return target, nil
	}
	if !t.dirs[target] || !e.base {
		return "", fmt.Errorf("%s is not in the commit, or is not a .yaml, .yml or .json file", quoted)
	}
	return target, nil
}

// remote reports whether kustomize would take a path for a URL or a Git repository.
func remote(value string) bool {
	lower := strings.ToLower(value)
	return strings.ContainsAny(value, ":?@") || strings.HasPrefix(lower, "github.com") || strings.Contains(lower, ".git/") || strings.HasSuffix(lower, ".git") ||
		strings.Contains(lower, "_git/")
}

func shortened(text string) string {
	const most = 120
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
