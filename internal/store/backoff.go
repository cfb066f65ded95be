package store

import (
	"math/rand/v2"
	"time"
)

// Chance returns a random number in [0, n). A simulation replaces it before anything runs, so that a seed determines
// everything.
var Chance = rand.Int64N

// Backoff returns growing pauses between attempts with 20% jitter, so that thousands of machines do not reconnect at
// the same moment.
type Backoff struct {
	First, Max time.Duration
	pause      time.Duration
}

// Next returns the next pause: twice the previous one, up to Max.
func (b *Backoff) Next() time.Duration {
	b.pause = max(min(2*b.pause, b.Max), b.First)
	return b.pause - time.Duration(Chance(int64(b.pause)/5+1))
}

// Reset starts again with First after a success.
func (b *Backoff) Reset() { b.pause = 0 }

// CheckEvery is how often watched data is compared with etcd by a read. A simulation replaces it before anything runs.
var CheckEvery = 5 * time.Minute

// Around returns d with 10% jitter, so that thousands of machines do not ask at the same moment.
func Around(d time.Duration) time.Duration { return d*9/10 + time.Duration(Chance(int64(d)/5+1)) }
