package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/routing"
)

// nginxRoutes measures a real nginx: how soon a change of endpoints is served and what it loses, requests a second beside an nginx with
// the same endpoints in its configuration, and memory.
func nginxRoutes(ctx context.Context, b *bench) error {
	changes, rounds, apps, routes, batch, most, posts := 200, 5, 1000, 3000, 100, 5000, 300_000
	if b.small {
		changes, rounds, apps, routes, batch, most, posts = 20, 1, 50, 40, 10, 50, 1000
	}
	var errs []error
	if b.wantsAny([]string{"router/change/"}) {
		errs = append(errs, measureChanges(ctx, b, changes))
	}
	if b.wantsAny([]string{"router/requests/"}) {
		errs = append(errs, measureRequests(ctx, b, rounds, time.Second))
	}
	if b.wantsAny([]string{"router/memory/"}) {
		errs = append(errs, measureNginxMemory(ctx, b, apps))
	}
	if b.wantsAny([]string{"router/posts/"}) {
		errs = append(errs, measurePosts(ctx, b, posts, changes))
	}
	if b.wantsAny([]string{"router/peers/"}) {
		errs = append(errs, measurePeers(ctx, b, changes, rounds))
	}
	errs = append(errs, measureGateway(ctx, b, routes, batch, most))
	return errors.Join(errs...)
}

// front is an nginx that routes.
type front struct {
	*nginx.Server
	dir, address string
	null         *os.File
}

func startFront(ctx context.Context, static bool) (*front, error) {
	dir, err := os.MkdirTemp("", "fleet-bench-")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &front{dir: dir, address: l.Addr().String()}
	l.Close()
	if f.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	f.Server, err = nginx.New(nginx.Options{Dir: dir, Static: static, Stdout: f.null, Stderr: f.null, Log: logr.Discard()})
	if err == nil && !static && f.Reloads() != "" {
		err = errors.New(f.Reloads())
	}
	return f, err
}

func (f *front) apply(ctx context.Context, routes ...routing.Route) error {
	settings := nginx.Settings{Dir: f.dir, Listen: []string{f.address}, Domain: "localhost", Workers: 1, ErrorLog: filepath.Join(f.dir, "error.log")}
	_, err := f.Apply(ctx, nginx.Configuration{Settings: settings, Table: routing.Table{Routes: routes}})
	return err
}

func (f *front) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(f.Stop(ctx), f.Close(), f.null.Close(), os.RemoveAll(f.dir))
}

// workers are the pids of nginx's workers.
func (f *front) workers() []int {
	master, err := os.ReadFile(filepath.Join(f.dir, "nginx.pid"))
	if err != nil {
		return nil
	}
	pid := strings.TrimSpace(string(master))
	children, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	var pids []int
	for _, child := range strings.Fields(string(children)) {
		n, _ := strconv.Atoi(child)
		pids = append(pids, n)
	}
	return pids
}

// processor is the time that the workers have used.
func (f *front) processor() time.Duration {
	ticks := 0
	for _, pid := range f.workers() {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := bytes.Cut(stat, []byte(") "))
		fields := strings.Fields(string(rest))
		if len(fields) > 12 {
			user, _ := strconv.Atoi(fields[11])
			system, _ := strconv.Atoi(fields[12])
			ticks += user + system
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// instance is a server that answers every request with its name, and costs little.
func instance(name string) (routing.Upstream, io.Closer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return routing.Upstream{}, nil, err
	}
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerAll(c, answer)
		}
	}()
	return routing.Upstream{Key: v1.DefaultAnnouncePrefix + "/app/" + name, Instance: name, Address: l.Addr().String()}, l, nil
}

// instances are some of them.
func instances(names ...string) (ups []routing.Upstream, closeAll func(), err error) {
	var closers []io.Closer
	closeAll = func() {
		for _, c := range closers {
			c.Close()
		}
	}
	for _, name := range names {
		up, closer, err := instance(name)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		closers, ups = append(closers, closer), append(ups, up)
	}
	return ups, closeAll, nil
}

func answerAll(c net.Conn, answer []byte) {
	defer c.Close()
	for r := bufio.NewReader(c); ; {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// client sends requests on one connection, or each on its own, and never one again.
type client struct {
	address string
	kept    bool
	conn    net.Conn
	reader  *bufio.Reader
}

func (c *client) do(request string) (string, error) {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.address)
		if err != nil {
			return "", err
		}
		c.conn, c.reader = conn, bufio.NewReader(conn)
	}
	_, err := io.WriteString(c.conn, request)
	var body []byte
	last := !c.kept
	if err == nil {
		var resp *http.Response
		if resp, err = http.ReadResponse(c.reader, nil); err == nil {
			last = last || resp.Close // nginx says so after 1,000 requests
			body, err = io.ReadAll(resp.Body)
			if err == nil && resp.StatusCode != http.StatusOK {
				err = errors.New(resp.Status)
			}
		}
	}
	if err != nil || last {
		c.close()
	}
	return string(body), err
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
	}
	c.conn = nil
}

const (
	getRequest  = "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n"
	postRequest = "POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 4\r\n\r\nbody"
)

// load sends requests with some clients until stop is called, which returns how many it sent and how many were lost.
func load(address, request string, clients int, kept func(i int) bool) (stop func() (sent, lost int64)) {
	var ended atomic.Bool
	var sent, lost atomic.Int64
	var running sync.WaitGroup
	for i := range clients {
		running.Go(func() {
			c := client{address: address, kept: kept(i)}
			defer c.close()
			for !ended.Load() {
				sent.Add(1)
				if _, err := c.do(request); err != nil {
					lost.Add(1)
				}
			}
		})
	}
	return func() (int64, int64) {
		ended.Store(true)
		running.Wait()
		return sent.Load(), lost.Load()
	}
}

