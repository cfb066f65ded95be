package sim

import (
	"cmp"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// The health check settings of this world's apps, see people.go.
const (
	probeInterval = time.Second
	probeTimeout  = time.Second
	probeFailures = 2
	announceTTL   = 10 * time.Second
	stopTimeout   = 5 * time.Second // of the announcer
)

// slack is for delays in the network: several, of up to 300 ms each.
const slack = 3 * time.Second

// catchUp is how long a machine that is reachable again may take to catch up: it connects, lists, and keeps running what was
// moved away until that is active elsewhere, for at most 30 s (node.Options.HoldFor).
const catchUp = 45 * time.Second

// overlap is how long a moved unit may run in both places: each starts and stops independently.
const overlap = 2 * time.Second

func (c *checker) started(h *host, unit, hash, by string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs[unit] == nil {
		c.runs[unit] = map[*host]bool{}
	}
	c.runs[unit][h] = true
	c.ran(h, unit)
	c.releaseStarts(h, unit)
	if !c.global(unit) {
		excuse := ""
		if len(c.runs[unit]) > 1 {
			excuse = c.mayRunTwice(unit, c.runs[unit])
		}
		c.judge(invRunsTwice, excuse)
	}
	if c.begun[h] == nil {
		c.begun[h] = map[string]bool{}
	}
	why, ok := c.reasons[h][unit]
	brought := c.brought(h, unit, by)
	if c.files[unit] == nil {
		c.files[unit] = map[*host]string{}
	}
	c.files[unit][h] = hash
	if c.begun[h][unit] {
		excuse := ""
		if _, again := fails(unit); again {
			excuse = "systemd restarts it by itself"
		}
		if c.judge(invRestart, excuse) && !brought && (!ok || c.spent(h, why)) {
			c.w.fail(invRestart, "%s was started again on %s", unit, h.name)
		}
	}
	c.begun[h][unit] = true
	// What runs now may be outdated because the machine knows no better, such as after a boot without etcd. It is started
	// once more when it does.
	placement, placed := c.placed[h.id][unit]
	switch why.used = hash == placement.Hash; {
	case ok:
		c.reasons[h][unit] = why
	case placed && !why.used:
		c.reason(h, unit)
	}
}

func (c *checker) ran(h *host, unit string) {
	if c.ranUntil[unit] == nil {
		c.ranUntil[unit] = map[*host]time.Time{}
	}
	c.ranUntil[unit][h] = time.Now()
}

func (c *checker) stopped(h *host, unit string, killed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.runs[unit], h)
	c.ran(h, unit)
	// The same holds for stops: after a boot without etcd, a machine's disk may have old placements.
	ignorant := c.w.away.Load() || h.reach() != connected
	if killed || ignorant && c.placed[h.id][unit].DesiredState == v1.Launched {
		c.reason(h, unit)
	}
	// Units bound to it stop and restart with it.
	if name, instance, ok := strings.Cut(unit, "@"); ok {
		c.reason(h, name+"-discovery@"+instance)
	}
	c.endedAs(h, unit, false, "")
	if !killed {
		c.withdrawn(h, unit)
	}
}

// withdrawn checks that an instance that is stopped, replaced, or moved off a machine that is drained or does not match it any
// more has no endpoint, and no live router serves it.
func (c *checker) withdrawn(h *host, unit string) {
	app, instance, ok := strings.Cut(strings.TrimSuffix(unit, ".service"), "@")
	sidekick := app + "-discovery@" + instance + ".service"
	if _, told := c.told[h.id][sidekick]; !ok || !told {
		return // it is not announced
	}
	for _, name := range []string{unit, sidekick} {
		if c.takenBack[name] || c.takenBack[h.id+"/"+name] {
			return // not withdrawn: etcd was restored, without it or with an older value
		}
	}
	placement, placed := c.placed[h.id][unit]
	if !placed && c.has(c.keys.Units().Key(unit)) && !c.drainedOf[h.id+"/"+unit] {
		return // moved away, or not wanted anywhere
	}
	excuse := c.unreached(h, unit, sidekick)
	c.endedAs(h, unit, true, excuse)
	if excuse == "" {
		c.answered(h, unit)
	}
	problem, why := c.stillServed(h, endpointOf(unit))
	if problem == "" {
		excuse = ""
	}
	if c.judge(invWithdrawn, cmp.Or(excuse, why)) && problem != "" {
		c.w.fail(invWithdrawn, "%s on %s was stopped (%s) while %s", unit, h.name, placement.DesiredState, problem)
	}
}

