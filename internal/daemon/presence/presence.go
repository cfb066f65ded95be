// Package presence keeps one machine known to the cluster: machines/<id>, under a lease that outlives fleetd.
//
// A restarted fleetd adopts the lease of the one before, so that a restart is no absence. Nothing is revoked at the end.
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

// ErrDuplicate: another machine, or another fleetd on this one, has the machine's ID.
var ErrDuplicate = errors.New("the machine ID is in use")

// grace is how much longer than a TTL another machine's presence is waited for: leases end late, not early.
const grace = 3 * time.Second

// Options are what a Presence needs.
type Options struct {
	Store store.Interface
	Keys  keyspace.Keys
	// Machine is what is told; its name is the machine's ID.
	Machine v1.Machine
	// TTL is how long the machine stays present without its fleetd.
	TTL time.Duration
	// LeaseFile is where the lease's ID is kept for the next fleetd.
	LeaseFile string
	// OnReturn is called when the machine is present again after its lease had ended.
	OnReturn func()
	Log      logr.Logger
}

// Presence is one machine's presence.
type Presence struct {
	Options
	id, key string        // of the machine: these never change
	present chan struct{} // closed when it is in the store for the first time
	alone   chan struct{} // see Alone
	changed chan struct{} // the lease or the machine changed

	mu       sync.Mutex
	lease    store.LeaseID
	adopted  store.LeaseID // what an earlier fleetd left
	lastSeen time.Time     // the last time that the lease was known to live
	lost     time.Time     // the last time that it was found to have ended
	returned bool          // to be told
}

// New reads the lease that an earlier fleetd left.
func New(o Options) *Presence {
	id := o.Machine.Metadata.Name
	p := &Presence{Options: o, id: id, key: o.Keys.Machines().Key(id),
		present: make(chan struct{}), alone: make(chan struct{}), changed: make(chan struct{}, 1), lastSeen: time.Now()}
	p.adopted = readLease(o.LeaseFile)
	return p
}

// Present is closed when the machine is present for the first time.
func (p *Presence) Present() <-chan struct{} { return p.present }

// Alone is closed when no other machine has this one's ID, so that what the store has for it is its own: it is present, or
// nobody is and etcd has no space to say so. That may last for hours, in which the machine is to follow its placements:
// what it starts from its disk after a boot may have been moved meanwhile.
func (p *Presence) Alone() <-chan struct{} { return p.alone }

// WasAway reports whether the cluster may have taken the machine for gone a moment ago.
func (p *Presence) WasAway() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	return now.Sub(p.lastSeen) > p.TTL*2/3 || !p.lost.IsZero() && now.Sub(p.lost) < 2*p.TTL
}

// Update changes what is told of the machine, not its ID.
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

// Run keeps the machine present until ctx ends, then returns nil and leaves it present. While etcd is away it goes on
// trying. ErrDuplicate ends it.
func (p *Presence) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	defer keeper.Wait()
	defer cancel()
	keeper.Go(func() {
		_ = store.KeepLease(ctx, noted{p.Store, p, new(time.Time)}, store.KeptLease{TTL: p.TTL, Adopt: p.adopted, OnLease: p.onLease, Log: p.Log})
	})
	retry := store.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second}
	held := store.LeaseID(0) // the lease that the key was last seen or put under
	for {
		lease, value, err := p.wanted()
		switch {
		case err != nil:
			return err
		case lease == 0:
			err = p.wait(ctx)
		default:
			err = p.hold(ctx, lease, value, &held)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrDuplicate):
			return err
		case err != nil:
			after := retry.Next()
			p.Log.V(1).Info("Presence is not in the store, will retry", "error", err.Error(), "after", after)
			if !store.Sleep(ctx, after) {
				return nil
			}
		default:
			retry.Reset()
		}
	}
}

// complainEvery is how often people are told that etcd is still away.
const complainEvery = time.Minute

// noted takes note of every renewal, and says when etcd goes away and comes back. It is used by one goroutine.
type noted struct {
	store.Interface
	p          *Presence
	complained *time.Time // zero while all is well
}

func (n noted) Grant(ctx context.Context, ttl time.Duration) (store.LeaseID, error) {
	id, err := n.Interface.Grant(ctx, ttl)
	n.note(ctx, err)
	if errors.Is(err, store.ErrNoSpace) {
		n.p.lookAround(ctx)
	}
	return id, err
}

func (n noted) note(ctx context.Context, err error) {
	switch now := time.Now(); {
	case ctx.Err() != nil || errors.Is(err, store.ErrLeaseNotFound):
	case err == nil && !n.complained.IsZero():
		*n.complained = time.Time{}
		n.p.Log.Info("etcd answers again")
	case err != nil && now.Sub(*n.complained) >= complainEvery:
		*n.complained = now
		n.p.Log.Info("etcd does not answer, what runs goes on and nothing new is learnt", "error", err.Error())
	}
}

