// Package lab runs a cluster of real machines on this computer. Each is a systemd-nspawn container with a clean Debian in it: systemd
// is its PID 1, and it has its own disk, address, machine ID, journal, cgroup and docker daemon. The machines are connected by a bridge
// in a network namespace of the lab; this computer has one address in their network, and its firewall, its bridges and its docker are
// left alone. What happens to machines can be done to these: power cuts, reboots, partitions, slow links, full disks.
//
// It needs root, and Debian's systemd-container, mmdebstrap, nftables and iproute2.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fleet-starter/fleet/internal/atomicfile"
)

// DefaultDir is where a lab keeps its machines.
const DefaultDir = "/var/tmp/fleet-lab"

// Members is how many of the machines are members of the etcd cluster: the first ones.
const Members = 3

// Config says what lab to start.
type Config struct {
	// Dir keeps the machines, DefaultDir if empty. Stop removes it.
	Dir string
	// Machines is how many there are. Default 3.
	Machines int
	// Packages are Debian packages that are installed on every machine; fleet's own is one of them.
	Packages []string
	// AgentTTL is fleetd's agent_ttl. 0: fleetd's default.
	AgentTTL time.Duration
	// Progress is told of each step. Nil: it is not.
	Progress func(step string)
}

// Lab is a cluster of machines.
type Lab struct {
	Dir      string
	Machines []*Machine
	// spares are machines that are not of the cluster; nil is the place of one that was discarded. sparing guards them.
	spares   []*Machine
	sparing  sync.Mutex
	agentTTL time.Duration
	progress func(string)
	past     past
}

// stateFile is what a lab knows of itself from one process to the next.
const stateFile = "lab.json"

type state struct {
	// IDs are the machine IDs of the cluster's machines, Spares those of the others; "" is the place of one that was discarded.
	IDs    []string `json:"ids"`
	Spares []string `json:"spares,omitempty"`
}

// ErrDown says that there is no lab in the directory.
var ErrDown = errors.New("no lab is up")

// Start starts a lab, and returns when its machines have booted, etcd has a leader, and the packages are installed. Where it fails it
// leaves nothing behind.
func Start(ctx context.Context, cfg Config) (*Lab, error) {
	if err := missing(); err != nil {
		return nil, err
	}
	if cfg.Dir == "" {
		cfg.Dir = DefaultDir
	}
	if cfg.Machines == 0 {
		cfg.Machines = 3
	}
	if cfg.Machines < 1 || cfg.Machines > maxMachines {
		return nil, fmt.Errorf("lab: %d machines: use 1 to %d", cfg.Machines, maxMachines)
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, stateFile)); err == nil {
		return nil, fmt.Errorf("lab: a lab is up in %s: stop it first: make lab-down", cfg.Dir)
	}
	cfg.Progress("building the root file system of the machines, or taking it from the cache")
	base, err := buildBase(ctx)
	if err != nil {
		return nil, err
	}
	l := &Lab{Dir: cfg.Dir, agentTTL: cfg.AgentTTL, progress: cfg.Progress}
	if err := l.start(ctx, cfg, base); err != nil {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return nil, errors.Join(err, l.Stop(stopping))
	}
	return l, nil
}

func (l *Lab) start(ctx context.Context, cfg Config, base string) error {
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return err
	}
	for range cfg.Machines {
		l.add(newMachineID())
	}
	if err := l.save(); err != nil {
		return err
	}
	if err := layNetwork(ctx); err != nil {
		return err
	}
	l.progress(fmt.Sprintf("booting %d machines", cfg.Machines))
	if err := l.Each(func(m *Machine) error {
		if err := m.create(ctx, base, l); err != nil {
			return err
		}
		return m.Boot(ctx)
	}); err != nil {
		return err
	}
	l.progress("waiting for etcd")
	if err := l.waitForEtcd(ctx); err != nil {
		return err
	}
	return l.Install(ctx, cfg.Packages...)
}

