package cache

import (
	"hash/maphash"

	"github.com/fleet-starter/fleet/internal/store"
)

// verdict is what to make of an event.
type verdict string

const (
	fresh verdict = "Fresh"
	// known: the event is told again, or was overtaken. Nothing is lost with it.
	known verdict = "Known"
	// tooLate: it tells something new of the past, out of order or after progress that promised that there is no more of it.
	// What else was left out nobody knows.
	tooLate verdict = "Late"
)

// judge tells whether an event may be applied to trees that are complete up to the revision reached. newest is the revision
// of the event before it in the batch, or reached; have that of the key's last change that is known, 0 for none. Keys that
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

// ignoredKeys are keys that no object is made of: the revisions of their last changes, by hash, for strangers' keys can
// be long and many.
type ignoredKeys map[uint64]int64

var seed = maphash.MakeSeed()

func hashOf(key string) uint64 { return maphash.String(seed, key) }

// set takes in what an event says of a key that is ignored, or is no longer.
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
