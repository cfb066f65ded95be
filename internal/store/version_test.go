package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
)

func TestVersionWarning(t *testing.T) {
	for version, says := range map[string]string{
		"3.4.23": "upgrade it to 3.4.44", "3.4.43": "upgrade it to 3.4.44", "3.4.44": "",
		"3.5.9": "upgrade it to 3.5.33", "3.5.33": "", "3.6.0": "upgrade it to 3.6.14", "3.6.0-rc.1": "upgrade it to 3.6.14",
		"3.6.16": "", "3.7.0": "upgrade it to 3.7.1", "3.7.1": "", "3.8.0": "", "4.0.0": "",
		"3.3.27": "not supported", "": "invalid version", "latest": "invalid version",
	} {
		warning := store.VersionWarning(version)
		if says == "" {
			require.Empty(t, warning, version)
		} else {
			require.Contains(t, warning, says, version)
		}
	}
}

func TestVersionOfEtcd(t *testing.T) {
	etcd := etcdtest.Start(t)
	warnings, err := etcd.Client().VersionWarnings(t.Context())
	require.NoError(t, err)
	require.Empty(t, warnings, "the built-in etcd is new enough")
	store.Require(t, "99.0.0")
	warnings, err = etcd.Client().VersionWarnings(t.Context())
	require.NoError(t, err)
	require.Len(t, warnings, 1)
	for endpoint, warning := range warnings {
		require.Contains(t, warning, "is not supported: upgrade it to 99.0.0 or later", endpoint)
	}
	etcd.Stop()
	_, err = etcd.Client().VersionWarnings(t.Context())
	require.ErrorIs(t, err, store.ErrUnavailable)
}
