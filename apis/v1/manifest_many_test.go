package v1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestManyErrors: the first hundred errors are listed in order, the rest counted.
func TestManyErrors(t *testing.T) {
	var unknown, conflicts strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&unknown, "  unknown%d: x\n", i)
		fmt.Fprintf(&conflicts, "    - \"\"\n")
	}
	const head = "apiVersion: fleet/v1\nkind: App\nmetadata: {name: a}\nspec:\n"
	for name, c := range map[string]struct {
		text  string
		count int
		first string
	}{
		"unknown fields": {head + "  exec: {command: [/bin/true]}\n" + unknown.String(), 20_000, "unknown0"},
		"invalid values": {head + "  exec: {command: [/bin/true]}\n  placement:\n    conflicts:\n" + conflicts.String(), 20_000, "spec.placement.conflicts[0]"},
		"two documents":  {head + "  exec: {command: [/bin/true]}\n" + unknown.String() + "---\n" + head + "  exec: {command: [/bin/true]}\n" + unknown.String(), 40_000, "unknown0"},
	} {
		_, err := ParseManifests([]byte(c.text))
		var errs ManifestErrors
		require.ErrorAs(t, err, &errs, name)
		require.Len(t, errs, MaxManifestErrors+1, name)
		require.Equal(t, c.count, errs.Count(), name)
		require.Contains(t, errs[0].Error(), c.first, name)
		require.Equal(t, fmt.Sprintf("and %d more", c.count-MaxManifestErrors), errs[MaxManifestErrors].Error(), name)
		require.Less(t, len(err.Error()), 40_000, name)
		require.True(t, strings.HasSuffix(Summary(err), fmt.Sprintf("and %d more", c.count-10)), Summary(err))
	}
	few := ManifestErrors{{Message: "x"}}
	require.Equal(t, few, few.capped())
}
