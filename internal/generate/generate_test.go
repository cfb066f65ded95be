package generate

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Every manifest of the project, and those in testdata/generate, with their unit files.
func TestUnitsGolden(t *testing.T) {
	var manifests []string
	for _, pattern := range []string{"../../manifests/seed/*.yaml", "../../manifests/dev/*.yaml", "testdata/generate/*.yaml"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, found)
		manifests = append(manifests, found...)
	}
	for _, path := range manifests {
		name := filepath.Base(filepath.Dir(path)) + "-" + strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			app := readApp(t, path)
			files, err := Units(app.Metadata.Name, &app.Spec)
			require.NoError(t, err)
			golden(t, filepath.Join("testdata/generate", name+".service"), files.Unit)
			golden(t, filepath.Join("testdata/generate", name+"-discovery.service"), files.Sidekick)
			release, err := Release(app.Metadata.Name, &app.Spec)
			require.NoError(t, err)
			golden(t, filepath.Join("testdata/generate", name+"-release.service"), release)
			if release != "" {
				checkFile(t, v1.ReleaseUnit(app.Metadata.Name), release)
			}
			checkFile(t, v1.AppUnit(app.Metadata.Name, 1), files.Unit)
			checkFile(t, v1.SidekickUnit(app.Metadata.Name, 1), files.Sidekick)
		})
	}
}

func readApp(t require.TestingT, path string) *v1.App {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	app, err := v1.ParseApp(data)
	require.NoError(t, err, path)
	return app
}

func golden(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		if text == "" {
			_ = os.Remove(path)
			return
		}
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	if text != "" || err == nil {
		require.NoError(t, err)
	}
	require.Equal(t, string(want), text)
}

// checkFile parses a generated file like systemd and fleet.
func checkFile(t require.TestingT, unit, text string) {
	file, err := unitfile.Parse(text)
	require.NoError(t, err)
	require.Empty(t, file.Warnings())
	name, err := unitfile.ParseName(unit)
	require.NoError(t, err)
	_, problems := unitfile.ParseFleet(file, name)
	require.Empty(t, problems)
}

func TestExpandable(t *testing.T) {
	for word, want := range map[string]string{
		"plain":       "plain",
		"%t/x":        "%t/x",
		"100%%":       "100%%",
		"${IP}:80":    `"${IP}:80"`,
		"$HOME":       `"$$HOME"`,
		"$":           `"$$"`,
		"$$":          `"$$$$"`,
		"$${B}":       `"$${B}"`,
		"a$$${B}":     `"a$$${B}"`,
		"$$$${B}":     `"$$$${B}"`,
		"$$B $$ ${1}": `"$$$$B $$$$ $${1}"`,
		"${":          `"$${"`,
		`a "b" \c 'd`: `"a \"b\" \\c 'd"`,
		"":            `""`,
	} {
		require.Equal(t, want, expandable(word), word)
	}
}

func TestCommandLine(t *testing.T) {
	for _, tc := range []struct {
		words []string
		want  string
	}{
		{[]string{"/bin/a"}, "/bin/a"},
		{[]string{"%t/a b", "%i", "$"}, `"%t/a b" %i "$$"`},
		{[]string{"/a$$b"}, `@"/a$$b" "/a$$$$b"`},
		{[]string{"/${A}%i", "${A}"}, `@"/${A}%i" "/$${A}%i" "${A}"`},
	} {
		require.Equal(t, tc.want, commandLine(tc.words))
	}
}

