package build

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/kustomize"
)

const (
	web  = "apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  # why\n  container: {image: example.com/web:1, command: [serve, --all]}\n  env: {A: a, B: b}\n  replicas: 1\n"
	base = "resources: [web.yaml]\n"
)

func files(texts map[string]string) (list []kustomize.File) {
	for name, text := range texts {
		if text == "" {
			continue
		}
		file := kustomize.File{Path: name, Data: []byte(text)}
		if strings.HasPrefix(text, "-> ") {
			file.Refused = "is a symbolic link"
		}
		list = append(list, file)
	}
	return list
}

// overlay is a repository with a base and an overlay.
func overlay(kustomization string, more map[string]string) []kustomize.File {
	texts := map[string]string{"base/web.yaml": web, "base/kustomization.yaml": base, "prod/kustomization.yaml": kustomization}
	for name, text := range more {
		texts[name] = text
	}
	return files(texts)
}

// TestOverlays: what kustomize's features make of an App.
func TestOverlays(t *testing.T) {
	const head = "resources: [../base]\n"
	for name, c := range map[string]struct {
		kustomization string
		more          map[string]string
		object        string
		says, not     []string
	}{
		"nothing":           {head, nil, "app/web", []string{"image: example.com/web:1", "- serve\n", "A: a"}, nil},
		"a prefix":          {head + "namePrefix: shop-\nnameSuffix: '-2'\n", nil, "app/shop-web-2", []string{"name: shop-web-2"}, nil},
		"images":            {head + "images: [{name: example.com/web, newTag: '2', newName: example.org/web}]\n", nil, "app/web", []string{"image: example.org/web:2"}, []string{"web:1"}},
		"replicas":          {head + "replicas: [{name: web, count: 5}]\n", nil, "app/web", []string{"replicas: 5"}, nil},
		"labels":            {head + "labels: [{pairs: {tier: front}}]\n", nil, "app/web", []string{"labels:\n    tier: front"}, []string{"selector"}},
		"annotations":       {head + "commonAnnotations: {fleet/sync: paused}\n", nil, "app/web", []string{"fleet/sync: paused"}, nil},
		"a patch in it":     {head + "patches: [{patch: '{apiVersion: fleet/v1, kind: App, metadata: {name: web}, spec: {env: {B: null, C: c}}}'}]\n", nil, "app/web", []string{"A: a", "C: c"}, []string{"B: b"}},
		"a patch's file":    {head + "patches: [{path: more.yaml}]\n", map[string]string{"prod/more.yaml": "apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec: {replicas: 7}\n"}, "app/web", []string{"replicas: 7"}, nil},
		"a JSON patch":      {head + "patches: [{target: {kind: App}, patch: '[{\"op\": \"replace\", \"path\": \"/spec/container/command/1\", \"value\": \"--some\"}]'}]\n", nil, "app/web", []string{"- --some"}, []string{"--all"}},
		"a component":       {head + "components: [../more]\n", map[string]string{"more/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nreplicas: [{name: web, count: 3}]\n"}, "app/web", []string{"replicas: 3"}, nil},
		"replacements":      {head + "replacements: [{source: {kind: App, name: web, fieldPath: spec.env.A}, targets: [{select: {kind: App}, fieldPaths: [spec.env.B]}]}]\n", nil, "app/web", []string{"B: a"}, nil},
		"another file name": {head, map[string]string{"base/kustomization.yaml": "", "base/Kustomization": base}, "app/web", []string{"replicas: 1"}, nil},
		"a nested base":     {"resources: [../stage]\n", map[string]string{"stage/kustomization.yml": head + "namePrefix: s-\n"}, "app/s-web", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := Build(overlay(c.kustomization, c.more), "prod")
			require.Empty(t, r.Fault)
			require.Equal(t, "prod/kustomization.yaml", r.File)
			require.Len(t, r.Objects, 1)
			require.Equal(t, c.object, r.Objects[0].Name)
			for _, text := range append(c.says, "apiVersion: fleet/v1", "kind: App") {
				require.Contains(t, r.Objects[0].Text, text)
			}
			for _, text := range append(c.not, "fleet-fields", "kustomize") {
				require.NotContains(t, r.Objects[0].Text, text)
			}
			require.Equal(t, r, Build(overlay(c.kustomization, c.more), "prod"), "the same again")
		})
	}
}

