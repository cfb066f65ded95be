package store

import (
	"testing"

	"github.com/coreos/go-semver/semver"
)

// Require has another version of etcd be the oldest that is good enough, for a test.
func Require(t *testing.T, version string) {
	before := leastVersions
	leastVersions = []*semver.Version{semver.New(version)}
	t.Cleanup(func() { leastVersions = before })
}
