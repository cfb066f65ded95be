package store

import (
	"math/rand/v2"
	"time"
)

// Chance returns a number from 0 to below n. A simulation in which one seed decides everything puts its own in place,
// before anything runs.
var Chance = rand.Int64N

// Backoff gives growing pauses between attempts, with a fifth of chance in them, so that thousands of
// machines do not all ask again at the moment etcd is back.
type Backoff struct {
	First, Max time.Duration
	pause      time.Duration
}

// Next returns the next pause: twice the one before, up to Max.
func (b *Backoff) Next() time.Duration {
	b.pause = max(min(2*b.pause, b.Max), b.First)
	return b.pause - time.Duration(Chance(int64(b.pause)/5+1))
}

// Reset begins again with First: it worked.
func (b *Backoff) Reset() { b.pause = 0 }

// CheckEvery is how often what is kept up to date by a watch is compared with etcd by a read. A simulation puts its own in
// place, before anything runs.
var CheckEvery = 5 * time.Minute

// Around returns a time that is up to a tenth longer or shorter than d, so that thousands of machines do not ask at once.
func Around(d time.Duration) time.Duration { return d*9/10 + time.Duration(Chance(int64(d)/5+1)) }
