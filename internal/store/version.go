package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/coreos/go-semver/semver"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// leastVersions are, for each minor version of etcd, the first release with all relevant fixes: lost, repeated or
// reordered watch events, leases revoked by mistake, stale reads, and roles that could be bypassed.
var leastVersions = []*semver.Version{
	semver.New("3.4.44"), // the last fix for watches is in 3.4.36, for reads in 3.4.42; watches of keys that a role forbids are not fixed in 3.4
	semver.New("3.5.33"),
	semver.New("3.6.14"),
	semver.New("3.7.1"),
}

// VersionWarning returns what is wrong with a version of etcd; empty if no fault is known.
func VersionWarning(version string) string {
	have, err := semver.NewVersion(strings.TrimPrefix(version, "v"))
	if err != nil {
		return fmt.Sprintf("etcd reports an invalid version %q", version)
	}
	for _, least := range leastVersions {
		if have.Major == least.Major && have.Minor == least.Minor && have.LessThan(*least) {
			return fmt.Sprintf("etcd %s has known bugs (lost events, stale reads, or roles that can be bypassed): upgrade it to %s or later", version, least)
		}
	}
	if have.LessThan(*leastVersions[0]) {
		return fmt.Sprintf("etcd %s is not supported: upgrade it to %s or later", version, leastVersions[0])
	}
	return ""
}

// VersionWarnings asks every endpoint for its version and returns the warnings by endpoint. Endpoints that do not
// answer are left out; the error is set if none answers.
func (c *Client) VersionWarnings(ctx context.Context) (map[string]string, error) {
	warnings, answered := map[string]string{}, 0
	var last error
	for _, endpoint := range c.config.Endpoints {
		last = c.call(ctx, "ask for the version of", endpoint, func(ctx context.Context, etcd *clientv3.Client) error {
			status, err := etcd.Status(ctx, endpoint)
			if err != nil {
				return err
			}
			answered++
			if warning := VersionWarning(status.Version); warning != "" {
				warnings[endpoint] = warning
			}
			return nil
		})
	}
	if answered == 0 {
		return nil, last
	}
	return warnings, nil
}
