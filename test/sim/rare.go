package sim

import (
	"math/rand/v2"
	"slices"
	"time"
)

// rareDoings happen in few clusters. They are drawn separately, so that they do not change the rest of a seed's plan.
var rareDoings = []often{
	{"cut off one", 4, "reconnect one"}, {"readdress", 4, "power on"}, {"reload", 6, ""}, {"burst", 1, "burst over"},
	{"drift", 4, ""}, {"drift", 2, "right clock"}, {"disk full", 4, "disk room"}, {"corrupt", 4, ""}, {"bus lost", 4, "bus back"}, {"lose etcd", 4, "restore etcd"},
}

// setUp draws what holds for the whole life of a cluster.
func (p *Plan) setUp() {
	r := rand.New(rand.NewPCG(p.Seed, 22))
	if r.IntN(12) == 0 {
		p.Machines = 8 + r.IntN(5)
	}
	if r.IntN(8) == 0 {
		p.OldFleetd = true
		p.Steps = append(p.Steps, upgrades(p.Machines, 10*time.Second+time.Duration(r.Int64N(int64(time.Minute))),
			func() time.Duration { return lasts(r) })...)
	}
	if r.IntN(4) == 0 { // and most machines are missed for long enough to matter
		p.FreezeTimeout = []time.Duration{10 * time.Second, 30 * time.Second, 60 * time.Second}[r.IntN(3)]
		do := [][2]string{{"power off many", "power on many"}, {"cut off many", "reconnect many"}}[r.IntN(2)]
		at, which := 10*time.Second+time.Duration(r.Int64N(int64(time.Minute))), r.Uint64()>>8
		for app := range uint64(3) {
			p.Steps = append(p.Steps, step{At: at - time.Duration(app+2)*time.Second, Do: "apply", A: app, B: 4, C: 8 + app})
		}
		p.Steps = append(p.Steps, step{At: at, Do: do[0], A: which, B: which},
			step{At: at + agentTTL + p.FreezeTimeout + time.Duration(r.Int64N(int64(time.Minute))) - 10*time.Second, Do: do[1], A: which})
	}
}

// drawRare adds up to three of them to a plan of that length.
func (p *Plan) drawRare(length time.Duration) {
	r := rand.New(rand.NewPCG(p.Seed, 21))
	total := 0
	for _, o := range rareDoings {
		total += o.weight
	}
	for range r.IntN(4) {
		at := 5*time.Second + time.Duration(r.Int64N(int64(length)))
		n := r.IntN(total)
		for _, o := range rareDoings {
			if n -= o.weight; n >= 0 {
				continue
			}
			s := step{At: at, Do: o.do, A: r.Uint64() >> 8, B: r.Uint64() >> 8, C: r.Uint64() >> 8}
			p.Steps = append(p.Steps, s)
			if o.until != "" {
				p.Steps = append(p.Steps, step{At: at + lasts(r), Do: o.until, A: s.A, B: s.B, C: s.C})
			}
			break
		}
	}
}

func (p Plan) does(do string) bool {
	return slices.ContainsFunc(p.Steps, func(s step) bool { return s.Do == do })
}
