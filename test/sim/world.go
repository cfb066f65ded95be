// Package sim runs a whole cluster in one process, in which one seed decides everything: which processes are slow, what
// breaks, what people do, and in which order it all happens.
//
// The controllers, caches, elections and leases are the real ones. etcd is internal/store/memstore, systemd is
// internal/systemd/fake, time is testing/synctest's. Time decides what would otherwise depend on the Go scheduler: every
// message to and from etcd, every call to systemd and every pass of a controller takes a time computed from the seed, and
// what falls on the same nanosecond is serialized, see turns.go.
package sim

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fleet-starter/fleet/internal/cache"
	fakeruntime "github.com/fleet-starter/fleet/internal/container/fake"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

func init() {
	// The world's delays replace the random pauses of the real code.
	store.Chance = func(n int64) int64 { return n / 2 }
	controller.Soon = time.Nanosecond
	store.CheckEvery = checkEvery
}

// Violation is an invariant that did not hold.
type Violation struct {
	// Invariant is its name, Message what was observed.
	Invariant, Message string
	At                 time.Duration
}

func (v *Violation) String() string {
	return fmt.Sprintf("after %s: %s: %s", v.At, v.Invariant, v.Message)
}

// line is a line of the transcript.
type line struct {
	at              time.Duration
	who, part, text string // part: of a process with several
}

// world is one simulated cluster.
type world struct {
	seed     uint64
	start    time.Time
	dir      string
	etcd     *memstore.Store
	keys     keyspace.Keys
	hosts    []*host
	images   fakeruntime.Registry
	git      map[string]*repository // by source
	boxes    uint64                 // their version
	machines int                    // number of regular hosts; those after them are intruders
	// readdressed is how many machines were given another address.
	readdressed int
	// snapshots are etcd's revisions over time; lostAt is when it was lost, restores how often it was restored.
	snapshots   []snapshot
	lostAt      time.Time
	restores    atomic.Int64
	wentBack    bool             // its revision went back, once
	person      *process         // all people
	wrote       func([]store.Op) // is told what people write; nil: nothing is
	check       *checker
	away        atomic.Bool                      // etcd is unreachable for all
	full        atomic.Bool                      // etcd is full
	old         atomic.Pointer[memstore.OldEtcd] // the bugs of an old etcd; nil: none, or no more
	turns       *turns
	calm        atomic.Bool            // everything has converged: no more requests to routers
	alwaysFails atomic.Pointer[string] // the app whose instances all fail their health checks
	// freezeTimeout is freeze_timeout of every fleetd; 0: there is none.
	freezeTimeout time.Duration
	// compared counts comparisons of caches with etcd, and registry keeps the counts.
	compared *cache.Metrics
	registry *prometheus.Registry

	ctx  context.Context // ends when the world does
	stop context.CancelFunc

	// trap strikes at one of the leader's next writes.
	trap *trap

	mu        sync.Mutex
	lines     []line
	violation *Violation
	conns     []*conn // those to an old etcd
	upgraded  bool    // etcd is a new one by now

	// commit is held from before a write until its writer is recorded, so that the writer of every checked revision is known.
	commit  sync.Mutex
	writers map[int64]writer

	running sync.WaitGroup // all processes, including killed ones
}

func newWorld(p Plan, dir string) *world {
	seed := p.Seed
	w := &world{seed: seed, start: time.Now(), dir: dir, etcd: memstore.New(memstore.Options{}), keys: keyspace.New(""),
		writers: map[int64]writer{}, turns: newTurns(), freezeTimeout: p.FreezeTimeout, registry: prometheus.NewRegistry(), git: newRepositories()}
	w.compared = cache.NewMetrics(w.registry)
	if p.OldEtcd {
		old := oldEtcd(seed)
		w.old.Store(&old)
	}
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.person = w.newProcess(nil, kindPerson, "person")
	w.check = newChecker(w)
	w.running.Go(func() { w.turns.run(w.ctx) })
	return w
}

func (w *world) now() time.Duration { return time.Since(w.start) }

// chance is a number that depends only on the seed, the time and its purpose.
func (w *world) chance(what ...string) uint64 {
	h := fnv.New64a()
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], w.seed)
	binary.LittleEndian.PutUint64(b[8:], uint64(w.now()))
	h.Write(b[:])
	for _, s := range what {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	x := h.Sum64() // the last bytes hardly affect the high bits: mix once more
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x
}

// tell adds a line to the transcript.
func (w *world) tell(who, format string, args ...any) { w.note(who, "", fmt.Sprintf(format, args...)) }

func (w *world) note(who, part, text string) {
	line := line{w.now(), who, part, w.plain(text)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() == nil { // what happens at the end of the world is unordered
		w.lines = append(w.lines, line)
	}
}

// plain removes the world's directory, which differs each time, from a text.
func (w *world) plain(text string) string { return strings.ReplaceAll(text, w.dir+"/", "") }

// only is the invariant to check: the others may be violated. Empty: check all.
var only = os.Getenv("SIM_INVARIANT")

// fail records the first violation.
func (w *world) fail(invariant, format string, args ...any) {
	if only != "" && only != invariant {
		w.tell("not looked for", "%s: %s", invariant, fmt.Sprintf(format, args...))
		return
	}
	if w.lenient(invariant) {
		w.tell("old etcd", "%s: %s", invariant, fmt.Sprintf(format, args...))
		return
	}
	w.mu.Lock()
	first := w.violation == nil
	if first {
		w.violation = &Violation{Invariant: invariant, Message: fmt.Sprintf(format, args...), At: w.now()}
	}
	w.mu.Unlock()
	if first {
		w.tell("VIOLATION", "%s: %s", invariant, fmt.Sprintf(format, args...))
	}
}

func (w *world) failed() *Violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.violation
}

func (w *world) transcript() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Processes that log in the same moment do so in no particular order, as do goroutines of one part.
	slices.SortStableFunc(w.lines, func(a, b line) int {
		order := cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.who, b.who), cmp.Compare(a.part, b.part))
		if order == 0 && a.part != "" {
			order = cmp.Compare(a.text, b.text)
		}
		return order
	})
	var b strings.Builder
	for _, l := range w.lines {
		fmt.Fprintf(&b, "%12.6f  %-14s %s\n", l.at.Seconds(), l.who, l.text)
	}
	return b.String()
}

// hostOf returns the host with that address, or nil.
func (w *world) hostOf(address string) *host {
	i := slices.IndexFunc(w.hosts, func(h *host) bool { return h.address() == address })
	if i < 0 {
		return nil
	}
	return w.hosts[i]
}

// short returns a key without the common prefix.
func (w *world) short(key string) string { return strings.TrimPrefix(key, w.keys.Root()) }
