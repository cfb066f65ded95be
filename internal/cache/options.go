package cache

import "github.com/go-logr/logr"

// Option configures a Reflector.
type Option func(*Reflector)

// WithLogger sets the logger.
func WithLogger(log logr.Logger) Option { return func(r *Reflector) { r.log = log } }

// WithPageSize sets the page size of listings. 0 means the store's default.
func WithPageSize(keys int64) Option { return func(r *Reflector) { r.pageSize = keys } }

// OnRelist sets a function called from the reflector's goroutine after every listing: the first one, and those after
// which the watch could not continue without a gap.
func OnRelist(f func(revision int64)) Option {
	return func(r *Reflector) { r.onRelist = append(r.onRelist, f) }
}

// The reasons for ignoring a key.
const (
	NoSuchRow  = "NoSuchRow"  // it is in no row
	NoSuchName = "NoSuchName" // the name is not valid in the row
	NoLease    = "NoLease"    // the row's objects need a lease
	Unreadable = "Unreadable" // the object exists, but its value cannot be decoded
)

// OnIgnored sets a function called from the reflector's goroutine for every foreign key, and every key whose value
// cannot be decoded. f must not block, and is called again for each key after a new listing.
func OnIgnored(f func(key string, revision int64, reason, why string)) Option {
	return func(r *Reflector) { r.onIgnored = append(r.onIgnored, f) }
}
