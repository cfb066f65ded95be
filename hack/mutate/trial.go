package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// slow is the duration from which on a test runs only if the quick ones passed.
const slow = 50 * time.Millisecond

// swift is the maximum duration of a killing test for it to be run first on the next mutants. Longer ones were waiting for
// something.
const swift = 2 * time.Second

// trial tries the mutants of one package.
type trial struct {
	program
	limit     time.Duration
	seeds     int
	quickOnly bool

	quick   string // a pattern of the quick tests, "" if all are
	reached map[int]bool
	killers []string // quick tests that killed mutants: they run first on the next ones
	sim     string   // the simulation with the mutants, compiled when the first one survives
}

// tidy returns a function that removes the files that failing properties leave in the package, unless there were some before.
func (t *trial) tidy() func() {
	left := filepath.Join(t.home, "testdata", "rapid")
	if _, err := os.Stat(left); err == nil {
		return func() {}
	}
	return func() {
		_ = os.RemoveAll(left)
		_ = os.Remove(filepath.Dir(left)) // only removes it if empty
	}
}

// without runs the tests with no mutant on. They must pass, and show how long each takes and which mutants it reaches.
func (t *trial) without(ctx context.Context) error {
	met := filepath.Join(t.dir, "reached")
	if err := os.WriteFile(met, nil, 0o600); err != nil {
		return err
	}
	began := time.Now()
	out, err := run(ctx, t.home, []string{"MUTANTS_REACHED=" + met}, "sh", limited(t.tests, []string{"-test.short", "-test.v", "-test.timeout=10m"})...)
	if err != nil {
		return fmt.Errorf("the tests of %s fail without any mutation: %w\n%s", t.pkg, err, tail(out))
	}
	if t.limit == 0 {
		t.limit = 4*time.Since(began) + 10*time.Second
	}
	t.quick = quickOf(out)
	t.reached, err = reached(met)
	return err
}

var ended = regexp.MustCompile(`(?m)^ *--- (?:PASS|FAIL|SKIP): ([^/\s]+)\S* \(([0-9.]+)s\)`)

// quickOf is a pattern of the quick tests, from their output. A test with parallel subtests reports no time itself; its
// subtests do.
func quickOf(out []byte) string {
	var names, others []string
	for _, m := range ended.FindAllSubmatch(out, -1) {
		name := string(m[1])
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		if seconds, _ := strconv.ParseFloat(string(m[2]), 64); time.Duration(seconds*float64(time.Second)) >= slow {
			others = append(others, name)
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(others, name) })
	if len(others) == 0 || len(names) == 0 {
		return ""
	}
	return "^(" + strings.Join(names, "|") + ")$"
}

// judge decides what happens to a mutant, and by which test.
func (t *trial) judge(ctx context.Context, m *mutant) (verdict, string, error) {
	v, by := notRun, ""
	if t.reached[m.id] {
		if v, by = t.test(ctx, m.id); v != survived {
			return v, by, ctx.Err()
		}
	}
	if t.seeds > 0 {
		dies, err := t.simulated(ctx, m.id)
		if err != nil {
			return "", "", err
		}
		if dies {
			return killedBySim, "", ctx.Err()
		}
	}
	return v, "", ctx.Err()
}

// steps are the arguments of the test runs, in order: previous killers, quick tests, the others.
func (t *trial) steps() [][]string {
	var steps [][]string
	if len(t.killers) > 0 {
		steps = append(steps, []string{"-test.run=^(" + strings.Join(t.killers, "|") + ")$"})
	}
	if t.quick == "" {
		return append(steps, nil)
	}
	steps = append(steps, []string{"-test.run=" + t.quick})
	if !t.quickOnly {
		steps = append(steps, []string{"-test.skip=" + t.quick})
	}
	return steps
}

// test runs the package's tests with a mutant on.
func (t *trial) test(ctx context.Context, id int) (verdict, string) {
	for _, step := range t.steps() {
		began := time.Now()
		if v, by := t.step(ctx, id, step); v != survived {
			if v == killed && strings.HasPrefix(by, "Test") && time.Since(began) < swift && !slices.Contains(t.killers, by) {
				t.killers = append(t.killers, by)
			}
			return v, by
		}
	}
	return survived, ""
}

// step runs some of the tests. A failure counts only if it is repeated: a busy computer makes tests fail, too. Tests that
// time out get twice the time.
func (t *trial) step(ctx context.Context, id int, which []string) (verdict, string) {
	env, limit := mutantOn(id), t.limit
	for range 3 {
		out, err := run(ctx, t.home, env, "sh", limited(t.tests, append([]string{"-test.short", "-test.failfast", "-test.timeout=" + limit.String()}, which...))...)
		if err == nil {
			return survived, ""
		}
		if bytes.Contains(out, []byte("panic: test timed out")) {
			if limit > t.limit {
				return timedOut, ""
			}
			limit *= 2
			continue
		}
		failed := failedOf(out)
		if failed == "" { // it failed differently: a panic, a leaked goroutine
			return killed, "the tests' program"
		}
		again := []string{"-test.short", "-test.timeout=" + (2 * limit).String(), "-test.run=^" + failed + "$"}
		if _, err := run(ctx, t.home, env, "sh", limited(t.tests, again)...); err != nil {
			return killed, failed
		}
	}
	return survived, "" // the second run passed: flaky
}

func mutantOn(id int) []string { return []string{"MUTANT=" + strconv.Itoa(id), "MUTANTS_REACHED="} }

// limited returns a shell's arguments to run a program with at most 8 GB of memory: a mutant may allocate without end.
func limited(program string, args []string) []string {
	return append([]string{"-c", `ulimit -d 8000000; exec "$@"`, "sh", program}, args...)
}

var failure = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

func failedOf(out []byte) string {
	if m := failure.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return ""
}

// simulated reports whether the simulation fails with the mutant on. It must pass without one.
func (t *trial) simulated(ctx context.Context, id int) (bool, error) {
	if t.sim == "" {
		sim, err := t.simulation(ctx)
		if err != nil {
			return false, err
		}
		t.sim = sim
		if out, err := t.simulate(ctx, 0); err != nil {
			return false, fmt.Errorf("the simulation fails without any mutation: %w\n%s", err, tail(out))
		}
	}
	_, err := t.simulate(ctx, id)
	return err != nil, nil
}

func (t *trial) simulate(ctx context.Context, id int) ([]byte, error) {
	env := append(mutantOn(id), "SIM_SEED=1", "SIM_SEEDS="+strconv.Itoa(t.seeds), "SIM_SHRINK=no", "SIM_FAILURES=1", "SIM_DIR="+t.dir)
	return run(ctx, filepath.Join("test", "sim"), env, "sh", limited(t.sim, []string{"-test.run=^TestSeeds$", "-test.timeout=10m"})...)
}

// run runs a program in its own process group, so that its children end with it.
func run(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second // child processes may keep the output open
	return cmd.CombinedOutput()
}

func tail(out []byte) []byte {
	const most = 2000
	return out[max(0, len(out)-most):]
}
