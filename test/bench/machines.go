package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/metadata"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/node"
	"github.com/fleet-starter/fleet/internal/daemon/presence"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store"
)

var keys = keyspace.New("")

// machinesConfig configures the machines of one process.
type machinesConfig struct {
	Etcd     string
	Dir      string
	Machines int
	// Start is how long a service takes to become active.
	Start time.Duration
	// TTL is the TTL of a machine's lease.
	TTL time.Duration
}

// machine is everything of a fleetd that runs on every machine except systemd: presence, cache, node controller, state
// writer.
type machine struct {
	store    *counted
	systemd  *services
	presence *presence.Presence
	node     *node.Node
	marked   traffic
}

// machineID returns unordered IDs; machines are in 10 zones.
func machineID(i, of int) string { return fmt.Sprintf("%032x", i*7919%of) }

func zone(i int) string { return fmt.Sprint("z", i%10) }

// ownStream gives each machine's watches their own stream over a shared connection. etcd considers a stream with 128 pending
// answers slow and lets it catch up from its database, which never happens to a machine with its own connection.
type ownStream struct {
	store.Interface
	machine string
}

func (s ownStream) own(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "machine", s.machine) // etcd's client opens a stream for each metadata
}

func (s ownStream) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	return s.Interface.Watch(s.own(ctx), prefix, after)
}

func (s ownStream) RequestProgress(ctx context.Context) error {
	return s.Interface.RequestProgress(s.own(ctx))
}

func newMachine(c machinesConfig, i int, s store.Interface, written func([]store.Op)) (*machine, error) {
	id := machineID(i, c.Machines)
	m := &machine{store: count(ownStream{s, id}, keys.Root(), written), systemd: newServices(c.Start)}
	dir := filepath.Join(c.Dir, strconv.Itoa(i))
	files := layout.Layout{State: filepath.Join(dir, "state"), Runtime: filepath.Join(dir, "run"), Units: filepath.Join(dir, "units"), Shared: filepath.Join(dir, "shared")}
	m.presence = presence.New(presence.Options{
		Store: m.store, Keys: keys, TTL: c.TTL, LeaseFile: files.Lease(), OnReturn: func() { m.node.Returned() }, Log: logr.Discard(),
		Machine: v1.Machine{
			TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindMachine}, Metadata: v1.ObjectMeta{Name: id},
			Spec: v1.MachineSpec{
				Address: "192.0.2.1", Metadata: map[string]string{"zone": zone(i), "disk": "ssd"}, Capacity: v1.Capacity{CPU: 64000, Memory: 256 << 30},
				Versions: map[string]string{"fleetd": "bench", "systemd": "252"}, BootID: id, Endpoint: "http://192.0.2.1:49153",
			},
		},
	})
	var err error
	m.node, err = node.New(node.Options{
		Machine: id, Keys: keys, Store: m.store, Systemd: m.systemd, Layout: files,
		Log: logr.Discard(), Alone: m.presence.Alone(), WasAway: m.presence.WasAway,
	})
	return m, err
}

// run works until ctx ends.
func (m *machine) run(ctx context.Context) {
	var parts sync.WaitGroup
	parts.Go(func() { _ = m.presence.Run(ctx) })
	parts.Go(func() { _ = m.node.Run(ctx) })
	parts.Wait()
	m.systemd.Close()
}

// machines are many machines, over a few connections.
type machines struct {
	config  machinesConfig
	all     []*machine
	running sync.WaitGroup
	cancel  context.CancelFunc

	mu    sync.Mutex
	goals []*goal
}

// connections is the number of shared connections.
const connections = 16

func (ms *machines) written(ops []store.Op) {
	ms.mu.Lock()
	goals := ms.goals
	ms.mu.Unlock()
	for _, g := range goals {
		g.note(ops)
	}
}

// aim returns a goal that counts everything written from now on.
func (ms *machines) aim(g *goal) *goal {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.goals = append(ms.goals[:len(ms.goals):len(ms.goals)], g)
	return g
}

// startMachines returns when all of them are present.
func startMachines(c machinesConfig, connect func() (store.Interface, error)) (*machines, error) {
	ms := &machines{config: c}
	ctx, cancel := context.WithCancel(context.Background())
	ms.cancel = cancel
	stores := make([]store.Interface, min(connections, c.Machines))
	for i := range stores {
		var err error
		if stores[i], err = connect(); err != nil {
			ms.stop()
			return nil, err
		}
	}
	for i := range c.Machines {
		m, err := newMachine(c, i, stores[i%len(stores)], ms.written)
		if err != nil {
			ms.stop()
			return nil, err
		}
		ms.all = append(ms.all, m)
		ms.running.Go(func() { m.run(ctx) })
	}
	deadline := time.After(answerTimeout)
	for _, m := range ms.all {
		select {
		case <-m.presence.Present():
		case <-deadline:
			ms.stop()
			return nil, errors.New("the machines were not present in time")
		}
	}
	return ms, nil
}

func (ms *machines) stop() {
	ms.cancel()
	ms.running.Wait()
}

func (ms *machines) traffic() (all traffic) {
	for _, m := range ms.all {
		all = all.plus(m.store.traffic())
	}
	return all
}

// bystanders returns the most that a machine outside a zone has received since mark.
func (ms *machines) bystanders(outside string) (most traffic) {
	for i, m := range ms.all {
		if t := m.store.traffic(); zone(i) != outside {
			most.Messages = max(most.Messages, t.Messages-m.marked.Messages+t.Gets-m.marked.Gets+t.Lists-m.marked.Lists)
			most.Bytes = max(most.Bytes, t.Bytes-m.marked.Bytes)
		}
	}
	return most
}

func (ms *machines) mark() {
	for _, m := range ms.all {
		m.marked = m.store.traffic()
	}
}

func serveMachines(config string) (questions, func(), error) {
	var c machinesConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return nil, nil, err
	}
	// Real machines have their own processors. Here they get what etcd and the leader leave.
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, 10); err != nil {
		return nil, nil, err
	}
	// Otherwise the shared heap would be collected too often: each machine's would be hardly ever.
	debug.SetGCPercent(400)
	var clients []*store.Client
	ms, err := startMachines(c, func() (store.Interface, error) {
		client, err := store.Dial(store.Config{Endpoints: []string{c.Etcd}, RequestTimeout: time.Minute})
		clients = append(clients, client)
		return client, err
	})
	if err != nil {
		return nil, nil, err
	}
	var active *goal
	return questions{
			"aim": func(_ context.Context, n string) (any, error) {
				wanted, err := strconv.Atoi(n)
				active = ms.aim(newGoal(keys.States().Prefix(), wanted, isActive))
				return nil, err
			},
			"await":   func(ctx context.Context, _ string) (any, error) { return active.wait(ctx) },
			"traffic": func(context.Context, string) (any, error) { return ms.traffic(), nil },
			"mark":    func(context.Context, string) (any, error) { ms.mark(); return nil, nil },
			"bystanders": func(_ context.Context, outside string) (any, error) {
				return ms.bystanders(outside), nil
			},
		}, func() {
			ms.stop()
			for _, client := range clients {
				client.Close()
			}
		}, nil
}
