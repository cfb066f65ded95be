package e2e

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
	"github.com/fleet-starter/fleet/test/pages"
)

// step is one command of the walkthrough with its output in the README.
type step struct {
	line    int
	command string
	output  string
}

// bringsUp are the commands that TestMain has run already; run sources .dev/env.
func (s step) bringsUp() bool {
	return strings.HasPrefix(s.command, "make ") || strings.HasPrefix(s.command, ". ")
}

// walkthrough returns the commands of the README's console blocks below a heading.
func walkthrough(t *testing.T, heading string) []step {
	t.Helper()
	steps := console(section(t, heading))
	require.NotEmpty(t, steps, "README.md has no walkthrough")
	return steps
}

// console returns the commands of the console blocks in lines.
func console(lines iter.Seq2[int, string]) (steps []step) {
	for _, block := range pages.Blocks(lines) {
		if block.Language != "console" {
			continue
		}
		for i, line := range block.Lines {
			switch {
			case strings.HasPrefix(line, "$ "):
				steps = append(steps, step{line: block.Line + i, command: line[2:]})
			case strings.HasPrefix(line, "> "):
				steps[len(steps)-1].command += "\n" + line[2:]
			default:
				steps[len(steps)-1].output += line + "\n"
			}
		}
	}
	return steps
}

// section is the part of the README below a heading: its lines by their numbers, in order.
func section(t *testing.T, heading string) iter.Seq2[int, string] {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, "README.md"))
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	first := slices.Index(lines, "## "+heading)
	require.GreaterOrEqual(t, first, 0, "README.md has no %s", heading)
	return func(yield func(int, string) bool) {
		for i, line := range lines[first+1:] {
			if strings.HasPrefix(line, "## ") || !yield(first+2+i, line) {
				return
			}
		}
	}
}

// people maps the first eight digits of a machine's random ID to its number.
type people map[string]int

var (
	shortID = regexp.MustCompile(`\b[0-9a-f]{8}\.\.\.`)
	address = regexp.MustCompile(`\b127\.0\.0\.1([123])\b`)
	row     = regexp.MustCompile(`(?m)^([0-9a-f]{8})[0-9a-f.]*\s+127\.0\.0\.1([123])\s`)
	listed  = regexp.MustCompile(`\[(<id \d>[ \]])+`)
	written = regexp.MustCompile(`lastTransitionTime: "([^"]+)"`)
	seen    = regexp.MustCompile(`observedRevision: (\d+)`)
)

// machinesIn parses the output of "fleetctl list-machines".
func machinesIn(t *testing.T, text string) people {
	t.Helper()
	numbers := people{}
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		numbers[m[1]], _ = strconv.Atoi(m[2])
	}
	require.Len(t, numbers, dev.DefaultMachines, text)
	return numbers
}

// named replaces machine IDs by the machines' numbers, permuted. An ID next to another machine's address, or of no machine, stays as it is
// and fails the comparison.
func (p people) named(line string, as []int) string {
	line = shortID.ReplaceAllStringFunc(line, func(id string) string { return fmt.Sprintf("<id %d>", as[p[id[:8]]]) })
	line = address.ReplaceAllStringFunc(line, func(ip string) string { return fmt.Sprintf("127.0.0.1<%d>", as[ip[len(ip)-1]-'0']) })
	return listed.ReplaceAllStringFunc(line, func(list string) string { // in the order of IDs
		all := strings.Split(strings.Trim(list, "[]"), "> ")
		slices.Sort(all)
		return "[" + strings.Join(all, "> ") + "]"
	})
}

// permutations are the ways in which machines may be exchanged: which of several machines that fit equally well gets a unit is not
// defined.
var permutations = [][]int{{0, 1, 2, 3}, {0, 1, 3, 2}, {0, 2, 1, 3}, {0, 2, 3, 1}, {0, 3, 1, 2}, {0, 3, 2, 1}}

// print is a command's output, prepared for the comparison: rows of one unit are sorted by machine ID, which is random.
func (p people) print(command, text string, as, hello []int) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, " \t\n"); line == "" {
			continue
		}
		if strings.Contains(line, "hello") {
			line = p.named(line, hello)
		} else {
			line = p.named(line, as)
		}
		lines = append(lines, line)
	}
	if strings.HasPrefix(command, "fleetctl list-") && len(lines) > 0 {
		slices.Sort(lines[1:])
	}
	return strings.Join(lines, "\n")
}

