package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// step is one command of the walkthrough and what the README says that it prints.
type step struct {
	line    int
	command string
	output  string
}

// walkthrough returns the commands of the README's console blocks below the heading of that name.
func walkthrough(t *testing.T, heading string) []step {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, "README.md"))
	require.NoError(t, err)
	var steps []step
	inside, block := false, false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "## "):
			inside = line == "## "+heading
		case !inside:
		case strings.HasPrefix(line, "```"):
			block = line == "```console"
		case !block:
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, step{line: i + 1, command: line[2:]})
		case strings.HasPrefix(line, "> "):
			steps[len(steps)-1].command += "\n" + line[2:]
		default:
			steps[len(steps)-1].output += line + "\n"
		}
	}
	require.NotEmpty(t, steps, "README.md has no walkthrough")
	return steps
}

// varies is what differs from one run to the next: IDs, which of the machines it is, and times.
var varies = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\b[0-9a-f]{8}\.\.\.`), "<id>"},
	{regexp.MustCompile(`\b[0-9a-f]{12,64}\b`), "<id>"},
	{regexp.MustCompile(`127\.0\.0\.1[123]\b`), "<address>"},
	{regexp.MustCompile(`\bm[123]\b`), "<machine>"},
	{regexp.MustCompile(`zone=[ab]\b`), "zone=<zone>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ][0-9:.]+(Z| UTC)?`), "<time>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|s|m|h)\b( ago)?`), "<duration>"},
	{regexp.MustCompile(`(?i)((resourceVersion|observedRevision|revision|uid|createRevision): )"?\d+"?`), "${1}<revision>"},
	{regexp.MustCompile(`/(tmp|home|root|run/user)/[^ ]*|` + regexp.QuoteMeta(top) + `[^ ]*`), "<path>"},
	{regexp.MustCompile(`[ \t]+`), " "},
}

func normalize(text string) string {
	for _, v := range varies {
		text = v.pattern.ReplaceAllString(text, v.with)
	}
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// looks are commands that change nothing: what they show may take a moment to come about.
var looks = regexp.MustCompile(`^(fleetctl (list-|get |describe |cat )|etcdctl get |curl |for .* curl )`)

// TestReadme runs the README's own commands and compares with what the README says that they print.
func TestReadme(t *testing.T) {
	for _, s := range walkthrough(t, "Walkthrough") {
		if strings.HasPrefix(s.command, "make ") || strings.HasPrefix(s.command, ". ") {
			continue // done by TestMain and run
		}
		t.Logf("README.md:%d $ %s", s.line, s.command)
		want := normalize(s.output)
		within := time.Duration(0)
		if looks.MatchString(s.command) {
			within = time.Minute
		}
		eventually(t, within, fmt.Sprintf("README.md:%d %s", s.line, s.command), func() error {
			out, err := try("%s", s.command)
			if got := normalize(out); got != want {
				return fmt.Errorf("printed\n%s\nnot\n%s\n(exit: %v)", got, want, err)
			}
			return nil
		})
	}
}
