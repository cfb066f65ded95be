// Package failures holds what is said of a roll-out that failed against a golden file, on the local cluster and on machines alike.
package failures

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// questions are what is asked of the app failing after its new version was taken back, and the headings of the answers.
var questions = []struct{ heading, command string }{
	{"fleetctl history", `fleetctl history app/failing -o json | jq -r '.items[-1] | .outcome + ": " + .message'`},
	{"the condition Accepted", `fleetctl get app failing -o json | jq -r '.status.conditions[] | select(.type == "Accepted") | .message'`},
	{"fleetctl describe app", `fleetctl describe app failing | sed -n '/^  Accepted /{s/   */ /g;p}; /^Taken back:/,/^Instances:/p'`},
}

// Check compares what apply --wait has printed, and what run, a shell, prints of the app failing, with testdata/failures. With update it
// writes that file first.
func Check(t *testing.T, name string, update bool, applied string, run func(command string) string) {
	t.Helper()
	said := "--- fleetctl apply --wait: exit code 5\n" + applied
	for _, q := range questions {
		said += "--- " + q.heading + "\n" + run(q.command)
	}
	got := stable(said)
	golden := filepath.Join("testdata", "failures", strings.ReplaceAll(name, " ", "-")+".txt")
	if update {
		require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), got, said)
}

// varying is what differs between two runs, and what stands for it.
var varying = []struct {
	what    *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?m)^app/failing: .*\n`), ""}, // how far it is
	{regexp.MustCompile(`127\.0\.0\.1\d`), "ADDRESS"},
	{regexp.MustCompile(`ADDRESS:\d+`), "ADDRESS:PORT"},
	{regexp.MustCompile(`[0-9a-f]{32}`), "MACHINE"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "TIME"},
	{regexp.MustCompile(`revision \d+ was`), "revision N was"},
	// A process that ends again and again is in any of these.
	{regexp.MustCompile(`(active \(running\)|activating \([a-z-]+\), result exit-code)`), "STATE"},
	{regexp.MustCompile(`(?m)^((?:fleetctl:)? *\| waiting for the database\n(?:fleetctl:)? *\| no answer\n)+((?:fleetctl:)? *\| waiting for the database\n)?`), "${1}as often as it was started\n"},
}

func stable(text string) string {
	for _, v := range varying {
		text = v.what.ReplaceAllString(text, v.instead)
	}
	return text
}
