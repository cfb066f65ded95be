// Package node makes one machine's systemd match the machine's placements and reports unit states.
//
// Plan makes all decisions. What was done since boot is recorded in the runtime directory, so that a restarted fleetd
// does not touch running units; placements and unit files are copied to disk, so that a machine which boots while etcd
// is unavailable starts what it had.
package node

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/systemd"
)

// Options configure a Node. Durations have defaults.
type Options struct {
	Machine string
	Keys    keyspace.Keys
	Store   store.Interface
	Systemd systemd.Manager
	Layout  layout.Layout
	Log     logr.Logger
	Metrics *controller.Metrics

	// Alone is closed once no other machine has this one's ID; placements are not read before. nil: at once.
	Alone <-chan struct{}
	// WasAway reports whether the cluster may recently have considered this machine gone, so that its units may run
	// elsewhere. nil: never.
	WasAway func() bool
	// CutOffAt is when this machine has to consider itself cut off unless etcd answers before. nil: never.
	CutOffAt func() time.Time
	// Events records events of units. nil: none.
	Events *events.Recorder
	// Output reads the last lines a unit has logged since then, and whether its failure is among what was logged. nil: there is no journal.
	Output func(ctx context.Context, unit string, since time.Time) (text string, ended bool, err error)
	// Runtimes are the machine's container runtimes, by v1.Container's name for them. nil: no container is looked for.
	Runtimes map[string]ContainerRuntime
	// Puller pulls images. nil: units pull by themselves.
	Puller Puller
	// Ignored is called for undecodable placements. nil: not called.
	Ignored func(key string, revision int64, reason, why string)

	// Caches are further options of the cache of placements.
	Caches []cache.Option

	// Resync is how often systemd is polled without a hint of a change. Default 30s.
	Resync time.Duration
	// Debounce is how long to collect hints. Default 20ms.
	Debounce time.Duration
	// BootGrace is how long to wait for etcd before starting from disk. Default 5s.
	BootGrace time.Duration
	// HoldFor is the maximum time that a moved unit keeps running while its replacement is not active. Default 30s.
	HoldFor time.Duration
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&o.Resync, 30*time.Second)
	set(&o.Debounce, 20*time.Millisecond)
	set(&o.BootGrace, 5*time.Second)
	set(&o.HoldFor, 30*time.Second)
	if o.WasAway == nil {
		o.WasAway = func() bool { return false }
	}
	if o.CutOffAt == nil {
		o.CutOffAt = func() time.Time { return time.Time{} }
	}
	if o.Ignored == nil {
		o.Ignored = func(string, int64, string, string) {}
	}
	return o
}

// A slow pass is followed by a rest of so many times its duration, up to so many Debounces: while a hundred units start, passes
// share the processor with what they start, and what happens meanwhile is better seen at once than one by one.
const (
	rest       = 2
	restAtMost = 2
)

// Node is the controller of one machine.
type Node struct {
	Options
	reflector  *cache.Reflector
	placements *cache.Collection[v1.Placement]
	preparing  *preparing
	loop       *controller.Controller[controller.Singleton]

	files   *files
	records *records
	texts   *texts
	disk    *diskCopy
	states  *stateWriter
	holds   *holds
	found   *found
	// reloadDue is set if the last reload failed.
	reloadDue  bool
	outputs    *outputs
	containers *containers
	pulls      *pulls
	// booted are the placements of before the boot that have not been started since.
	booted  map[string]v1.Placement
	diskErr atomic.Pointer[error]

	synced  atomic.Bool               // placements are from the store
	passed  atomic.Pointer[time.Time] // when the last pass began
	started time.Time
	wait    sync.WaitGroup // goroutines started by Run
}

// New reads the state left by an earlier fleetd. It changes nothing.
func New(o Options) (*Node, error) {
	o = o.withDefaults()
	if err := o.Layout.Make(); err != nil {
		return nil, err
	}
	records, err := loadRecords(o.Layout.Launched(), o.Log)
	if err != nil {
		return nil, err
	}
	n := &Node{Options: o, records: records, files: newFiles(o.Layout.Units, o.Resync), texts: newTexts(o), disk: loadCopy(o.Layout, o.Log)}
	n.passed.Store(new(time.Time))
	n.reflector = cache.NewReflector(o.Store, o.Keys.PlacementsOf(o.Machine).Prefix(),
		append([]cache.Option{cache.WithLogger(o.Log), cache.OnRelist(n.relisted), cache.OnIgnored(o.Ignored)}, o.Caches...)...)
	n.placements = cache.Register(n.reflector, o.Keys.PlacementsOf(o.Machine))
	n.placements.OnChange(func([]cache.Event[v1.Placement]) { n.changed() })
	n.preparing = newPreparing(n)
	n.loop = controller.New(v1.ControllerNode, controller.Func[controller.Singleton](n.Reconcile), controller.Options{
		Log: o.Log, Metrics: o.Metrics, MinBackoff: 50 * time.Millisecond, MaxBackoff: 30 * time.Second,
		Rest: rest, RestAtMost: restAtMost * o.Debounce,
	})
	n.states = newStateWriter(o, n.enqueue)
	n.holds = newHolds(o, n.enqueue)
	n.found = newFound(n.holds, o.Layout.Unit)
	n.outputs = newOutputs(o, n.enqueue)
	n.containers = newContainers(n)
	n.pulls = newPulls(o, n.enqueue)
	if len(records.units) == 0 {
		n.booted = maps.Clone(n.disk.placements)
	}
	return n, n.markFound()
}

