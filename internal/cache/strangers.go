package cache

import (
	"context"
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// OnlyRows says that nothing else lies below the reflector's prefix than its rows, what it guards, and what is below the
// prefixes except, where others look. Every other key is told as OnIgnored says.
func OnlyRows(except ...string) Option {
	return func(r *Reflector) { r.strangers = &strangers{except: except} }
}

// Guard has strangers told that lie below a row which the reflector does not keep. Call it before Run, with OnlyRows.
func Guard[T any](r *Reflector, c keyspace.Collection[T]) {
	r.strangers.guarded = append(r.strangers.guarded, guarded{c.Prefix(), func(kv store.KV) { _ = ours(r, c, kv) }})
}

// strangers is where a reflector looks for keys that lie in none of its rows.
type strangers struct {
	except  []string
	guarded []guarded
}

type guarded struct {
	prefix string
	check  func(store.KV)
}

func (s *strangers) guards(prefix string) bool {
	return slices.ContainsFunc(s.guarded, func(g guarded) bool { return g.prefix == prefix })
}

// strange says what is ignored of a key that lies in no row.
func (r *Reflector) strange(kv store.KV) {
	for _, g := range r.strangers.guarded {
		if strings.HasPrefix(kv.Key, g.prefix) {
			g.check(kv)
			return
		}
	}
	for _, prefix := range r.strangers.except {
		if strings.HasPrefix(kv.Key, prefix) {
			return
		}
	}
	r.ignored(kv, NoSuchRow, "it is ignored, this fleetd keeps nothing there: it is another version's, or a stranger's")
}

// lookForStrangers finds those that are there already, as of that revision, without a look at the rows. Where there are
// many in one place it finds the first ones: it is no use to hold, or to name, more of them than anybody reads.
func (r *Reflector) lookForStrangers(ctx context.Context, revision int64) error {
	if r.strangers == nil || len(r.onIgnored) == 0 {
		return nil
	}
	known := slices.Clone(r.strangers.except)
	for _, row := range r.rows {
		known = append(known, row.keyPrefix())
	}
	for _, g := range r.strangers.guarded {
		known = append(known, g.prefix)
	}
	slices.Sort(known)
	from, end := r.prefix, behind(r.prefix)
	for _, prefix := range append(known, end) {
		if prefix < from || prefix > end { // below the one before, or outside: others' keys, which may be forbidden
			continue
		}
		if err := r.lookAt(ctx, store.ListOptions{From: from, Before: prefix, Revision: revision, KeysOnly: true}); err != nil {
			return err
		}
		from = behind(prefix)
		if !r.strangers.guards(prefix) {
			continue
		}
		// Not the keys alone, which are told without their leases.
		if err := r.lookAt(ctx, store.ListOptions{From: prefix, Before: from, Revision: revision}); err != nil {
			return err
		}
	}
	return nil
}

// lookAt says what is ignored of the first keys of a part.
func (r *Reflector) lookAt(ctx context.Context, opts store.ListOptions) error {
	opts.Limit = maxStrangers
	page, err := r.store.List(ctx, r.prefix, opts)
	if err != nil {
		return err
	}
	for _, kv := range page.KVs {
		r.strange(kv)
	}
	if page.More {
		r.log.Info("More keys are ignored", "reason", NoSuchRow, "behind", page.KVs[len(page.KVs)-1].Key)
	}
	return nil
}

// maxStrangers is how many keys are looked at between two rows. Of candidates there is one for each machine.
const maxStrangers = 10_000

// behind is the first key that has not that prefix and sorts behind those that have.
func behind(prefix string) string {
	last := len(prefix) - 1
	return prefix[:last] + string(rune(prefix[last]+1)) // a slash: no byte that overflows
}
