package sim

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/canary"
	"github.com/fleet-starter/fleet/internal/nginx"
)

// noModule: one nginx in so many has no Lua module. It does not count requests, and its old workers keep their endpoints.
const noModule = 5

// target is an endpoint with its address.
type target struct{ key, address string }

// flight is a request that an instance answers.
type flight struct {
	target
	app    string
	stream bool
	worse  bool // it is answered with 500
}

// withdrawal is an endpoint that was taken out of an nginx.
type withdrawal struct {
	since, until time.Time
	waited       bool // requests were under way to it then
}

// tally are the responses of an app's instances.
type tally struct {
	token string
	of    map[target]*v1.EndpointCounts
}

// underway are the requests of one nginx that are under way. Its lock is the last one that is taken.
type underway struct {
	mu        sync.Mutex
	flights   map[*flight]bool
	draining  map[target]withdrawal // those that a router has to wait for
	withdrawn map[target]withdrawal // all
	tallies   map[string]*tally
}

func newUnderway() *underway {
	return &underway{flights: map[*flight]bool{}, draining: map[target]withdrawal{}, withdrawn: map[target]withdrawal{}, tallies: map[string]*tally{}}
}

func (u *underway) begins(f *flight) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.flights[f] = true
}

// ends ends a request, and reports whether it was still under way. An app that has asked for it has its response counted.
func (u *underway) ends(f *flight, token string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	is := u.flights[f]
	delete(u.flights, f)
	if !is || token == "" || f.stream {
		return
	}
	t := u.tallies[f.app]
	if t == nil || t.token != token {
		t = &tally{token: token, of: map[target]*v1.EndpointCounts{}}
		u.tallies[f.app] = t
	}
	counts := t.of[f.target]
	if counts == nil {
		counts = &v1.EndpointCounts{Endpoint: f.key, Token: token, Latency: make([]int64, canary.Buckets)}
		t.of[f.target] = counts
	}
	if counts.Latency[5]++; f.worse { // all versions are as fast
		counts.Errors++
	}
}

// lost ends all requests to an address that is gone; "" stands for all.
func (u *underway) lost(key, host string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for f := range u.flights {
		if host == "" || f.key == key && address(f.address) == host {
			delete(u.flights, f)
		}
	}
	if host == "" {
		clear(u.draining)
		clear(u.withdrawn)
		clear(u.tallies)
	}
}

// count is the number of requests under way to a target, and of streams. u.mu is held.
func (u *underway) count(t target) (requests, streams int) {
	for f := range u.flights {
		switch {
		case f.target != t:
		case f.stream:
			streams++
		default:
			requests++
		}
	}
	return requests, streams
}

// changes records what another configuration withdraws.
func (u *underway) changes(from, to *configuration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now, after := time.Now(), to.targets()
	for t, patience := range from.targets() {
		if _, still := after[t]; !still {
			requests, _ := u.count(t)
			w := withdrawal{now, now.Add(patience), requests > 0}
			u.draining[t], u.withdrawn[t] = w, w
		}
	}
	for t := range after {
		delete(u.draining, t)
		delete(u.withdrawn, t)
	}
}

// waitedFor are the withdrawn endpoints that requests are under way to, as internal/nginx says it.
func (u *underway) waitedFor() (out []v1.Draining) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for t, w := range u.draining {
		requests, streams := u.count(t)
		if requests == 0 || !time.Now().Before(w.until) {
			delete(u.draining, t)
			continue
		}
		out = append(out, v1.Draining{Endpoint: t.key, Address: t.address, Since: w.since.UTC(), Requests: requests, Streams: streams})
	}
	slices.SortFunc(out, func(a, b v1.Draining) int {
		return strings.Compare(a.Endpoint+" "+a.Address, b.Endpoint+" "+b.Address)
	})
	return out
}

// counted are the responses of a configuration's endpoints whose apps ask for that.
func (u *underway) counted(c *configuration) (all []v1.EndpointCounts) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for t := range c.targets() {
		app, _, _ := strings.Cut(strings.TrimPrefix(t.key, v1.DefaultAnnouncePrefix+"/"), "/")
		if tally := u.tallies[app]; tally != nil && tally.token == c.count[app] && tally.of[t] != nil {
			counts := *tally.of[t]
			counts.Latency = slices.Clone(counts.Latency)
			all = append(all, counts)
		}
	}
	slices.SortFunc(all, func(a, b v1.EndpointCounts) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	return all
}

// targets are the endpoints of a configuration, with how long requests to each are waited for.
func (c *configuration) targets() map[target]time.Duration {
	all := map[target]time.Duration{}
	if c == nil {
		return all
	}
	for host, upstreams := range c.hosts {
		for _, u := range upstreams {
			all[target{u.Key, u.Address}] = c.drain[c.of[host]]
		}
	}
	return all
}

// result adds to a result what a router publishes of requests.
func (f *front) result(r nginx.Result, c *configuration) nginx.Result {
	if f.plain {
		r.Reloads = "nginx has no Lua module"
		return r
	}
	r.Draining, r.Counts = f.under.waitedFor(), f.under.counted(c)
	return r
}

// takes is how long an instance takes for a request; stream: it is a websocket.
func (r *request) takes() (d time.Duration, stream bool) {
	n := r.n >> 8
	switch kind := r.n % 32; {
	case kind < 24:
		return 5*time.Millisecond + time.Duration(n%uint64(200*time.Millisecond)), false
	case kind < 29:
		return time.Second + time.Duration(n%uint64(drainTimeout-2*time.Second)), false
	case kind < 31: // longer than is waited for
		return drainTimeout + time.Duration(n%uint64(20*time.Second)), false
	}
	return 20*time.Second + time.Duration(n%uint64(time.Minute)), true
}

// flies has an instance answer the request.
func (r *request) flies(f *flight) {
	under := r.router.front.under
	under.begins(f)
	takes, stream := r.takes()
	f.stream = stream
	r.w.running.Go(func() {
		r.w.sleep(r.w.exactly(takes, "answer", f.key, r.router.name, fmt.Sprint(r.n)))
		if r.w.ctx.Err() == nil {
			under.ends(f, r.router.front.serving().tokenOf(f.app))
		}
	})
}

func (c *configuration) tokenOf(app string) string {
	if c == nil {
		return ""
	}
	return c.count[app]
}

// wait is a withdrawal with the requests that are still waited for.
type wait struct {
	withdrawal
	left int
}

// waits are the withdrawals of an endpoint at that host.
func (u *underway) waits(key, host string) (all []wait) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for t, w := range u.withdrawn {
		if t.key != key || address(t.address) != host {
			continue
		}
		requests, _ := u.count(t)
		if !time.Now().Before(w.until) {
			requests = 0
		}
		all = append(all, wait{w, requests})
		delete(u.withdrawn, t)
	}
	return all
}
