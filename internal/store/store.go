// Package store reads and writes etcd with compare-and-swap, batches, leases and fences, each call under a deadline.
package store

import (
	"context"
	"errors"
	"time"
)

// KV is a stored key.
type KV struct {
	Key   string
	Value []byte
	// CreateRevision identifies the object: a key deleted and put again gets a new one (its UID).
	CreateRevision int64
	// ModRevision is the revision of its last change (its resource version).
	ModRevision int64
	// Lease is the lease that the key is attached to, or 0.
	Lease LeaseID
}

// LeaseID identifies a lease.
type LeaseID int64

// ListOptions narrows a List.
type ListOptions struct {
	// Limit is the page size; 0 means the client's default (about 1,000).
	Limit int64
	// After is the key after which the page starts.
	After string
	// From (inclusive) and Before (exclusive) restrict the listing to a part of the prefix; empty means no restriction.
	From, Before string
	// Revision reads at a past revision; 0 means the current one. All pages of a listing use that of the first page.
	Revision int64
	// KeysOnly omits values and leases: etcd 3.7 answers from its index, which has no leases.
	KeysOnly bool
	// ChangedAfter omits keys that did not change after that revision. Count still includes them.
	ChangedAfter int64
}

// Page is part of a listing, sorted by key.
type Page struct {
	KVs []KV
	// Revision is the store's revision at which the page was read.
	Revision int64
	// More means that there are keys after the last one.
	More bool
	// Count is the number of keys from After or From on, including those on later pages.
	Count int64
}

// Event is a change of one key.
type Event struct {
	// KV is the key after the change. For a deleted key only Key and ModRevision (of the deletion) are set.
	KV
	Deleted bool
}

// Batch is what a watch reports at once: all events of one or more complete revisions, in order.
type Batch struct {
	Events []Event
	// Revision is the revision up to which all events have been delivered.
	Revision int64
	// Err ends the watch: after ErrCompacted, list again; after any other error, watch again after a pause.
	Err error
}

// Op is one change of a transaction.
type Op struct {
	Key string
	// Value is the value to put; nil deletes the key.
	Value []byte
	Lease LeaseID
	// If is a condition on the current key. The zero value is no condition.
	If Condition
	// Check: the operation is its condition alone, and changes nothing.
	Check bool
}

// Condition compares a key with what the writer has read.
type Condition struct {
	kind     int
	revision int64
}

// The kinds of Condition; 0 is none.
const (
	kindAbsent = iota + 1
	kindUnchanged
	kindUnleased
)

// Absent holds if the key does not exist.
func Absent() Condition { return Condition{kind: kindAbsent} }

// Unchanged holds if the key's ModRevision is still the given one.
func Unchanged(modRevision int64) Condition {
	return Condition{kind: kindUnchanged, revision: modRevision}
}

// Unleased holds if the key does not exist, or has no lease: no process maintains it.
func Unleased() Condition { return Condition{kind: kindUnleased} }

// IsZero reports whether c is no condition.
func (c Condition) IsZero() bool { return c.kind == 0 }

// Holds reports whether c holds for a key; the zero value is one that does not exist.
func (c Condition) Holds(kv KV) bool {
	switch c.kind {
	case kindAbsent:
		return kv.ModRevision == 0
	case kindUnchanged:
		return kv.ModRevision == c.revision
	case kindUnleased:
		return kv.Lease == 0
	}
	return true
}

// Fence is the leader key held by an elected writer. The zero Fence is for writers that are not elected.
type Fence struct {
	Key            string
	CreateRevision int64
}

// Txn is an atomic transaction.
type Txn struct {
	Ops   []Op
	Fence Fence
}

// The errors that callers distinguish with errors.Is.
var (
	// ErrConflict: a condition of the transaction did not hold. Observe again.
	ErrConflict = errors.New("changed since it was read")
	// ErrFenced: the writer is no longer the leader. Stop.
	ErrFenced = errors.New("no longer the leader")
	// ErrCompacted: the requested revision has been compacted. List again.
	ErrCompacted = errors.New("revision compacted")
	// ErrLeaseNotFound: the lease has ended.
	ErrLeaseNotFound = errors.New("lease not found")
	// ErrUnavailable: etcd cannot be reached, has no leader, or did not answer in time.
	ErrUnavailable = errors.New("etcd cannot be reached")
	// ErrNoSpace: etcd's space quota is exceeded; only deletes work until it is compacted and defragmented.
	ErrNoSpace = errors.New("etcd is out of space")
	// ErrDenied: etcd does not accept the user or the certificate, or their role does not include the key.
	ErrDenied = errors.New("etcd refused access")
	// ErrInvalid: the request is invalid or too large; retrying does not help.
	ErrInvalid = errors.New("etcd refused the request")
)

// Limits of one transaction by etcd's defaults (--max-txn-ops, --max-request-bytes). MaxTxnBytes leaves room for the
// encoding of keys and values.
const (
	MaxTxnOps   = 128
	MaxTxnBytes = 1 << 20
)

// Interface is the store as the rest of the project uses it. Client implements it on etcd, memstore as a model for
// simulations; both pass the same contract test.
type Interface interface {
	// Get returns a key, or ok = false, and the store's revision.
	Get(ctx context.Context, key string) (kv KV, ok bool, revision int64, err error)
	// List returns one page of the keys below prefix.
	List(ctx context.Context, prefix string, opts ListOptions) (Page, error)
	// Watch reports every change below prefix after that revision until ctx ends, in order and without gaps. The
	// channel is closed after a Batch with Err, or when ctx ends.
	Watch(ctx context.Context, prefix string, after int64) <-chan Batch
	// RequestProgress asks every open watch for a Batch without events at the store's current revision. It is a hint:
	// there may be no such Batch.
	RequestProgress(ctx context.Context) error
	// Commit applies a transaction and returns its revision. On an error nothing was written, except that after
	// ErrUnavailable the outcome is unknown.
	Commit(ctx context.Context, txn Txn) (revision int64, err error)
	// Grant creates a lease that ends ttl after the last KeepAlive.
	Grant(ctx context.Context, ttl time.Duration) (LeaseID, error)
	// KeepAlive renews a lease once and returns its remaining time, or ErrLeaseNotFound if it has ended.
	KeepAlive(ctx context.Context, id LeaseID) (time.Duration, error)
	// Revoke ends a lease immediately and deletes its keys.
	Revoke(ctx context.Context, id LeaseID) error
}
