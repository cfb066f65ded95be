// Command mutate is a mutation tester: it changes one expression or statement of a package at a time and runs its tests. A
// change that no test notices is untested behaviour.
//
// The checkout is not touched: go test -overlay compiles the package once with all mutants in it, and $MUTANT selects one.
// Mutants that survive the package's tests can also be run in the simulation (-seeds). Mutants that behave like the original
// are listed, with the reason, in hack/mutate/equivalent.txt.
package main

import (
	"cmp"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

//go:embed equivalent.txt
var equivalent string

// verdict is the result for a mutant.
type verdict string

const (
	killed       verdict = "killed"
	timedOut     verdict = "timed out" // its tests timed out, twice: counted as killed, but separately
	killedBySim  verdict = "killed by the simulation"
	survived     verdict = "SURVIVED"
	notRun       verdict = "SURVIVED, no test runs it"
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
	tests   string
	list    bool
	quick   bool
	verbose bool
}

func main() {
	var o options
	flag.DurationVar(&o.limit, "timeout", 0, "timeout of one mutant's tests (0: four times their duration without a mutant, plus 10 s)")
	flag.IntVar(&o.seeds, "seeds", 0, "number of simulation seeds to run survivors with (0: none)")
	flag.IntVar(&o.most, "n", 0, "number of mutants to try, chosen by -seed (0: all)")
	flag.Uint64Var(&o.seed, "seed", 1, "seed for the choice of -n")
	flag.Float64Var(&o.least, "min", 0, "exit with 1 if fewer than this per cent are killed")
	flag.StringVar(&o.only, "run", "", "only try mutants whose name matches this regular expression")
	flag.StringVar(&o.tests, "tests", "", "package whose tests to run, if not the mutated one's")
	flag.BoolVar(&o.quick, "quick", false, "run only tests that take less than 50 ms; others may kill the survivors")
	flag.BoolVar(&o.list, "list", false, "list the mutants without trying them")
	flag.BoolVar(&o.verbose, "v", false, "also print killed mutants, and what killed them")
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
		good, err := try(ctx, os.Stdout, pkg, o)
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

// try runs the mutants of one package and reports whether enough were killed.
func try(ctx context.Context, out io.Writer, pkg string, o options) (bool, error) {
	dir, err := os.MkdirTemp("", "mutate-*")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	t := trial{program: program{pkg: pkg, tester: cmp.Or(o.tests, pkg), dir: dir}, limit: o.limit, seeds: o.seeds, quickOnly: o.quick}
	if err := t.find(ctx); err != nil {
		return false, err
	}
	defer t.tidy()()
	chosen, err := choose(t.files, o)
	if err != nil {
		return false, err
	}
	if o.list {
		for _, m := range chosen {
			fmt.Fprintln(out, m.name())
		}
		return true, nil
	}
	count := map[verdict]int{}
	chosen = slices.DeleteFunc(chosen, func(m *mutant) bool {
		known := listed(equivalent, m)
		if known {
			count[isEquivalent]++
		}
		return known
	})
	refused, err := t.build(ctx, chosen)
	if err != nil {
		return false, err
	}
	count[notBuilt] = len(refused)
	if err := t.without(ctx); err != nil {
		return false, err
	}
	for _, m := range t.mutants {
		v, by, err := t.judge(ctx, m)
		if err != nil {
			return false, err
		}
		count[v]++
		if o.verbose || v == survived || v == notRun {
			fmt.Fprintln(out, strings.TrimSpace(fmt.Sprintf("%s: %s  %s", v, m.name(), by)))
		}
	}
	share := report(out, pkg, count)
	return share >= o.least, nil
}

// choose returns the mutants to try. The choice depends only on the seed and the code.
func choose(files []string, o options) ([]*mutant, error) {
	var all []*mutant
	for _, file := range files {
		list, err := mutantsOf(file)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	all = slices.DeleteFunc(all, func(m *mutant) bool { return !only.MatchString(m.name()) })
	order := func(m *mutant) uint64 { // by name, so that changes elsewhere do not affect the choice
		h := fnv.New64a()
		fmt.Fprintf(h, "%d %s", o.seed, m.name())
		return h.Sum64()
	}
	slices.SortStableFunc(all, func(a, b *mutant) int { return cmp.Compare(order(a), order(b)) })
	if o.most > 0 && len(all) > o.most {
		all = all[:o.most]
	}
	return all, nil
}

// report prints the totals and returns the percentage killed.
func report(out io.Writer, pkg string, count map[verdict]int) float64 {
	dead, alive := count[killed]+count[timedOut]+count[killedBySim], count[survived]+count[notRun]
	share := 100.0
	if dead+alive > 0 {
		share = 100 * float64(dead) / float64(dead+alive)
	}
	fmt.Fprintf(out, "%s: %d of %d mutants killed (%.0f %%), %d of them by the simulation, %d by time; %d equivalent, %d do not build\n",
		pkg, dead, dead+alive, share, count[killedBySim], count[timedOut], count[isEquivalent], count[notBuilt])
	return share
}

// listed reports whether the mutant is in a list of equivalent ones.
func listed(list string, m *mutant) bool {
	for line := range strings.Lines(list) {
		if name, _, _ := strings.Cut(line, " # "); strings.TrimSpace(name) == m.name() {
			return true
		}
	}
	return false
}
