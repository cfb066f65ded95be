// Package presence keeps a machine present in the cluster: machines/<id>, under a lease that outlives fleetd.
//
// A restarted fleetd adopts the lease of its predecessor, so that a restart is not an absence. The lease is never revoked.
package presence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/atomicfile"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// ErrDuplicate means that another machine, or another fleetd on this one, has the machine's ID.
var ErrDuplicate = errors.New("the machine ID is in use")

// grace is how much longer than a TTL to wait for another machine's presence to end: leases end late, not early.
const grace = 3 * time.Second

// Options configure a Presence.
type Options struct {
	Store store.Interface
	Keys  keyspace.Keys
	// Machine is the published value; its name is the machine's ID.
	Machine v1.Machine
	// TTL is how long the machine stays present without its fleetd.
	TTL time.Duration
	// LeaseFile is where the lease's ID is stored for the next fleetd.
	LeaseFile string
	// OnReturn is called when the machine is present again after its lease had expired.
	OnReturn func()
	Log      logr.Logger
}

// Presence is one machine's presence.
type Presence struct {
	Options
	id, key string        // of the machine; never change
	present chan struct{} // closed when the presence is in the store for the first time
	alone   chan struct{} // see Alone
	changed chan struct{} // the lease or the machine changed

	mu       sync.Mutex
	lease    store.LeaseID
	adopted  store.LeaseID // left by an earlier fleetd
	lastSeen time.Time     // the last time the lease was known to be alive
	renewed  time.Time     // when the last renewal that etcd confirmed was sent; at first the start
	lost     time.Time     // the last time it was found expired
	returned bool          // OnReturn is due
	other    error         // see Duplicate
}

// New reads the lease that an earlier fleetd left.
func New(o Options) *Presence {
	id := o.Machine.Metadata.Name
	p := &Presence{Options: o, id: id, key: o.Keys.Machines().Key(id),
		present: make(chan struct{}), alone: make(chan struct{}), changed: make(chan struct{}, 1), lastSeen: time.Now(), renewed: time.Now()}
	p.adopted = readLease(o.LeaseFile)
	return p
}

// Present is closed when the machine is present for the first time.
func (p *Presence) Present() <-chan struct{} { return p.present }

// Alone is closed when no other machine has this one's ID, so that the store's placements for it are its own: it is present,
// or no machine with that ID is and etcd has no space for a presence. Such a state can last for hours, in which the machine
// has to follow its placements: what it starts from disk after a boot may have been moved meanwhile.
func (p *Presence) Alone() <-chan struct{} { return p.alone }

// Duplicate says which other machine is present with this one's ID; nil if none is known. It may be this one itself, from before
// its address changed, until that presence ends.
func (p *Presence) Duplicate() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.other
}

func (p *Presence) setDuplicate(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.other = err
}

// WasAway reports whether the cluster may recently have considered the machine gone.
func (p *Presence) WasAway() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	return now.Sub(p.lastSeen) > p.TTL*2/3 || !p.lost.IsZero() && now.Sub(p.lost) < 2*p.TTL
}

// CutOffAt is when this machine has to consider itself cut off unless its lease is renewed before. It is a third of the TTL before
// the cluster may place its units elsewhere, so that what must not run twice can be stopped until then. A lease that was granted
// anew counts from its first renewal: the presence is in etcd by then.
func (p *Presence) CutOffAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.renewed.Add(p.TTL * 2 / 3)
}

// Update changes the published machine, except its ID.
func (p *Presence) Update(machine v1.Machine) {
	p.mu.Lock()
	p.Machine = machine
	p.mu.Unlock()
	p.poke()
}

func (p *Presence) poke() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Run keeps the machine present until ctx ends, then returns nil and leaves it present. While etcd is unreachable it keeps
// trying. It returns ErrDuplicate if another machine has the ID.
func (p *Presence) Run(ctx context.Context) error {
	return store.HoldKey(ctx, noted{p.Store, p, new(time.Time)}, store.HeldKey{
		Key: p.key, Put: p.put, OnHeld: p.established, Wake: p.changed, Retry: store.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second},
		Lease: store.KeptLease{TTL: p.TTL, Adopt: p.adopted, OnLease: p.onLease, Log: p.Log},
	})
}

// complainEvery is how often to log that etcd is still unreachable.
const complainEvery = time.Minute

// noted records every renewal, and logs when etcd becomes unreachable and when it is back. One goroutine uses its leases.
type noted struct {
	store.Interface
	p          *Presence
	complained *time.Time // zero while etcd answers
}

func (n noted) Grant(ctx context.Context, ttl time.Duration) (store.LeaseID, error) {
	id, err := n.Interface.Grant(ctx, ttl)
	n.note(ctx, err)
	if errors.Is(err, store.ErrNoSpace) {
		n.p.lookAround(ctx)
	}
	return id, err
}

func (n noted) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	revision, err := n.Interface.Commit(ctx, txn)
	if errors.Is(err, store.ErrNoSpace) {
		n.p.isAlone()
	}
	return revision, err
}

func (n noted) note(ctx context.Context, err error) {
	switch now := time.Now(); {
	case ctx.Err() != nil || errors.Is(err, store.ErrLeaseNotFound):
	case err == nil && !n.complained.IsZero():
		*n.complained = time.Time{}
		n.p.Log.Info("etcd answers again")
	case err != nil && now.Sub(*n.complained) >= complainEvery:
		*n.complained = now
		n.p.Log.Info("etcd does not answer: running units are not affected, changes have to wait", "error", err.Error())
	}
}

