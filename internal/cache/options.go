package cache

import "github.com/go-logr/logr"

// Option changes a Reflector.
type Option func(*Reflector)

// WithLogger has the reflector log there.
func WithLogger(log logr.Logger) Option { return func(r *Reflector) { r.log = log } }

// WithPageSize sets how many keys one request of a listing brings. 0 means the store's default.
func WithPageSize(keys int64) Option { return func(r *Reflector) { r.pageSize = keys } }

// OnRelist has f called, from the reflector's goroutine, after every listing: the first one, and again where
// the watch could not go on without a gap.
func OnRelist(f func(revision int64)) Option {
	return func(r *Reflector) { r.onRelist = append(r.onRelist, f) }
}

// Why a key is ignored.
const (
	NoSuchRow  = "NoSuchRow"  // the key is below the prefix and in no row of the table of keys
	NoSuchName = "NoSuchName" // no object of the row can have the name
	NoLease    = "NoLease"    // keys of the row live under a lease, and this one has none
	Unreadable = "Unreadable" // the value cannot be read: the object counts as there, without it
)

// OnIgnored has f called, from the reflector's goroutine, with every key below a row's prefix that is a stranger's, or
// whose value cannot be read. f must not block, and hears of a key again with a new listing.
func OnIgnored(f func(key string, revision int64, reason, why string)) Option {
	return func(r *Reflector) { r.onIgnored = append(r.onIgnored, f) }
}
