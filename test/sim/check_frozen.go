package sim

import (
	"cmp"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// frozen tracks when most machines, three or more, were missed.
type frozen struct {
	// since is when most machines with something to move became missed; zero: they are not.
	since time.Time
	// missed is when most machines became missed, whatever they ran, ignoring moments that a leader may not have seen; until
	// is when that last ended.
	missed, until time.Time
	// leads is the leader, and since when.
	leads *process
	led   time.Time
	// deposed is when those that have led were found to lead no more.
	deposed map[*process]time.Time
	// stepped is when a host's clock last stepped. Its leader's times do not count then.
	stepped map[*host]time.Time
	// stuck are units that stay on missed machines although freeze_timeout has passed, since when.
	stuck map[string]time.Time
}

// moves checks that nothing is taken from most machines while they are missed, until freeze_timeout has passed. A leader that
// receives nothing does not know how many they are, and leads until its lease ends.
func (c *checker) moves(events []store.Event, by writer) {
	if c.frozen.since.IsZero() || by.part != "schedule" {
		return
	}
	for _, e := range events {
		name, ok := c.keys.Placements().Name(e.Key)
		machine, unit, ok2 := keyspace.Split(name)
		if !ok || !ok2 || !e.Deleted || c.has(c.keys.Machines().Key(machine)) || c.drained(machine) || c.editedExcuse(unit) != "" {
			continue
		}
		if u, there := c.unit(unit); there && u.Spec.DesiredState != v1.Inactive && !c.thawed(by.process) && c.judge(invFrozen, cmp.Or(c.alone(unit, u.Spec.Hash, machine), c.mayMove(by.process))) {
			c.w.fail(invFrozen, "%s was taken from %s", unit, machine)
		}
	}
}

// alone returns why the unit cannot stay on its machine, wherever that is; "" if it can.
func (c *checker) alone(unit, hash, machine string) string {
	fleet, _ := c.fleet(unit, hash)
	if slices.ContainsFunc(fleet.MachineOf, func(other string) bool { return !c.has(c.keys.Units().Key(other)) }) {
		return "what it has to be beside does not exist any more"
	}
	if slices.ContainsFunc(fleet.MachineOf, func(other string) bool {
		_, there := c.placed[machine][other]
		return !there && !c.byHand[other].IsZero()
	}) {
		return "a person took what it has to be beside from there"
	}
	return ""
}

// thawed reports whether freeze_timeout has passed since the leader, which has to notice for itself, may have noticed.
func (c *checker) thawed(leader *process) bool {
	since := c.frozen.missed
	if leader == c.frozen.leads && c.frozen.led.After(since) {
		since = c.frozen.led
	}
	if c.w.freezeTimeout == 0 || leader.host.clock.measures(time.Since(since)) < c.w.freezeTimeout {
		return false
	}
	c.counts.Check(invFrozen)
	return true
}

// mayMove returns why a leader may not know that most machines are missed, or since when.
func (c *checker) mayMove(leader *process) string {
	switch {
	case time.Since(c.frozen.since) < settled:
		return "they are missed since a moment ago"
	case c.deafened(leader.host):
		return "the leader hears nothing"
	case c.w.freezeTimeout > 0 && c.frozen.stepped[leader.host].After(c.frozen.missed):
		return "the leader's clock stepped meanwhile"
	}
	return ""
}

// freeze records since when most machines are missed, and who leads.
func (c *checker) freeze() {
	f := &c.frozen
	if leader := c.leader(); leader != f.leads {
		f.deposed[f.leads] = time.Now()
		f.leads, f.led = leader, time.Now()
	}
	present := len(c.names(c.keys.Machines().Prefix()))
	missing, away := 0, 0
	for _, h := range c.w.hosts[:c.w.machines] {
		if c.has(c.keys.Machines().Key(h.id)) || c.drained(h.id) {
			continue
		}
		away++
		if slices.ContainsFunc(sortedKeys(c.placed[h.id]), func(unit string) bool { return c.movable(h.id, unit) }) {
			missing++
		}
	}
	switch most := missing >= 3 && missing*2 > present+missing; {
	case !most:
		f.since = time.Time{}
	case f.since.IsZero():
		f.since = time.Now()
	}
	switch most := away >= 3 && away*2 > present+away; {
	case !most && f.until.IsZero():
		f.until = time.Now()
	case !most:
	case f.missed.IsZero() || !f.until.IsZero() && time.Since(f.until) > settled:
		f.missed, f.until = time.Now(), time.Time{}
	default:
		f.until = time.Time{}
	}
}

// movable reports whether a missed machine's placement counts.
func (c *checker) movable(machine, unit string) bool {
	fleet, ok := c.fleet(unit, c.placed[machine][unit].Hash)
	return ok && !fleet.Global && c.has(c.keys.Units().Key(unit))
}

// thaw checks on each tick that everything that can move has moved when freeze_timeout has passed.
func (c *checker) thaw() {
	f := &c.frozen
	if f.since.IsZero() {
		clear(f.stuck)
		return
	}
	if time.Since(f.since) > settled {
		c.counts.Check(invFrozen) // nothing was taken since the last tick
	}
	if c.w.freezeTimeout == 0 || f.leads == nil || c.w.full.Load() {
		clear(f.stuck)
		return
	}
	// A leader that has never seen a machine gives it a whole agent_ttl.
	begun := max(time.Since(f.since), 0)
	for _, at := range []time.Time{f.led, c.trouble[f.leads.host], f.stepped[f.leads.host]} {
		begun = min(begun, time.Since(at))
	}
	over := f.leads.host.clock.measures(begun) > max(c.w.freezeTimeout, agentTTL)+settled
	for _, h := range c.w.hosts[:c.w.machines] {
		for _, unit := range sortedKeys(c.placed[h.id]) {
			name := h.id + "/" + unit
			switch since, was := f.stuck[name]; {
			case !over || c.has(c.keys.Machines().Key(h.id)) || !c.movable(h.id, unit) || !c.room(unit):
				delete(f.stuck, name)
			case !was:
				f.stuck[name] = time.Now()
			case time.Since(since) > settled:
				c.w.fail(invFrozen, "%s stays on %s, which is missed, and fits elsewhere, %s after freeze_timeout", unit, h.id, time.Since(since))
			default:
				c.counts.Check(invFrozen)
			}
		}
	}
}

// room reports whether a present machine would take the unit.
func (c *checker) room(unit string) bool {
	u, ok := c.unit(unit)
	fleet, known := c.fleet(unit, u.Spec.Hash)
	if !ok || !known || u.Spec.DesiredState == v1.Inactive || len(fleet.MachineOf) > 0 {
		return false
	}
	return slices.ContainsFunc(c.names(c.keys.Machines().Prefix()), func(id string) bool {
		machine, err := c.keys.Machines().Decode(c.kv[c.keys.Machines().Key(id)].Value)
		return err == nil && c.fits(fleet, machine)
	})
}

func (c *checker) stepped(h *host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen.stepped[h] = time.Now()
}
