package cache

import (
	"hash/maphash"

	"github.com/fleet-starter/fleet/internal/store"
)

// verdict says how to treat an event.
type verdict string

const (
	fresh verdict = "Fresh"
	// known: the event is repeated or superseded. Dropping it loses nothing.
	known verdict = "Known"
	// tooLate: the event is new but belongs to the past: it came out of order, or after progress that ruled it out.
	// Other events may be missing too.
	tooLate verdict = "Late"
)

// judge decides whether an event may be applied to trees that are complete up to the revision reached. newest is the
// revision of the previous event in the batch, or reached; have is the key's last known change, 0 for none. Keys that
// are not kept are never late.
func judge(e store.Event, reached, newest, have int64, kept bool) verdict {
	switch {
	case e.ModRevision <= have:
		return known
	case e.ModRevision > reached && e.ModRevision >= newest:
		return fresh
	case e.Deleted && have == 0, !kept:
		return known
	}
	return tooLate
}

// ignoredKeys are the keys that no object is made of: the revisions of their last changes by hash, because foreign keys
// may be long and many.
type ignoredKeys map[uint64]int64

var seed = maphash.MakeSeed()

func hashOf(key string) uint64 { return maphash.String(seed, key) }

// set applies an event to a key that is ignored, or no longer is.
func (k *ignoredKeys) set(e store.Event, ignored bool) {
	if !ignored {
		delete(*k, hashOf(e.Key))
		return
	}
	if *k == nil {
		*k = make(ignoredKeys)
	}
	(*k)[hashOf(e.Key)] = e.ModRevision
}