// TestSources: what a prefix renames is followed where one source waits for another.
func TestSources(t *testing.T) {
	source := func(name, more string) string {
		return "apiVersion: fleet/v1\nkind: Source\nmetadata: {name: " + name + "}\nspec:\n  git: {url: https://example.com/a.git}\n" + more
	}
	r := Build(files(map[string]string{"kustomization.yaml": "resources: [a.yaml, b.yaml]\nnamePrefix: x-\n", "a.yaml": source("a", ""), "b.yaml": source("b", "  dependsOn: [a]\n")}), "")
	require.Empty(t, r.Fault)
	require.Equal(t, []string{"source/x-a", "source/x-b"}, []string{r.Objects[0].Name, r.Objects[1].Name})
	require.Contains(t, r.Objects[1].Text, "dependsOn:\n  - x-a")
}

// TestRefused: one line that says which file and entry is wrong; nothing outside of the tree is looked for.
func TestRefused(t *testing.T) {
	const prod = "prod/kustomization.yaml: "
	elsewhere := "is not in this repository: nothing is read from elsewhere"
	for text, says := range map[string]string{
		"resources: [../base, 'https://example.com/a.yaml']":                      prod + `resources[1]: "https://example.com/a.yaml" ` + elsewhere,
		"resources: ['github.com/kubernetes-sigs/kustomize/examples/helloWorld']": prod + "resources[0]: ",
		"resources: ['https://github.com/a/b//c?ref=v1']":                         elsewhere,
		"resources: ['git@example.com:team/a.git']":                               elsewhere,
		"resources: ['ssh://git@example.com/a']":                                  elsewhere,
		"resources: ['file:///etc']":                                              elsewhere,
		"resources: ['../base?ref=x']":                                            elsewhere,
		"bases: ['example.com/a.git/x']":                                          prod + "bases[0]: ",
		"components: ['https://example.com/c']":                                   prod + "components[0]: ",
		"resources: [../base]\npatches: [{path: 'https://example.com/p.yaml'}]":   prod + "patches[0].path: ",
		"resources: [../base]\nopenapi: {path: 'https://example.com/o.json'}":     prod + "openapi.path: ",
		"resources: [../base]\nconfigurations: ['https://example.com/c.yaml']":    prod + "configurations[0]: ",
		"resources: [../base]\ncrds: [/etc/passwd]":                               prod + `crds[0]: "/etc/passwd" leads out of the repository`,
		"resources: [../base]\nreplacements: [{path: ../../../r.yaml}]":           prod + "replacements[0].path: ",
		"resources: [../base]\npatchesStrategicMerge: [../../p.yaml]":             prod + "patchesStrategicMerge[0]: ",
		"resources: [../../outside]":                                              prod + `resources[0]: "../../outside" leads out of the repository`,
		"resources: [/etc/passwd]":                                                "leads out of the repository",
		"resources: ['']":                                                         "leads out of the repository",
		"resources: [../linked]":                                                  prod + "resources[0]: linked is a symbolic link",
		"resources: [../linked/sub]":                                              prod + "resources[0]: linked is a symbolic link",
		"resources: [secret.yaml]":                                                prod + "resources[0]: prod/secret.yaml is a symbolic link",
		"resources: [../base/web.yaml]":                                           `"../base/web.yaml" is not below prod: make its directory a base`,
		"resources: [gone.yaml]":                                                  prod + `resources[0]: "gone.yaml" is not in the commit`,
		"resources: [../empty]":                                                   prod + "resources[0]: empty has no kustomization.yaml",
		"resources: [../kept]":                                                    "kept/kustomization.yaml is a symbolic link",
		"resources: [../loop]":                                                    "cycle detected",
		"resources: [../two]":                                                     "two/kustomization.yaml: two has Kustomization, too",
		"resources: [../remote]":                                                  "remote/kustomization.yaml: resources[0]: ",
		"resources: [../base]\ngenerators: ['{apiVersion: x/v1, kind: Evil}']":    prod + "generators: plugins are not run",
		"resources: [../base]\ntransformers: [exec.yaml]":                         prod + "transformers: plugins are not run",
		"resources: [../base]\nvalidators: [exec.yaml]":                           prod + "validators: plugins are not run",
		"helmCharts: [{name: x, repo: 'https://example.com'}]":                    prod + "helmCharts: helm is not run",
		"helmChartInflationGenerator: [{chartName: x}]":                           prod + "helm",
		"resources: [../base]\nconfigMapGenerator: [{name: x, literals: [a=b]}]":  prod + "configMapGenerator: fleet has no ConfigMaps",
		"resources: [../base]\nsecretGenerator: [{name: x, literals: [a=b]}]":     prod + "secretGenerator: ",
		"resources: [../base]\nunknown: 1":                                        prod,
		"resources: {a: b}":                                                       prod,
		"resources: [":                                                            prod,
		"# nothing":                                                               prod,
		"resources: [broken.yaml]":                                                prod,
		"resources: [nameless.yaml]":                                              prod + "accumulating resources from 'nameless.yaml': missing metadata.name",
		"resources: [../base, ../again]":                                          "already registered id",
		"resources: [../base]\npatches: [{patch: '{apiVersion: fleet/v1, kind: App, metadata: {name: other}}'}]": "no",
	} {
		t.Run(text, func(t *testing.T) {
			r := Build(overlay(text+"\n", map[string]string{"linked": "-> /etc", "prod/secret.yaml": "-> /etc/passwd", "empty/a.yaml": web, "again/kustomization.yaml": base, "again/web.yaml": web,
				"kept/kustomization.yaml": "-> ../base/kustomization.yaml", "loop/kustomization.yaml": "resources: [../prod]\n", "two/kustomization.yaml": base, "two/Kustomization": base, "two/web.yaml": web,
				"remote/kustomization.yaml": "resources: ['https://example.com/x']\n", "prod/broken.yaml": "a: [\n", "prod/nameless.yaml": "apiVersion: fleet/v1\nkind: App\nspec: {}\n",
				"prod/exec.yaml": "apiVersion: x/v1\nkind: X\nmetadata: {name: x, annotations: {config.kubernetes.io/function: 'exec: {path: /bin/sh}'}}\n"}), "prod")
			require.Empty(t, r.Objects)
			require.Contains(t, r.Fault, says)
			require.NotContains(t, r.Fault, "\n")
			require.Less(t, len(r.Fault), 600)
		})
	}
	require.Equal(t, "nowhere has no kustomization.yaml", Build(overlay(base, nil), "nowhere").Fault)
}

// wide is a kustomization whose build doubles with each level: two wrappers of the level below, with names of their own.
func wide(levels int) []kustomize.File {
	texts := map[string]string{"l0/kustomization.yaml": base, "l0/web.yaml": web}
	for n := 1; n <= levels; n++ {
		for _, side := range []string{"a", "b"} {
			texts[fmt.Sprintf("l%d%s/kustomization.yaml", n, side)] = fmt.Sprintf("resources: [../l%d]\nnamePrefix: %s\n", n-1, side)
		}
		texts[fmt.Sprintf("l%d/kustomization.yaml", n)] = fmt.Sprintf("resources: [../l%da, ../l%db]\n", n, n)
	}
	return files(texts)
}

func TestWide(t *testing.T) {
	r := Build(wide(3), "l3")
	require.Empty(t, r.Fault)
	require.Len(t, r.Objects, 8)
}
