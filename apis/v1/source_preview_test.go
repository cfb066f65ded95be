package v1

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPreviewSuffix(t *testing.T) {
	for branch, want := range map[string]string{
		"pr/7":                        "pr-7",
		"Feature/ÄÖ_Login--page.":     "feature-login-page",
		"///":                         "",
		strings.Repeat("a", 24):       strings.Repeat("a", 24),
		"pr/a-long-name-of-a-branch":  "pr-a-long-name-of-763abc",
		"pr/a-long-name-of-a-branch2": "pr-a-long-name-of-e5c23e",
	} {
		require.Equal(t, want, PreviewSuffix(branch), branch)
		require.True(t, want == "" || IsLabel(want) && len(want) <= maxSuffix)
	}
}

// TestPreviewApp: the copy of an app has names and hosts of its own, and is else what the manifest says.
func TestPreviewApp(t *testing.T) {
	const manifest = `# The shop.
apiVersion: fleet/v1
kind: App
metadata: {name: web} # the name
spec:
  replicas: 2
  container: &c
    image: web:1
    name: web.%i
    volumes: ['/etc/web:/etc/web:ro']
  env: {VERSION: 1.10, ON: yes}
  ports: [{name: http, port: 3000}]
  announce: {port: http}
  route:
    hosts: [www.example.com, example.com]
    timeout: 1m
  placement:
    conflicts: &same [web@*.service, web-discovery@*.service, other@*.service, 'web*']
    machineOf: [cache@%i.service, db@%i.service, webx@%i.service]
  unit:
    Unit:
      After: [cache@%i.service web-x.service db@%i.service, web.service.d]
`
	app, err := ParseApp([]byte(manifest))
	require.NoError(t, err)
	preview := &PreviewOf{Source: "prod", UID: 1, Suffix: "pr-7", Host: "{app}-{branch}.preview.example.com"}
	changed, text, err := PreviewApp([]byte(manifest), app, preview, []string{"cache", "web", "web-x"})
	require.NoError(t, err)
	require.Equal(t, `# The shop.
apiVersion: fleet/v1
kind: App
metadata: {name: web-pr-7} # the name
spec:
  replicas: 2
  container:
    image: web:1
    name: web.%i-pr-7
    volumes: ['/etc/web:/etc/web:ro']
  env: {VERSION: 1.10, ON: yes}
  ports: [{name: http, port: 3000, hostPort: auto}]
  announce: {port: http}
  route:
    hosts:
      - web-pr-7.preview.example.com
    timeout: 1m
  placement:
    conflicts: [web-pr-7@*.service, web-pr-7-discovery@*.service, other@*.service, 'web*']
    machineOf: [cache-pr-7@%i.service, db@%i.service, webx@%i.service]
  unit:
    Unit:
      After: [cache-pr-7@%i.service web-x-pr-7.service db@%i.service, web.service.d]
`, string(text))
	require.Equal(t, "web-pr-7", changed.Metadata.Name)
	again, other, err := PreviewApp([]byte(manifest), app, preview, []string{"web-x", "web", "cache"})
	require.NoError(t, err)
	require.Equal(t, []any{changed, text}, []any{again, other}, "the order of the apps is nothing")
}

// TestPreviewRefused: apps that can have no copy beside them, and what copies may not be.
func TestPreviewRefused(t *testing.T) {
	const head = "apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n"
	preview := &PreviewOf{Source: "prod", UID: 1, Suffix: "pr-7", Host: "{branch}-{app}." + strings.Repeat("a", 60) + ".example.com"}
	for text, says := range map[string]string{
		"  exec: {command: [/bin/web]}\n  ports: [{name: http, port: 3000}]\n":                               "spec.ports[0].hostPort: a preview cannot have port 3000 of the machine, too: write auto",
		"  container: {image: web, options: [--network=host]}\n  ports: [{name: http, port: 3000}]\n":        "spec.ports[0].hostPort: a preview cannot have port 3000",
		"  container: {image: web, volumes: ['/etc/web:/etc/web:ro', '/srv/web:/srv']}\n":                    "spec.container.volumes[1]: a preview would write to the data of the app itself",
		"  exec: {command: [/bin/web]}\n  ports: [{name: http, hostPort: auto}]\n  announce: {port: http}\n": "",
		"  exec: {command: [/bin/web]}\n  placement:\n    conflicts: &a [x@%i.service]\n    machineOf: *a\n": "",
	} {
		app, err := ParseApp([]byte(head + text))
		require.NoError(t, err, text)
		_, _, err = PreviewApp([]byte(head+text), app, preview, []string{"web"})
		if says == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, says)
	}
	long := strings.Replace(head, "web", strings.Repeat("w", 60), 1) + "  exec: {command: [/bin/web]}\n"
	app, err := ParseApp([]byte(long))
	require.NoError(t, err)
	_, _, err = PreviewApp([]byte(long), app, preview, nil)
	require.ErrorContains(t, err, "metadata.name")
}

// TestPreviewsManifest: what spec.previews is refused for.
func TestPreviewsManifest(t *testing.T) {
	const head = "apiVersion: fleet/v1\nkind: Source\nmetadata: {name: prod}\nspec:\n  git: {url: https://example.com/a.git}\n"
	source, err := ParseSource("prod", []byte(head+"  previews: {branches: pr/*, host: '{app}-{branch}.example.com', ttl: 48h}\n"))
	require.NoError(t, err)
	require.EqualValues(t, 10, source.Spec.Previews.Limit)
	for text, says := range map[string]string{
		"{}":                                `line 6: spec.previews.branches: "" is not a pattern of branch names`,
		"{branches: '[', host: '{branch}'}": "line 6: spec.previews.branches: ",
		"{branches: refs/heads/pr/*, host: '{branch}'}":   "line 6: spec.previews.branches: ",
		"{branches: pr/*, host: '{app}.example.com'}":     "line 6: spec.previews.host: \"{app}.example.com\" has no {branch}",
		"{branches: pr/*, host: '{branch}_.example.com'}": "line 6: spec.previews.host: \"{branch}_.example.com\" is not a host name",
		"{branches: pr/*, host: '{branch}', ttl: 1s}":     "line 6: spec.previews.ttl: 1s is too short",
		"{branches: pr/*, host: '{branch}', limit: 51}":   "line 6: spec.previews.limit: 51 is out of range",
		"{branches: pr/*, host: '{branch}', limit: -1}":   "line 6: spec.previews.limit: -1 is out of range",
	} {
		_, err := ParseSource("prod", []byte(head+"  previews: "+text+"\n"))
		require.ErrorContains(t, err, says)
	}
	_, err = ParseSource("prod", []byte(head+"  preview: {source: a, uid: 1, suffix: pr-7, host: '{branch}'}\n"))
	require.NoError(t, err)
	_, err = ParseSource("prod", []byte(head+"  preview: {}\n"))
	require.ErrorContains(t, err, "line 6: spec.preview: is not as the source sets it")
}
