package sim

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	fakeruntime "github.com/fleet-starter/fleet/internal/container/fake"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// withBoxes: one in so many plans has boxes.
const withBoxes = 5

// boxes are units of an image, no two on one machine. A version is another image.
func boxes(version uint64) (units []handMadeUnit) {
	text := "[Service]\nExecStart=/bin/box\nRestart=always\n[X-Fleet]\nImage=" + boxImage(version) + "\nConflicts=box@*.service\n"
	if version%3 == 2 {
		text += "Pull=IfNotPresent\n"
	}
	for _, name := range []string{"box@1.service", "box@2.service"} {
		units = append(units, handMadeUnit{name, text})
	}
	return units
}

func boxImage(version uint64) string {
	return "reg/box:" + string(rune('a'+version%3))
}

// drawBoxes adds boxes and their steps to a few plans. They are drawn separately, like the rare steps.
func (p *Plan) drawBoxes(length time.Duration) {
	r := rand.New(rand.NewPCG(p.Seed, 577))
	if r.IntN(withBoxes) != 0 {
		return
	}
	add := func(at time.Duration, do string) {
		p.Steps = append(p.Steps, step{At: at, Do: do, A: r.Uint64() >> 8, B: r.Uint64() >> 8})
	}
	at := 3*time.Second + time.Duration(r.Int64N(int64(10*time.Second)))
	add(at, "submit boxes")
	for range 4 + r.IntN(5) {
		at += 5*time.Second + time.Duration(r.Int64N(int64(length/4)))
		switch do := []string{"drain box", "drain box", "drain box", "submit boxes", "destroy box", "registry"}[r.IntN(6)]; do {
		case "drain box":
			add(at, do)
			add(at+lasts(r), "undrain")
		case "registry": // and it is asked for something
			add(at, do)
			add(at+time.Second, "drain box")
			add(at+lasts(r), "registry back")
			add(at+2*lasts(r), "undrain")
		default:
			add(at, do)
		}
	}
}

func init() {
	maps.Copy(people, map[string]func(w *world, s step){
		"submit boxes": func(w *world, s step) {
			if s.B%4 != 0 { // else it is not in the registry yet
				w.images.Push(boxImage(s.A))
			}
			w.boxes = s.A
			for _, u := range boxes(s.A) {
				w.submitUnit(u, v1.Launched, "")
			}
		},
		"destroy box": func(w *world, s step) {
			w.write(store.Op{Key: w.keys.Units().Key(boxes(0)[s.A%2].name)})
		},
		"drain box": func(w *world, s step) { // wherever it is
			for _, kv := range w.list(w.keys.Placements().Prefix()) {
				name, _ := w.keys.Placements().Name(kv.Key)
				if machine, unit, ok := keyspace.Split(name); ok && unit == boxes(0)[s.A%2].name {
					w.put(w.keys.MachineConfigs().Key(machine), string(encode(v1.MachineConfig{Drain: true})))
				}
			}
		},
	})
	maps.Copy(faults, map[string]func(w *world, s step){
		"registry": func(w *world, s step) {
			w.images.Break("reg/", []fakeruntime.Fault{fakeruntime.Away, fakeruntime.Hangs}[s.B%2])
		},
		"registry back": func(w *world, _ step) { w.images.Break("reg/", fakeruntime.None) },
	})
}

// stock ends the registry's faults, with all images in it.
func (w *world) stock() {
	for version := range uint64(3) {
		w.images.Push(boxImage(version))
	}
	w.images.Break("reg/", fakeruntime.None)
}

// box returns the box of that name, as it was last submitted.
func (w *world) box(name string) (handMadeUnit, bool) {
	units := boxes(w.boxes)
	i := slices.IndexFunc(units, func(u handMadeUnit) bool { return u.name == name })
	if i < 0 {
		return handMadeUnit{}, false
	}
	return units[i], true
}

// puller is docker on a host, as one fleetd sees it: each answer takes a moment, a pull up to half a minute.
type puller struct {
	*fakeruntime.Runtime
	p *process
}