// Open returns the lab that is up in the directory, or ErrDown.
func Open(dir string) (*Lab, error) {
	if dir == "" {
		dir = DefaultDir
	}
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lab: %w in %s: make lab", ErrDown, dir)
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("lab: %s: %w", filepath.Join(dir, stateFile), err)
	}
	l := &Lab{Dir: dir, progress: func(string) {}}
	for _, id := range s.IDs {
		l.add(id)
	}
	for _, id := range s.Spares {
		l.addSpare(id)
	}
	return l, nil
}

// save writes what the lab's next process has to know.
func (l *Lab) save() error {
	var s state
	for _, m := range l.Machines {
		s.IDs = append(s.IDs, m.ID)
	}
	for _, m := range l.spares {
		id := ""
		if !discarded(m) {
			id = m.ID
		}
		s.Spares = append(s.Spares, id)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return atomicfile.Replace(filepath.Join(l.Dir, stateFile), text, 0o644, atomicfile.Process)
}

func (l *Lab) add(id string) *Machine {
	m := newMachine(l.Dir, len(l.Machines)+1, id, &l.past)
	l.Machines = append(l.Machines, m)
	return m
}

func newMachine(dir string, n int, id string, past *past) *Machine {
	name := fmt.Sprintf("m%d", n)
	return &Machine{Name: name, Number: n, ID: id, Address: address(n), dir: filepath.Join(dir, name), past: past}
}

// Add boots more machines, with these packages, and returns when they have joined the cluster.
func (l *Lab) Add(ctx context.Context, n int, packages ...string) error {
	base, err := buildBase(ctx)
	if err != nil {
		return err
	}
	added := map[*Machine]bool{}
	for range n {
		added[l.add(newMachineID())] = true
	}
	if err := l.save(); err != nil {
		return err
	}
	if err := l.Each(func(m *Machine) error {
		if !added[m] {
			return nil
		}
		if err := m.create(ctx, base, l); err != nil {
			return err
		}
		if err := m.Boot(ctx); err != nil {
			return err
		}
		return m.install(ctx, l, packages)
	}); err != nil {
		return err
	}
	return l.Joined(ctx, len(l.Machines))
}

// Remove takes the last machines away, so that n are left.
func (l *Lab) Remove(ctx context.Context, n int) error {
	for len(l.Machines) > n {
		last := len(l.Machines) - 1
		if err := l.Machines[last].remove(ctx); err != nil {
			return err
		}
		l.Machines = l.Machines[:last]
		if err := l.save(); err != nil {
			return err
		}
	}
	return nil
}

// Machine returns the machine of that name, such as m1, or number.
func (l *Lab) Machine(name string) (*Machine, error) {
	for _, m := range l.Machines {
		if m.Name == name || fmt.Sprint(m.Number) == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("lab: unknown machine %q: use m1 to m%d", name, len(l.Machines))
}

// Each calls do for all machines at once and returns what failed.
func (l *Lab) Each(do func(*Machine) error) error { return each(l.Machines, do) }

func each(machines []*Machine, do func(*Machine) error) error {
	errs := make([]error, len(machines))
	var all sync.WaitGroup
	for i, m := range machines {
		all.Go(func() {
			if err := do(m); err != nil {
				errs[i] = fmt.Errorf("lab: %s: %w", m.Name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// stopTimeout is how long Stop may take after a start that failed.
const stopTimeout = 30 * time.Second

// Stop cuts the power of all machines and removes all that the lab made but the cached root file system.
func (l *Lab) Stop(ctx context.Context) error {
	err := each(slices.DeleteFunc(slices.Concat(l.Machines, l.spares), discarded), func(m *Machine) error { return m.remove(ctx) })
	err = errors.Join(err, removeNetwork(ctx), removeCgroups())
	if err != nil {
		return err // the state stays: stop it again
	}
	return os.RemoveAll(l.Dir)
}

// poll calls done until it returns nil, and returns its last error where the time is over.
func poll(ctx context.Context, limit time.Duration, done func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", limit, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
