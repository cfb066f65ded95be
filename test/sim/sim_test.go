package sim

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// seedsByDefault take well under a minute on two cores.
const seedsByDefault = 200

// seedsOldEtcd run with an old etcd.
const seedsOldEtcd = 60

// seedsTwice are run twice each.
const seedsTwice = 12

// tellEvery is the number of seeds between progress reports of a long run.
const tellEvery = 500

// disks returns an empty directory for each run's disks, in memory if there is room.
func disks(t *testing.T) func() string {
	t.Helper()
	root := ""
	if _, err := os.Stat("/dev/shm"); err == nil {
		root = "/dev/shm"
	}
	dir, err := os.MkdirTemp(root, "sim-*")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	n := 0
	return func() string {
		last := filepath.Join(dir, strconv.Itoa(n))
		os.RemoveAll(last)
		n++
		return filepath.Join(dir, strconv.Itoa(n))
	}
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, "%s: give a number", name)
	return n
}

// TestSeeds runs SIM_SEEDS seeds from SIM_SEED on, in parallel on all processors, and ends early when SIM_FAILURES of them
// have failed; with SIM_DO only those whose plans include that step. Failures are shrunk and written to SIM_DIR.
func TestSeeds(t *testing.T) { runSeeds(t, seedsByDefault, NewPlan) }

// TestOldEtcd does the same with an etcd that loses, repeats and reorders watch events: within one check of the caches
// everything has to be right nevertheless.
func TestOldEtcd(t *testing.T) {
	runSeeds(t, seedsOldEtcd, func(seed uint64) Plan {
		p := NewPlan(seed)
		p.OldEtcd = true
		return p
	})
}

func runSeeds(t *testing.T, byDefault uint64, plan func(seed uint64) Plan) {
	first, count := number(t, "SIM_SEED", 1), number(t, "SIM_SEEDS", byDefault)
	if os.Getenv("SIM_SEED") != "" && os.Getenv("SIM_SEEDS") == "" {
		count = 1
	}
	most := number(t, "SIM_FAILURES", 3)
	var begun, failed atomic.Uint64
	counts := sharedCounts{sum: Counts{}}
	start := time.Now()
	for worker := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprintf("worker %d", worker), func(t *testing.T) {
			t.Parallel()
			newDir := disks(t)
			for failed.Load() < most {
				n := begun.Add(1) - 1
				if n >= count {
					return
				}
				if n > 0 && n%tellEvery == 0 {
					fmt.Fprintf(os.Stderr, "%s: %d of %d seeds, %d failed\n", time.Since(start).Round(time.Second), n, count, failed.Load())
				}
				p := plan(first + n)
				if do := os.Getenv("SIM_DO"); do != "" && !p.does(do) {
					continue
				}
				o := Run(t, p, newDir())
				counts.add(o.Counts)
				if o.Violation != nil {
					failed.Add(1)
					report(t, p, o, newDir)
				}
			}
		})
	}
	t.Cleanup(func() { counts.report(t, count) }) // when the workers have ended
}

// sharedCounts are the counts of all workers.
type sharedCounts struct {
	mu  sync.Mutex
	sum Counts
}

func (s *sharedCounts) add(c Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum.Add(c)
}

// report prints the counts. A run with enough seeds fails if it leaves an invariant unproved.
func (s *sharedCounts) report(t *testing.T, seeds uint64) {
	t.Logf("%d seeds:\n%s", seeds, s.sum)
	if seeds < seedsByDefault || t.Failed() || os.Getenv("SIM_DO") != "" {
		return
	}
	for _, weak := range s.sum.Weak() {
		t.Errorf("%d seeds prove too little: %s", seeds, weak)
	}
}

// report shrinks a failure and writes a readable transcript.
func report(t *testing.T, p Plan, o Outcome, newDir func() string) {
	t.Helper()
	if os.Getenv("SIM_SHRINK") != "no" {
		p, o = Shrink(t, p, o, newDir)
	}
	file := leave(t, fmt.Sprintf("sim-%d.txt", p.Seed), fmt.Sprintf("%s\n%s\n%s", o.Violation, p, o.Transcript))
	test := map[bool]string{false: "TestSeeds", true: "TestOldEtcd"}[p.OldEtcd]
	t.Errorf("seed %d: %s\n%d steps are left, the transcript is in %s; run it with SIM_SEED=%d go test ./test/sim -run '%s$'", p.Seed, o.Violation, len(p.Steps), file, p.Seed, test)
}

// leave writes a file to SIM_DIR for debugging.
func leave(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(cmp.Or(os.Getenv("SIM_DIR"), os.TempDir()), name)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

// The same seed gives the same transcript: SIM_SEEDS seeds from SIM_SEED on are run twice, every other one with an old etcd.
func TestDeterministic(t *testing.T) {
	first, count := number(t, "SIM_SEED", 1), number(t, "SIM_SEEDS", seedsTwice)
	workers := uint64(runtime.GOMAXPROCS(0))
	for worker := range workers {
		t.Run(fmt.Sprintf("worker %d", worker), func(t *testing.T) {
			t.Parallel()
			newDir := disks(t)
			for seed := first + worker; seed < first+count; seed += workers {
				p := NewPlan(seed)
				p.OldEtcd = seed/workers%2 == 1
				one := Run(t, p, newDir()).Transcript
				other := Run(t, p, newDir()).Transcript
				if one != other {
					t.Errorf("seed %d: the transcripts differ: %s and %s", seed,
						leave(t, fmt.Sprintf("sim-%d-a.txt", seed), one), leave(t, fmt.Sprintf("sim-%d-b.txt", seed), other))
				}
			}
		})
	}
}

// Without faults and changes the cluster comes up and comes to rest.
func TestNothingHappens(t *testing.T) {
	newDir := disks(t)
	p := NewPlan(1)
	p.Steps = []step{{At: time.Second, Do: "apply", A: 0, B: 3}, {At: 2 * time.Second, Do: "apply", A: 2, B: 2}}
	require.Nil(t, Run(t, p, newDir()).Violation)
}

// While etcd is full, units leave their machines and events wait: that they are not there is no failure.
func TestEventsWaitForRoom(t *testing.T) {
	p := NewPlan(1)
	p.Steps = []step{{At: 20 * time.Second, Do: "submit boxes"}, {At: 40 * time.Second, Do: "full"}, {At: time.Minute, Do: "destroy box"}, {At: 4 * time.Minute, Do: "room"}}
	require.Nil(t, Run(t, p, disks(t)()).Violation)
}

// A failure shrinks to the steps that matter.
func TestShrink(t *testing.T) {
	newDir := disks(t)
	p := NewPlan(1)
	p.Steps = append(p.Steps, step{At: p.Steps[len(p.Steps)-1].At + time.Second, Do: "forbidden"})
	faults["forbidden"] = func(w *world, _ step) { w.fail("forbidden", "it was done") }
	defer delete(faults, "forbidden")
	o := Run(t, p, newDir())
	require.NotNil(t, o.Violation)
	p, o = Shrink(t, p, o, newDir)
	require.Len(t, p.Steps, 1)
	require.Equal(t, "forbidden", o.Violation.Invariant)
	require.Contains(t, o.Transcript, "VIOLATION")
}
