package memstore

import "github.com/fleet-starter/fleet/internal/store"

// Restore resets the store to a revision that is not compacted, as restoring a snapshot of etcd does: leases of that
// time are alive with their full TTL, later ones are not. With bump (--bump-revision and --mark-compacted) the revision
// is increased by that much and all watches end with ErrCompacted; without it revisions go back, and watches from later
// revisions are silent until the store reaches them again.
func (s *Store) Restore(revision, bump int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	revision = max(min(revision, s.revision), s.compacted)
	keys := s.rewind(revision)
	for id, l := range s.leases {
		if l.timer != nil {
			l.timer.Stop()
		}
		s.ended[id] = endedLease{lease: l, at: s.revision + 1}
	}
	clear(s.leases)
	for id, was := range s.ended {
		if l := was.lease; l.granted <= revision && was.at > revision {
			l.keys, l.timer = map[string]struct{}{}, nil
			s.leases[id] = l
			s.renew(id, l)
		}
	}
	keys.Ascend(func(kv store.KV) bool {
		if l := s.leases[kv.Lease]; l != nil {
			l.keys[kv.Key] = struct{}{}
		}
		return true
	})
	s.keys, s.revision, s.history = keys, revision+bump, s.history[:s.after(revision)]
	if bump > 0 {
		s.base, s.compacted, s.history = keys.Clone(), s.revision, nil
	}
	for _, of := range s.watches.of {
		for w := range of {
			w.pending, w.held, w.synced = nil, nil, false
			w.wake()
		}
	}
}

// endedLease is a lease and the revision at which it ended.
type endedLease struct {
	*lease
	at int64
}
