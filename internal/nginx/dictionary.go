package nginx

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/atomicfile"
	"github.com/fleet-starter/fleet/internal/routing"
)

const (
	feedName  = "feed/sock"
	boardName = "feed/board"
	tableName = "endpoints"
	// tableMagic begins a table of endpoints, before its epoch; tableEnd ends it.
	tableMagic = "fleet-endpoints 1 "
	tableEnd   = "end\n"
	// feedTimeout is how long nginx may take to answer over its socket.
	feedTimeout = 5 * time.Second
)

// dictionary is the table of hosts and endpoints that nginx's workers choose from. A change takes effect without a reload:
//
//  1. The table goes to a file, from which an nginx that starts reads it, and a worker whose dictionary is not fed any more.
//  2. One worker gets it over a socket, puts it into the memory that all share, and then sets its number, the epoch.
//  3. Every worker reads the epoch after it has counted a request and before it sends it: see fleet.lua.
type dictionary struct {
	board *board
	fresh bool // no running nginx has the board
	epoch uint64
	body  []byte // of the last table, without its epoch
	// hosts are those of that table, with their apps. newHosts: a power cut may take them back.
	hosts    map[string]string
	newHosts bool
	// served are the endpoints of that table, draining those of earlier ones that may have requests under way; both by ID.
	served   map[uint64]endpoint
	draining map[uint64]endpoint
	// strange is since when workers without a slot were seen.
	strange map[int]time.Time
	// confirmed is the last table that the whole nginx is known to serve.
	confirmed uint64
}

// endpoint is an endpoint as it is counted.
type endpoint struct {
	key, app, address string
	timeout           time.Duration
	// since is when it was withdrawn, until when its requests are waited for.
	since, until time.Time
}

// endpointID identifies an address of an announced instance; it fits into a Lua number.
func endpointID(app, key, address string) uint64 {
	sum := sha256.Sum256([]byte(app + "\x00" + key + "\x00" + address))
	return binary.BigEndian.Uint64(sum[:8])>>16 | 1
}

// renderTable returns the table without its first line. It takes what acceptable accepted. A version before this one skips the hosts.
func renderTable(routes []routing.Route, hosts map[string]string) (body []byte, served map[uint64]endpoint) {
	var b bytes.Buffer
	served = map[uint64]endpoint{}
	for _, r := range routes {
		b.WriteString("app " + r.App)
		if r.Count != "" {
			b.WriteString(" count=" + r.Count)
		}
		for _, u := range r.Upstreams {
			address, err := v1.ParseEndpoint(u.Address)
			if err != nil {
				continue
			}
			host := address.Addr().String()
			if address.Addr().Is6() {
				host = "[" + host + "]"
			}
			id := endpointID(r.App, u.Key, u.Address)
			served[id] = endpoint{key: u.Key, app: r.App, address: u.Address, timeout: cmp.Or(r.DrainTimeout, v1.DefaultDrainTimeout)}
			fmt.Fprintf(&b, " %d,%s,%d,%d,%s", id, host, address.Port(), max(1, u.Weight), u.Key)
		}
		b.WriteByte('\n')
	}
	b.WriteString("hosts\n")
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		b.WriteString("host " + host + " " + hosts[host] + "\n")
	}
	b.WriteString(tableEnd)
	return b.Bytes(), served
}

// acceptable returns the routes without what a table cannot have. The route controller lets through nothing of the
// kind; but what is in the table is where requests go.
func acceptable(routes []routing.Route) (good []routing.Route, refused []v1.RouteRefusal) {
	good = slices.Clone(routes)
	for i := range good {
		bad := func(u routing.Upstream) bool {
			_, err := v1.ParseEndpoint(u.Address)
			if err == nil && strings.ContainsFunc(u.Key, isDelimiter) {
				err = fmt.Errorf("key %s: want neither spaces nor commas", routing.Quote(u.Key))
			}
			if err != nil {
				refused = append(refused, v1.RouteRefusal{App: good[i].App, Key: u.Key, Reason: ReasonNotAccepted, Message: err.Error()})
			}
			return err != nil
		}
		hosts, no := withoutBadHosts(good[i])
		if len(no) > 0 {
			good[i].Hosts, refused = hosts, append(refused, no...)
		}
		if slices.ContainsFunc(good[i].Upstreams, bad) {
			refused = refused[:len(refused)-1] // it is found again
			good[i].Upstreams = slices.DeleteFunc(slices.Clone(good[i].Upstreams), bad)
		}
	}
	return good, refused
}

// isDelimiter reports whether a character delimits the parts of a table. None is in a valid key.
func isDelimiter(r rune) bool { return r <= ' ' || r == ',' }

