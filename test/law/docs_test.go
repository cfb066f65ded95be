package law

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/cli"
)

// pagesOf returns the pages of the documentation, relative to the top: those in git, and new ones.
func pagesOf(t *testing.T) (pages []string) {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md")
	cmd.Dir = top
	out, err := cmd.Output()
	require.NoError(t, err)
	pages = strings.Fields(string(out))
	require.Greater(t, len(pages), 15)
	return pages
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	code    = regexp.MustCompile("`[^`\n]*`")
)

// Links lead to existing files and headings.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range pagesOf(t) {
		text := code.ReplaceAllString(fence.ReplaceAllString(read(t, page), ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := m[1] + m[2]
			if strings.Contains(target, "://") {
				continue
			}
			file, anchor, _ := strings.Cut(target, "#")
			path := page
			if file != "" {
				path = filepath.Join(filepath.Dir(page), file)
				require.FileExists(t, filepath.Join(top, path), "%s links to %s", page, target)
			}
			if anchor != "" {
				require.Contains(t, anchorsOf(read(t, path)), anchor, "%s links to %s", page, target)
			}
		}
	}
}

// anchorsOf returns the anchors that GitHub gives the headings of a page.
func anchorsOf(text string) (anchors []string) {
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		anchors = append(anchors, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(m[1])))
	}
	return anchors
}

// The README links to every page of docs/.
func TestPagesAreListed(t *testing.T) {
	readme := read(t, "README.md")
	for _, page := range pagesOf(t) {
		if strings.HasPrefix(page, "docs/") {
			require.True(t, strings.Contains(readme, "]("+page+")"), "README.md does not lead to %s", page)
		}
	}
}

var (
	commandLine = regexp.MustCompile(`(?m)(?:^|[|&;(] *|\$ )(fleetctl|make) ([^|#\n;&)]*)`)
	indented    = regexp.MustCompile(`(?m)^ {4}\S.*$`)
	name        = regexp.MustCompile(`^[a-z]`)
	flag        = regexp.MustCompile(`^--?[a-zA-Z-]+$`)
)

// codeOf returns a page's code: its blocks, its indented lines, and text in backquotes.
func codeOf(text string) string {
	var parts []string
	for _, block := range fence.FindAllString(text, -1) {
		parts = append(parts, strings.ReplaceAll(block, "\n   ", "\n"))
	}
	text = fence.ReplaceAllString(text, "")
	for _, line := range indented.FindAllString(text, -1) {
		parts = append(parts, strings.TrimSpace(line))
	}
	for _, span := range code.FindAllString(text, -1) {
		parts = append(parts, strings.Trim(span, "`"))
	}
	return strings.Join(parts, "\n")
}

// Commands and flags in the documentation exist.
func TestCommandsExist(t *testing.T) {
	targets := regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllString(read(t, "Makefile"), -1)
	help := map[string]string{}
	commands := 0
	for _, page := range pagesOf(t) {
		if page == "docs/reference/fleetctl.md" {
			continue // the help
		}
		for _, m := range commandLine.FindAllStringSubmatch(codeOf(read(t, page)), -1) {
			words := strings.Fields(m[2])
			if len(words) == 0 || !name.MatchString(words[0]) {
				continue
			}
			commands++
			if m[1] == "make" {
				require.Contains(t, targets, words[0]+":", "%s: make %s", page, m[2])
				continue
			}
			command := words[0]
			if _, asked := help[command]; !asked {
				help[command] = helpOf(t, command)
			}
			require.NotEmpty(t, help[command], "%s: fleetctl has no command %s", page, command)
			for _, word := range words[1:] {
				if option, _, _ := strings.Cut(word, "="); flag.MatchString(option) {
					require.Regexp(t, `(^|[\s,])`+regexp.QuoteMeta(option)+`([\s,]|$)`, help[command], "%s: fleetctl %s", page, m[2])
				}
			}
		}
	}
	require.Greater(t, commands, 80)
}

func helpOf(t *testing.T, command string) string {
	t.Helper()
	var out, told bytes.Buffer
	world := cli.IO{In: strings.NewReader(""), Out: &out, Err: &told, Getenv: func(string) string { return "" }}
	if code := cli.Main(context.Background(), []string{command, "--help"}, world); code != 0 || !strings.Contains(out.String(), "fleetctl "+command) {
		return ""
	}
	return out.String()
}

// The refusals quoted in docs/placement.md appear in the scheduler's golden files, the explanations in those of fleetctl.
func TestRefusalsAreReal(t *testing.T) {
	golden, err := filepath.Glob(filepath.Join(top, "controllers/schedule/testdata/*.txt"))
	require.NoError(t, err)
	golden = append(golden, filepath.Join(top, "internal/cli/testdata/script/explain.txtar"))
	said := map[string]bool{}
	for _, file := range golden {
		rel, err := filepath.Rel(top, file)
		require.NoError(t, err)
		for line := range strings.Lines(read(t, rel)) {
			said[strings.TrimSpace(line)] = true
		}
	}
	quoted := 0
	for _, block := range regexp.MustCompile("(?ms)^```text\n(.*?)^```$").FindAllStringSubmatch(read(t, "docs/placement.md"), -1) {
		for line := range strings.Lines(block[1]) {
			quoted++
			require.True(t, said[strings.TrimSpace(line)], "docs/placement.md quotes a line that is in no golden file of the scheduler: %s", line)
		}
	}
	require.Greater(t, quoted, 8)
}
