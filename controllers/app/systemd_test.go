package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/machine"
)

// What a process is given by a real systemd is what the manifest says: literal where it is to be literal, expanded
// where specifiers and ${VARIABLES} are.
func TestSystemdGivesTheProcessWhatTheManifestSays(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "fleet-") // the paths of sockets are short
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
	write := func(path, text string) {
		path = filepath.Join(m.XDGRuntimeDir(), path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}

	values := []string{"plain", "", "two words", " around ", "100%", "%i %n", "$HOME ${HOME} $$", `"double" 'single'`, `back\slash \n`, "é 😀", "; #", "a=b", "@x", "-x", "\ttab"}
	app := &v1.App{Metadata: v1.ObjectMeta{Name: "probe"}, Spec: v1.AppSpec{
		Env:  map[string]string{"OUT": filepath.Join(dir, "out")},
		Exec: &v1.Exec{Command: []string{"/bin/sh", "-c", `{ printf '%%s\n' "$@"; printf '%%s\n' "$V0"; env -0 | tr '\0' '\n'; } > "$OUT"`, "sh"}},
		Unit: map[string]map[string]v1.StringList{"Service": {"Type": {"oneshot"}, "Restart": {"no"}}},
	}}
	arguments := map[string]string{
		"%i": "7", "${FLEET_MACHINE_IP}:80": "127.0.0.9:80", "$HOME": "$HOME", "$$HOME": "$HOME", "a ${FLEET_MACHINE_IP} b": "a 127.0.0.9 b", "%%i": "%i",
		`"q" 'q' \q`: `"q" 'q' \q`, "": "", "two words": "two words", ";": ";", "${": "${", "50%%": "50%", "%n": "probe@7.service",
	}
	var want []string
	for given, expanded := range arguments {
		app.Spec.Exec.Command = append(app.Spec.Exec.Command, given)
		want = append(want, expanded)
	}
	var environment []string
	for i, value := range values {
		if strings.Contains(value, "\t") {
			continue // refused
		}
		name := "V" + string(rune('0'+i))
		if i >= 10 {
			name = "W" + string(rune('0'+i-10))
		}
		app.Spec.Env[name] = value
		environment = append(environment, name+"="+value)
	}
	want = append(want, "plain")
	app.Default()
	require.Empty(t, app.Validate())
	files, err := Generate("probe", &app.Spec)
	require.NoError(t, err)

	write("systemd/user/probe@.service", files.Unit)
	write("fleet/environment", "FLEET_MACHINE_IP=127.0.0.9\n")
	out, err := m.Command("systemctl", "--user", "start", "probe@7.service").CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, files.Unit)
	written, err := os.ReadFile(filepath.Join(dir, "out"))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSuffix(string(written), "\n"), "\n")
	require.Equal(t, want, lines[:len(want)])
	require.Subset(t, lines[len(want):], environment)
}
