// Command mutate changes one expression or statement of a package at a time and runs its tests: a change that no test
// notices is a behaviour that no test holds.
//
// The checkout is not touched: a mutant is compiled with go test -overlay. What survives the package's own tests may be
// tried on the simulation as well (-seeds). Mutants that behave like the original are listed, with the reason, in
// hack/mutate/equivalent.txt.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed equivalent.txt
var equivalent string

// verdict is what became of a mutant.
type verdict string

const (
	killed       verdict = "killed"
	killedBySim  verdict = "killed by the simulation"
	survived     verdict = "SURVIVED"
	isEquivalent verdict = "equivalent"
	notBuilt     verdict = "does not build"
)

type options struct {
	limit   time.Duration
	seeds   int
	most    int
	seed    uint64
	least   float64
	only    string
	verbose bool
}

func main() {
	var o options
	flag.DurationVar(&o.limit, "timeout", 60*time.Second, "how long the tests of one mutant may take; one that takes longer is killed")
	flag.IntVar(&o.seeds, "seeds", 0, "seeds of the simulation that a survivor is tried on (0: none)")
	flag.IntVar(&o.most, "n", 0, "try so many mutants, chosen by -seed (0: all)")
	flag.Uint64Var(&o.seed, "seed", 1, "which mutants -n chooses")
	flag.Float64Var(&o.least, "min", 0, "exit with 1 when less than so many per cent are killed")
	flag.StringVar(&o.only, "run", "", "only mutants whose name contains this text")
	flag.BoolVar(&o.verbose, "v", false, "print killed mutants as well")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "usage: mutate [flags] PACKAGE...\n\n  go run ./hack/mutate -n 50 -seeds 40 ./controllers/app\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok := true
	for _, pkg := range flag.Args() {
		good, err := try(ctx, pkg, o)
		if err != nil {
			fmt.Fprintln(os.Stderr, "mutate:", err)
			os.Exit(2)
		}
		ok = ok && good
	}
	if !ok {
		os.Exit(1)
	}
}

// try runs the mutants of one package and reports whether enough of them were killed.
func try(ctx context.Context, pkg string, o options) (bool, error) {
	files, err := filesOf(ctx, pkg)
	if err != nil {
		return false, err
	}
	var all []mutant
	for _, file := range files {
		list, err := mutantsOf(file)
		if err != nil {
			return false, err
		}
		all = append(all, list...)
	}
	all = slices.DeleteFunc(all, func(m mutant) bool { return !strings.Contains(m.name(), o.only) })
	rand.New(rand.NewPCG(o.seed, 1)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if o.most > 0 && len(all) > o.most {
		all = all[:o.most]
	}
	if err := test(ctx, pkg, nil, o.limit); err != nil {
		return false, fmt.Errorf("the tests of %s fail without any mutation: %w", pkg, err)
	}
	dir, err := os.MkdirTemp("", "mutate-*")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	count := map[verdict]int{}
	for _, m := range all {
		v, err := judge(ctx, m, pkg, dir, o)
		if err != nil {
			return false, err
		}
		count[v]++
		if o.verbose || v == survived {
			fmt.Printf("%s: %s\n", v, m.name())
		}
	}
	dead, alive := count[killed]+count[killedBySim], count[survived]
	share := 100.0
	if dead+alive > 0 {
		share = 100 * float64(dead) / float64(dead+alive)
	}
	fmt.Printf("%s: %d of %d mutants killed (%.0f %%), %d of them by the simulation; %d equivalent, %d do not build\n",
		pkg, dead, dead+alive, share, count[killedBySim], count[isEquivalent], count[notBuilt])
	return share >= o.least, nil
}

func judge(ctx context.Context, m mutant, pkg, dir string, o options) (verdict, error) {
	for line := range strings.Lines(equivalent) {
		if name, _, _ := strings.Cut(line, " # "); strings.TrimSpace(name) == m.name() {
			return isEquivalent, nil
		}
	}
	overlay, err := m.overlay(dir)
	if err != nil {
		return "", err
	}
	flags := []string{"-overlay", overlay}
	if out, err := goTool(ctx, nil, "build", append(flags, pkg)...); err != nil {
		return notBuilt, errIfEnded(ctx, out)
	}
	if err := test(ctx, pkg, flags, o.limit); err != nil {
		return killed, errIfEnded(ctx, nil)
	}
	if o.seeds > 0 {
		if err := simulate(ctx, flags, o.seeds); err != nil {
			return killedBySim, errIfEnded(ctx, nil)
		}
	}
	return survived, errIfEnded(ctx, nil)
}

func errIfEnded(ctx context.Context, out []byte) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w %s", ctx.Err(), out)
	}
	return nil
}

func test(ctx context.Context, pkg string, flags []string, limit time.Duration) error {
	args := append([]string{"-count=1", "-failfast", "-vet=off", "-short", "-timeout", limit.String()}, flags...)
	out, err := goTool(ctx, nil, "test", append(args, pkg)...)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, tail(out))
	}
	return nil
}

func simulate(ctx context.Context, flags []string, seeds int) error {
	args := append([]string{"-count=1", "-failfast", "-vet=off", "-run", "TestSeeds$", "-timeout", "10m"}, flags...)
	_, err := goTool(ctx, []string{"SIM_SEED=1", "SIM_SEEDS=" + strconv.Itoa(seeds), "SIM_SHRINK=no", "SIM_FAILURES=1"}, "test", append(args, "./test/sim")...)
	return err
}

// goTool runs the go command, in a process group of its own so that what its tests started ends with it.
func goTool(ctx context.Context, env []string, verb string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{verb}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd.CombinedOutput()
}

func tail(out []byte) []byte {
	const most = 2000
	return out[max(0, len(out)-most):]
}

// filesOf returns the Go files of a package, tests apart.
func filesOf(ctx context.Context, pkg string) ([]string, error) {
	out, err := goTool(ctx, nil, "list", "-f", `{{range .GoFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}`, pkg)
	if err != nil {
		return nil, errors.New(strings.TrimSpace(string(out)))
	}
	return strings.Fields(string(out)), nil
}

// overlay writes the mutated file beside an overlay for the go command, and returns the overlay's name.
func (m mutant) overlay(dir string) (string, error) {
	source := filepath.Join(dir, "mutant.go")
	text := bytes.Join([][]byte{m.source[:m.from], []byte(m.instead), m.source[m.to:]}, nil)
	if err := os.WriteFile(source, text, 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {m.file: source}})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, overlay, 0o600)
}
