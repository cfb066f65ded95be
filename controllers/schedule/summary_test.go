package schedule

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// TestManyProblems: the explanation of a unit file with 10,000 problems lists some of them and counts the rest: etcd would
// not accept all.
func TestManyProblems(t *testing.T) {
	name, err := unitfile.ParseName("a.service")
	require.NoError(t, err)
	f := &file{}
	f.parse("[Service]\nExecStart=/bin/true\n[X-Fleet]\n" + strings.Repeat("MachineOf=/\n", 10_000))
	_, problem := f.resolve(name)
	require.True(t, strings.HasSuffix(problem, "; and 9990 more"), problem)
	require.Less(t, len(problem), 3000)
	require.NotContains(t, problem, "\n")

	f = &file{}
	f.parse("[Service]\nExecStart=/bin/true\n")
	_, problem = f.resolve(name)
	require.Empty(t, problem)
}
