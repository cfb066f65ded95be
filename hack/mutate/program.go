package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// asked is the file added to a package, with the functions that its mutants call.
//
//go:embed switch.go.txt
var asked string

// program is a package with its tests and all mutants to try, compiled once. $MUTANT selects one at run time.
type program struct {
	pkg    string
	tester string // the package with the tests
	home   string // the directory of tester, in which its tests run
	source string // the directory of pkg
	name   string // of the package
	dir    string // for build output

	files   []string
	mutants []*mutant // those that compile
	overlay string
	tests   string // the test binary
}

// find asks the go command for the package's files, without tests.
func (p *program) find(ctx context.Context) error {
	out, err := run(ctx, "", nil, "go", "list", "-f", `{{.Dir}}{{"\n"}}{{.Name}}{{range .GoFiles}}{{"\n"}}{{$.Dir}}/{{.}}{{end}}`, p.pkg)
	if err != nil {
		return errors.New(strings.TrimSpace(string(out)))
	}
	list := strings.Fields(string(out))
	p.source, p.name, p.files = list[0], list[1], list[2:]
	out, err = run(ctx, "", nil, "go", "list", "-f", "{{.Dir}}", p.tester)
	if err != nil {
		return errors.New(strings.TrimSpace(string(out)))
	}
	p.home = strings.TrimSpace(string(out))
	return nil
}

// build compiles the package with its mutants, drops those that do not compile, and returns these.
func (p *program) build(ctx context.Context, chosen []*mutant) (refused []*mutant, err error) {
	p.mutants = slices.Clone(chosen)
	for i, m := range p.mutants {
		m.id = i + 1
	}
	for {
		if err := p.write(); err != nil {
			return nil, err
		}
		out, err := p.goTool(ctx, "build", "-gcflags=-e", p.pkg)
		if err == nil {
			break
		}
		culprits, errCulprits := p.culprits(string(out))
		if errCulprits != nil || ctx.Err() != nil {
			return nil, errors.Join(errCulprits, ctx.Err())
		}
		refused = append(refused, culprits...)
		p.mutants = slices.DeleteFunc(p.mutants, func(m *mutant) bool { return slices.Contains(culprits, m) })
	}
	p.tests = filepath.Join(p.dir, "tests")
	if out, err := p.goTool(ctx, "test", "-c", "-vet=off", "-o", p.tests, p.tester); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", p.tester, err, tail(out))
	}
	return refused, nil
}

// write writes the mutated files, the file that they need, and an overlay for the go command.
func (p *program) write() error {
	replace := map[string]string{filepath.Join(p.source, "mutant_on.go"): filepath.Join(p.dir, "mutant_on.go")}
	if err := os.WriteFile(filepath.Join(p.dir, "mutant_on.go"), []byte(strings.Replace(asked, "PACKAGE", p.name, 1)), 0o600); err != nil {
		return err
	}
	for _, file := range p.files {
		source, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		own := slices.DeleteFunc(slices.Clone(p.mutants), func(m *mutant) bool { return m.file != file })
		slices.SortStableFunc(own, byPlace)
		replace[file] = filepath.Join(p.dir, "mutated_"+filepath.Base(file))
		if err := os.WriteFile(replace[file], []byte(withMutants(string(source), own)), 0o600); err != nil {
			return err
		}
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return err
	}
	p.overlay = filepath.Join(p.dir, "overlay.json")
	return os.WriteFile(p.overlay, overlay, 0o600)
}

var (
	compileError = regexp.MustCompile(`(?m)^(\S+\.go):(\d+):\d+: (.*)$`)
	number       = regexp.MustCompile(`mutant(?:On|Sum|Difference)\((\d+)`)
	left         = regexp.MustCompile(`if !mutantOn\((\d+)`) // out
)

// culprits are the mutants that cause compile errors: those in the line of the error, or in the function that lacks a return
// because of them.
func (p *program) culprits(out string) ([]*mutant, error) {
	wrong := map[int]bool{}
	for _, m := range compileError.FindAllStringSubmatch(out, -1) {
		text, err := os.ReadFile(filepath.Join(p.dir, "mutated_"+strings.TrimPrefix(filepath.Base(m[1]), "mutated_")))
		if err != nil {
			return nil, fmt.Errorf("%s: %s", p.pkg, out)
		}
		lines := strings.Split(string(text), "\n")
		last, _ := strconv.Atoi(m[2])
		first, of := last-1, number
		if !number.MatchString(lines[first]) {
			of = left
			for first > 0 && !strings.HasPrefix(lines[first], "func ") {
				first--
			}
		}
		for _, n := range of.FindAllStringSubmatch(strings.Join(lines[first:last], "\n"), -1) {
			id, _ := strconv.Atoi(n[1])
			wrong[id] = true
		}
	}
	found := slices.DeleteFunc(slices.Clone(p.mutants), func(m *mutant) bool { return !wrong[m.id] })
	if len(found) == 0 {
		return nil, fmt.Errorf("%s does not build: %s", p.pkg, out)
	}
	return found, nil
}

// goTool runs the go command on the mutated package, with little garbage collection and no symbols, which halves the build
// time.
func (p *program) goTool(ctx context.Context, verb string, args ...string) ([]byte, error) {
	args = append([]string{verb, "-overlay", p.overlay, "-ldflags=-s -w"}, args...)
	return run(ctx, "", []string{"GOGC=800"}, "go", args...)
}

// simulation compiles the simulation with the mutants.
func (p *program) simulation(ctx context.Context) (string, error) {
	name := filepath.Join(p.dir, "simulation")
	if out, err := p.goTool(ctx, "test", "-c", "-vet=off", "-o", name, "./test/sim"); err != nil {
		return "", fmt.Errorf("./test/sim: %w\n%s", err, tail(out))
	}
	return name, nil
}

// reached reads which mutants the tests reached.
func reached(file string) (map[int]bool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	ids := map[int]bool{}
	for line := range bytes.Lines(text) {
		id, err := strconv.Atoi(string(bytes.TrimSpace(line)))
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not a mutant number", file, line)
		}
		ids[id] = true
	}
	return ids, nil
}
