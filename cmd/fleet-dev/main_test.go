package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The README's commands that break the cluster exist and take those arguments. Their effects are tested in test/e2e:
// TestMachineKilled, TestEtcdAway, TestFleetdKilled.
func TestReadmeBreaksThings(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, block, found := strings.Cut(string(text), "\nNow break things")
	require.True(t, found)
	block, _, _ = strings.Cut(block, "\nWhen you are done")
	var names []string
	for line := range strings.Lines(block) {
		line, indented := strings.CutPrefix(line, "    ")
		if !indented {
			continue
		}
		line, _, _ = strings.Cut(line, " #")
		args := strings.Fields(line)
		require.Equal(t, "fleet-dev", args[0])
		root := newRoot()
		command, rest, err := root.Find(args[1:])
		require.NoError(t, err, line)
		require.NotEqual(t, root, command, "%s: there is no such command", line)
		require.NoError(t, command.ValidateArgs(rest), line)
		names = append(names, command.Name())
	}
	require.Equal(t, []string{"kill-machine", "start-machine", "stop-etcd", "start-etcd", "exec"}, names)
}

func TestTakeDir(t *testing.T) {
	for _, c := range []struct{ args, dir, rest string }{
		{"-f", "", "-f"},
		{"--dir /d -f", "/d", "-f"},
		{"-n 5 --dir=/d --since -5min", "/d", "-n 5 --since -5min"},
		{"-f --dir", "", "-f --dir"}, // journalctl reports that it does not know it
	} {
		dir, rest := takeDir(strings.Fields(c.args))
		require.Equal(t, c.dir, dir, c.args)
		require.Equal(t, strings.Fields(c.rest), rest, c.args)
	}
}

// Each command has help, even if its flags are another program's.
func TestHelp(t *testing.T) {
	for _, command := range newRoot().Commands() {
		root := newRoot()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs([]string{command.Name(), "--help"})
		require.NoError(t, root.Execute(), command.Name())
		require.Contains(t, out.String(), "Usage:\n  fleet-dev "+command.Name())
	}
}
