package cache

import (
	"context"
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// OnlyRows declares that the reflector's prefix contains only its rows, guarded rows, and the prefixes in except, which
// others look after. All other keys are reported to OnIgnored.
func OnlyRows(except ...string) Option {
	return func(r *Reflector) { r.foreign = &foreignKeys{except: except} }
}

// Guard reports foreign keys below a row that the reflector does not cache. Call it before Run, with OnlyRows.
func Guard[T any](r *Reflector, c keyspace.Collection[T]) {
	r.foreign.guarded = append(r.foreign.guarded, guarded{c.Prefix(), func(kv store.KV) { _ = ours(r, c, kv) }})
}

// foreignKeys defines where a reflector looks for keys outside its rows.
type foreignKeys struct {
	except  []string
	guarded []guarded
}

type guarded struct {
	prefix string
	check  func(store.KV)
}

func (s *foreignKeys) guards(prefix string) bool {
	return slices.ContainsFunc(s.guarded, func(g guarded) bool { return g.prefix == prefix })
}

// reportForeign reports a key outside all rows as ignored.
func (r *Reflector) reportForeign(kv store.KV) {
	for _, g := range r.foreign.guarded {
		if strings.HasPrefix(kv.Key, g.prefix) {
			g.check(kv)
			return
		}
	}
	for _, prefix := range r.foreign.except {
		if strings.HasPrefix(kv.Key, prefix) {
			return
		}
	}
	r.ignored(kv, NoSuchRow, "ignored: this version of fleetd does not use this prefix; another version or another program does")
}

// findForeign finds existing foreign keys at that revision without reading the rows. Of many in one place it finds
// the first ones: there is no point in holding or reporting more than can be read.
func (r *Reflector) findForeign(ctx context.Context, revision int64) error {
	if r.foreign == nil || len(r.onIgnored) == 0 {
		return nil
	}
	known := slices.Clone(r.foreign.except)
	for _, row := range r.rows {
		known = append(known, row.keyPrefix())
	}
	for _, g := range r.foreign.guarded {
		known = append(known, g.prefix)
	}
	slices.Sort(known)
	from, end := r.prefix, behind(r.prefix)
	for _, prefix := range append(known, end) {
		if prefix < from || prefix > end { // below the previous one, or outside: keys of others, to which access may be denied
			continue
		}
		if err := r.lookAt(ctx, store.ListOptions{From: from, Before: prefix, Revision: revision, KeysOnly: true}); err != nil {
			return err
		}
		from = behind(prefix)
		if !r.foreign.guards(prefix) {
			continue
		}
		// With values, because listings of keys alone lack the leases.
		if err := r.lookAt(ctx, store.ListOptions{From: prefix, Before: from, Revision: revision}); err != nil {
			return err
		}
	}
	return nil
}

// lookAt reports the first ignored keys of a range.
func (r *Reflector) lookAt(ctx context.Context, opts store.ListOptions) error {
	opts.Limit = maxForeign
	page, err := r.store.List(ctx, r.prefix, opts)
	if err != nil {
		return err
	}
	for _, kv := range page.KVs {
		r.reportForeign(kv)
	}
	if page.More {
		r.log.Info("Ignoring more keys", "reason", NoSuchRow, "behind", page.KVs[len(page.KVs)-1].Key)
	}
	return nil
}

// maxForeign is the number of keys read between two rows. Candidates alone are one per machine.
const maxForeign = 10_000

// behind returns the first key after all keys with that prefix.
func behind(prefix string) string {
	last := len(prefix) - 1
	return prefix[:last] + string(rune(prefix[last]+1)) // a slash, so it does not overflow
}
