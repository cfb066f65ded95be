package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/test/pages"
)

var (
	wholeID    = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
	timestamp  = regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	applyID    = regexp.MustCompile(`\b\d{8}T\d{6}Z-[0-9a-f]{6}\b`)
	commitHash = regexp.MustCompile(`\b([0-9a-f]{7}|[0-9a-f]{10}|[0-9a-f]{40})\b`)
	assignment = regexp.MustCompile(`^[a-z]+=`)
)

// TestDocs runs the console blocks of each page, in order, on a cluster as "make up" leaves it, and compares the outputs with those on
// the page. IDs of machines and applies, addresses and times are not compared: which of the machines that fit gets a unit is not defined.
func TestDocs(t *testing.T) {
	changed := true // by the tests before
	commands := 0
	for _, page := range documents(t) {
		steps := stepsOf(t, page)
		if len(steps) == 0 {
			continue
		}
		commands += len(steps)
		if changed {
			freshCluster(t)
			changed = false
		}
		t.Run(strings.TrimSuffix(filepath.Base(page), ".md"), func(t *testing.T) {
			variables := ""
			for _, s := range steps {
				if assignment.MatchString(s.command) {
					variables += s.command + "\n"
					continue
				}
				changed = changed || !looks.MatchString(s.command)
				s.follow(t, page, variables)
			}
		})
	}
	require.Greater(t, commands, 40)
	if changed {
		freshCluster(t)
	}
}

// documents returns the paths of the pages in docs/.
func documents(t *testing.T) (paths []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(top), "docs", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			paths = append(paths, path)
		}
		return err
	})
	require.NoError(t, err)
	return paths
}

// stepsOf returns the commands of a page's console blocks, without those that bring the cluster up.
func stepsOf(t *testing.T, page string) (steps []step) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, page))
	require.NoError(t, err)
	for _, s := range console(pages.Lines(string(text))) {
		if !s.bringsUp() {
			steps = append(steps, s)
		}
	}
	return steps
}

// follow runs a page's command with the variables set by earlier ones.
func (s step) follow(t *testing.T, page, variables string) {
	t.Helper()
	within := time.Duration(0)
	if looks.MatchString(s.command) {
		within = time.Minute // it may have to be placed and started first
	}
	eventually(t, within, fmt.Sprintf("%s:%d %s", page, s.line, s.command), func() error {
		out, err := try("set -o pipefail; %s", variables+s.command)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if got, want := s.comparable(out), s.comparable(s.output); got != want {
			return fmt.Errorf("printed\n%s\nnot\n%s", got, want)
		}
		return nil
	})
}

// gitHeading is the README's section about Git.
const gitHeading = "GitOps in five minutes"

// TestReadmeGit runs the commands of the README's section about Git, and compares their outputs.
func TestReadmeGit(t *testing.T) {
	calm(t)
	t.Cleanup(func() {
		_, _ = try("fleetctl delete source greet --prune; rm -rf .dev/greet .dev/greet.git .dev/greet.yaml")
	}) // if it ends early
	for _, s := range walkthrough(t, gitHeading) {
		s.follow(t, "README.md", "")
	}
}

// TestEveryConsoleBlockIsRun: all console blocks of the README are in the walkthrough, which TestReadme runs, or in the section about Git.
func TestEveryConsoleBlockIsRun(t *testing.T) {
	var run []step
	for _, s := range append(walkthrough(t, "Walkthrough"), walkthrough(t, gitHeading)...) {
		if !s.bringsUp() {
			run = append(run, s)
		}
	}
	require.Equal(t, stepsOf(t, "README.md"), run)
}

// eachUnit are commands that print a line for each unit as soon as the unit is as requested, in any order.
var eachUnit = regexp.MustCompile(`^fleetctl (start|stop|restart|load|destroy) `)

// comparable removes from an output what differs between clusters, and blanks at the ends of lines.
func (s step) comparable(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, " \t\n"); line != "" {
			line = shortID.ReplaceAllString(wholeID.ReplaceAllString(line, "<id>"), "<id>")
			line = timestamp.ReplaceAllString(line, "<time>")
			line = applyID.ReplaceAllString(line, "<apply>")
			line = commitHash.ReplaceAllString(line, "<commit>")
			lines = append(lines, address.ReplaceAllString(line, "<ip>"))
		}
	}
	if eachUnit.MatchString(s.command) {
		slices.Sort(lines)
	}
	return strings.Join(lines, "\n")
}
