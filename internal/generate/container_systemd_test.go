package generate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// engine is a docker that does as files in a directory say, and writes down how it was called.
const engine = `#!/bin/sh
cd DIR
echo "$*" >>calls
case $1 in
image) test -e image ;;
pull) test -e registry || { echo "Error response from daemon: no registry"; exit 1; }; touch image ;;
run)
	touch created
	until test -e up; do test -e exit && exit $(cat exit); sleep 0.02; done
	touch running
	until test -e exit; do sleep 0.02; done
	rm running
	exit $(cat exit) ;;
ps) case "$*" in *-aq*) test ! -e created || echo c1 ;; *) test ! -e running || echo c1 ;; esac ;;
inspect) echo "container exited with $(cat exit), OOMKilled" ;;
stop) echo 0 >exit ;;
rm) rm -f created ;;
esac
`

// A real systemd runs a container's unit with a docker that is a script.
func TestSystemdRunsContainers(t *testing.T) {
	p := newProbe(t)
	var dir string
	file := func(name string) string { return filepath.Join(dir, name) }
	touch := func(name, text string) { require.NoError(t, os.WriteFile(file(name), []byte(text), 0o755)) }
	show := func(property string) string {
		out, err := p.m.Command("systemctl", "--user", "show", "--value", "-p", property, "probe@7.service").Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
	systemctl := func(args ...string) {
		out, err := p.m.Command(append([]string{"systemctl", "--user"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	becomes := func(state string) {
		t.Helper()
		require.Eventually(t, func() bool { return show("ActiveState")+" "+show("SubState") == state }, 10*time.Second, 20*time.Millisecond, "%s, not %s/%s", state, show("ActiveState"), show("SubState"))
	}
	calls := func() []string {
		text, err := os.ReadFile(file("calls"))
		require.NoError(t, err)
		var commands []string
		for line := range strings.Lines(string(text)) {
			if command, _, _ := strings.Cut(line, " "); command != "ps" {
				commands = append(commands, command)
			}
		}
		return commands
	}
	begin := func(t *testing.T, policy string) {
		dir = t.TempDir()
		touch("docker", strings.ReplaceAll(engine, "DIR", dir))
		spec := v1.AppSpec{Container: &v1.Container{Image: "a/b:c", Pull: policy}}
		spec.Unit = map[string]map[string]v1.StringList{"Service": {"Restart": {"no"}}}
		p.load(t, spec, file("docker"))
		t.Cleanup(func() {
			systemctl("stop", "probe@7.service")
			systemctl("reset-failed")
		})
	}

	t.Run("started once its container runs", func(t *testing.T) {
		begin(t, v1.PullIfNotPresent)
		touch("registry", "")
		systemctl("start", "--no-block", "probe@7.service")
		becomes("activating start-post")
		time.Sleep(300 * time.Millisecond)
		require.Equal(t, "activating", show("ActiveState"))
		touch("up", "")
		becomes("active running")
		systemctl("stop", "probe@7.service")
		require.Equal(t, "inactive", show("ActiveState"))
		require.Equal(t, []string{"image", "pull", "run", "stop", "rm"}, calls())
	})
	t.Run("one that ends before is a failure, with the runtime's words", func(t *testing.T) {
		begin(t, v1.PullAlways)
		touch("image", "")
		touch("exit", "137")
		systemctl("start", "--no-block", "probe@7.service")
		becomes("failed failed")
		require.Equal(t, "137", show("ExecMainStatus"))
		require.Equal(t, []string{"image", "run", "inspect", "rm"}, calls(), "the image is there: it is not pulled")
		require.Eventually(t, func() bool {
			journal := []string{"journalctl", "--output=cat", "--user"}
			if dir := p.m.JournalDir(); dir != "" {
				journal = []string{"journalctl", "--output=cat", "--directory", dir}
			}
			out, err := p.m.Command(journal...).Output()
			return err == nil && strings.Contains(string(out), "container exited with 137, OOMKilled\n")
		}, 10*time.Second, 100*time.Millisecond)
	})
	t.Run("an image that cannot be pulled", func(t *testing.T) {
		begin(t, v1.PullAlways)
		systemctl("start", "--no-block", "probe@7.service")
		becomes("failed failed")
		require.Equal(t, []string{"image", "pull"}, calls())
	})
	t.Run("never pulled, and what is left over is removed", func(t *testing.T) {
		begin(t, v1.PullNever)
		touch("created", "")
		touch("up", "")
		systemctl("start", "probe@7.service")
		require.Equal(t, []string{"rm", "run"}, calls())
	})
}
