package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
	"github.com/fleet-starter/fleet/internal/store"
)

// wantedHosts are the hosts that routers have to know, with their app: of two apps that ask for a host, the first one.
func (c *checker) wantedHosts() map[string]string {
	app, since := map[string]string{}, map[string]int64{}
	for _, name := range c.names(c.keys.Routes().Prefix()) {
		route, err := c.keys.Routes().Decode(c.kv[c.keys.Routes().Key(name)].Value)
		if err != nil || len(route.Hosts) == 0 {
			continue
		}
		for host, at := range route.Hosts {
			if host == "" {
				host = name + ".localhost"
			}
			if app[host] == "" || at < since[host] {
				app[host], since[host] = name, at
			}
		}
	}
	return app
}

// hostTaken reports whether another app has a host that this one asks for.
func (c *checker) hostTaken(app string) bool {
	route, err := c.keys.Routes().Decode(c.kv[c.keys.Routes().Key(app)].Value)
	wanted := c.wantedHosts()
	return err == nil && slices.ContainsFunc(sortedKeys(route.Hosts), func(host string) bool { return host != "" && wanted[host] != app })
}

// endpointsOf are an app's endpoints.
func (c *checker) endpointsOf(app string) (keys []string) {
	for _, name := range c.names(v1.DefaultAnnouncePrefix + "/" + app + "/") {
		keys = append(keys, v1.DefaultAnnouncePrefix+"/"+app+"/"+name)
	}
	return keys
}

// hostsProblem checks that nginx sends requests for each host to all endpoints of its app, and to nothing else.
func (c *checker) hostsProblem(h *host) string {
	conf, wanted := h.front.serving(), c.wantedHosts()
	if conf == nil {
		return "nginx on " + h.name + " does not run"
	}
	for _, host := range sortedKeys(wanted) {
		var keys []string
		for _, u := range conf.hosts[host] {
			keys = append(keys, u.Key)
		}
		slices.Sort(keys)
		if want := c.endpointsOf(wanted[host]); conf.of[host] != wanted[host] || !slices.Equal(keys, want) {
			return fmt.Sprintf("nginx on %s sends requests for %s to %s (%s) instead of %s (%s)", h.name, host,
				conf.of[host], strings.Join(keys, " "), wanted[host], strings.Join(want, " "))
		}
	}
	for _, host := range sortedKeys(conf.of) {
		if wanted[host] == "" {
			return fmt.Sprintf("nginx on %s has the host %s of %s, which does not ask for it", h.name, host, conf.of[host])
		}
	}
	return ""
}

// counting reports whether routers count an app's responses.
func (c *checker) counting(app string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	route, err := c.keys.Routes().Decode(c.kv[c.keys.Routes().Key(app)].Value)
	return err == nil && route.Count != ""
}

