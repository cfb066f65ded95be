// Package mutants breaks invariants on purpose and checks that the simulation detects each.
package mutants

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/test/sim"
)

// seeds is the number of seeds within which the simulation has to detect a mutant, starting with the one in its patch.
const seeds = "40"

const top = "../../.."

var (
	found   = regexp.MustCompile(`seed \d+: after [^:]*: (.*)`)
	patched = regexp.MustCompile(`(?m)^--- a/(\S+)`)
)

// mutant is a patch with its header: "Finds:" names the invariant that it breaks, "Seed:" the first seed to run, which
// detected it once, and "Run:" the test of test/sim if not TestSeeds.
type mutant struct {
	patch, text      string
	finds, seed, run string
}

func mutants(t *testing.T) []mutant {
	t.Helper()
	patches, err := filepath.Glob("*.patch")
	require.NoError(t, err)
	var all []mutant
	for _, patch := range patches {
		text, err := os.ReadFile(patch)
		require.NoError(t, err)
		header, _, _ := strings.Cut(string(text), "\n--- ")
		m := mutant{patch: patch, text: string(text), seed: "1", run: "TestSeeds"}
		for line := range strings.Lines(header) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch name {
			case "Finds":
				m.finds = value
			case "Seed":
				m.seed = value
			case "Run":
				m.run = value
			}
		}
		require.Contains(t, sim.Invariants, m.finds, "%s: what it finds is no invariant", patch)
		all = append(all, m)
	}
	return all
}

// Each invariant has a mutant that breaks it: without one it may check nothing.
func TestEachInvariantHasAMutant(t *testing.T) {
	broken := map[string]bool{}
	for _, m := range mutants(t) {
		broken[m.finds] = true
	}
	for _, invariant := range sim.Invariants {
		assert.True(t, broken[invariant], "no mutant breaks %q", invariant)
	}
}

// Each mutant is detected by the invariant that it breaks; violations of others do not count. Each is compiled separately,
// which takes time: by default one per invariant is tried, and all with MUTANTS=all.
func TestEachMutantIsFound(t *testing.T) {
	tried := map[string]bool{}
	for _, m := range mutants(t) {
		if tried[m.finds] && os.Getenv("MUTANTS") != "all" {
			continue
		}
		tried[m.finds] = true
		t.Run(strings.TrimSuffix(m.patch, ".patch"), func(t *testing.T) {
			t.Parallel() // one is compiled while another runs
			test := exec.Command("go", "test", "-count=1", "-vet=off", "-ldflags=-s -w", "-overlay", overlaid(t, m.patch, m.text),
				"-run", "^"+m.run+"$", "./test/sim")
			test.Dir = top
			test.Env = append(os.Environ(), "SIM_SEED="+m.seed, "SIM_SEEDS="+seeds, "SIM_FAILURES=1", "SIM_SHRINK=no", "SIM_DIR="+t.TempDir(),
				"SIM_INVARIANT="+m.finds)
			out, err := test.CombinedOutput()
			require.Error(t, err, "not found within %s seeds", seeds)
			violation := found.FindStringSubmatch(string(out))
			require.NotNil(t, violation, "it ended otherwise: %s", out)
			require.True(t, strings.HasPrefix(violation[1], m.finds+": "), "found by another invariant: %s", violation[0])
			t.Log(violation[0])
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
