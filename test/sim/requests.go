package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

// client models an app's users. About every second it sends a request for one of the app's hosts to a router, until
// everything has converged, because requests prove nothing new then.
func (w *world) client(app string) {
	kept := map[*host]*configuration{} // connections kept alive: to workers with that configuration
	for i := 0; ; i++ {
		n := w.chance("ask", app, fmt.Sprint(i))
		often := uint64(1500 * time.Millisecond)
		if app == shop && w.check.counting(app) {
			often /= 5
		}
		w.sleep(w.exactly(50*time.Millisecond+time.Duration(n%often), "ask", app))
		if w.calm.Load() || w.ctx.Err() != nil {
			return
		}
		router := w.pick(n >> 8)
		name, conf := w.check.hostFor(app, n>>16), router.front.serving()
		if conf == nil {
			w.check.unheard(router)
		}
		if name == "" || conf == nil {
			continue
		}
		r := &request{w: w, app: app, name: name, router: router, conf: conf, life: router.front.lives(), n: n >> 24}
		switch {
		case n>>40%8 == 0:
			w.running.Go(r.upload)
		case router.front.plain && kept[router] != nil && kept[router] != conf && n>>44%2 == 0:
			kept[router] = nil // the reload closed the connection: a request that must not be repeated is lost
		default:
			kept[router] = conf
			r.send()
		}
	}
}

// request is a request accepted by a router.
type request struct {
	w         *world
	app, name string
	router    *host
	conf      *configuration // of its worker
	life      int            // of that nginx
	n         uint64
}

// upload models a body that takes a while, and is passed to an instance when it is complete. The worker that accepted the
// request does that, whatever the configuration is by then.
func (r *request) upload() {
	r.w.sleep(r.w.exactly(500*time.Millisecond+time.Duration(r.n%uint64(15*time.Second)), "upload", r.app, r.router.name))
	if r.w.ctx.Err() != nil || r.router.front.lives() != r.life {
		return
	}
	if !r.router.front.plain { // its workers read the endpoints when the body is there
		r.conf = r.router.front.serving()
	}
	r.send()
}

// send makes the worker send the request to one instance after the other, until one answers.
func (r *request) send() {
	upstreams := r.conf.hosts[r.name]
	answered := slices.ContainsFunc(slices.Concat(after(upstreams, r.n), before(upstreams, r.n)), r.arrives)
	if r.conf == r.router.front.serving() {
		r.w.check.asked(r, answered)
	}
}

func after(list []routing.Upstream, n uint64) []routing.Upstream {
	return list[n%uint64(max(len(list), 1)):]
}
func before(list []routing.Upstream, n uint64) []routing.Upstream {
	return list[:n%uint64(max(len(list), 1))]
}

// arrives sends it to one instance, and reports whether that answers.
func (r *request) arrives(u routing.Upstream) bool {
	h := r.w.hostOf(address(u.Address))
	up := h != nil && h.listens(r.app, u.Instance+".service", portOf(u.Address))
	r.w.check.arrived(r, u, h, up)
	if up {
		r.flies(&flight{target: target{u.Key, u.Address}, app: r.app, worse: h.worse(u.Instance + ".service")})
	}
	return up
}

// listens reports whether the unit, or another instance of the app at the same port, runs there.
func (h *host) listens(app, unit, port string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	is := func(name string) bool {
		r := h.procs[name]
		return r != nil && (r.ports == nil || r.ports[v1.VariablePort] == port)
	}
	return is(unit) || slices.ContainsFunc(sortedKeys(h.procs), func(other string) bool { return appOf(other) == app && is(other) })
}

// worse reports whether a unit's process answers requests with 500.
func (h *host) worse(unit string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.procs[unit]
	return r != nil && slices.Contains(r.Argv, worseFlag)
}

func portOf(endpoint string) string {
	_, port, _ := strings.Cut(endpoint, ":")
	return port
}

// hasRun reports whether the unit's process has run for that long.
func (h *host) hasRun(unit string, since time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.procs[unit]
	return r != nil && time.Since(r.ready) > since
}