// readTable reads the file of the table that was in effect before this process.
func (d *dictionary) readTable(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	first, body, _ := bytes.Cut(data, []byte("\n"))
	epoch, err := strconv.ParseUint(strings.TrimPrefix(string(first), tableMagic), 10, 52)
	if err != nil || !bytes.HasSuffix(body, []byte("\n"+tableEnd)) && string(body) != tableEnd {
		return fmt.Errorf("%s is not a table of endpoints", path)
	}
	d.epoch, d.hosts = epoch, map[string]string{}
	var kept []string
	for line := range strings.Lines(string(body)) {
		kind, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch kind {
		case "draining":
			d.readDraining(strings.Fields(rest))
			continue
		case "app":
			d.readApp(strings.Fields(rest))
		case "host":
			if host, app, ok := strings.Cut(rest, " "); ok {
				d.hosts[host] = app
			}
		}
		kept = append(kept, line)
	}
	d.body = []byte(strings.Join(kept, ""))
	return nil
}

func (d *dictionary) readApp(fields []string) {
	for _, field := range fields[min(1, len(fields)):] {
		parts := strings.SplitN(field, ",", 5)
		if len(parts) < 5 {
			continue
		}
		address := parts[1] + ":" + parts[2]
		d.served[endpointID(fields[0], parts[4], address)] = endpoint{key: parts[4], app: fields[0], address: address, timeout: v1.DefaultDrainTimeout}
	}
}

func (d *dictionary) readDraining(fields []string) {
	if len(fields) != 4 {
		return
	}
	e := endpoint{app: fields[0], key: fields[1], address: fields[2]}
	if e.until.UnmarshalText([]byte(fields[3])) == nil {
		d.draining[endpointID(e.app, e.key, e.address)] = e
	}
}

// set makes the routes' hosts and endpoints the table. changed: it is another one.
func (d *dictionary) set(routes []routing.Route, now time.Time) (changed bool) {
	d.hosts = hostsOf(routes, d.hosts)
	body, served := renderTable(routes, d.hosts)
	if changed = d.epoch == 0 || !bytes.Equal(body, d.body); changed {
		d.epoch = max(d.epoch, d.board.epoch()) + 1
		d.body = body
	}
	for id, e := range d.served {
		if _, still := served[id]; !still {
			e.since, e.until = now, now.Add(e.timeout)
			d.draining[id] = e
		}
	}
	for id := range served {
		delete(d.draining, id)
	}
	d.served = served
	return changed
}

// text is the table as nginx gets it, with what the next router has to know.
func (d *dictionary) text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%d\n", tableMagic, d.epoch)
	for _, id := range slices.Sorted(maps.Keys(d.draining)) {
		e := d.draining[id]
		fmt.Fprintf(&b, "draining %s %s %s %s\n", e.app, e.key, e.address, e.until.UTC().Format(time.RFC3339Nano))
	}
	b.Write(d.body)
	return b.Bytes()
}

// tell has nginx take a table, or says with none what it has: the epochs of its dictionary and of the board.
func (s *Server) tell(ctx context.Context, table []byte) (dictionary, board uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, feedTimeout)
	defer cancel()
	method := http.MethodGet
	if table != nil {
		method = http.MethodPut
	}
	code, body, err := s.ask(ctx, feedName, method, "/-/endpoints", table)
	if err != nil {
		return 0, 0, err
	}
	if code != http.StatusOK {
		return 0, 0, fmt.Errorf("nginx answers %d: %s", code, strings.TrimSpace(body))
	}
	if _, err := fmt.Sscanf(body, "%d %d", &dictionary, &board); err != nil {
		return 0, 0, fmt.Errorf("nginx answers %q: %w", body, err)
	}
	return dictionary, board, nil
}

// ask sends one request to the running nginx, each time on a new connection: an open one would be answered by an old worker.
func (s *Server) ask(ctx context.Context, socket, method, path string, body []byte) (code int, answer string, err error) {
	var d net.Dialer
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", s.path(socket))
	}}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://nginx"+path, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, string(data), err
}

// handOver writes the table, and hands it to nginx if that runs.
func (s *Server) handOver(ctx context.Context, routes []routing.Route, running bool) (changed bool, err error) {
	d := s.dictionary
	before := d.hosts
	changed = d.set(routes, time.Now())
	d.newHosts = d.newHosts || !maps.Equal(before, d.hosts)
	if changed {
		if err := atomicfile.Replace(s.path(tableName), d.text(), 0o644, atomicfile.Process); err != nil {
			d.epoch, d.body = 0, nil // the next Apply writes it
			return true, err
		}
	}
	if !running {
		d.board.begin(d.epoch)
		return changed, nil
	}
	if changed {
		if _, _, err := s.tell(ctx, d.text()); err != nil {
			return true, err
		}
	}
	return changed, nil
}