// measureChanges changes the only endpoint of an app, and one of another, under POSTs on kept and new connections to a third.
func measureChanges(ctx context.Context, b *bench, n int) error {
	f, err := startFront(ctx, false)
	if err != nil {
		return err
	}
	ups, closeAll, err := instances("one", "two", "three")
	if err != nil {
		return errors.Join(err, f.stop())
	}
	defer closeAll()
	routes := func(i int) []routing.Route {
		other := slices.Clone(ups[:1+i%2])
		return []routing.Route{{App: "app", Hosts: []string{"app.localhost"}, Upstreams: ups[i%2 : i%2+1]}, {App: "other", Hosts: []string{"other.localhost"}, Upstreams: other}}
	}
	if err := f.apply(ctx, routes(0)...); err != nil {
		return errors.Join(err, f.stop())
	}
	before := f.workers()
	stop := load(f.address, postRequest, 4, func(i int) bool { return i%2 == 0 })
	probe := client{address: f.address, kept: true}
	defer probe.close()
	var took []time.Duration
	for i := 1; i <= n && err == nil; i++ {
		began := time.Now()
		err = f.apply(ctx, routes(i)...)
		for want := ups[i%2].Instance; err == nil; {
			var got string
			if got, err = probe.do(getRequest); got == want {
				break
			}
		}
		took = append(took, time.Since(began))
	}
	sent, lost := stop()
	reportTimes(b, "router/change", took)
	b.report("router/change/posts", float64(sent), "", n)
	b.report("router/change/lost", float64(lost), "", int(sent))
	replaced := 0
	for _, pid := range f.workers() {
		if !slices.Contains(before, pid) {
			replaced++
		}
	}
	b.report("router/change/workers-replaced", float64(replaced), "", n)
	return errors.Join(err, f.stop())
}

// measureRequests compares requests a second, and the processor time of nginx for each, in turns: the machine's other load changes.
func measureRequests(ctx context.Context, b *bench, rounds int, each time.Duration) error {
	ups, closeAll, err := instances("one", "two")
	if err != nil {
		return err
	}
	defer closeAll()
	var fronts []*front
	for _, static := range []bool{true, false} {
		f, err := startFront(ctx, static)
		if err == nil {
			err = f.apply(ctx, routing.Route{App: "app", Hosts: []string{"app.localhost"}, Upstreams: ups})
		}
		if err != nil {
			return err
		}
		defer func() { _ = f.stop() }()
		fronts = append(fronts, f)
	}
	var speed, cost []float64
	total := 0
	for range rounds {
		var perSecond, perRequest [2]float64
		for i, f := range fronts {
			used, began := f.processor(), time.Now()
			stop := load(f.address, getRequest, 32, func(int) bool { return true })
			time.Sleep(each)
			sent, lost := stop()
			if lost > 0 {
				return fmt.Errorf("%d of %d requests were lost", lost, sent)
			}
			total += int(sent)
			perSecond[i] = float64(sent) / time.Since(began).Seconds()
			perRequest[i] = float64((f.processor() - used).Microseconds()) / float64(sent)
		}
		speed, cost = append(speed, perSecond[1]/perSecond[0]), append(cost, perRequest[1]/perRequest[0])
	}
	slices.Sort(speed)
	slices.Sort(cost)
	b.report("router/requests/vs-plain", speed[len(speed)/2], "", total)
	b.report("router/requests/processor-vs-plain", cost[len(cost)/2], "", total)
	return nil
}

// measureNginxMemory is what nginx's processes have of the machine's memory, with ten endpoints for each app.
func measureNginxMemory(ctx context.Context, b *bench, apps int) error {
	for _, static := range []bool{true, false} {
		f, err := startFront(ctx, static)
		if err != nil {
			return err
		}
		var routes []routing.Route
		for i := range apps {
			r := routing.Route{App: fmt.Sprintf("app-%d", i), Hosts: []string{fmt.Sprintf("app-%d.localhost", i)}}
			for j := range 10 {
				name := fmt.Sprintf("%s@%d", r.App, j)
				r.Upstreams = append(r.Upstreams, routing.Upstream{Key: v1.DefaultAnnouncePrefix + "/" + r.App + "/" + name, Instance: name, Address: fmt.Sprintf("10.%d.%d.%d:80", j, i/250, 1+i%250)})
			}
			routes = append(routes, r)
		}
		err = f.apply(ctx, routes...)
		master, _ := os.ReadFile(filepath.Join(f.dir, "nginx.pid"))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(master)))
		kilobytes := 0
		for _, pid := range append(f.workers(), pid) {
			kilobytes += proportional(pid)
		}
		kind := map[bool]string{true: "plain", false: "dictionary"}[static]
		b.report(fmt.Sprintf("router/memory/%dx%d/%s", apps, apps*10, kind), float64(kilobytes)/1024, "MB", apps*10)
		if err := errors.Join(err, f.stop()); err != nil {
			return err
		}
	}
	return nil
}

// proportional is a process's share of memory in kB, where each page counts for those that have it: proc_pid_smaps(5).
func proportional(pid int) int {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(data)) {
		var kilobytes int
		if _, err := fmt.Sscanf(line, "Pss: %d kB", &kilobytes); err == nil {
			return kilobytes
		}
	}
	return 0
}
