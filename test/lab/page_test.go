package lab

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the outputs of the commands into the pages")

// page is a page whose console blocks are run on the lab: a line "$ command" and the lines that it prints.
type page struct {
	path  string
	lines []string
	steps []*step
}

// step is one command of a page.
type step struct {
	section, command string
	line             int // of the command, from 0
	printed          int // how many lines below it are its output
	output           string
}

// readPage reads the commands of a page.
func readPage(t *testing.T, path string) *page {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	p := &page{path: path, lines: strings.Split(string(text), "\n")}
	section, block := "", false
	for i, line := range p.lines {
		command, isCommand := strings.CutPrefix(line, "$ ")
		heading := strings.TrimLeft(line, "#")
		switch {
		case strings.HasPrefix(line, "```"):
			block = line == "```console"
		case !block && heading != line:
			section = strings.TrimSpace(heading)
		case !block:
		case isCommand:
			p.steps = append(p.steps, &step{section: section, command: command, line: i})
		default:
			s := p.steps[len(p.steps)-1]
			s.output += line + "\n"
			s.printed++
		}
	}
	return p
}

// of returns the commands of a section.
func (p *page) of(t *testing.T, section string) (steps []*step) {
	t.Helper()
	for _, s := range p.steps {
		if s.section == section {
			steps = append(steps, s)
		}
	}
	require.NotEmpty(t, steps, "%s has no commands in a section %q", p.path, section)
	return steps
}

// write replaces the outputs in the page by those of this run.
func (p *page) write(t *testing.T) {
	t.Helper()
	for _, s := range slices.Backward(p.steps) {
		p.lines = slices.Replace(p.lines, s.line+1, s.line+1+s.printed, strings.Split(strings.TrimSuffix(s.output, "\n"), "\n")...)
		if s.output == "" {
			p.lines = slices.Delete(p.lines, s.line+1, s.line+2)
		}
	}
	require.NoError(t, os.WriteFile(p.path, []byte(strings.Join(p.lines, "\n")), 0o644))
}

// repeatable are commands that can be run again: what they show, or need, may take a moment to come about.
var repeatable = regexp.MustCompile(`^(fleetctl (list-|push )|etcdctl get |curl |for )`)

// follow runs commands on a machine, one after the other, in the directory that the page is written for.
func (p *page) follow(t *testing.T, m *Machine, steps []*step) {
	t.Helper()
	for _, s := range steps {
		if *update {
			s.output = repeated(t, m, s)
			continue
		}
		limit := time.Duration(0)
		if repeatable.MatchString(s.command) {
			limit = time.Minute
		}
		within(t, limit, fmt.Sprintf("%s:%d on %s: %s", p.path, s.line+1, m.Name, s.command), func() error {
			out, err := m.runIn(t, s.command)
			if got, want := s.comparably(out), s.comparably(s.output); err == nil && got != want && !s.covers(got, want) {
				err = fmt.Errorf("printed\n%s\nnot\n%s", got, want)
			}
			return err
		})
	}
}

// repeated runs a command; one that can be repeated until it prints the same for three seconds.
func repeated(t *testing.T, m *Machine, s *step) string {
	t.Helper()
	out, err := m.runIn(t, s.command)
	for same := 0; same < 3 && repeatable.MatchString(s.command); same++ {
		time.Sleep(time.Second)
		before := out
		if out, err = m.runIn(t, s.command); s.comparably(out) != s.comparably(before) {
			same = -1
		}
	}
	require.NoError(t, err, "%s: %s", s.command, out)
	var lines []string
	for line := range strings.Lines(out) {
		if line = strings.TrimRight(line, " \t\n"); line != "" {
			lines = append(lines, line+"\n")
		}
	}
	return strings.Join(lines, "")
}

// covers says whether a failed start printed at least what the page has: its last log lines may begin with those of the stop before.
func (s *step) covers(got, want string) bool {
	if !strings.Contains(s.command, "exit code") {
		return false
	}
	printed := strings.Split(got, "\n")
	return !slices.ContainsFunc(strings.Split(want, "\n"), func(line string) bool { return !slices.Contains(printed, line) })
}

// checkout is where machines have what a page calls by relative names.
const checkout = "/root/fleet"

// runIn runs a command in the checkout, and returns all that it prints.
func (m *Machine) runIn(t *testing.T, command string) (string, error) {
	t.Helper()
	cmd := m.Command(t.Context(), "bash", "-c", "set -o pipefail; cd "+checkout+"; "+command)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return string(out), err
}

// differs are the parts of an output that differ from one lab to the next.
var differs = regexp.MustCompile(`\b[0-9a-f]{8}\.\.\.|\b[0-9a-f]{12,64}\b|\b10\.214\.0\.1\d\b`)

// comparably leaves them out of an output, and blanks at the ends of lines. Units that are started together are told of in any
// order.
func (s *step) comparably(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, " \t\n"); line != "" {
			lines = append(lines, differs.ReplaceAllString(line, "<>"))
		}
	}
	if strings.HasPrefix(s.command, "fleetctl start ") {
		slices.Sort(lines)
	}
	return strings.Join(lines, "\n")
}
