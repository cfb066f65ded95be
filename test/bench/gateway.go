package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fleet-starter/fleet/internal/routing"
)

// The tests of gateway-api-bench, written anew: how soon new hosts are served and with which answers before, what changes of hosts lose
// under load, and what thousands of them cost.

// hosts are n apps with a host each, and one endpoint.
func hosts(n int, up routing.Upstream) []routing.Route {
	routes := []routing.Route{{App: "app", Hosts: []string{"app.localhost"}, Upstreams: []routing.Upstream{up}}}
	for i := range n {
		name := fmt.Sprintf("route-%05d", i)
		routes = append(routes, routing.Route{App: name, Hosts: []string{name + ".localhost"}, Upstreams: []routing.Upstream{up}})
	}
	return routes
}

func measureGateway(ctx context.Context, b *bench, routes, batch, most int) error {
	up, closer, err := instance("one")
	if err != nil {
		return err
	}
	defer closer.Close()
	var errs []error
	if b.wantsAny([]string{"router/attach/"}) {
		errs = append(errs, measureAttach(ctx, b, up, batch/2))
	}
	for _, n := range []int{routes, most} {
		if b.wantsAny([]string{fmt.Sprintf("router/propagation/%d/", n)}) {
			errs = append(errs, measurePropagation(ctx, b, up, n, batch))
		}
	}
	if b.wantsAny([]string{"router/many/"}) {
		errs = append(errs, measureMany(ctx, b, up, most))
	}
	return errors.Join(errs...)
}

// status asks for a host.
func status(address, host string) string {
	c := client{address: address}
	if _, err := c.do("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"); err != nil {
		return err.Error()
	}
	return ok
}

const (
	ok      = "200 OK"
	unknown = "404 Not Found"
)

// turns asks for a host until the answer is another one. Before, nothing but one answer is right.
func turns(ctx context.Context, address, host, before, after string, wrong *int) error {
	for ctx.Err() == nil {
		switch status(address, host) {
		case after:
			return nil
		case before:
		default:
			*wrong++
		}
		time.Sleep(time.Millisecond)
	}
	return context.Cause(ctx)
}

// measureAttach adds and removes a host, under POSTs to another one.
func measureAttach(ctx context.Context, b *bench, up routing.Upstream, n int) error {
	f, err := startFront(ctx, false)
	if err != nil {
		return err
	}
	defer func() { _ = f.stop() }()
	if err := f.apply(ctx, hosts(0, up)...); err != nil {
		return err
	}
	stop := load(f.address, postRequest, 4, func(i int) bool { return i%2 == 0 })
	var came, went []time.Duration
	wrong := 0
	change := func(hosts []routing.Route, before, after string, took *[]time.Duration) error {
		began, done := time.Now(), make(chan error, 1)
		go func() { done <- f.apply(ctx, hosts...) }()
		err := turns(ctx, f.address, "route-00000.localhost", before, after, &wrong)
		*took = append(*took, time.Since(began))
		return errors.Join(err, <-done)
	}
	for range n {
		if err = change(hosts(1, up), unknown, ok, &came); err == nil {
			err = change(hosts(0, up), ok, unknown, &went)
		}
		if err != nil {
			break
		}
	}
	sent, lost := stop()
	reportTimes(b, "router/attach", came)
	reportTimes(b, "router/attach/gone", went)
	b.report("router/attach/wrong", float64(wrong), "", n)
	b.report("router/attach/posts", float64(sent), "", n)
	b.report("router/attach/lost", float64(lost), "", int(sent))
	return err
}

func reportTimes(b *bench, name string, took []time.Duration) {
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	b.report(name+"/p50", float64(took[len(took)/2].Microseconds())/1000, "ms", len(took))
	b.report(name+"/p99", float64(took[len(took)*99/100].Microseconds())/1000, "ms", len(took))
}