// looks are commands that change nothing: they are repeated until their output is as expected.
var looks = regexp.MustCompile(`^(fleetctl (list-|get |describe |cat |events|history |rollout status )|etcdctl get |curl |for .* curl )`)

// comparison maps the README's cluster to this one.
type comparison struct {
	t           *testing.T
	theirs      people
	ours        people
	began       time.Time
	arrangement [][]int // the permutations that fit everything so far
}

// TestReadme runs the README's commands in order and compares their outputs with those in the README. These may differ: machine IDs;
// which machine has which instance, as long as it is the same in all outputs; times, which must be of this run; and etcd's revisions,
// which must be those of the keys.
func TestReadme(t *testing.T) {
	calm(t)
	steps := walkthrough(t, "Walkthrough")
	c := &comparison{t: t, began: time.Now(), arrangement: permutations, ours: machinesIn(t, run(t, "fleetctl list-machines --full"))}
	for _, s := range steps {
		if s.command == "fleetctl list-machines" {
			c.theirs = machinesIn(t, s.output)
		}
	}
	require.NotNil(t, c.theirs, "the walkthrough lists the machines")
	for _, s := range steps {
		if s.bringsUp() {
			continue
		}
		t.Logf("README.md:%d $ %s", s.line, s.command)
		within := time.Duration(0)
		if looks.MatchString(s.command) {
			within = time.Minute
		}
		eventually(t, within, fmt.Sprintf("README.md:%d %s", s.line, s.command), func() error {
			out, err := try("set -o pipefail; %s", s.command)
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return c.compare(s, out)
		})
	}
}

// compare compares an output with the README's.
func (c *comparison) compare(s step, out string) error {
	theirs, ours, err := c.sameTimes(s.output, out)
	if err != nil {
		return err
	}
	if strings.HasPrefix(s.command, "fleetctl list-") && !slices.IsSorted(firstColumn(ours)) {
		return fmt.Errorf("the rows are not in order:\n%s", ours)
	}
	as := permutations[0]
	got := c.ours.print(s.command, ours, as, as)
	if s.command == "fleetctl list-machines" { // each has the name, the zone and the address that it has
		if want := c.theirs.print(s.command, theirs, as, as); got != want {
			return fmt.Errorf("printed\n%s\nnot\n%s", got, want)
		}
		return nil
	}
	var fit [][]int
	for _, as := range c.arrangement {
		if slices.ContainsFunc(permutations, func(hello []int) bool { return c.theirs.print(s.command, theirs, as, hello) == got }) {
			fit = append(fit, as)
		}
	}
	if len(fit) == 0 {
		return fmt.Errorf("printed\n%s\nnot, for any order of the machines in which all before is as the README has it,\n%s", got, c.theirs.print(s.command, theirs, as, as))
	}
	c.arrangement = fit
	return nil
}

func firstColumn(table string) (column []string) {
	for i, line := range strings.Split(table, "\n") {
		if name, _, ok := strings.Cut(line, "\t"); ok && i > 0 {
			column = append(column, name)
		}
	}
	return column
}

// sameTimes checks times and revisions, and removes them from both texts.
func (c *comparison) sameTimes(theirs, ours string) (string, string, error) {
	for _, m := range written.FindAllStringSubmatch(ours, -1) {
		if at, err := time.Parse(time.RFC3339Nano, m[1]); err != nil || at.Before(c.began) || at.After(time.Now()) {
			return "", "", fmt.Errorf("%s is not between %s and now (%v)", m[1], c.began, err)
		}
	}
	for _, m := range seen.FindAllStringSubmatch(ours, -1) {
		stored := strings.TrimSpace(run(c.t, "etcdctl get /fleet/apps/hello -w json | jq .kvs[0].mod_revision"))
		if m[1] != stored {
			return "", "", fmt.Errorf("the revision is %s, the key's is %s", m[1], stored)
		}
	}
	plain := func(text string) string {
		return seen.ReplaceAllString(written.ReplaceAllString(text, "lastTransitionTime: <now>"), "observedRevision: <its>")
	}
	return plain(theirs), plain(ours), nil
}
