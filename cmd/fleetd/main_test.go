package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNormalize(t *testing.T) {
	require.Equal(t, []string{"--config", "f", "--version", "-h", "-", "--x", "dev", "--", "-config"},
		normalize([]string{"-config", "f", "-version", "-h", "-", "--x", "dev", "--", "-config"}))
}

func execute(args ...string) (string, error) {
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(normalize(args))
	err := root.Execute()
	return out.String(), err
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"-version", "--version", "version"} {
		out, err := execute(arg)
		require.NoError(t, err)
		require.Regexp(t, `^fleetd version \S+\n$`, out)
	}
}

func TestInvalidConfigurationNamesEveryPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fleet.conf")
	require.NoError(t, os.WriteFile(file, []byte("agent_ttl=soon\n"), 0o644))
	_, err := execute("-config", file, "--verbosity=x", "--systemd-user")
	require.ErrorContains(t, err, file+":1: agent_ttl: ")
	require.ErrorContains(t, err, "--verbosity: verbosity: ")
}

func TestDevNamesItsProgram(t *testing.T) {
	for _, args := range [][]string{{"dev"}, {"dev", "--detach"}, {"dev", "kill-machine", "2"}, {"dev", "--help"}} {
		out, err := execute(args...)
		require.ErrorContains(t, err, `run "fleet-dev"`, "%q", args)
		require.Empty(t, out, "%q", args)
		require.Equal(t, 2, exitCode(err), "%q", args)
	}
	_, err := execute("other")
	require.ErrorContains(t, err, "unknown command")
	require.Equal(t, 1, exitCode(err))
}
