package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	t.Setenv("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", t.TempDir())
	for _, test := range []struct {
		args []string
		code int
		out  string
	}{
		{args: nil, code: 2, out: `the command is missing: see "registry help"`},
		{args: []string{"help"}, code: 0, out: "Usage:"},
		{args: []string{"serve", "--help"}, code: 0, out: "Usage:"},
		{args: []string{"server"}, code: 2, out: `unknown command "server"`},
		{args: []string{"serve", "--dry-run"}, code: 2, out: "not defined: -dry-run"},
		{args: []string{"serve", "a", "b"}, code: 2, out: `unexpected argument "b"`},
		{args: []string{"serve", "/does/not/exist"}, code: 1, out: "/does/not/exist: no such file"},
		{args: []string{"garbage-collect", "--settle", "0s"}, code: 0, out: "registries take pushes again"},
		{args: []string{"version"}, code: 0, out: "registry version"},
	} {
		var out bytes.Buffer
		require.Equal(t, test.code, run(t.Context(), test.args, &out, &out), "%v: %s", test.args, &out)
		require.Contains(t, out.String(), test.out)
	}
}
