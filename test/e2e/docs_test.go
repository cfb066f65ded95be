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

var wholeID = regexp.MustCompile(`\b[0-9a-f]{32}\b`)

// TestDocs runs the console blocks of the pages, in order, and compares with what the pages say that they print. Machines' IDs and
// addresses are not compared: the one is random, and nothing says which machine that fits gets a unit.
func TestDocs(t *testing.T) {
	if os.Getenv("DOCS") == "" {
		t.Skip("set DOCS=1 to run the commands of the pages: what they leave behind changes what the other tests find")
	}
	pages, err := filepath.Glob(filepath.Join(top, "docs/*.md"))
	require.NoError(t, err)
	commands := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		steps := console(func(yield func(int, string) bool) {
			for i, line := range strings.Split(string(text), "\n") {
				if !yield(i+1, line) {
					return
				}
			}
		})
		if len(steps) == 0 {
			continue
		}
		commands += len(steps)
		t.Run(strings.TrimSuffix(filepath.Base(page), ".md"), func(t *testing.T) {
			calm(t)
			for _, s := range steps {
				what := fmt.Sprintf("%s:%d %s", filepath.Base(page), s.line, s.command)
				within := time.Duration(0)
				if looks.MatchString(s.command) {
					within = time.Minute // it may have to be placed and started first
				}
				eventually(t, within, what, func() error {
					out, err := try("set -o pipefail; %s", s.command)
					if err != nil {
						return fmt.Errorf("%w: %s", err, out)
					}
					if got, want := withoutIDs(out), withoutIDs(s.output); got != want {
						return fmt.Errorf("printed\n%s\nnot\n%s", got, want)
					}
					return nil
				})
			}
		})
	}
	require.Greater(t, commands, 20)
}

// withoutIDs leaves out what differs from one cluster to the next, and blanks at the ends of lines.
func withoutIDs(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, " \t\n"); line != "" {
			line = shortID.ReplaceAllString(wholeID.ReplaceAllString(line, "<id>"), "<id>")
			lines = append(lines, address.ReplaceAllString(line, "<ip>"))
		}
	}
	return strings.Join(lines, "\n")
}
