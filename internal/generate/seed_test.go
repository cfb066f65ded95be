package generate

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// The manifests in manifests/seed become units that behave like the seed's: option by option they are the same, except for
// the differences listed in manifests/seed/README.md, each with its reason.
func TestSeedManifestsAreEquivalent(t *testing.T) {
	documented := readDifferences(t, "../../manifests/seed/README.md")
	const seed = "../../internal/unitfile/testdata/seed/"
	for _, c := range []struct{ unit, manifest string }{
		{"registry.service", "registry.yaml"},
		{"nginx_lb_router.service", "nginx_lb_router.yaml"},
		{"example-app@.service", "example-app.yaml"},
		{"example-app-discovery@.service", "example-app.yaml"},
	} {
		t.Run(c.unit, func(t *testing.T) {
			app := readApp(t, "../../manifests/seed/"+c.manifest)
			files, err := Units(app.Metadata.Name, &app.Spec)
			require.NoError(t, err)
			text := files.Unit
			if strings.Contains(c.unit, "-discovery") {
				text = files.Sidekick
			}
			theirs, err := os.ReadFile(seed + c.unit)
			require.NoError(t, err)
			require.Equal(t, documented[c.unit], differences(t, string(theirs), text))
		})
	}
}

// differences returns the assignments that only one of two files has, sorted.
func differences(t *testing.T, before, after string) []string {
	count := map[string]int{}
	for i, text := range []string{before, after} {
		file, err := unitfile.Parse(text)
		require.NoError(t, err)
		for _, o := range file.Options() {
			count[fmt.Sprintf("[%s] %s=%s", o.Section, o.Name, o.Value)] += 2*i - 1
		}
	}
	var list []string
	for line, n := range count {
		switch {
		case n < 0:
			list = append(list, "- "+line)
		case n > 0:
			list = append(list, "+ "+line)
		}
	}
	slices.Sort(list)
	return list
}

// readDifferences reads the README's tables: under a heading with the unit's name, rows of | `difference` | reason |.
func readDifferences(t *testing.T, path string) map[string][]string {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	found, unit := map[string][]string{}, ""
	for line := range strings.SplitSeq(string(data), "\n") {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			unit = heading
		}
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		difference, reason, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` | ")
		require.True(t, ok, line)
		require.Greater(t, len(strings.Trim(reason, " |")), 10, "a reason: %s", line)
		found[unit] = append(found[unit], strings.ReplaceAll(difference, `\|`, "|"))
	}
	for _, list := range found {
		slices.Sort(list)
	}
	return found
}