func (n *Node) enqueue() { n.loop.Enqueue(controller.Singleton{}) }

// changed triggers a pass at once or, soon after the last one, at the end of the debounce: placements for many machines
// arrive in parts.
func (n *Node) changed() {
	if wait := n.Debounce - time.Since(*n.passed.Load()); wait > 0 {
		n.loop.EnqueueAfter(controller.Singleton{}, wait)
	} else {
		n.enqueue()
	}
}

// relisted: etcd may have been restored from a backup, so the stored states may be older too.
func (n *Node) relisted(int64) {
	if n.synced.Swap(true) {
		n.states.reload()
	}
	n.enqueue()
}

// Synced reports whether the placements are from the store.
func (n *Node) Synced() bool { return n.synced.Load() }

// Returned is called when the machine's presence has lapsed and returned: the leader may have deleted its states.
func (n *Node) Returned() { n.states.reload() }

// Dump is the node's internal state, for debugging.
type Dump struct {
	FromStore  bool                    `json:"fromStore"`
	Placements map[string]v1.Placement `json:"placements"`
	States     map[string]v1.UnitState `json:"states"`
}

// Dump returns a snapshot of the node's state.
func (n *Node) Dump() Dump {
	d := Dump{FromStore: n.Synced(), Placements: map[string]v1.Placement{}, States: n.states.view()}
	for _, o := range n.placements.List() {
		d.Placements[o.Name] = o.Value
	}
	return d
}

// Run works until ctx ends and waits for its goroutines. It leaves all units running.
func (n *Node) Run(ctx context.Context) error {
	n.started = time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer n.wait.Wait()
	defer cancel()
	n.wait.Go(func() { n.readPlacements(ctx) })
	n.wait.Go(func() { n.listen(ctx) })
	n.wait.Go(func() { n.states.run(ctx) })
	n.wait.Go(func() { n.holds.run(ctx) })
	n.wait.Go(func() { n.found.run(ctx) })
	n.wait.Go(func() { n.outputs.run(ctx) })
	n.wait.Go(func() { n.containers.run(ctx) })
	n.wait.Go(func() { n.pulls.run(ctx) })
	n.enqueue()
	return errors.Join(n.loop.Run(ctx), n.records.save())
}

// readPlacements first waits until the machine is alone: the placements may be another machine's.
func (n *Node) readPlacements(ctx context.Context) {
	if n.Alone != nil {
		select {
		case <-n.Alone:
		case <-ctx.Done():
			return
		}
	}
	n.wait.Go(func() { n.preparing.run(ctx) })
	_ = n.reflector.Run(ctx) // ends with ctx
}

// listen turns hints into passes, plus a periodic one in case a hint was lost.
func (n *Node) listen(ctx context.Context) {
	resync := time.NewTicker(n.Resync)
	defer resync.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-n.Systemd.Events():
			if !ok {
				return
			}
			n.loop.EnqueueAfter(controller.Singleton{}, n.Debounce)
		case <-resync.C:
			n.enqueue()
		}
	}
}

// Reconcile makes one pass: observe, Plan, apply.
func (n *Node) Reconcile(ctx context.Context, _ controller.Singleton) (controller.Result, error) {
	if wait := n.BootGrace - time.Since(n.started); !n.Synced() && wait > 0 {
		return controller.Result{RequeueAfter: wait}, nil
	}
	in, err := n.observe(ctx)
	if err != nil {
		return controller.Result{}, errors.Join(err, n.records.save())
	}
	plan := Plan(in)
	acted, refused, err := n.apply(ctx, plan)
	if err != nil {
		return controller.Result{}, errors.Join(err, refused)
	}
	if acted {
		n.containers.ask()
	}
	if !acted || refused != nil { // a permanent refusal must not keep everything else from being saved
		refused = errors.Join(refused, n.persist(in))
	}
	after := earliest(plan.After, n.texts.retryIn(in.Now))
	if acted && refused == nil {
		after = earliest(after, n.Debounce) // for systemd's reaction
	}
	return controller.Result{RequeueAfter: after}, controller.Partial(refused)
}

// persist updates the on-disk copy for the next boot, after the units are as placed: a full disk must not delay them.
func (n *Node) persist(in Input) error {
	if !in.FromStore {
		return nil
	}
	err := errors.Join(n.texts.save(withPreparations(in)), n.disk.save(in.Placements))
	n.diskErr.Store(&err)
	return err
}

// DiskError is why the on-disk copy is out of date: a boot without etcd would start the old placements.
func (n *Node) DiskError() error {
	if err := n.diskErr.Load(); err != nil {
		return *err
	}
	return nil
}

// earliest returns the shorter of two delays; 0 means none.
func earliest(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
