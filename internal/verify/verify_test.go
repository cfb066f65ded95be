package verify

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// What systemd-analyze prints is told of the file and the line that the author knows.
func TestRead(t *testing.T) {
	known := map[string]placed{
		"/tmp/d/a@.service": {Unit{File: "x/a@.service", Name: "a@.service"}, 2},
		"/tmp/d/b.service":  {Unit{File: "app.yaml", Name: "b.service", Offset: -1}, 0},
	}
	const output = `/tmp/d/a@.service:1: Unknown key 'A' in section [Unit], ignoring.
/tmp/d/a@.service:4: Unknown key 'Foo' in section [Unit], ignoring.
/lib/systemd/system/other.service:9: Unknown key 'Bar' in section [Unit], ignoring.
a@i.service: Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services. Refusing.
Unit a@i.service has a bad unit file setting.
b.service: Command /usr/bin/docker is not executable: No such file or directory
/tmp/d/b.service:7: Failed to parse service restart specifier, ignoring: sometimes
another.service: Something
`
	var lines []string
	for _, f := range read(output, "/tmp/d", known) {
		lines = append(lines, f.String())
	}
	require.Equal(t, []string{
		"x/a@.service:1: warning: systemd: Unknown key 'A' in section [Unit], ignoring.",
		"x/a@.service:3: warning: systemd: Unknown key 'Foo' in section [Unit], ignoring.",
		"x/a@.service: systemd: Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services. Refusing.",
		"app.yaml: warning: b.service: systemd: Failed to parse service restart specifier, ignoring: sometimes",
	}, lines)
}

func TestLiftedAt(t *testing.T) {
	for text, want := range map[string]int{"[Unit]\nA=b\n": 0, "A=b\n[Service]\n": 1, "# c\n\nA=b\n": 3} {
		u, unit := UnitFile("a.service", text)
		require.NotNil(t, unit, "%v", u)
		require.Equal(t, want, liftedAt(text, lift(t, text)), "%q", text)
	}
}

func FuzzManifests(f *testing.F) {
	f.Add([]byte("apiVersion: fleet/v1\nkind: Unit\nmetadata: {name: x.service}\nspec:\n  contents: |\n    [X-Fleet]\n    Global=true\n"))
	f.Add([]byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: x}\nspec:\n  exec: {command: [/bin/true]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		findings, _ := Manifests("x.yaml", data)
		for _, found := range findings {
			require.NotEmpty(t, found.Message)
		}
	})
}

func lift(t *testing.T, text string) string {
	file, err := unitfile.Parse(text)
	require.NoError(t, err)
	return file.Lifted()
}
