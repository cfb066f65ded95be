package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/dev"
	"github.com/fleet-starter/fleet/internal/store"
)

// The sizes of the latency measurements.
const (
	latencyMachines = 3
	manyUnits       = 100
	requestsAtOnce  = 8 // of a client that starts many units
)

// sleeper is the service that is started, by fleet and by systemd alone.
const sleeper = "[Service]\nExecStart=/bin/sleep infinity\n"

// starts is a local cluster of real machines, with real fleetds.
type starts struct {
	bench    *bench
	cluster  *child
	store    *store.Client
	machines []*bare
	http     http.Client
}

// latency measures how long units take to start, with fleet and with systemd alone, in turn on the same machines.
func latency(ctx context.Context, b *bench) error {
	// Sockets of a machine need short paths, and machines need root or a login session.
	dir, err := os.MkdirTemp("/tmp", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &starts{bench: b, http: http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: requestsAtOnce}}}
	defer s.end()
	if err := s.begin(ctx, dir); err != nil {
		return err
	}
	rounds, many := 30, 10
	if b.small {
		rounds, many = 5, 2
	}
	if err := s.one(ctx, rounds); err != nil {
		return err
	}
	return s.many(ctx, many)
}

func (s *starts) begin(ctx context.Context, dir string) error {
	programs, err := filepath.Abs("bin")
	if err != nil {
		return err
	}
	if s.cluster, err = start(ctx, childCluster, clusterConfig{Dir: dir, BinDir: programs, Machines: latencyMachines}); err != nil {
		return err
	}
	c, err := dev.Connect(dir)
	if err != nil {
		return err
	}
	status, err := c.Status()
	if err != nil {
		return err
	}
	if s.store, err = store.Dial(store.Config{Endpoints: []string{status.EtcdEndpoint}}); err != nil {
		return err
	}
	for _, m := range status.Machine {
		systemd, err := dialBare(ctx, m.XDGRuntimeDir)
		if err != nil {
			return err
		}
		s.machines = append(s.machines, systemd)
	}
	return nil
}

func (s *starts) end() {
	for _, m := range s.machines {
		m.Close()
	}
	if s.store != nil {
		s.store.Close()
	}
	if s.cluster != nil {
		s.cluster.end()
	}
}

// call asks the first machine's fleetd, over the original fleet's API.
func (s *starts) call(ctx context.Context, method, name, body string) error {
	url := fmt.Sprintf("http://%s:%d/fleet/v1/units/%s", dev.Address(1), dev.APIPort, name)
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s", method, name, res.Status)
	}
	return nil
}

// launch is the body of a request that starts a service, with further options.
func launch(further ...string) string {
	options := append([]string{`{"section":"Service","name":"ExecStart","value":"/bin/sleep infinity"}`}, further...)
	return `{"desiredState":"launched","options":[` + strings.Join(options, ",") + `]}`
}

// onFirst keeps a unit on the first machine.
const onFirst = `{"section":"X-Fleet","name":"MachineMetadata","value":"name=m1"}`

// watch returns a function that waits until the states of n units in the store say active, or until n states are deleted.
func (s *starts) watch(ctx context.Context, n int, deleted bool) (wait func() error, err error) {
	page, err := s.store.List(ctx, keys.States().Prefix(), store.ListOptions{Limit: 1})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	batches := s.store.Watch(ctx, keys.States().Prefix(), page.Revision)
	return func() error {
		defer cancel()
		seen := map[string]bool{}
		for batch := range batches {
			if batch.Err != nil {
				return batch.Err
			}
			for _, e := range batch.Events {
				if e.Deleted == deleted && (deleted || isActive(e.Value)) {
					seen[e.Key] = true
				}
			}
			if len(seen) >= n {
				return nil
			}
		}
		return &shortOf{keys.States().Prefix(), len(seen), n}
	}, nil
}

// cost is what something took of systemd and etcd.
type cost struct {
	reloads int64
	requests
}

func (s *starts) cost() (c cost, err error) {
	for _, m := range s.machines {
		c.reloads += m.Reloads()
	}
	err = s.cluster.ask(&c.requests, "requests")
	return c, err
}

func (c cost) minus(o cost) cost {
	return cost{c.reloads - o.reloads, requests{c.Puts - o.Puts, c.Deletes - o.Deletes, c.Ranges - o.Ranges}}
}

// sample is one start: how long until the last unit was active in systemd, and until all states in etcd said so, beside
// systemd alone; and what it cost until then.
type sample struct {
	active, told, bare time.Duration
	cost
}

// medianOf returns the median of what of returns.
func medianOf(samples []sample, of func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (s *starts) report(section string, samples []sample) {
	for _, row := range []struct {
		what, unit string
		of         func(sample) float64
	}{
		{"systemd-alone", "ms", func(s sample) float64 { return ms(s.bare) }},
		{"active", "ms", func(s sample) float64 { return ms(s.active) }},
		{"told", "ms", func(s sample) float64 { return ms(s.told) }},
		{"told-above-systemd", "ms", func(s sample) float64 { return ms(s.told - s.bare) }},
		{"told-vs-systemd", "", func(s sample) float64 { return float64(s.told) / float64(s.bare) }},
		{"daemon-reloads", "", func(s sample) float64 { return float64(s.reloads) }},
		{"etcd-puts", "", func(s sample) float64 { return s.Puts }},
		{"etcd-reads", "", func(s sample) float64 { return s.Ranges }},
	} {
		s.bench.report(section+"/"+row.what, medianOf(samples, row.of), row.unit, len(samples))
	}
}
