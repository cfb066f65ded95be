package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// startDelay is how long a service takes to become active: about what systemd takes for a linked unit.
const startDelay = 15 * time.Millisecond

// machineTTL is long enough that keep-alives of thousands of machines do not load two cores.
const machineTTL = 5 * time.Minute

// lab is an etcd, a leader and many machines, each part in a process.
type lab struct {
	bench  *bench
	size   dimensions
	dir    string
	etcd   *child
	leader *child
	fleet  *child
	store  *store.Client
}

// controlPlane measures a cluster with a real etcd: an app is applied, others change, nothing happens, a leader takes over.
func controlPlane(ctx context.Context, b *bench) error {
	l := &lab{bench: b, size: b.cluster}
	defer l.end()
	if err := l.start(ctx); err != nil {
		return err
	}
	for _, part := range []struct {
		prefix  string
		measure func(context.Context) error
	}{{"", l.apply}, {"memory/leader/", l.memory}, {"rest/", l.rest}, {"messages/", l.others}, {"startup/", l.takeover}} {
		if !b.wantsAny([]string{part.prefix}) {
			continue
		}
		if err := part.measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

// scratch is a directory in memory if possible: the disk is not measured.
func scratch() (string, error) {
	for _, parent := range []string{"/dev/shm", ""} {
		if dir, err := os.MkdirTemp(parent, "bench"); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp("", "bench")
}

func (l *lab) start(ctx context.Context) (err error) {
	if l.dir, err = scratch(); err != nil {
		return err
	}
	if l.etcd, err = startEtcd(ctx, l.dir, &l.store); err != nil {
		return err
	}
	endpoint := etcdConfig{Dir: l.dir}.endpoint()
	l.fleet, err = start(ctx, childMachines, machinesConfig{
		Etcd: endpoint, Dir: filepath.Join(l.dir, "machines"), Machines: l.size.machines, Start: startDelay, TTL: machineTTL,
	})
	if err != nil {
		return err
	}
	l.leader, err = start(ctx, childLeader, leaderConfig{Etcd: endpoint})
	return err
}

func startEtcd(ctx context.Context, dir string, client **store.Client) (*child, error) {
	config := etcdConfig{Dir: dir}
	etcd, err := start(ctx, childEtcd, config)
	if err != nil {
		return nil, err
	}
	*client, err = store.Dial(store.Config{Endpoints: []string{config.endpoint()}})
	return etcd, err
}

func (l *lab) end() {
	for _, c := range []*child{l.leader, l.fleet} {
		if c != nil {
			c.end()
		}
	}
	if l.store != nil {
		l.store.Close()
	}
	if l.etcd != nil {
		l.etcd.end()
	}
	os.RemoveAll(l.dir)
}

func (l *lab) name(section, what string) string {
	return fmt.Sprintf("%s/%s/%s", section, l.size, what)
}

const manifest = `apiVersion: fleet/v1
kind: App
metadata: {name: %s}
spec:
  description: A web app
  replicas: %d
  exec: {command: [/usr/bin/web, --listen, ":3000", --instance, "%%n"]}
  env: {LOG_LEVEL: info}
%s`

// put applies an app as a person does.
func (l *lab) put(ctx context.Context, app string, replicas int, rest string) error {
	op := store.Op{Key: keys.Apps().Key(app), Value: fmt.Appendf(nil, manifest, app, replicas, rest)}
	_, err := l.store.Commit(ctx, store.Txn{Ops: []store.Op{op}})
	return err
}

// apply measures placing and starting an app of as many instances as there are to be units, compared with etcd alone.
func (l *lab) apply(ctx context.Context) error {
	n := l.size.units
	if err := l.leader.ask(nil, "lead", n); err != nil {
		return err
	}
	if err := l.fleet.ask(nil, "aim", n); err != nil {
		return err
	}
	if err := l.fleet.ask(nil, "mark"); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // the leader is elected and has seen all machines
	before, err := l.processor()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := l.put(ctx, "web", n, ""); err != nil {
		return err
	}
	var placed, active time.Time
	var byPlaced, byActive, received traffic
	if err := l.leader.ask(&placed, "await"); err != nil {
		return err
	}
	if err := l.leader.ask(&byPlaced, "traffic"); err != nil {
		return err
	}
	atPlaced, err := l.processor()
	if err != nil {
		return err
	}
	if err := l.fleet.ask(&active, "await"); err != nil {
		return err
	}
	atActive, err := l.processor()
	if err != nil {
		return err
	}
	if err := l.leader.ask(&byActive, "traffic"); err != nil {
		return err
	}
	if err := l.fleet.ask(&received, "traffic"); err != nil {
		return err
	}
	l.bench.report(l.name("controlplane", "placed"), placed.Sub(begin).Seconds(), "s", n)
	l.bench.report(l.name("controlplane", "states"), active.Sub(begin).Seconds(), "s", n)
	for i, part := range []string{"etcd", "leader", "machines"} {
		l.bench.report(l.name("controlplane", "placed/processor/"+part), (atPlaced[i] - before[i]).Seconds(), "s", n)
		l.bench.report(l.name("controlplane", "states/processor/"+part), (atActive[i] - before[i]).Seconds(), "s", n)
	}
	l.perUnit(byActive, received)
	return l.compare(ctx, placed.Sub(begin), byPlaced, active.Sub(begin), byActive, received)
}

// processor is the CPU time that etcd, the leader and the machines have used.
func (l *lab) processor() (used [3]time.Duration, err error) {
	for i, c := range []*child{l.etcd, l.leader, l.fleet} {
		if err := c.ask(&used[i], "processor"); err != nil {
			return used, err
		}
	}
	return used, nil
}

// perUnit reports counts, which are the same on every computer.
func (l *lab) perUnit(leader, machines traffic) {
	n, m := float64(l.size.units), float64(l.size.machines)
	puts, _ := leader.plus(machines).puts()
	l.bench.report(l.name("messages", "puts-per-unit"), float64(puts)/n, "puts", l.size.units)
	l.bench.report(l.name("messages", "state-puts-per-unit"), float64(machines.Puts["states"])/n, "puts", l.size.units)
	l.bench.report(l.name("messages", "received-per-machine"), float64(machines.Messages)/m, "messages", l.size.machines)
	l.bench.report(l.name("messages", "received-per-machine/bytes"), float64(machines.Bytes)/m, "bytes", l.size.machines)
}

// compare measures etcd alone with the same writes, twice: before and after, to show how much the computer varies.
func (l *lab) compare(ctx context.Context, placed time.Duration, byPlaced traffic, active time.Duration, byActive, machines traffic) error {
	for _, c := range []struct {
		name string
		took time.Duration
		by   traffic
	}{{"placed", placed, byPlaced}, {"states", active, byActive.plus(machines)}} {
		puts, bytes := c.by.puts()
		var best, processor time.Duration
		for i := range 3 {
			dir := filepath.Join(l.dir, fmt.Sprint("alone", c.name, i))
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			took, used, err := alone(ctx, dir, puts, bytes)
			if err != nil {
				return err
			}
			if best == 0 || took < best {
				best, processor = took, used
			}
			os.RemoveAll(dir)
		}
		l.bench.report(l.name("controlplane", c.name+"-etcd-alone"), best.Seconds(), "s", int(puts))
		l.bench.report(l.name("controlplane", c.name+"-etcd-alone/processor"), processor.Seconds(), "s", int(puts))
		l.bench.report(l.name("controlplane", c.name+"-vs-etcd"), c.took.Seconds()/best.Seconds(), "ratio", int(puts))
	}
	return nil
}

// memory reports the leader's memory.
func (l *lab) memory(context.Context) error {
	return reportMemory(l.bench, l.name("memory/leader", ""), l.leader, l.size.units)
}

func reportMemory(b *bench, prefix string, c *child, n int) error {
	var before, after memory
	if err := c.ask(&before, "memory"); err != nil {
		return err
	}
	if err := c.ask(nil, "settle"); err != nil {
		return err
	}
	if err := c.ask(&after, "memory"); err != nil {
		return err
	}
	const mb = 1 << 20
	b.report(prefix+"heap", float64(after.Heap)/mb, "MB", n)
	b.report(prefix+"anonymous", float64(after.Anonymous)/mb, "MB", n)
	b.report(prefix+"resident", float64(after.Resident)/mb, "MB", n)
	b.report(prefix+"peak", float64(before.Peak)/mb, "MB", n)
	return nil
}

// rest counts etcd's requests while nothing happens.
func (l *lab) rest(ctx context.Context) error {
	window := 10 * time.Second
	if l.bench.small {
		window = 5 * time.Second
	}
	var before, after requests
	var atLeader, atMachines, leaderAfter, machinesAfter traffic
	deadline := time.Now().Add(time.Minute)
	for before.Puts = -1; ; before = after { // until a quiet second
		if err := l.etcd.ask(&after, "requests"); err != nil {
			return err
		}
		if after == before || time.Now().After(deadline) {
			break
		}
		if !store.Sleep(ctx, time.Second) {
			return ctx.Err()
		}
	}
	if err := l.ask(&before, &atLeader, &atMachines); err != nil {
		return err
	}
	if !store.Sleep(ctx, window) {
		return ctx.Err()
	}
	if err := l.ask(&after, &leaderAfter, &machinesAfter); err != nil {
		return err
	}
	seconds := int(window.Seconds())
	l.bench.report("rest/puts", after.Puts-before.Puts+after.Deletes-before.Deletes, "puts", seconds)
	l.bench.report("rest/reads", after.Ranges-before.Ranges, "reads", seconds)
	l.bench.report("rest/messages", float64(leaderAfter.Messages-atLeader.Messages+machinesAfter.Messages-atMachines.Messages), "messages", seconds)
	alive := leaderAfter.KeepAlives - atLeader.KeepAlives + machinesAfter.KeepAlives - atMachines.KeepAlives
	l.bench.report("rest/keepalives", float64(alive), "requests", seconds)
	return nil
}

func (l *lab) ask(r *requests, leader, machines *traffic) error {
	if err := l.etcd.ask(r, "requests"); err != nil {
		return err
	}
	if err := l.leader.ask(leader, "traffic"); err != nil {
		return err
	}
	return l.fleet.ask(machines, "traffic")
}

// others changes the machines of one zone, and counts what the other machines receive.
func (l *lab) others(ctx context.Context) error {
	n := max(l.size.units/100, 10)
	if err := l.fleet.ask(nil, "mark"); err != nil {
		return err
	}
	if err := l.fleet.ask(nil, "aim", n); err != nil {
		return err
	}
	if err := l.put(ctx, "zoned", n, "  placement: {machineMetadata: {zone: z1}}\n"); err != nil {
		return err
	}
	if err := l.fleet.ask(nil, "await"); err != nil {
		return err
	}
	var most traffic
	if err := l.fleet.ask(&most, "bystanders", "z1"); err != nil {
		return err
	}
	l.bench.report(l.name("messages", "while-others-change"), float64(most.Messages), "messages", n)
	l.bench.report(l.name("messages", "while-others-change/bytes"), float64(most.Bytes), "bytes", n)
	return nil
}

// takeover starts another leader, with one unit that has no machine yet, and measures the time until that is placed.
func (l *lab) takeover(ctx context.Context) error {
	const times = 3
	took := make([]time.Duration, times)
	for i := range took {
		if err := l.leader.ask(nil, "resign"); err != nil {
			return err
		}
		if err := l.leader.ask(nil, "settle"); err != nil {
			return err
		}
		if err := l.putUnit(ctx, fmt.Sprintf("late%d.service", i)); err != nil {
			return err
		}
		var began, placed time.Time
		if err := l.leader.ask(&began, "lead", 1); err != nil {
			return err
		}
		if err := l.leader.ask(&placed, "await"); err != nil {
			return err
		}
		took[i] = placed.Sub(began)
		if !store.Sleep(ctx, time.Second) { // let its effects pass
			return ctx.Err()
		}
	}
	l.bench.report(fmt.Sprintf("startup/%d/deciding", l.size.units), middle(took).Seconds(), "s", times)
	return nil
}

func (l *lab) putUnit(ctx context.Context, name string) error {
	const text = "[Service]\nExecStart=/bin/sleep infinity\n"
	unit := v1.Unit{Metadata: v1.ObjectMeta{Name: name}, Spec: v1.UnitSpec{Hash: unitfile.Hash(text), DesiredState: v1.Launched}}
	value, err := keys.Units().Encode(unit)
	if err != nil {
		return err
	}
	_, err = l.store.Commit(ctx, store.Txn{Ops: []store.Op{
		{Key: keys.UnitFiles().Key(unit.Spec.Hash), Value: []byte(text)}, {Key: keys.Units().Key(name), Value: value},
	}})
	return err
}
