package sim

import (
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// surges is what a checker remembers to see whether an instance stands in for one that is taken away.
type surges struct {
	servedAt map[*host]map[string]time.Time // when each nginx last served an endpoint
	putAt    map[string]time.Time           // when an endpoint, or a router's record, was created
}

func newSurges() surges {
	return surges{servedAt: map[*host]map[string]time.Time{}, putAt: map[string]time.Time{}}
}

// created records when a key was created.
func (c *checker) created(e store.Event, had bool) {
	if !e.Deleted && !had {
		c.putAt[e.Key] = time.Now()
	}
}

// servesNow records what an nginx serves from now on.
func (c *checker) servesNow(h *host, served map[string]string) {
	if c.servedAt[h] == nil {
		c.servedAt[h] = map[string]time.Time{}
	}
	for key := range c.served[h] {
		c.servedAt[h][key] = time.Now()
	}
	c.served[h] = served
}

// takenOut checks that an instance of an app of which none may be missing is taken out of the routers only when all of them serve one
// beside it.
func (c *checker) takenOut(app string, n int32, runs *v1.Revision, unit *v1.Unit, by *process) {
	leeway := runs.Spec.Leeway(app)
	out := slices.Contains([]v1.RolloutPhase{v1.RolloutWithdrawing, v1.RolloutLeaving}, unit.Rollout.Phase)
	if !out || leeway.Surge == 0 || leeway.Unavailable > 0 || n > runs.Spec.Instances() || !c.doesWork(app, n) {
		return
	}
	if c.judge(invSurge, c.surgeExcuse(by)) && !c.standsIn(app, runs.Spec.Instances()) {
		c.w.fail(invSurge, "%s is taken away (%s), and no instance beside the others is served by each router", v1.AppUnit(app, n), unit.Rollout.Phase)
	}
}

// doesWork reports whether an instance has run and was announced for long enough for the leader to know.
func (c *checker) doesWork(app string, n int32) bool {
	unit := v1.AppUnit(app, n)
	key := endpointOf(unit)
	h, _ := c.announced(key, c.kv[key])
	return c.has(key) && time.Since(c.putAt[key]) > settled && h != nil && c.runs[unit][h] && time.Since(c.ranUntil[unit][h]) > settled &&
		c.has(c.keys.Machines().Key(h.id)) && !c.catchesUp(h)
}

// surgeExcuse is why the leader may not know what routers serve.
func (c *checker) surgeExcuse(leader *process) string {
	switch {
	case c.deafened(leader.host):
		return "the leader did not hear of others' writes a moment ago"
	case !c.restoredAt.IsZero() && time.Since(c.restoredAt) < catchUp:
		return "etcd was restored a moment ago"
	}
	for _, h := range c.w.hosts[:c.w.machines] {
		if c.has(c.keys.Routers().Key(h.id)) && (c.served[h] == nil || c.w.hasTwin(h)) {
			return "an nginx has just ended, or another machine has its ID"
		}
	}
	return ""
}

// standsIn reports whether an instance above the wanted ones is served by every router that lives, or was a moment ago.
func (c *checker) standsIn(app string, replicas int32) bool {
	keys := map[string]bool{}
	for _, h := range c.w.hosts[:c.w.machines] {
		for key := range c.served[h] {
			keys[key] = true
		}
		for key := range c.servedAt[h] {
			keys[key] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		name, ok := strings.CutPrefix(key, v1.DefaultAnnouncePrefix+"/"+app+"/")
		n, _, is := v1.ParseAppUnit(app, name+".service")
		if ok && is && n > replicas && !slices.ContainsFunc(c.w.hosts[:c.w.machines], func(h *host) bool { return c.lacks(h, key) }) {
			return true
		}
	}
	return false
}

// lacks reports whether a router that lives does not serve an endpoint.
func (c *checker) lacks(h *host, key string) bool {
	record := c.keys.Routers().Key(h.id)
	_, serves := c.served[h][key]
	return c.has(record) && time.Since(c.putAt[record]) > settled && !serves && time.Since(c.servedAt[h][key]) > settled
}