// keepHosts writes the table once more if it has other hosts, so that a power cut does not take them back, as with those in nginx.conf.
// It is done when they are served, because a disk takes its time.
func (s *Server) keepHosts() error {
	d := s.dictionary
	if !d.newHosts {
		return nil
	}
	err := atomicfile.Replace(s.path(tableName), d.text(), 0o644, atomicfile.Power)
	d.newHosts = err != nil
	return err
}

// confirm returns nil if the whole nginx serves the table: its answer says so, and every process of it that accepts or holds
// requests is one that reads the table for each of them.
func (s *Server) confirm(ctx context.Context) error {
	d := s.dictionary
	ctx, cancel := context.WithTimeout(ctx, s.effectTimeout)
	defer cancel()
	tick := time.NewTicker(effectInterval)
	defer tick.Stop()
	var why error
	for {
		err := s.confirmOnce(ctx)
		if err == nil {
			if d.confirmed != d.epoch && len(d.draining) > 0 {
				fence()
			}
			d.confirmed = d.epoch
			return nil
		}
		if why == nil || ctx.Err() == nil { // the end of the time is no reason
			why = err
		}
		select {
		case <-tick.C:
		case <-s.proc.done:
			return fmt.Errorf("nginx has not acknowledged table %d: it exited", d.epoch)
		case <-ctx.Done():
			return fmt.Errorf("nginx has not acknowledged table %d: %w", d.epoch, why)
		}
	}
}

func (s *Server) confirmOnce(ctx context.Context) error {
	d := s.dictionary
	has, effective, err := s.tell(ctx, nil)
	if err == nil && (has != d.epoch || effective != d.epoch) {
		has, effective, err = s.tell(ctx, d.text())
	}
	switch {
	case err != nil:
		return err
	case has != d.epoch || effective != d.epoch:
		return fmt.Errorf("it serves table %d of %d", has, effective)
	}
	return s.confirmWorkers(time.Now())
}

// confirmWorkers asks the board for every worker, old ones that finish their last requests included. One without a slot is of a
// configuration before this version, or another program: it has the endpoints that it began with. If it accepts no requests any more,
// it is waited for as long as for requests to an endpoint that was withdrawn.
func (s *Server) confirmWorkers(now time.Time) error {
	d := s.dictionary
	strange := map[int]time.Time{}
	var wrong []string
	for _, pid := range s.workers() {
		slot := d.board.slot(pid)
		switch {
		case slot == nil:
			since, seen := d.strange[pid]
			if !seen {
				since = now
			}
			strange[pid] = since
			if isAccepting(pid) || now.Sub(since) < v1.DefaultDrainTimeout {
				wrong = append(wrong, fmt.Sprintf("worker %d still has a configuration with endpoints of its own", pid))
			}
		case load(&slot.failed) != 0:
			wrong = append(wrong, fmt.Sprintf("worker %d cannot read the table: see nginx's error log", pid))
		}
	}
	d.strange = strange
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, ", "))
	}
	return nil
}

// workers returns the processes of nginx that handle requests, old ones included.
func (s *Server) workers() []int {
	retiring := s.retiring()
	return slices.DeleteFunc(workers(s.proc.session), func(pid int) bool { return pid == s.proc.pid || pid == retiring })
}

// Draining returns the withdrawn endpoints to which requests are under way, sorted by key, as nginx's workers count them. One
// whose time is up is waited for no longer.
func (s *Server) Draining() []v1.Draining {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drainingNow(time.Now())
}

func (s *Server) drainingNow(now time.Time) []v1.Draining {
	d := s.dictionary
	if d == nil || len(d.draining) == 0 {
		return nil
	}
	counts := make(map[uint64]underway, len(d.draining))
	for id := range d.draining {
		counts[id] = underway{}
	}
	for i := range d.board.data.slots {
		slot := &d.board.data.slots[i]
		if pid := int(load(&slot.pid)); pid > 0 && strings.HasPrefix(title(pid), "nginx: ") { // also one whose master is gone
			slot.add(counts)
		}
	}
	var out []v1.Draining
	for id, e := range d.draining {
		n := counts[id]
		if d.confirmed == d.epoch && n.requests <= 0 || !now.Before(e.until) {
			delete(d.draining, id)
			continue
		}
		out = append(out, v1.Draining{Endpoint: e.key, Address: e.address, Since: e.since.UTC(), Requests: n.requests, Streams: n.streams})
	}
	slices.SortFunc(out, func(a, b v1.Draining) int {
		return cmp.Or(strings.Compare(a.Endpoint, b.Endpoint), strings.Compare(a.Address, b.Address))
	})
	return out
}
