package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/route"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// agent measures one machine's part of fleetd with 20 units.
func agent(ctx context.Context, b *bench) error {
	const units = 20
	dir, err := scratch()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var client *store.Client
	etcd, err := startEtcd(ctx, dir, &client)
	if err != nil {
		return err
	}
	defer etcd.end()
	defer client.Close()
	m, err := start(ctx, childMachines, machinesConfig{Etcd: etcdConfig{Dir: dir}.endpoint(), Dir: dir, Machines: 1, Start: startDelay, TTL: machineTTL})
	if err != nil {
		return err
	}
	defer m.end()
	if err := m.ask(nil, "aim", units); err != nil {
		return err
	}
	const text = "[Service]\nExecStart=/bin/sleep infinity\n"
	txn := store.Txn{Ops: []store.Op{{Key: keys.UnitFiles().Key(unitfile.Hash(text)), Value: []byte(text)}}}
	placement, err := keys.Placements().Encode(v1.Placement{Hash: unitfile.Hash(text), DesiredState: v1.Launched})
	if err != nil {
		return err
	}
	for i := range units {
		name := keyspace.Join(machineID(0, 1), fmt.Sprintf("web@%d.service", i))
		txn.Ops = append(txn.Ops, store.Op{Key: keys.Placements().Key(name), Value: placement})
	}
	if _, err := client.Commit(ctx, txn); err != nil {
		return err
	}
	if err := m.ask(nil, "await"); err != nil {
		return err
	}
	return reportMemory(b, "memory/agent/20/", m, units)
}

// router measures a router with 1,000 endpoints of 100 apps, without its nginx.
func router(ctx context.Context, b *bench) error {
	const endpoints, apps = 1000, 100
	dir, err := scratch()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var client *store.Client
	etcd, err := startEtcd(ctx, dir, &client)
	if err != nil {
		return err
	}
	defer etcd.end()
	defer client.Close()
	row := keyspace.Endpoints(v1.DefaultAnnouncePrefix)
	var groups []store.Group
	for i := range endpoints {
		app := fmt.Sprintf("app%02d", i%apps)
		key := row.Key(keyspace.Join(app, fmt.Sprintf("%s@%d", app, i/apps+1)))
		groups = append(groups, store.Group{{Key: key, Value: fmt.Appendf(nil, "192.0.2.%d:%d", i%250, 3000+i)}})
	}
	for i := range apps {
		app := fmt.Sprintf("app%02d", i)
		value, err := keys.Routes().Encode(v1.AppRoute{UID: "1", Prefix: v1.DefaultAnnouncePrefix, Hosts: map[string]int64{app + ".example.com": 1}})
		if err != nil {
			return err
		}
		groups = append(groups, store.Group{{Key: keys.Routes().Key(app), Value: value}})
	}
	if _, err := store.LastRevision(store.Write(ctx, client, groups, store.Fence{})); err != nil {
		return err
	}
	r, err := start(ctx, childRouter, etcdConfig{Dir: dir})
	if err != nil {
		return err
	}
	defer r.end()
	if err := r.ask(nil, "await", endpoints); err != nil {
		return err
	}
	return reportMemory(b, "memory/router/1000/", r, endpoints)
}

// silent is an nginx that accepts every configuration, and a recorder that drops events.
type silent struct {
	applied chan struct{}
	exited  chan struct{}
	config  nginx.Configuration
}

func (s *silent) Apply(_ context.Context, c nginx.Configuration) (nginx.Result, error) {
	s.config = c
	select {
	case s.applied <- struct{}{}:
	default:
	}
	return nginx.Result{Changed: true}, nil
}

func (s *silent) Exited() <-chan struct{}     { return s.exited }
func (s *silent) Draining() []v1.Draining     { return nil }
func (s *silent) Record(_, _, _, _, _ string) {}

func serveRouter(config string) (questions, func(), error) {
	var c etcdConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return nil, nil, err
	}
	client, err := store.Dial(store.Config{Endpoints: []string{c.endpoint()}})
	if err != nil {
		return nil, nil, err
	}
	server := &silent{applied: make(chan struct{}, 1), exited: make(chan struct{})}
	router := route.New(route.Options{
		Store: client, Keys: keys, Nginx: server, Events: server, Log: logr.Discard(), Machine: "router", Allowed: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
		Settings: nginx.Settings{Dir: c.Dir, Listen: []string{"127.0.0.1:80"}, Domain: "example.com"}, StateFile: filepath.Join(c.Dir, "served.json"),
		TTL: 15 * time.Second, Debounce: route.DefaultDebounce,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = router.Run(ctx) })
	return questions{
			"await": func(ctx context.Context, _ string) (any, error) {
				select {
				case <-server.applied:
					return nil, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			},
		}, func() {
			cancel()
			running.Wait()
			client.Close()
		}, nil
}