// measurePropagation adds hosts in batches, and asks for the last of each until it is served, and for all of them then.
func measurePropagation(ctx context.Context, b *bench, up routing.Upstream, n, batch int) error {
	f, err := startFront(ctx, false)
	if err != nil {
		return err
	}
	defer func() { _ = f.stop() }()
	if err := f.apply(ctx, hosts(0, up)...); err != nil {
		return err
	}
	var took []time.Duration
	wrong := 0
	for have := batch; have <= n; have += batch {
		began := time.Now()
		done := make(chan error, 1)
		go func() { done <- f.apply(ctx, hosts(have, up)...) }()
		err := turns(ctx, f.address, fmt.Sprintf("route-%05d.localhost", have-1), unknown, ok, &wrong)
		took = append(took, time.Since(began))
		if err = errors.Join(err, <-done); err != nil {
			return err
		}
		for i := have - batch; i < have; i++ {
			if status(f.address, fmt.Sprintf("route-%05d.localhost", i)) != ok {
				wrong++
			}
		}
	}
	reportTimes(b, fmt.Sprintf("router/propagation/%d", n), took)
	b.report(fmt.Sprintf("router/propagation/%d/wrong", n), float64(wrong), "", len(took))
	return nil
}

// measureMany is what a table of many hosts costs: until it is served from nothing, for a change of endpoints, and in requests a second
// beside a table of one.
func measureMany(ctx context.Context, b *bench, up routing.Upstream, n int) error {
	var fronts []*front
	for _, have := range []int{0, n} {
		f, err := startFront(ctx, false)
		if err != nil {
			return err
		}
		defer func() { _ = f.stop() }()
		began := time.Now()
		if err := f.apply(ctx, hosts(have, up)...); err != nil {
			return err
		}
		if have > 0 {
			b.report(fmt.Sprintf("router/many/%d/start", n), float64(time.Since(began).Milliseconds()), "ms", have)
		}
		fronts = append(fronts, f)
	}
	began := time.Now()
	without := hosts(n, up)
	without[n/2].Upstreams = nil
	if err := fronts[1].apply(ctx, without...); err != nil {
		return err
	}
	b.report(fmt.Sprintf("router/many/%d/endpoint", n), float64(time.Since(began).Microseconds())/1000, "ms", 1)
	return compareRequests(b, fmt.Sprintf("router/many/%d/requests-vs-one", n), 5, fronts[0].address, fronts[1].address)
}

// compareRequests reports the requests a second of the second address over those of the first one: the median of rounds in turns.
func compareRequests(b *bench, name string, rounds int, addresses ...string) error {
	var ratios []float64
	total := 0
	for range rounds {
		var each [2]float64
		for i, address := range addresses {
			began := time.Now()
			stop := load(address, getRequest, 32, func(int) bool { return true })
			time.Sleep(time.Second)
			sent, lost := stop()
			if lost > 0 {
				return fmt.Errorf("%s: %d of %d requests were lost", name, lost, sent)
			}
			total += int(sent)
			each[i] = float64(sent) / time.Since(began).Seconds()
		}
		ratios = append(ratios, each[1]/each[0])
	}
	slices.Sort(ratios)
	b.report(name, ratios[len(ratios)/2], "", total)
	return nil
}

// measurePosts changes endpoints, of the app and of another, until so many POSTs were sent.
func measurePosts(ctx context.Context, b *bench, posts, changes int) error {
	f, err := startFront(ctx, false)
	if err != nil {
		return err
	}
	defer func() { _ = f.stop() }()
	ups, closeAll, err := instances("one", "two")
	if err != nil {
		return err
	}
	defer closeAll()
	apply := func(i int) error {
		return f.apply(ctx, routing.Route{App: "app", Hosts: []string{"app.localhost"}, Upstreams: ups[i%2 : i%2+1]},
			routing.Route{App: "other", Hosts: []string{"other.localhost"}, Upstreams: ups[:1+i%2]})
	}
	if err := apply(0); err != nil {
		return err
	}
	before := f.workers()
	var all, lost int64
	n := 0
	for round := 0; all < int64(posts) && ctx.Err() == nil; round++ {
		stop := load(f.address, postRequest, 8, func(i int) bool { return i%2 == 0 })
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end) && err == nil; time.Sleep(20 * time.Millisecond) {
			if n < changes*(round+1)/8 || all > int64(posts)*7/8 && n < changes {
				n++
				err = apply(n)
			}
		}
		s, l := stop()
		all, lost = all+s, lost+l
		if err != nil {
			return err
		}
	}
	b.report("router/posts/sent", float64(all), "", n)
	b.report("router/posts/lost", float64(lost), "", int(all))
	b.report("router/posts/workers-replaced", float64(len(slices.DeleteFunc(f.workers(), func(pid int) bool { return slices.Contains(before, pid) }))), "", n)
	return nil
}

// writeIn writes a file of a peer.
func writeIn(dir, name, text string) (path string, err error) {
	path = filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}