// hostFor is one of an app's hosts; "" if it has none.
func (c *checker) hostFor(app string, n uint64) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for host, owner := range c.wantedHosts() {
		if owner == app {
			names = append(names, host)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return names[n%uint64(len(names))]
}

// ending is how a unit ended on a host.
type ending struct {
	at      time.Time
	address string // the host's, then
	// promised: it has to be withdrawn first. A kill, or a move away from a lost machine, is not announced.
	promised bool
	// excuse is why the promise was not checked at the end itself.
	excuse string
	// withdrawn is the revision at which its endpoint had been deleted.
	withdrawn int64
}

// riskFor is how long after an instance's end requests to its app are counted.
const riskFor = 30 * time.Second

// endedAs records how a unit ended.
func (c *checker) endedAs(h *host, unit string, promised bool, excuse string) {
	if c.endings[unit] == nil {
		c.endings[unit] = map[*host]ending{}
	}
	c.endings[unit][h] = ending{time.Now(), h.address(), promised, excuse, c.withdrawnAt[endpointOf(unit)]}
	if promised {
		c.lastEnd[appOf(unit)] = time.Now()
	}
}

// endpointOf is the key of an instance's endpoint.
func endpointOf(unit string) string {
	return v1.DefaultAnnouncePrefix + "/" + appOf(unit) + "/" + strings.TrimSuffix(unit, ".service")
}

// appOf is the app of an instance.
func appOf(unit string) string {
	app, _, _ := strings.Cut(unit, "@")
	return app
}

// arrived checks a request at an instance's address: routers no longer know one that was stopped in order.
func (c *checker) arrived(r *request, u routing.Upstream, h *host, up bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ended := c.lastEnd[r.app]
	if up && ended && time.Since(at) < riskFor {
		c.counts.Check(invArrives)
	}
	unit := u.Instance + ".service"
	end, ended := c.endings[unit][h]
	if up || h == nil || !ended || !end.promised || end.address != h.address() { // another machine's endpoint has its address now
		return
	}
	if c.judge(invArrives, cmp.Or(end.excuse, c.unwaited(r, u, end))) {
		c.w.fail(invArrives, "the router on %s sent a request for %s to %s at %s, which was stopped %s ago", r.router.name, r.name, u.Instance, u.Address, time.Since(end.at))
	}
}

// restoredExcuse is the excuse of a router that does not know yet that etcd was restored.
func (c *checker) restoredExcuse(router *host, record store.KV) string {
	_, blind := c.blind[router]
	switch {
	case blind:
		return "etcd's revision went back, and the caches have not had their look since"
	case c.restoredTo > 0 && record.ModRevision <= c.restoredTo:
		return "etcd was restored, and the router has said nothing since"
	}
	return ""
}

// unwaited returns why no roll-out waited for the worker of this request.
func (c *checker) unwaited(r *request, u routing.Upstream, end ending) string {
	record, there := c.kv[c.keys.Routers().Key(r.router.id)]
	switch {
	case r.conf != r.router.front.serving():
		return "a body came to a worker that had begun to end"
	case c.w.hasTwin(r.router):
		return "another machine has its ID"
	case !there || record.CreateRevision > min(end.withdrawn, c.withdrawnAt[u.Key]): // its successor's may have been, later
		return "a router's lease had ended when it was withdrawn"
	}
	return c.restoredExcuse(r.router, record)
}

// asked checks that a router that reports serving an endpoint, and the host of its app, answers requests for it.
func (c *checker) asked(r *request, answered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kv, there := c.kv[c.keys.Routers().Key(r.router.id)]
	router, err := c.keys.Routers().Decode(kv.Value)
	route := c.kv[c.keys.Routes().Key(r.app)]
	if !there || err != nil || router.Routes < route.ModRevision || c.wantedHosts()[r.name] != r.app {
		return
	}
	if slices.ContainsFunc(router.LeftOut(), func(said v1.RouteRefusal) bool { return said.App == r.app }) {
		return
	}
	for _, key := range c.endpointsOf(r.app) {
		endpoint := c.kv[key]
		h, unit := c.announced(key, endpoint)
		if h == nil || address(string(endpoint.Value)) != h.address() { // its machine has another address since
			continue
		}
		if endpoint.Lease == 0 || !c.runs[unit][h] || router.Served[v1.DefaultAnnouncePrefix].Revision < endpoint.ModRevision {
			continue
		}
		excuse := c.restoredExcuse(r.router, kv)
		if c.w.hasTwin(r.router) {
			excuse = "another machine has its ID"
		}
		if excuse == "" && c.restoredTo > 0 && router.Served[v1.DefaultAnnouncePrefix].Digest == "" {
			excuse = "etcd was restored, and the router has only said since that it vouches for nothing"
		}
		if c.judge(invAnswered, excuse) && !answered {
			c.w.fail(invAnswered, "the router on %s does not answer a request for %s, and says that it serves %s", r.router.name, r.name, key)
		}
		return
	}
}

// restartIn is how long a router may take to notice that its nginx ended, and to restart it.
const restartIn = effectTimeout + slack

// unheard checks a router at which nothing listens. One that has run for a while restarts its nginx.
func (c *checker) unheard(router *host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kv, there := c.kv[c.keys.Routers().Key(router.id)]
	record, err := c.keys.Routers().Decode(kv.Value)
	if there && err == nil && record.Failing == nil && router.hasRun("router.service", restartIn) && router.front.down(restartIn) && c.judge(invAnswered, "") {
		c.w.fail(invAnswered, "nginx on %s does not run for %s and more", router.name, restartIn)
	}
}
