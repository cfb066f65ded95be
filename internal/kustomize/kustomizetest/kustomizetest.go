// Package kustomizetest lets a test's own program be fleet-kustomize, so that tests need no other one.
package kustomizetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/kustomize/build"
)

const name = "fleet-kustomize"

// Main is a TestMain: started by that name, the program is fleet-kustomize.
func Main(m *testing.M) {
	if filepath.Base(os.Args[0]) == name {
		os.Exit(build.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// Program returns the path of fleet-kustomize, in a package with Main.
func Program(t testing.TB) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	link := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.Symlink(self, link))
	return link
}
