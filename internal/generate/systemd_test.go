package generate

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/machine"
)

// expanded are words in which systemd expands something: as written, and as expected in probe@7.service.
var expanded = map[string]string{
	"%i": "7", "%%i": "%i", "%%%%": "%%", "50%%": "50%", "%n": "probe@7.service",
	"${FLEET_MACHINE_IP}:80": "127.0.0.9:80", "a ${FLEET_MACHINE_IP} b": "a 127.0.0.9 b", "${FLEET_UNSET}": "",
	"$${FLEET_MACHINE_IP}": "${FLEET_MACHINE_IP}", "$$${FLEET_MACHINE_IP}": "$127.0.0.9", "x$$$${A}": "x$${A}",
	"$FLEET_MACHINE_IP": "$FLEET_MACHINE_IP", "$$FLEET_MACHINE_IP": "$$FLEET_MACHINE_IP", "$": "$", "$$": "$$", "${": "${", "${}": "${}", "$(id)": "$(id)",
}

// manyValues are difficult texts: a PEM key, every character up to U+00FF, and random ones.
func manyValues() []string {
	values := []string{"", " ", " around ", "two words", `"double" 'single'`, `back\slash \n \x41 \`, "#", ";", `\;`, "; x", "@x", "-x", "!x", "a=b", "é 😀", "\ufeff", "\u0085\u2028\u2029",
		"$HOME ${HOME} $$ $1", "%i %% 100%", "l1\nl2\tt\r\n", "\n", "\\\n",
		"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\n-----END PRIVATE KEY-----\n"}
	for r := rune(1); r < 256; r++ {
		values = append(values, string(r), "a"+string(r)+"b")
	}
	hostile := rapid.StringOfN(rapid.SampledFrom([]rune("ab1 \t\n\r\\\"'$$%{}A_;#=-@é\u2028\ufeff\x01\x1b\x7f")), 1, 12, -1)
	for i := range 200 {
		values = append(values, hostile.Example(i), strings.ReplaceAll(rapid.String().Example(i), "\x00", ""))
	}
	return values
}

var beforeName = regexp.MustCompile(`\$+\{[A-Za-z_][A-Za-z0-9_]*\}`)

// word writes a value so that nothing in it is expanded, as described in docs/reference/app.md.
func word(value string) string {
	value = strings.ReplaceAll(value, "%", "%%")
	return beforeName.ReplaceAllStringFunc(value, func(s string) string { return s[:strings.IndexByte(s, '{')] + s })
}

// A real systemd passes to the process what the manifest says, byte for byte, except where specifiers and ${VARIABLE} are
// expanded: to a plain process and, through its client's command line, to a container.
func TestSystemdGivesTheProcessWhatTheManifestSays(t *testing.T) {
	p := newProbe(t)
	values := manyValues()
	arguments, want := []string{}, []string{}
	for _, value := range values {
		arguments, want = append(arguments, word(value)), append(want, value)
	}
	arguments, want = append(arguments, "\ufdd0\uffff"), append(want, "\ufdd0\uffff")
	for _, given := range slices.Sorted(maps.Keys(expanded)) {
		arguments, want = append(arguments, given), append(want, expanded[given])
	}
	environment := map[string]string{}
	for i, value := range values {
		environment[fmt.Sprintf("V%d", i)] = strings.Map(func(r rune) rune {
			if r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe {
				return 'x' // refused
			}
			return r
		}, value)
	}

	t.Run("exec", func(t *testing.T) {
		const script = `cat /proc/$$/cmdline > "$OUT"; exec env -0 > "$OUT.env"`
		env := maps.Clone(environment)
		env["OUT"] = filepath.Join(p.dir, "exec")
		p.run(t, v1.AppSpec{Env: env, Exec: &v1.Exec{Command: append([]string{"/bin/sh", "-c", script}, arguments...)}}, "")
		require.Equal(t, append([]string{"/bin/sh", "-c", script}, want...), p.words(t, "exec"))
		got := p.words(t, "exec.env")
		for name, value := range env {
			require.Contains(t, got, name+"="+value)
		}
	})

	t.Run("path", func(t *testing.T) {
		path := filepath.Join(p.dir, "s $$h ${FLEET_MACHINE_IP}")
		require.NoError(t, os.Symlink("/bin/sh", path))
		command := []string{path, "-c", "cat /proc/$$/cmdline > " + filepath.Join(p.dir, "path"), "${FLEET_MACHINE_IP}"}
		p.run(t, v1.AppSpec{Exec: &v1.Exec{Command: command}}, "")
		require.Equal(t, append(command[:3:3], "127.0.0.9"), p.words(t, "path"))
	})

	t.Run("container", func(t *testing.T) {
		client := filepath.Join(p.dir, "docker")
		require.NoError(t, os.WriteFile(client, []byte("#!/bin/sh\ntest \"$1\" != run || cat /proc/$$/cmdline > \""+p.dir+"/container\"\n"), 0o755))
		command := []string{word(`/ent "ry" $$ ` + "\n"), "first"}
		p.run(t, v1.AppSpec{Env: environment, Container: &v1.Container{Image: "a/b:c", Command: command, Args: arguments, Options: []string{"-o", word("$$ '\n")}, Volumes: []string{"/v$$:/w"}}}, client)
		words := []string{"/bin/sh", client, "run", "--name", "probe.7",
			"--label", "fleet.app=probe", "--label", "fleet.unit=probe@7.service", "--label", "fleet.machine=m7", "--label", p.revision(t),
			"--log-driver", "none", "--pull=never", "-v", "/v$$:/w"}
		for _, name := range slices.Sorted(maps.Keys(environment)) {
			words = append(words, "-e", name+"="+environment[name])
		}
		words = append(words, "-o", "$$ '\n", "--entrypoint", `/ent "ry" $$ `+"\n", "a/b:c", "first")
		require.Equal(t, append(words, want...), p.words(t, "container"))
	})
}

// probe is a machine that runs units to completion.
type probe struct {
	dir string
	m   *machine.Machine
}

func newProbe(t *testing.T) probe {
	dir, err := os.MkdirTemp("/tmp", "fleet-") // socket paths must be short
	require.NoError(t, err)
	cfg := machine.Config{Name: "generate", RuntimeDir: filepath.Join(dir, "run"), StateDir: filepath.Join(dir, "state")}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	m, err := machine.Start(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, m.Kill())
		require.NoError(t, machine.Sweep(cfg.RuntimeDir))
		require.NoError(t, os.RemoveAll(dir))
	})
	p := probe{dir: dir, m: m}
	p.write(t, "fleet/environment", "FLEET_MACHINE_IP=127.0.0.9\nFLEET_MACHINE_ID=m7\n")
	return p
}

func (p probe) write(t *testing.T, path, text string) {
	path = filepath.Join(p.m.XDGRuntimeDir(), path)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// run lets systemd run an app's unit to its end. client replaces docker.
func (p probe) run(t *testing.T, spec v1.AppSpec, client string) {
	spec.Unit = map[string]map[string]v1.StringList{"Service": {"Type": {"oneshot"}, "Restart": {"no"}}}
	text := p.load(t, spec, client)
	out, err := p.m.Command("systemctl", "--user", "start", "probe@7.service").CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, text)
}

// load makes systemd know an app's unit, and returns its text.
func (p probe) load(t *testing.T, spec v1.AppSpec, client string) string {
	app := &v1.App{Metadata: v1.ObjectMeta{Name: "probe"}, Spec: spec}
	app.Default()
	require.Empty(t, app.Validate())
	files, err := Units("probe", &app.Spec)
	require.NoError(t, err)
	checkFile(t, "probe@7.service", files.Unit)
	text := files.Unit
	if client != "" {
		text = strings.ReplaceAll(text, "/usr/bin/docker", client)
	}
	p.write(t, "systemd/user/probe@.service", text)
	out, err := p.m.Command("systemctl", "--user", "daemon-reload").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return text
}

// revision is the label of the container that the unit runs.
func (p probe) revision(t *testing.T) string {
	text, err := os.ReadFile(filepath.Join(p.m.XDGRuntimeDir(), "systemd/user/probe@.service"))
	require.NoError(t, err)
	label := regexp.MustCompile(`fleet\.revision=[0-9a-f]{12}`).FindString(string(text))
	require.NotEmpty(t, label)
	return label
}

// words returns what was written there, each word followed by a NUL byte.
func (p probe) words(t *testing.T, name string) []string {
	data, err := os.ReadFile(filepath.Join(p.dir, name))
	require.NoError(t, err)
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}
