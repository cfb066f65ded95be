package store_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/store/storetest"
)

// TestContractOfOtherVersions: the oldest supported etcd and the newest one pass the contract test like the built-in
// one.
func TestContractOfOtherVersions(t *testing.T) {
	const quota = 16 << 20
	for program, version := range map[string]*regexp.Regexp{"etcd-3.4": regexp.MustCompile(`^3\.4\.`), "etcd": regexp.MustCompile(`^3\.7\.`)} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			path, err := filepath.Abs(filepath.Join("../../bin", program))
			require.NoError(t, err)
			if _, err := os.Stat(path); err != nil {
				t.Skipf("the contract is not tested on this version of etcd: there is no bin/%s: make etcd", program)
			}
			require.Regexp(t, version, etcdtest.StartProgram(t, path, quota).Version())
			storetest.Run(t, func(t *testing.T) storetest.Backend {
				etcd := etcdtest.StartProgram(t, path, quota)
				client := etcd.Client()
				return storetest.Backend{Store: client, Compact: etcd.Compact, Fill: func() { fill(t, client) }}
			})
		})
	}
}
