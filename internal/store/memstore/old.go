package memstore

import (
	"encoding/binary"
	"hash/fnv"
	"strconv"

	"github.com/fleet-starter/fleet/internal/store"
)

// OldEtcd is what etcd's watches and leases did before bugs of theirs were mended (3.4.23 to 3.4.42). Each number is one in
// how many; 0 is never. What happens to which event depends on nothing but the seed, the event and the watch.
type OldEtcd struct {
	Seed uint64
	// Drop loses an event.
	Drop uint64
	// Twice brings it again.
	Twice uint64
	// Late brings it behind later ones, or never where there are none.
	Late uint64
	// Early answers a request for progress before the events that precede it.
	Early uint64
	// Revoke ends a lease when it is renewed.
	Revoke uint64
}

// SetOld has the store behave like an old etcd towards this connection, or, with the zero value, as it should. What a watch
// did not bring it does not bring later.
func (c *Conn) SetOld(old OldEtcd) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.old = old
}

// chance tells whether what is rare happens now: one time in so many.
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

// push takes an event in, as etcd should or as it did.
func (w *watch) push(e store.Event) {
	old, about := w.conn.old, []string{w.prefix, strconv.FormatInt(w.began, 10), strconv.FormatInt(e.ModRevision, 10), e.Key}
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

// early tells whether progress is answered although events are pending.
func (w *watch) early() bool {
	old, revision := w.conn.old, w.conn.s.revision
	return len(w.pending) > 0 && old.chance(old.Early, w.prefix, strconv.FormatInt(w.began, 10), strconv.FormatInt(revision, 10), "early")
}

// revokes tells whether a lease ends now.
func (c *Conn) revokes(id store.LeaseID) bool {
	return c.old.chance(c.old.Revoke, id.String(), strconv.FormatInt(c.s.now().UnixNano(), 10), "revoke")
}
