package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// step is one action on the cluster. Its numbers select the object; which of them matter depends on the action.
type step struct {
	At      time.Duration
	Do      string
	A, B, C uint64
}

func (s step) String() string { return fmt.Sprintf("%s (%d %d %d)", s.Do, s.A%100, s.B%100, s.C%100) }

// Plan is everything that a run depends on, besides the code.
type Plan struct {
	Seed     uint64
	Machines int
	// OldEtcd makes etcd lose, repeat and reorder watch events, and end leases, until all faults end.
	OldEtcd bool
	// FreezeTimeout is freeze_timeout of every fleetd.
	FreezeTimeout time.Duration
	// OldFleetd makes every fleetd an older version until its machine is upgraded.
	OldFleetd bool
	Steps     []step
}

func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %d machines, old etcd: %t, old fleetd: %t, freeze_timeout %s, %d steps\n", p.Seed, p.Machines, p.OldEtcd, p.OldFleetd, p.FreezeTimeout, len(p.Steps))
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "  %10s  %s\n", s.At.Round(time.Millisecond), s)
	}
	return b.String()
}

// often is an action, with its frequency.
type often struct {
	do     string
	weight int
	// until is the action that ends it, after a while.
	until string
}

var doings = []often{
	{"apply", 24, ""}, {"break", 2, ""}, {"delete", 4, ""}, {"stop", 5, ""}, {"start", 5, ""}, {"forget", 4, ""},
	{"submit", 9, ""}, {"ask again", 2, ""}, {"destroy", 3, ""}, {"configure", 6, "unconfigure"}, {"drain", 6, "undrain"}, {"etcdctl del", 6, ""}, {"etcdctl put", 2, ""},
	{"power off", 5, "power on"}, {"power off many", 2, "power on many"}, {"cut off", 5, "reconnect"}, {"deaf", 5, "reconnect"},
	{"cut off many", 2, "reconnect many"}, {"kill fleetd", 5, ""}, {"stop fleetd", 3, ""}, {"hold fleetd", 2, "release fleetd"},
	{"trap", 10, ""}, {"lose", 4, ""}, {"etcd away", 3, "etcd back"}, {"full", 2, "room"}, {"compact", 4, ""}, {"clock", 3, ""},
	{"kill process", 6, ""}, {"sick", 5, "cure"}, {"duplicate", 1, "duplicate off"},
	{"refuse", 3, "obey"},
}

// lasts is how long something lasts: short and long absences, shorter and longer than leases.
func lasts(r *rand.Rand) time.Duration {
	d := []time.Duration{2 * time.Second, 20 * time.Second, 50 * time.Second}[r.IntN(3)]
	return d + time.Duration(r.Int64N(int64(d)))
}

// rivals are changes of which one gets in the way of the other: apps and units that do not share a machine.
var rivals = [][2]step{
	{{Do: "apply", A: 1, B: 2, C: 8}, {Do: "apply", A: 4, B: 1, C: 0}},
	{{Do: "apply", A: 4, B: 1, C: 0}, {Do: "apply", A: 1, B: 3, C: 9}},
	{{Do: "apply", A: 0, B: 4, C: 4}, {Do: "submit", A: 0}},
	{{Do: "apply", A: 2, B: 3, C: 5}, {Do: "submit", A: 6}},
	{{Do: "submit", A: 6}, {Do: "apply", A: 2, B: 4, C: 6}},
}

// NewPlan makes the plan of a seed.
func NewPlan(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 20))
	p := Plan{Seed: seed, Machines: 3 + r.IntN(4)}
	var steps []*step
	add := func(at time.Duration, do string) *step {
		s := &step{At: at + time.Duration(r.Int64N(int64(time.Second))), Do: do, A: r.Uint64() >> 8, B: r.Uint64() >> 8, C: r.Uint64() >> 8}
		steps = append(steps, s)
		return s
	}
	for i := range uint64(1 + r.IntN(3)) { // something to lose
		s := add(time.Second, "apply")
		s.A, s.B = i, 1+r.Uint64N(4)
	}
	total := 0
	for _, o := range doings {
		total += o.weight
	}
	length := 30*time.Second + time.Duration(r.Int64N(int64(2*time.Minute)))
	for range 4 + r.IntN(20) {
		at := 5*time.Second + time.Duration(r.Int64N(int64(length)))
		n := r.IntN(total)
		for _, o := range doings {
			if n -= o.weight; n >= 0 {
				continue
			}
			s := add(at, o.do)
			if o.do == "lose" { // the plan made for one change is lost when the other is seen
				pair := rivals[r.IntN(len(rivals))]
				first := s.At + time.Duration(r.Int64N(int64(50*time.Millisecond)))
				for i, rival := range pair {
					change := add(at, rival.Do)
					change.A, change.B, change.C = rival.A, rival.B, rival.C
					change.At = first + time.Duration(r.Int64N(int64(60*time.Millisecond)))*time.Duration(i)
				}
			}
			if o.until != "" {
				lasts, end := lasts(r), add(at, o.until)
				end.At, end.A = s.At+lasts, s.A
			}
			break
		}
	}
	for _, s := range steps {
		p.Steps = append(p.Steps, *s)
	}
	p.setUp()
	p.drawRare(length)
	p.drawKits(length)
	p.drawBoxes(length)
	p.drawShop(length)
	p.drawGit(length)
	p.drawMore(length)
	slices.SortStableFunc(p.Steps, func(a, b step) int { return int(a.At - b.At) })
	return p
}