// stillServed says who knows the endpoint of an instance that was stopped, and why it may; the excuse is empty if one may not.
func (c *checker) stillServed(h *host, key string) (problem, excuse string) {
	if kv, there := c.kv[key]; there && c.announcers[key] == h && address(string(kv.Value)) == h.address() {
		return key + " was announced", ""
	}
	for _, r := range c.w.hosts {
		record, there := c.kv[c.keys.Routers().Key(r.id)]
		switch value, serves := c.served[r][key]; {
		case !serves || address(value) != h.address() || !there || c.w.hasTwin(r):
		case record.CreateRevision > c.withdrawnAt[key] && !c.has(key):
			problem, excuse = "the router on "+r.name+" served it", "a router's lease had ended when it was withdrawn"
		default:
			return "the router on " + r.name + " served it", ""
		}
	}
	return problem, excuse
}

// unreached returns why a host may have received these units' last changes late, or in another order; "" if it did not.
func (c *checker) unreached(h *host, units ...string) string {
	for _, unit := range units {
		deleted, gone := c.deleted[unit]
		switch {
		case gone && !c.trouble[h].Before(deleted):
			return "its machine could not be reached when its unit was deleted"
		case c.editedExcuse(unit) != "":
			return c.editedExcuse(unit)
		case c.w.hasTwin(h):
			return "another machine has its ID"
		case !c.trouble[h].Before(c.told[h.id][unit]), c.absently[keyspace.Join(h.id, unit)]:
			return "its machine could not be reached when it was told"
		case c.catchesUp(h) && c.missed(h, unit):
			return "its machine could not be reached when it was taken from it, and has it again"
		}
	}
	return ""
}

// missed reports whether the host was unreachable when the unit was taken from it, before it was assigned to it again: the
// old one may still run there, and ends now.
func (c *checker) missed(h *host, unit string) bool {
	at := c.takenAway[keyspace.Join(h.id, unit)]
	return !at.IsZero() && !c.trouble[h].Before(at)
}

// hasTwin reports whether another machine has its ID, so that either one's router speaks for both.
func (w *world) hasTwin(h *host) bool {
	return slices.ContainsFunc(w.hosts, func(other *host) bool { return other != h && other.id == h.id })
}

func address(endpoint string) string {
	host, _, _ := strings.Cut(endpoint, ":")
	return host
}

func (c *checker) serves(h *host, served map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servesNow(h, served)
}

func (c *checker) rebooted(h *host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.begun, h)
	delete(c.reasons, h)
	delete(c.served, h)
	c.trouble[h] = time.Now()
}

// reason allows one more start of a unit, or two if the first was already under way.
type reason struct {
	at   time.Time
	used bool
}

// spent reports whether it was for another start, or for one that should have happened long ago.
func (c *checker) spent(h *host, r reason) bool {
	if r.used {
		return time.Since(r.at) > slack
	}
	return time.Since(r.at) > catchUp && c.trouble[h].Before(r.at)
}

// reasonFor allows one more start of a unit and of the units bound to it.
func (c *checker) reasonFor(h *host, unit string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reason(h, unit)
	if name, instance, ok := strings.Cut(unit, "@"); ok {
		c.reason(h, name+"-discovery@"+instance)
	}
}

func (c *checker) reason(h *host, unit string) {
	if c.reasons[h] == nil {
		c.reasons[h] = map[string]reason{}
	}
	c.reasons[h][unit] = reason{at: time.Now()}
}

// inTrouble records that a host is cut off, or all hosts if h is nil.
func (c *checker) inTrouble(h *host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, other := range c.w.hosts {
		if h == nil || other == h || other.id == h.id {
			c.trouble[other] = time.Now()
		}
	}
}

// catchesUp reports whether it was unreachable a moment ago.
func (c *checker) catchesUp(h *host) bool {
	at, ok := c.trouble[h]
	return ok && time.Since(at) < catchUp
}

// tick checks what time alone may violate.
func (c *checker) tick() {
	c.observeHealth()
	for _, h := range c.w.hosts {
		if trouble := h.inTrouble(); c.isBlind(h, trouble) || trouble {
			c.inTrouble(h)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runningTwice()
	c.endpoints()
	c.silence()
	c.thaw()
}

// global reports whether its file says so, or is unreadable.
func (c *checker) global(unit string) bool {
	u, _ := c.unit(unit)
	fleet, known := c.fleet(unit, u.Spec.Hash)
	return fleet.Global || !known
}

// refused records whether the last requested start of a unit was refused.
func (c *checker) refused(h *host, unit string, refused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !refused:
		delete(c.refusals[unit], h)
	case c.refusals[unit] == nil:
		c.refusals[unit] = map[*host]bool{h: true}
	default:
		c.refusals[unit][h] = true
	}
}

// refusedUnits are those that still exist.
func (c *checker) refusedUnits() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(sortedKeys(c.refusals), func(unit string) bool { return len(c.refusals[unit]) == 0 || !c.has(c.keys.Units().Key(unit)) })
}