func (r puller) Present(ctx context.Context, image unitfile.Image) bool {
	return r.p.pause(ctx, r.p.w.delay("present", r.p.name, image.Name)) == nil && r.Runtime.Present(ctx, image)
}

func (r puller) Pull(ctx context.Context, image unitfile.Image, progress func(string)) error {
	w := r.p.w
	w.check.pulls(r.p.host, image.Name, "pull")
	takes := time.Second << (w.chance("pull", r.p.name, image.Name) % 6)
	if err := r.p.pause(ctx, w.exactly(takes, "pull", r.p.name, image.Name)); err != nil {
		return err
	}
	pulled := r.Runtime.Pull(ctx, image, progress)
	if err := r.p.pause(ctx, w.delay("pulled", r.p.name, image.Name)); err != nil { // those that have hung do not end at once
		return err
	}
	w.tell(r.p.name, "pulls %s: %v", image.Name, pulled)
	if pulled != nil {
		w.check.pulls(r.p.host, image.Name, "pull failed")
	}
	return pulled
}

// pulls records that a host begins to pull an image, or failed to.
func (c *checker) pulls(h *host, image, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.happened[what+" "+h.name+" "+image] = true
}

// moved checks a unit that leaves a drained machine: the machine that it moves to has its image.
func (c *checker) moved(events []store.Event, by writer) {
	if by.part != "schedule" {
		return
	}
	for _, e := range events {
		name, ok := c.keys.Placements().Name(e.Key)
		from, unit, ok2 := keyspace.Split(name)
		u, there := c.unit(unit)
		fleet, known := c.fleet(unit, u.Spec.Hash)
		state, err := c.keys.States().Decode(c.kv[c.keys.States().Key(name)].Value)
		if !ok || !ok2 || !e.Deleted || !there || !known || fleet.Pulls().Name == "" || err != nil || !state.Active() ||
			u.Spec.DesiredState != v1.Launched || !c.drained(from) || !c.has(c.keys.Machines().Key(from)) {
			continue
		}
		to := c.placedAt(events, unit)
		if to == nil {
			continue // it is stopped
		}
		lacks := to.images.Image(fleet.Pulls().Name) == 0
		if c.judge(invImages, c.mayLack(lacks, to, unit, by.process)) && lacks {
			c.w.fail(invImages, "%s leaves %s for %s, which does not have %s", unit, from, to.name, fleet.Pulls().Name)
		}
	}
}

// placedAt returns the host that gets the unit in this revision; nil if none does.
func (c *checker) placedAt(events []store.Event, unit string) *host {
	for _, e := range events {
		name, ok := c.keys.Placements().Name(e.Key)
		machine, placed, _ := keyspace.Split(name)
		if ok && placed == unit && !e.Deleted {
			for _, h := range c.w.hosts {
				if h.id == machine {
					return h
				}
			}
		}
	}
	return nil
}

// mayLack returns why a unit may come to a host that does not have its image.
func (c *checker) mayLack(lacks bool, to *host, unit string, leader *process) string {
	name := keyspace.Join(to.id, unit)
	state, _ := c.keys.States().Decode(c.kv[c.keys.States().Key(name)].Value)
	asked, there := c.askedAt[name]
	silent := there && state.Prepared.State == ""
	switch {
	case !lacks:
	case c.editedExcuse(unit) != "":
		return c.editedExcuse(unit)
	case c.w.hasTwin(to):
		return "another machine has its ID"
	case c.deafened(leader.host):
		return "the leader hears nothing"
	case silent && c.frozen.stepped[leader.host].After(asked):
		return "the leader's clock stepped while it waited"
	case silent && leader.host.clock.measures(time.Since(asked)) >= silentFor-time.Second:
		return "the machine did not answer for 30 s"
	}
	return ""
}

// silentFor is how long schedule waits for a machine's answer.
const silentFor = 30 * time.Second

// asks records when a machine was first asked to prepare a move.
func (c *checker) asks(e store.Event) {
	name, ok := c.keys.Preparations().Name(e.Key)
	switch _, asked := c.askedAt[name]; {
	case !ok:
	case e.Deleted:
		delete(c.askedAt, name)
	case !asked:
		c.askedAt[name] = time.Now()
	}
}
