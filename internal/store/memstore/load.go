package memstore

import (
	"time"

	"github.com/fleet-starter/fleet/internal/store"
)

// Load returns a store that holds these keys at that revision, as they were created and changed, and nothing of what was before.
// Their leases live until they are revoked, or for a day.
func Load(kvs []store.KV, revision int64, opts Options) *Store {
	s := New(opts)
	for _, kv := range kvs {
		s.keys.ReplaceOrInsert(kv)
		if kv.Lease == 0 {
			continue
		}
		l := s.leases[kv.Lease]
		if l == nil {
			l = &lease{ttl: 24 * time.Hour, keys: map[string]struct{}{}, granted: revision}
			s.leases[kv.Lease] = l
			s.renew(kv.Lease, l)
		}
		l.keys[kv.Key] = struct{}{}
		s.lastLease = max(s.lastLease, kv.Lease)
	}
	s.base, s.revision, s.compacted = s.keys.Clone(), revision, revision
	return s
}