func (c *checker) knows(unit string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.has(c.keys.Units().Key(unit))
}

func (c *checker) runningTwice() {
	for _, unit := range sortedKeys(c.runs) {
		hosts := c.runs[unit]
		if len(hosts) < 2 {
			delete(c.twice, unit)
			continue
		}
		if c.global(unit) {
			continue
		}
		excused := c.mayRunTwice(unit, hosts)
		switch since, twice := c.twice[unit]; {
		case excused != "":
			delete(c.twice, unit)
		case !twice:
			c.twice[unit] = time.Now()
		case time.Since(since) > overlap:
			c.w.fail(invRunsTwice, "%s runs on %d machines for %s", unit, len(hosts), time.Since(since))
		}
	}
}

// mayRunTwice returns why the machines that a unit was taken from may not have stopped it yet; "" if there is no excuse.
func (c *checker) mayRunTwice(unit string, hosts map[*host]bool) string {
	if excuse := c.editedExcuse(unit); excuse != "" {
		return excuse
	}
	for _, h := range c.w.hosts {
		if _, placed := c.placed[h.id][unit]; !hosts[h] || placed && !c.w.hasTwin(h) {
			continue
		}
		if c.catchesUp(h) {
			return "the machine that it was taken from could not be reached"
		}
		if c.stillStops(h, unit) {
			return "it was told to stop where it was, and its TimeoutStopSec= has not passed"
		}
	}
	return ""
}

// observeHealth records which instances are healthy now.
func (c *checker) observeHealth() {
	for _, h := range c.w.hosts {
		for _, unit := range h.units() {
			if h.healthy(unit) {
				c.mu.Lock()
				if c.healthyAt[h] == nil {
					c.healthyAt[h] = map[string]time.Time{}
				}
				c.healthyAt[h][unit] = time.Now()
				c.mu.Unlock()
			}
		}
	}
}

// endpoints checks that an endpoint whose instance is unhealthy disappears after the configured number of probes, or with its
// lease.
func (c *checker) endpoints() {
	const bound = probeFailures*probeInterval + probeTimeout + stopTimeout + announceTTL + slack
	for _, name := range c.names(v1.DefaultAnnouncePrefix + "/") {
		key := v1.DefaultAnnouncePrefix + "/" + name
		kv := c.kv[key]
		h, unit := c.announced(key, kv)
		if h == nil || kv.Lease == 0 {
			continue
		}
		c.counts.Check(invEndpoint)
		if since := min(time.Since(c.healthyAt[h][unit]), time.Since(c.revived[key])); since > bound {
			c.w.fail(invEndpoint, "%s is announced at %s, and was last healthy %s ago", key, kv.Value, since)
		}
	}
}

// announced returns the host and the unit of an endpoint.
func (c *checker) announced(key string, kv store.KV) (*host, string) {
	name, ok := strings.CutPrefix(key, v1.DefaultAnnouncePrefix+"/")
	_, instance, ok2 := strings.Cut(name, "/")
	if !ok || !ok2 {
		return nil, ""
	}
	if h := c.announcers[key]; h != nil {
		return h, instance + ".service"
	}
	return c.w.hostOf(address(string(kv.Value))), instance + ".service"
}

// applyEndpoint checks that only healthy instances are announced.
func (c *checker) applyEndpoint(e store.Event, writer *process) {
	if e.Deleted || writer == nil || writer.kind == kindPerson {
		return
	}
	const bound = probeFailures*probeInterval + probeTimeout + slack
	c.counts.Check(invEndpoint)
	delete(c.announcers, e.Key)
	delete(c.revived, e.Key)
	h, unit := c.announced(e.Key, e.KV)
	c.announcers[e.Key] = h
	if h == nil || writer.kind != kindAnnouncer || writer.host != h {
		c.w.fail(invEndpoint, "%s announced %s at %s", writer.name, e.Key, e.Value)
		return
	}
	if at, ok := c.healthyAt[h][unit]; !ok || time.Since(at) > bound {
		c.w.fail(invEndpoint, "%s announced %s, which is not healthy", writer.name, e.Key)
	}
}

// inTrouble reports whether decisions made elsewhere may not reach the host now.
func (h *host) inTrouble() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.on || h.fleetd == nil || h.fleetd.dead() || h.reach() != connected || h.w.away.Load() || h.refuses.Load() || h.disk.runtime.Load() || h.busLost.Load() {
		return true
	}
	select {
	case <-h.fleetd.done:
		return true
	default:
		return false
	}
}