func (n noted) KeepAlive(ctx context.Context, id store.LeaseID) (time.Duration, error) {
	asked := time.Now()
	left, err := n.Interface.KeepAlive(ctx, id)
	n.note(ctx, err)
	if err == nil {
		n.p.mu.Lock()
		n.p.lastSeen, n.p.renewed = time.Now(), asked
		n.p.mu.Unlock()
	}
	return left, err
}

// onLease is called with the lease to use for the presence.
func (p *Presence) onLease(id store.LeaseID, adopted bool) {
	p.mu.Lock()
	if !adopted && (p.lease != 0 || p.adopted != 0) {
		p.lost, p.returned = time.Now(), true
	}
	p.lease, p.lastSeen = id, time.Now()
	p.mu.Unlock()
	if err := atomicfile.Replace(p.LeaseFile, []byte(strconv.FormatInt(int64(id), 16)+"\n"), 0o600, atomicfile.Process); err != nil {
		p.Log.Error(err, "Cannot save the lease for the next fleetd")
	}
}

func readLease(file string) store.LeaseID {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	id, err := strconv.ParseInt(strings.TrimSpace(string(data)), 16, 64)
	if err != nil {
		return 0
	}
	return store.LeaseID(id)
}

func (p *Presence) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Machine.Spec.Address
}

// put returns the write of the machine under the lease, or an error if another fleetd has its ID.
func (p *Presence) put(ctx context.Context, read store.ReadKey) (*store.Op, error) {
	p.mu.Lock()
	value, err := p.Keys.Machines().Encode(p.Machine)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	put := &store.Op{Key: p.key, Value: value, Lease: read.Holding, If: store.Unchanged(read.ModRevision)}
	switch {
	case !read.There:
		put.If = store.Absent()
	case read.Lease == read.Holding && bytes.Equal(read.Value, value):
		return nil, nil
	case read.Lease == read.Holding:
	case read.Lease == p.adopted: // this machine's own, from before its TTL was changed
	case read.Lease == 0: // put by hand: no machine keeps it alive, and it would never expire
	case read.Held == read.Holding:
		return nil, fmt.Errorf("%w: another fleetd with ID %s and the address of this one has taken over: only one may run", ErrDuplicate, p.id)
	case p.otherAddress(read.KV) != "":
		return nil, p.waitGone(ctx, read)
	}
	p.Log.Info("Putting presence", "machine", p.id, "address", p.address(), "lease", read.Holding.String(), "reason", reason(read, p.adopted))
	return put, nil
}

func reason(read store.ReadKey, adopted store.LeaseID) string {
	switch {
	case !read.There:
		return "Absent"
	case read.Lease == read.Holding:
		return "Changed"
	case read.Lease == 0:
		return "NoLease"
	case read.Lease == adopted:
		return "TTLChanged"
	}
	return "EarlierLife"
}

func (p *Presence) established() {
	p.mu.Lock()
	closeOnce(p.present)
	closeOnce(p.alone)
	returned := p.returned
	p.returned = false
	p.mu.Unlock()
	if returned && p.OnReturn != nil {
		p.OnReturn()
	}
}

func (p *Presence) isAlone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	closeOnce(p.alone)
}

// closeOnce is called with a lock held.
func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// lookAround checks whether another machine has the ID, when there is no lease for a presence.
func (p *Presence) lookAround(ctx context.Context) {
	select {
	case <-p.alone:
		return
	default:
	}
	kv, ok, _, err := p.Store.Get(ctx, p.key)
	if err == nil && (!ok || kv.Lease == 0 || p.otherAddress(kv) == "") {
		p.isAlone()
	}
}

// otherAddress is the address of another machine that is present with this one's ID; empty if it is this one's.
func (p *Presence) otherAddress(kv store.KV) string {
	other, err := p.Keys.Machines().Decode(kv.Value)
	if err != nil || other.Spec.Address == p.address() {
		return ""
	}
	return other.Spec.Address
}

// waitGone waits for the end of the lease of another machine's presence. If that machine is alive it does not end: then this
// one is the second with that ID, and does nothing.
func (p *Presence) waitGone(ctx context.Context, read store.ReadKey) error {
	id, address := p.id, p.otherAddress(read.KV)
	p.Log.Info("Another machine is present with this one's ID: waiting until its presence ends", "machine", id, "otherAddress", address, "atMost", p.TTL+grace)
	p.setDuplicate(fmt.Errorf("machine %s is present at %s, this one is at %s: give each its own /etc/machine-id (systemd-machine-id-setup) or machine_id, or wait until its presence ends", id, address, p.address()))
	waiting, cancel := context.WithTimeout(ctx, p.TTL+grace)
	defer cancel()
	for {
		event, err := store.WaitEvent(waiting, p.Store, store.SeenKey{Key: p.key, There: true, Revision: read.Revision}, p.changed, nil)
		switch {
		case waiting.Err() != nil && ctx.Err() == nil:
			return fmt.Errorf("%w: machine %s is present and alive at %s, this one is at %s: give each its own /etc/machine-id (systemd-machine-id-setup) or machine_id",
				ErrDuplicate, id, address, p.address())
		case err != nil || event != nil:
			p.setDuplicate(nil)
			return nil // gone, changed or unknown: HoldKey reads it again
		}
	}
}