func (n noted) KeepAlive(ctx context.Context, id store.LeaseID) (time.Duration, error) {
	left, err := n.Interface.KeepAlive(ctx, id)
	n.note(ctx, err)
	if err == nil {
		n.p.mu.Lock()
		n.p.lastSeen = time.Now()
		n.p.mu.Unlock()
	}
	return left, err
}

// onLease is told of the lease that the presence is to be under.
func (p *Presence) onLease(id store.LeaseID, adopted bool) {
	p.mu.Lock()
	if !adopted && (p.lease != 0 || p.adopted != 0) {
		p.lost, p.returned = time.Now(), true
	}
	p.lease, p.lastSeen = id, time.Now()
	p.mu.Unlock()
	if err := atomicfile.Replace(p.LeaseFile, []byte(strconv.FormatInt(int64(id), 16)+"\n"), 0o600, atomicfile.Process); err != nil {
		p.Log.Error(err, "Lease cannot be kept for the next fleetd")
	}
	p.poke()
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

func (p *Presence) wanted() (store.LeaseID, []byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	value, err := p.Keys.Machines().Encode(p.Machine)
	return p.lease, value, err
}

func (p *Presence) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Machine.Spec.Address
}

func (p *Presence) wait(ctx context.Context) error {
	select {
	case <-p.changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hold has the key in the store under the lease, and returns when something about it changed.
func (p *Presence) hold(ctx context.Context, lease store.LeaseID, value []byte, held *store.LeaseID) error {
	kv, ok, revision, err := p.Store.Get(ctx, p.key)
	if err != nil {
		return err
	}
	put := store.Op{Key: p.key, Value: value, Lease: lease, If: store.Unchanged(kv.ModRevision)}
	switch {
	case !ok:
		put.If = store.Absent()
	case kv.Lease == lease && bytes.Equal(kv.Value, value):
		p.established(lease, held)
		return p.watch(ctx, revision)
	case kv.Lease == lease:
	case kv.Lease == 0: // it was put by hand: no machine keeps it alive, and it would never end
	case *held == lease:
		return fmt.Errorf("%w: another fleetd with ID %s and the address of this one has taken over: only one may run", ErrDuplicate, p.id)
	case p.otherAddress(kv) != "":
		return p.waitGone(ctx, kv, revision)
	}
	p.Log.Info("Putting presence", "machine", p.id, "address", p.address(), "lease", lease.String(), "reason", reason(ok, kv, lease))
	revision, err = p.Store.Commit(ctx, store.Txn{Ops: []store.Op{put}})
	if errors.Is(err, store.ErrNoSpace) {
		p.isAlone()
	}
	if err != nil {
		return err
	}
	p.established(lease, held)
	return p.watch(ctx, revision)
}

func reason(ok bool, kv store.KV, lease store.LeaseID) string {
	switch {
	case !ok:
		return "Absent"
	case kv.Lease == lease:
		return "Changed"
	case kv.Lease == 0:
		return "NoLease"
	}
	return "EarlierLife"
}

func (p *Presence) established(lease store.LeaseID, held *store.LeaseID) {
	*held = lease
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

// closeOnce is called under a lock.
func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// lookAround finds out whether another machine has the ID, where there is no lease to be present under.
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

// otherAddress is the address under which another machine is present with this one's ID; empty where it is this one's.
func (p *Presence) otherAddress(kv store.KV) string {
	other, err := p.Keys.Machines().Decode(kv.Value)
	if err != nil || other.Spec.Address == p.address() {
		return ""
	}
	return other.Spec.Address
}

// watch returns when the key is no longer what was put or seen at that revision, or the lease or the machine changed.
func (p *Presence) watch(ctx context.Context, revision int64) error {
	_, err := p.awaitEvent(ctx, revision)
	return err
}

// awaitEvent waits for a change of the key, or of what should be there: then it returns no event.
func (p *Presence) awaitEvent(ctx context.Context, revision int64) (*store.Event, error) {
	return store.WaitEvent(ctx, p.Store, store.SeenKey{Key: p.key, There: true, Revision: revision}, p.changed, nil)
}

// waitGone waits for the end of the lease that another machine's presence is under. Where that machine is alive it does
// not end: then this one is the second with its ID, and does nothing at all.
func (p *Presence) waitGone(ctx context.Context, kv store.KV, revision int64) error {
	id, address := p.id, p.otherAddress(kv)
	p.Log.Info("Waiting for an earlier presence to end", "machine", id, "otherAddress", address, "atMost", p.TTL+grace)
	waiting, cancel := context.WithTimeout(ctx, p.TTL+grace)
	defer cancel()
	for {
		event, err := p.awaitEvent(waiting, revision)
		switch {
		case waiting.Err() != nil && ctx.Err() == nil:
			return fmt.Errorf("%w: machine %s is present and alive at %s, this one is at %s: give each its own /etc/machine-id (systemd-machine-id-setup) or machine_id",
				ErrDuplicate, id, address, p.address())
		case err != nil:
			return err
		case event != nil:
			return nil // gone or changed: look again
		}
	}
}
