// Gotest runs "go test" and prints its output. At the end it lists the skipped tests with their reasons, so that no test is
// skipped unnoticed.
//
//	go run ./hack/gotest [flags of go test] -- packages [-- more packages, after the first ones]
//
// It fails if "go test" does, and with SKIPS=fail in the environment also if a test was skipped. With AGAIN=1 in the environment it
// says which tests failed and runs these once more: for tests with limits in seconds, on a computer that may be busy just then.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	os.Exit(run(os.Args[1:], options{strict: os.Getenv("SKIPS") == "fail", again: os.Getenv("AGAIN") == "1"}))
}

// options come from the environment: all arguments are go test's.
type options struct {
	strict bool // a skipped test is a failure
	again  bool // tests that fail are run a second time, which counts
}

func run(args []string, opts options) (code int) {
	var groups [][]string
	for len(args) > 0 {
		n := slices.Index(args, "--")
		if n < 0 {
			n = len(args)
		}
		groups = append(groups, args[:n])
		args = args[min(n+1, len(args)):]
	}
	if len(groups) < 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./hack/gotest [flags of go test] -- packages [-- more packages]")
		return 2
	}
	flags := groups[0]
	p := &printer{out: os.Stdout, verbose: slices.ContainsFunc(flags, func(f string) bool { return f == "-v" || f == "-test.v" }), packages: map[string]*packageRun{}}
	for _, packages := range groups[1:] {
		if code = goTest(p, slices.Concat([]string{"test", "-json"}, flags, packages)); code != 0 && opts.again {
			code = again(p, flags, packages)
		}
		if code != 0 {
			break // more would only bury the failure
		}
	}
	if p.summary() > 0 && opts.strict && code == 0 {
		fmt.Fprintln(os.Stderr, "SKIPS=fail: this machine has to run every test")
		code = 1
	}
	return code
}

// again runs the tests that failed once more; all tests of the packages where it is not one of them that failed, as when programs do
// not compile or TestMain finds something left behind.
func again(p *printer, flags, packages []string) (code int) {
	failed := p.failed
	p.failed = nil
	if len(failed) == 0 {
		fmt.Fprintf(p.out, "%s failed, see above: once more\n", strings.Join(packages, " "))
		return goTest(p, slices.Concat([]string{"test", "-json"}, flags, packages))
	}
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		tests := strings.Join(failed[name], "|")
		fmt.Fprintf(p.out, "%s: %s failed, see above: once more\n", name, tests)
		if c := goTest(p, slices.Concat([]string{"test", "-json"}, flags, []string{"-run", "^(" + tests + ")$", name})); c != 0 {
			code = c
		}
	}
	return code
}

func goTest(p *printer, args []string) int {
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p.read(out)
	if err := cmd.Wait(); err != nil {
		if cmd.ProcessState.ExitCode() > 0 {
			return cmd.ProcessState.ExitCode()
		}
		return 1
	}
	return 0
}

// event is a line of "go test -json", see "go doc test2json".
type event struct {
	Action, Package, Test, Output string
}

// printer turns events back into "go test" output.
type printer struct {
	out      io.Writer
	verbose  bool
	packages map[string]*packageRun
	skipped  []string
	failed   map[string][]string // of a package, its tests that failed or did not end
}

// packageRun is the progress of a package's tests, in the order in which they began. The test "" is the package itself.
type packageRun struct {
	order []string
	tests map[string]*testRun
}

type testRun struct {
	lines []string
	end   string // pass, fail, skip; "" while it runs
}

func (p *printer) read(events io.Reader) {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				fmt.Fprint(p.out, line)
			} else {
				p.take(e)
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *printer) take(e event) {
	if e.Action == "build-output" {
		fmt.Fprint(p.out, e.Output)
		return
	}
	run := p.packages[e.Package]
	if run == nil {
		run = &packageRun{tests: map[string]*testRun{}}
		p.packages[e.Package] = run
	}
	test := run.tests[e.Test]
	if test == nil {
		test = &testRun{}
		run.tests[e.Test] = test
		run.order = append(run.order, e.Test)
	}
	switch e.Action {
	case "output":
		test.lines = append(test.lines, e.Output)
		if p.verbose {
			fmt.Fprint(p.out, e.Output)
		}
	case "pass", "fail", "skip":
		test.end = e.Action
		switch {
		case e.Test == "":
			p.end(e.Package, run)
		case e.Action == "skip":
			p.skipped = append(p.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, why(test.lines)))
		}
		if e.Test != "" && e.Action != "fail" {
			test.lines = nil
		}
	}
}

// end prints a finished package; if it failed, also its failed tests, each under its heading.
func (p *printer) end(name string, run *packageRun) {
	delete(p.packages, name)
	failed := run.tests[""].end == "fail"
	for _, test := range run.order {
		t := run.tests[test]
		if !failed || test == "" || t.end == "pass" || t.end == "skip" {
			continue
		}
		p.noteFailed(name, test, t)
		if p.verbose {
			continue
		}
		heading, rest := "", []string{}
		for _, line := range t.lines {
			switch {
			case strings.HasPrefix(strings.TrimSpace(line), "--- FAIL: "):
				heading = strings.Repeat("    ", strings.Count(test, "/")) + strings.TrimLeft(line, " ")
			case !strings.HasPrefix(line, "=== "):
				rest = append(rest, line)
			}
		}
		if heading == "" {
			heading = fmt.Sprintf("--- FAIL: %s (did not end)\n", test)
		}
		fmt.Fprint(p.out, heading, strings.Join(rest, ""))
	}
	if p.verbose {
		return
	}
	for _, line := range run.tests[""].lines {
		if failed || strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "?   \t") || strings.HasPrefix(line, "\t") {
			fmt.Fprint(p.out, line)
		}
	}
}

// noteFailed remembers a test that failed. After one that did not end or panicked others did not begin: these count as failed, too.
func (p *printer) noteFailed(name, test string, t *testRun) {
	if p.failed == nil {
		p.failed = map[string][]string{}
	}
	if t.end == "" || slices.ContainsFunc(t.lines, func(line string) bool { return strings.HasPrefix(line, "panic: ") }) {
		test = ".*"
	}
	if !strings.Contains(test, "/") {
		p.failed[name] = append(p.failed[name], test)
	}
}

// why returns what a test printed before it was skipped.
func why(lines []string) string {
	var said []string
	for _, line := range lines {
		if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(text, "=== ") && !strings.HasPrefix(text, "--- ") {
			said = append(said, text)
		}
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}

// summary lists the skipped tests, and returns their number.
func (p *printer) summary() int {
	if len(p.skipped) == 0 {
		fmt.Fprintln(p.out, "no tests were skipped")
		return 0
	}
	fmt.Fprintf(p.out, "skipped tests: %d\n", len(p.skipped))
	for _, s := range p.skipped {
		fmt.Fprintln(p.out, "  "+s)
	}
	return len(p.skipped)
}
