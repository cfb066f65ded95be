package daemon

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/atomicfile"
	"github.com/fleet-starter/fleet/internal/store"
)

// TestPasswordIsForTheAnnouncerAlone lets a real systemd start an app and its announcer, and searches the machine for
// fleetd's etcd password.
func TestPasswordIsForTheAnnouncerAlone(t *testing.T) {
	const password = "correct-horse-battery"
	l := newLab(t)
	r := l.run("FLEET_ETCD_USERNAME=fleet", "FLEET_ETCD_PASSWORD="+password, "FLEET_VERBOSITY=5")
	l.awaitReady()
	runtime := os.Getenv("XDG_RUNTIME_DIR")

	// A program in place of the announcer prints what it was given. It is in a directory without fleet's other programs.
	programs := t.TempDir()
	shown := filepath.Join(t.TempDir(), "announcer")
	script := "#!/bin/sh\nenv > " + shown + ".env\ncat $CREDENTIALS_DIRECTORY/" + v1.CredentialsID + " > " + shown + ".new && mv " + shown + ".new " + shown + "\nsleep infinity\n"
	require.NoError(t, os.WriteFile(filepath.Join(programs, "announcer"), []byte(script), 0o755))
	require.NoError(t, atomicfile.Symlink(programs, filepath.Join(runtime, "fleet", "bin")))
	manifest := `{apiVersion: fleet/v1, kind: App, metadata: {name: shop}, spec: {exec: {command: [/bin/sh, -c,
  'env > "$XDG_RUNTIME_DIR/app.env"; ls "$XDG_RUNTIME_DIR/credentials" > "$XDG_RUNTIME_DIR/app.credentials"; sleep infinity']}, ports: [{port: 3000}], announce: {}}}`
	_, err := l.etcd.Client().Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: keys.Apps().Key("shop"), Value: []byte(manifest)}}})
	require.NoError(t, err)
	l.awaitActive("shop@1.service")
	l.awaitActive("shop-discovery@1.service")
	require.Eventually(t, func() bool { _, err := os.Stat(shown); return err == nil }, within, 10*time.Millisecond)
	requireFile(t, shown, 0o644, `{"username":"fleet","password":"`+password+`"}`)
	r.signals <- syscall.SIGUSR1
	r.awaitLog("Dumped the state")
	r.stop()

	require.NotContains(t, r.log.text(), password, "the log")
	require.Contains(t, r.out.text(), "shop@1.service")
	require.NotContains(t, r.out.text(), password, "the state")
	env, err := os.ReadFile(shown + ".env")
	require.NoError(t, err)
	require.NotContains(t, string(env), password, "the announcer's environment, which its probes inherit")
	app, err := os.ReadFile(filepath.Join(runtime, "app.env"))
	require.NoError(t, err)
	require.Contains(t, string(app), "FLEET_MACHINE_IP=127.0.0.11")
	require.NotContains(t, string(app), "CREDENTIALS_DIRECTORY=")
	require.Equal(t, []string{filepath.Join(runtime, "fleet", "etcd-credentials")}, l.filesWith(password, filepath.Join(runtime, "credentials")))
	list, err := l.etcd.Client().List(t.Context(), "/", store.ListOptions{})
	require.NoError(t, err)
	require.NotEmpty(t, list.KVs)
	for _, kv := range list.KVs {
		require.NotContains(t, string(kv.Value), password, kv.Key)
	}
}

// filesWith returns the machine's files that contain a text, except those that systemd keeps for a single unit.
func (l *lab) filesWith(text, without string) (files []string) {
	require.NoError(l.t, filepath.WalkDir(l.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == without && d.IsDir() {
			return fs.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte(text)) {
			files = append(files, path)
		}
		return nil
	}))
	return files
}
