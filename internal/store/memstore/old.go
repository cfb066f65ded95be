package memstore

import (
	"encoding/binary"
	"hash/fnv"
	"strconv"

	"github.com/fleet-starter/fleet/internal/store"
)

// OldEtcd simulates bugs in watches and leases that etcd fixed between 3.4.23 and 3.4.42. Each number n means one in n;
// 0 is never. What happens to an event depends only on the seed, the watch, and the event's revision and place in it: parts of
// keys may be random.
type OldEtcd struct {
	Seed uint64
	// Drop loses an event.
	Drop uint64
	// Twice repeats an event.
	Twice uint64
	// Late delivers an event after later ones, or never if there are none.
	Late uint64
	// Early answers a progress request before the events that precede it.
	Early uint64
	// Revoke ends a lease when it is renewed.
	Revoke uint64
}

// SetOld makes the store behave like an old etcd towards this connection; the zero value restores correct behaviour.
// Events that a watch has lost are not delivered later.
func (c *Conn) SetOld(old OldEtcd) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.old = old
}

// chance reports whether an event with a probability of one in n occurs.
func (o OldEtcd) chance(one uint64, of ...string) bool {
	if one == 0 {
		return false
	}
	h := fnv.New64a()
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], o.Seed)
	h.Write(b[:])
	for _, s := range of {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x%one == 0
}

// push takes in an event, correctly or with the simulated bugs.
func (w *watch) push(e store.Event) {
	if e.ModRevision != w.revision {
		w.revision, w.place = e.ModRevision, 0
	}
	w.place++
	old, about := w.conn.old, []string{w.prefix, strconv.FormatInt(w.began, 10), strconv.FormatInt(e.ModRevision, 10), strconv.Itoa(w.place)}
	switch {
	case old == OldEtcd{}:
		w.pending = append(w.pending, e)
	case old.chance(old.Drop, append(about, "drop")...):
	case old.chance(old.Late, append(about, "late")...):
		w.held = append(w.held, e)
	case old.chance(old.Twice, append(about, "twice")...):
		w.pending, w.held = append(w.pending, e), append(w.held, e)
	default:
		w.pending = append(w.pending, e)
	}
}

// early reports whether progress is answered although events are pending.
func (w *watch) early() bool {
	old, revision := w.conn.old, w.conn.s.revision
	return len(w.pending) > 0 && old.chance(old.Early, w.prefix, strconv.FormatInt(w.began, 10), strconv.FormatInt(revision, 10), "early")
}

// revokes reports whether the lease ends now.
func (c *Conn) revokes(id store.LeaseID) bool {
	return c.old.chance(c.old.Revoke, id.String(), strconv.FormatInt(c.s.now().UnixNano(), 10), "revoke")
}
