package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/fleet-starter/fleet/test/lab/check"
)

// recorder keeps what the check of each test looks at: all that etcd was told since the lab is up, and what the journals say.
type recorder struct {
	lab    *Lab
	client *clientv3.Client
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	seen    int64 // the last revision of etcd that was heard of
	in      check.Input
	cursors map[string]string // how far each machine's journal was read
	told    map[string]bool   // problems that were told: each is told once
}

var limits = check.Limits{
	Overlap: 2 * time.Second,
	// The apps are checked every second: the third failure withdraws. An instance that ends takes its endpoint with it at once.
	Health:  3 * time.Second,
	Lease:   45 * time.Second, // announce.ttl, and what a new leader of etcd adds
	CatchUp: 35 * time.Second, // a machine that is back holds what was moved away for 30 s at most
}

// record starts to record.
func record(l *Lab) (*recorder, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: l.EtcdEndpoints(), DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &recorder{lab: l, client: client, stop: stop, cursors: map[string]string{}, told: map[string]bool{}, in: check.Input{Limits: limits}}
	r.done.Go(func() { r.watch(ctx) })
	return r, nil
}

func (r *recorder) close() error {
	r.stop()
	r.done.Wait()
	return r.client.Close()
}

// watch hears of every revision. A member that is alone says so, and another one is asked.
func (r *recorder) watch(ctx context.Context) {
	for next := int64(1); ctx.Err() == nil; {
		for answer := range r.client.Watch(clientv3.WithRequireLeader(ctx), "\x00", clientv3.WithFromKey(), clientv3.WithRev(next)) {
			if answer.Err() != nil {
				break
			}
			now := time.Now()
			for _, e := range answer.Events {
				r.heard(check.Write{Revision: e.Kv.ModRevision, At: now, Key: string(e.Kv.Key), Value: string(e.Kv.Value), Deleted: e.Type == clientv3.EventTypeDelete})
				next = e.Kv.ModRevision + 1
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (r *recorder) heard(w check.Write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = w.Revision
	if check.Kept(w.Key) {
		r.in.Writes = append(r.in.Writes, w)
	}
}

// caughtUp returns when all was heard of that etcd was told until now.
func (r *recorder) caughtUp(ctx context.Context) error {
	return poll(ctx, 30*time.Second, func() error {
		asking, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		answer, err := r.client.Get(asking, "/", clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.seen < answer.Header.Revision {
			return fmt.Errorf("heard of revision %d of %d", r.seen, answer.Header.Revision)
		}
		return nil
	})
}

// entry is a line of journalctl -o json.
type entry struct {
	Cursor    string `json:"__CURSOR"`
	Time      string `json:"__REALTIME_TIMESTAMP"` // microseconds
	MessageID string `json:"MESSAGE_ID"`
	Unit      string `json:"UNIT"`
}

// read reads what is new in a machine's journal of the starts and ends of units. Journals outlive power cuts: they are on the disk.
func (r *recorder) read(ctx context.Context, m *Machine) error {
	args := []string{"journalctl", "-o", "json", "--output-fields=MESSAGE_ID,UNIT", "--no-pager", "_PID=1"}
	for id := range check.Kinds {
		args = append(args, "MESSAGE_ID="+id)
	}
	r.mu.Lock()
	cursor := r.cursors[m.Name]
	r.mu.Unlock()
	if cursor != "" {
		args = append(args, "--after-cursor="+cursor)
	}
	text, err := m.Exec(ctx, args...)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("journal of %s: %w: %s", m.Name, err, lines.Text())
		}
		micros, err := strconv.ParseInt(e.Time, 10, 64)
		if err != nil {
			return fmt.Errorf("journal of %s: %w", m.Name, err)
		}
		r.in.Entries = append(r.in.Entries, check.Entry{At: time.UnixMicro(micros), Machine: m.Name, Unit: e.Unit, Kind: check.Kinds[e.MessageID]})
		r.cursors[m.Name] = e.Cursor
	}
	return lines.Err()
}

// containersGo is how long containers of units that have just stopped may be left: docker removes them meanwhile, or fleetd.
const containersGo = 30 * time.Second

// containers are what docker has on a machine, and the units that are not inactive there. It waits for containers that are removed just now.
func (r *recorder) containers(ctx context.Context, m *Machine, wait time.Duration) (boxes []check.Container, units []check.Unit, err error) {
	err = poll(ctx, wait, func() error {
		boxes, units = nil, nil
		text, err := m.Exec(ctx, "docker", "ps", "--all", "--format", `{{.Names}} {{.Label "fleet.unit"}}`)
		if err != nil {
			return err
		}
		for line := range strings.Lines(text) {
			name, unit, _ := strings.Cut(strings.TrimSpace(line), " ")
			boxes = append(boxes, check.Container{Machine: m.Name, Name: name, Unit: unit})
		}
		text, err = m.Exec(ctx, "systemctl", "list-units", "--type=service", "--state=active,activating,deactivating,reloading", "--plain", "--no-legend", "--no-pager")
		if err != nil {
			return err
		}
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) > 0 {
				units = append(units, check.Unit{Machine: m.Name, Name: f[0]})
			}
		}
		if len(check.Problems(check.Input{Containers: boxes, Running: units})) > 0 {
			return errors.New("a container without a unit")
		}
		return nil
	})
	if len(boxes) > 0 {
		err = nil // the check tells it
	}
	return boxes, units, err
}

// history is what was recorded until now. The network has to be whole, and all machines up.
func (r *recorder) history(ctx context.Context, wait time.Duration) (check.Input, error) {
	if err := r.caughtUp(ctx); err != nil {
		return check.Input{}, err
	}
	var boxes []check.Container
	var units []check.Unit
	if err := r.lab.Each(func(m *Machine) error {
		b, u, err := r.containers(ctx, m, wait)
		r.mu.Lock()
		boxes, units = append(boxes, b...), append(units, u...)
		r.mu.Unlock()
		return errors.Join(err, r.read(ctx, m))
	}); err != nil {
		return check.Input{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.in
	in.Until, in.Containers, in.Running = time.Now(), boxes, units
	in.Entries = slices.Clone(in.Entries)
	for _, k := range r.lab.Kills() {
		in.Entries = append(in.Entries, check.Entry{At: k.At, Machine: k.Machine, Kind: check.PowerCut})
	}
	for _, s := range r.lab.Cuts() {
		if s.To.IsZero() {
			s.To = in.Until
		}
		in.Cuts = append(in.Cuts, check.Window(s))
	}
	for _, m := range r.lab.Machines {
		in.Machines = append(in.Machines, check.Machine{Name: m.Name, ID: m.ID, Address: m.Address})
	}
	return in, nil
}

// check fails the test for what went wrong since the last check.
func (r *recorder) check(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // that of the test has ended
	defer cancel()
	in, err := r.history(ctx, containersGo)
	require.NoError(t, err)
	require.NotEmpty(t, in.Writes)
	require.NotEmpty(t, in.Entries)
	for _, p := range r.news(check.Problems(in)) {
		t.Errorf("%s", p)
	}
}

// news are the problems that were not told before.
func (r *recorder) news(problems []check.Problem) (found []check.Problem) {
	for _, p := range problems {
		key := p.What
		if i := strings.Index(key, " for "); i > 0 { // it may last, and be longer the next time
			key = p.At.String() + key[:i]
		}
		if !r.told[key] {
			r.told[key] = true
			found = append(found, p)
		}
	}
	return found
}

// TestCheckFinds: a copy and a container that a person makes by hand are found. (Fleet undoes what a person does to its keys too soon.)
func TestCheckFinds(t *testing.T) {
	l := withLab(t)
	start := time.Now()
	on := running(t, l, "web@1.service")
	idle := on
	for _, m := range l.Machines {
		if m != on && len(active(t, []*Machine{m}, "web@2.service")) == 0 {
			idle = m
		}
	}
	require.NotEqual(t, on, idle)
	for _, command := range []string{
		"tar c -T /dev/null | docker import - empty && docker create --name stray empty true",
		"mkdir -p /run/systemd/system && printf '[Service]\nExecStart=sleep infinity\n' > /run/systemd/system/web@1.service && systemctl daemon-reload && systemctl start web@1.service",
	} {
		_, err := idle.Exec(t.Context(), "sh", "-c", command)
		require.NoError(t, err)
	}
	time.Sleep(limits.Health + time.Second)
	_, err := idle.Exec(t.Context(), "sh", "-c", "systemctl stop web@1.service; rm /run/systemd/system/web@1.service; systemctl daemon-reload")
	require.NoError(t, err)
	in, err := theRecorder.history(t.Context(), 0)
	require.NoError(t, err)
	_, err = idle.Exec(t.Context(), "sh", "-c", "docker rm stray; docker rmi empty")
	require.NoError(t, err)
	theRecorder.news(check.Problems(in)) // the next check does not tell it again
	in.Cuts = nil                        // the test before may have cut the network
	found := fmt.Sprint(slices.DeleteFunc(check.Problems(in), func(p check.Problem) bool { return p.At.Before(start) }))
	t.Log(found)
	require.Contains(t, found, "web@1.service ran on ")
	require.Contains(t, found, "no unit accounts for the container stray on "+idle.Name)
	served(t, l.Machines, 2)
}
