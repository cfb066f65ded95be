package memstore

import "github.com/fleet-starter/fleet/internal/store"

// Restore has the store be again what it was at a revision that is not compacted, as a snapshot of etcd is restored: leases of then
// live, with their whole time, and later ones do not. With bump, --bump-revision and --mark-compacted, the revisions go on that far
// ahead, and all watches end with ErrCompacted; without it they go back, and watches of what came since are silent until there is
// as much again.
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

// endedLease is a lease that has ended, at that revision.
type endedLease struct {
	*lease
	at int64
}
