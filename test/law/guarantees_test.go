package law

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const guarantees = "docs/guarantees.md"

// heldPages have tables whose rows each name the tests that hold it, in the last column; and at least so many rows.
var heldPages = map[string]int{guarantees: 30, "docs/faults.md": 15}

// promises are the places where the documentation makes promises: below a heading, the pattern's first match in each line.
var promises = []struct {
	file, heading string
	pattern       *regexp.Regexp
	least         int
}{
	{"README.md", "", regexp.MustCompile(`^\d+\. \*\*(.+?)\*\*`), 3},
	{"docs/architecture.md", "## What holds, whatever happens", regexp.MustCompile(`^- \*\*(.+?)\*\*`), 7},
}

// Each promise has a row that names the tests which verify it.
func TestPromisesAreHeld(t *testing.T) {
	rows := map[string]string{}
	for line := range strings.Lines(read(t, guarantees)) {
		if cells := strings.Split(line, "|"); len(cells) > 3 {
			rows[strings.TrimSpace(cells[1])] = cells[len(cells)-2]
		}
	}
	for _, p := range promises {
		found := promised(read(t, p.file), p.heading, p.pattern)
		require.GreaterOrEqual(t, len(found), p.least, "%s: %s", p.file, p.heading)
		for _, promise := range found {
			require.Contains(t, rows, promise, "%s makes this promise, which has no row in %s", p.file, guarantees)
			require.NotEmpty(t, held.FindAllString(rows[promise], -1), "%s: no test verifies %s", guarantees, promise)
		}
	}
}

// Every row of the tables names a test.
func TestEveryGuaranteeIsHeld(t *testing.T) {
	for page, least := range heldPages {
		rows := 0
		for line := range strings.Lines(read(t, page)) {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "| ") || strings.HasSuffix(line, "| held by |") {
				continue
			}
			rows++
			cells := strings.Split(line, "|")
			require.NotEmpty(t, held.FindAllString(cells[len(cells)-2], -1), "%s: no test verifies %s", page, cells[1])
		}
		require.Greater(t, rows, least, page)
	}
}

// promised returns the pattern's matches below the heading, up to the next heading; without a heading, in the whole text.
func promised(text, heading string, pattern *regexp.Regexp) (found []string) {
	inside := heading == ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if heading != "" && strings.HasPrefix(line, "## ") {
			inside = line == heading
		}
		match := pattern.FindStringSubmatch(line)
		if inside && match != nil {
			found = append(found, match[1])
		}
	}
	return found
}

// held matches a test, `package TestName`, or an invariant of the simulation, `test/sim "words"`.
var held = regexp.MustCompile("`([\\w/]+) (Test\\w+|\".+?\")`")

// The named tests exist.
func TestHeldByTestsThatExist(t *testing.T) {
	tests, texts := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		for _, decl := range s.syntax.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && s.isTest() {
				tests[s.dir()+" "+fn.Name.Name] = true
			}
		}
		if s.dir() != "test/sim" {
			continue
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				texts[lit.Value] = true
			}
			return true
		})
	}
	for page, least := range heldPages {
		named := held.FindAllStringSubmatch(read(t, page), -1)
		require.Greater(t, len(named), least, page)
		for _, name := range named {
			if _, err := strconv.Unquote(name[2]); err == nil {
				require.True(t, texts[name[2]], "%s: test/sim has no invariant %s", page, name[2])
				continue
			}
			require.True(t, tests[name[1]+" "+name[2]], "%s: there is no %s in %s", page, name[2], name[1])
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, file))
	require.NoError(t, err)
	return string(text)
}