func TestAssignment(t *testing.T) {
	require.Equal(t, "A=b", assignment("A", "b"))
	require.Equal(t, `"A=100%% $HOME ${X} \"y\" \\"`, assignment("A", `100% $HOME ${X} "y" \`))
}

// Whatever passes validation becomes a unit file in which every option has its own line.
func TestNoOptionIsInjected(t *testing.T) {
	odd := rapid.StringMatching(`[ -~\n\r\t\\\x{85}é]{0,12}`)
	tame := rapid.Map(rapid.StringMatching(`[ -~é]{0,12}`), func(s string) string {
		return strings.TrimSpace(strings.ReplaceAll(s, "%", "%%"))
	})
	texts := rapid.OneOf(tame, tame, tame, tame, odd)
	rapid.Check(t, func(t *rapid.T) {
		app := &v1.App{Metadata: v1.ObjectMeta{Name: "hello"}, Spec: v1.AppSpec{
			Description: texts.Draw(t, "description"),
			Env:         map[string]string{"A": texts.Draw(t, "env")},
			EnvFiles:    []string{"/" + texts.Draw(t, "file")},
			Unit:        map[string]map[string]v1.StringList{"Service": {"User": {texts.Draw(t, "option")}}},
		}}
		if rapid.Bool().Draw(t, "container") {
			app.Spec.Container = &v1.Container{Image: "a/b", Args: []string{texts.Draw(t, "word")}, Options: []string{texts.Draw(t, "option")}}
		} else {
			app.Spec.Exec = &v1.Exec{Command: []string{"/" + texts.Draw(t, "program"), texts.Draw(t, "word")}}
		}
		app.Default()
		if len(app.Validate()) > 0 {
			t.Skip("refused")
		}
		files, err := Units("hello", &app.Spec)
		require.NoError(t, err)
		checkFile(t, "hello@1.service", files.Unit)
		file, err := unitfile.Parse(files.Unit)
		require.NoError(t, err)
		require.Len(t, file.Values("Service", "ExecStart"), 1)
		var sections []string
		for line := range strings.Lines(files.Unit) {
			if strings.HasPrefix(line, "[") {
				sections = append(sections, strings.TrimSpace(line))
			}
		}
		want := []string{"[Unit]", "[Service]"}
		if app.Spec.Container != nil {
			want = append(want, "[X-Fleet]") // its image
		}
		require.Equal(t, want, sections, "%s", files.Unit)
	})
}

// TestImage: what fleetd pulls before it starts the unit.
func TestImage(t *testing.T) {
	for more, want := range map[string]unitfile.Image{
		"container: {image: web:1}":                                      {Runtime: "docker", Name: "web:1", Always: true},
		"container: {image: web:1, pull: IfNotPresent, runtime: podman}": {Runtime: "podman", Name: "web:1"},
		"container: {image: web:1, pull: Never}":                         {},
		"exec: {command: [/bin/web]}":                                    {},
		"container: {image: web:1}\n  unit: {Service: {ExecStartPre: /usr/bin/docker login -u web -p secret reg}}": {}, // which has to come first
	} {
		app, err := v1.ParseApp([]byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  " + more + "\n"))
		require.NoError(t, err)
		files, err := Units("web", &app.Spec)
		require.NoError(t, err)
		file, err := unitfile.Parse(files.Unit)
		require.NoError(t, err)
		name, err := unitfile.ParseName("web@1.service")
		require.NoError(t, err)
		fleet, problems := unitfile.ParseFleet(file, name)
		require.Empty(t, problems)
		require.Equal(t, want, fleet.Pulls(), more)
	}
}

// TestOnPartition: an option says what a machine does that is cut off. Files of apps that do not say are as before.
func TestOnPartition(t *testing.T) {
	for more, want := range map[string]string{"": "", "onPartition: keep": "", "onPartition: stop": unitfile.PartitionStop} {
		app, err := v1.ParseApp([]byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  exec: {command: [/bin/web]}\n  " + more + "\n"))
		require.NoError(t, err)
		files, err := Units("web", &app.Spec)
		require.NoError(t, err)
		file, err := unitfile.Parse(files.Unit)
		require.NoError(t, err)
		name, err := unitfile.ParseName("web@1.service")
		require.NoError(t, err)
		fleet, problems := unitfile.ParseFleet(file, name)
		require.Empty(t, problems)
		require.Equal(t, want, fleet.OnPartition, more)
	}
}

// TestSameUnits: fields that concern no instance replace none.
func TestSameUnits(t *testing.T) {
	spec := func(text string) *v1.AppSpec {
		app, err := v1.ParseApp([]byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  exec: {command: [/bin/web]}\n  ports: [{port: 80}]\n  announce: {}\n" + text))
		require.NoError(t, err)
		return &app.Spec
	}
	for more, same := range map[string]bool{
		"  replicas: 7\n": true, "  route: {hosts: [a.example.com]}\n": true, "  update: {healthyDeadline: 1m}\n": true,
		"  env: {A: b}\n": false, "  placement: {spreadOver: zone}\n": false,
	} {
		require.Equal(t, same, SameUnits(spec(""), spec(more)), more)
		before, err := Units("web", spec(""))
		require.NoError(t, err)
		after, err := Units("web", spec(more))
		require.NoError(t, err)
		require.Equal(t, same, before == after, more)
	}
}

// The label of a container's revision changes with its unit file, and with nothing else: an instance is not replaced for how it is
// announced.
func TestRevisionOfAContainer(t *testing.T) {
	unit := func(more string) string {
		app, err := v1.ParseApp([]byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  container: {image: a/b}\n  ports: [{port: 80}]\n  announce: {}\n" + more))
		require.NoError(t, err)
		files, err := Units("web", &app.Spec)
		require.NoError(t, err)
		return files.Unit
	}
	revision := func(text string) string { return regexp.MustCompile(`fleet\.revision=[0-9a-f]{12}`).FindString(text) }
	first := unit("")
	require.NotEmpty(t, revision(first))
	for _, more := range []string{"  replicas: 3\n", "  healthCheck: {tcp: {}, interval: 3s}\n", "  route: {hosts: [a.example.com]}\n"} {
		require.Equal(t, first, unit(more), more)
	}
	require.NotEqual(t, revision(first), revision(unit("  env: {A: b}\n")))
}
