// Package store reads and writes etcd with compare-and-swap, batches, leases and fences, each call under a deadline.
package store

import (
	"context"
	"errors"
	"time"
)

// KV is one key as it is stored.
type KV struct {
	Key   string
	Value []byte
	// CreateRevision identifies the object's life: a key deleted and put again gets a new one (its UID).
	CreateRevision int64
	// ModRevision is the revision of its last change (its resource version).
	ModRevision int64
	// Lease is the lease it is under, or 0.
	Lease LeaseID
}

// LeaseID names a lease.
type LeaseID int64

// ListOptions narrows a List.
type ListOptions struct {
	// Limit is the size of a page; 0 means the client's default (about 1,000).
	Limit int64
	// After is the key to go on behind, for the next page.
	After string
	// From is the first key of a part of the prefix, Before the first one behind it; empty: the prefix's own.
	From, Before string
	// Revision reads the past; 0 means now. Pages of one listing use the first page's.
	Revision int64
	// KeysOnly leaves the values out, and the leases: etcd 3.7 answers from its index, which has none.
	KeysOnly bool
	// ChangedAfter leaves out what did not change after that revision. Count counts it nevertheless.
	ChangedAfter int64
}

// Page is a part of a listing, sorted by key.
type Page struct {
	KVs []KV
	// Revision is the store's revision that the page was read at.
	Revision int64
	// More says that keys follow behind the last one.
	More bool
	// Count is how many keys there were from After or From on, on this page or not.
	Count int64
}

// Event is one change of a key.
type Event struct {
	// KV is the key after the change. Of a deleted key only Key and ModRevision (of the deletion) are set.
	KV
	Deleted bool
}

// Batch is what a watch reports at once: all events of one or more whole revisions, in order.
type Batch struct {
	Events []Event
	// Revision is the revision up to which the watch has seen everything.
	Revision int64
	// Err ends the watch: ErrCompacted asks for a new listing; anything else for a new watch after a while.
	Err error
}

// Op is one change of a transaction.
type Op struct {
	Key string
	// Value is what is put; nil deletes the key.
	Value []byte
	Lease LeaseID
	// If is the condition on the key as it is now. The zero value is no condition.
	If Condition
}

// Condition compares a key with what its writer saw.
type Condition struct {
	kind     int
	revision int64
}

// The kinds of Condition; 0 is none.
const (
	kindAbsent = iota + 1
	kindUnchanged
	kindExists
)

// Absent holds where the key does not exist.
func Absent() Condition { return Condition{kind: kindAbsent} }

// Unchanged holds where the key's ModRevision is still that.
func Unchanged(modRevision int64) Condition {
	return Condition{kind: kindUnchanged, revision: modRevision}
}

// Exists holds where the key exists.
func Exists() Condition { return Condition{kind: kindExists} }

// IsZero reports whether c is no condition.
func (c Condition) IsZero() bool { return c.kind == 0 }

// Holds reports whether c holds for a key of that ModRevision; 0 means that it does not exist.
func (c Condition) Holds(modRevision int64) bool {
	switch c.kind {
	case kindAbsent:
		return modRevision == 0
	case kindUnchanged:
		return modRevision == c.revision
	case kindExists:
		return modRevision != 0
	}
	return true
}

// Fence is the leader key that an elected writer holds. The zero Fence is for writers that nobody elects.
type Fence struct {
	Key            string
	CreateRevision int64
}

// Txn is an atomic change: all of its operations take effect, or none.
type Txn struct {
	Ops   []Op
	Fence Fence
}

// The errors that callers tell apart, with errors.Is.
var (
	// ErrConflict: a condition of the transaction did not hold. Observe again.
	ErrConflict = errors.New("changed since it was read")
	// ErrFenced: the writer is no longer the leader. Stop.
	ErrFenced = errors.New("no longer the leader")
	// ErrCompacted: the revision asked for is gone. List again.
	ErrCompacted = errors.New("revision compacted")
	// ErrLeaseNotFound: the lease has ended.
	ErrLeaseNotFound = errors.New("lease not found")
	// ErrUnavailable: etcd cannot be reached, has no leader, or did not answer in time.
	ErrUnavailable = errors.New("etcd cannot be reached")
	// ErrNoSpace: etcd's space quota is used up; only deletes work until it is compacted and defragmented.
	ErrNoSpace = errors.New("etcd is out of space")
	// ErrDenied: etcd knows neither the user nor the certificate, or their role does not cover the key.
	ErrDenied = errors.New("etcd refused access")
	// ErrInvalid: the request itself is wrong or too large; sent again it fails again.
	ErrInvalid = errors.New("etcd refused the request")
)

// The limits of etcd's defaults for one transaction (--max-txn-ops, --max-request-bytes). MaxTxnBytes
// leaves room for what surrounds keys and values.
const (
	MaxTxnOps   = 128
	MaxTxnBytes = 1 << 20
)

// Interface is all that the rest of the project asks of a store. etcd implements it (Client), and the model
// that whole clusters are simulated with; both pass the same contract test.
type Interface interface {
	// Get returns one key, or ok = false, and the store's revision.
	Get(ctx context.Context, key string) (kv KV, ok bool, revision int64, err error)
	// List returns one page of the keys below prefix.
	List(ctx context.Context, prefix string, opts ListOptions) (Page, error)
	// Watch reports every change below prefix after that revision until ctx ends, in order and without
	// gaps; the channel is closed after a Batch with Err, or when ctx ends.
	Watch(ctx context.Context, prefix string, after int64) <-chan Batch
	// RequestProgress asks every open watch for a Batch without events, at the store's revision now. It is
	// a hint: none may come.
	RequestProgress(ctx context.Context) error
	// Commit applies a transaction and returns its revision. Nothing is written on an error, except that
	// after ErrUnavailable it may have been.
	Commit(ctx context.Context, txn Txn) (revision int64, err error)
	// Grant makes a lease that ends ttl after the last KeepAlive.
	Grant(ctx context.Context, ttl time.Duration) (LeaseID, error)
	// KeepAlive renews a lease once and returns what it has left. ErrLeaseNotFound where it has ended.
	KeepAlive(ctx context.Context, id LeaseID) (time.Duration, error)
	// Revoke ends a lease now, with all of its keys.
	Revoke(ctx context.Context, id LeaseID) error
}
