package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the README has people break the cluster with are commands that exist and take those arguments. What they do is tested by
// test/e2e: TestMachineKilled, TestEtcdAway, TestFleetdKilled.
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
		require.Equal(t, []string{"fleetd", "dev"}, args[:2])
		dev := devCommand()
		command, rest, err := dev.Find(args[2:])
		require.NoError(t, err, line)
		require.NotEqual(t, dev, command, "%s: there is no such command", line)
		require.NoError(t, command.ValidateArgs(rest), line)
		names = append(names, command.Name())
	}
	require.Equal(t, []string{"kill-machine", "start-machine", "stop-etcd", "start-etcd", "exec"}, names)
}
