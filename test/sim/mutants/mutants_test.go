// Package mutants breaks invariants on purpose and shows that the simulation finds each of them.
package mutants

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// seeds is within how many the simulation has to find a mutant.
const seeds = "150"

const top = "../../.."

var (
	found   = regexp.MustCompile(`seed \d+: .*`)
	finds   = regexp.MustCompile(`(?m)^Finds: (.*)$`)
	patched = regexp.MustCompile(`(?m)^--- a/(\S+)`)
)

func TestEachMutantIsFound(t *testing.T) {
	patches, err := filepath.Glob("*.patch")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(patches), 6)
	for _, patch := range patches {
		t.Run(strings.TrimSuffix(patch, ".patch"), func(t *testing.T) {
			text, err := os.ReadFile(patch)
			require.NoError(t, err)
			expected := finds.FindStringSubmatch(string(text))
			require.NotNil(t, expected, "%s does not say what finds it", patch)
			overlay := overlaid(t, patch, string(text))
			test := exec.Command("go", "test", "-count=1", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-run", "TestSeeds", "./test/sim")
			test.Dir = top
			test.Env = append(os.Environ(), "SIM_SEEDS="+seeds, "SIM_SEED=1", "SIM_FAILURES=1", "SIM_SHRINK=no", "SIM_DIR="+t.TempDir())
			out, err := test.CombinedOutput()
			require.Error(t, err, "not found within %s seeds", seeds)
			require.Contains(t, string(out), expected[1])
			t.Log(found.FindString(string(out)))
		})
	}
}

// overlaid applies a patch to copies of the files that it names, and returns a file for -overlay.
func overlaid(t *testing.T, patch, text string) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for _, match := range patched.FindAllStringSubmatch(text, -1) {
		original, err := filepath.Abs(filepath.Join(top, match[1]))
		require.NoError(t, err)
		source, err := os.ReadFile(original)
		require.NoError(t, err)
		replace[original] = filepath.Join(dir, match[1])
		require.NoError(t, os.MkdirAll(filepath.Dir(replace[original]), 0o755))
		require.NoError(t, os.WriteFile(replace[original], source, 0o644))
	}
	require.NotEmpty(t, replace)
	absolute, err := filepath.Abs(patch)
	require.NoError(t, err)
	apply := exec.Command("git", "apply", absolute)
	apply.Dir = dir
	apply.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	out, err := apply.CombinedOutput()
	require.NoError(t, err, "%s no longer fits the code: %s", patch, out)
	data, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	overlay := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(overlay, data, 0o644))
	return overlay
}
