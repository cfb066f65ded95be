package store

import (
	"testing"

	"github.com/coreos/go-semver/semver"
)

// Require sets the oldest acceptable version of etcd for a test.
func Require(t *testing.T, version string) {
	before := leastVersions
	leastVersions = []*semver.Version{semver.New(version)}
	t.Cleanup(func() { leastVersions = before })
}
