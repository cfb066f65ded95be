package sim

import (
	"time"

	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// checkEvery is how often caches are compared with etcd in this world.
const checkEvery = time.Minute

// oldEtcd is which bugs of an old etcd the world of a seed has: some, or all.
func oldEtcd(seed uint64) memstore.OldEtcd {
	rare := func(kind uint64) uint64 {
		x := (seed*5 + kind) * 0x9e3779b97f4a7c15
		return []uint64{0, 10, 40, 150}[x>>62]
	}
	return memstore.OldEtcd{Seed: seed, Drop: rare(0), Twice: rare(1), Late: rare(2), Early: rare(3), Revoke: 5 * rare(4)}
}

// lenient reports whether an invariant may be violated while etcd returns wrong data and the caches have not been compared:
// any that depends on a cache.
func (w *world) lenient(invariant string) bool {
	switch invariant {
	case invDeposed, invWriter, invConverges, invRest:
		return false
	}
	return w.old.Load() != nil
}

// trustAgain replaces the old etcd by a new one: what was lost stays lost.
func (w *world) trustAgain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.calls.SetOld(memstore.OldEtcd{})
		c.watches.SetOld(memstore.OldEtcd{})
	}
	w.conns = nil
	w.upgraded = true
}

// age makes a new connection's etcd an old one, if this world's is.
func (w *world) age(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.old.Load()
	if old == nil || w.upgraded || c.p.kind == kindPerson {
		return
	}
	own := *old
	for _, b := range []byte(c.p.name) {
		own.Seed = (own.Seed ^ uint64(b)) * 0x100000001b3
	}
	c.calls.SetOld(own)
	c.watches.SetOld(own)
	w.conns = append(w.conns, c)
}

// caches are the options of a process's caches. With a correct etcd no cache ever differs from it.
func (p *process) caches() []cache.Option {
	return []cache.Option{cache.WithMetrics(p.w.compared), cache.OnDiffers(func(d cache.Difference) {
		p.w.tell(p.name, "cache of %s differs: %s: %s", d.Prefix, d.Reason, d.Message)
		if p.w.old.Load() == nil && d.Reason != cache.Behind && !p.w.check.wentBack(p, d) {
			p.w.fail(invCaches, "%s: %s: %s: %s", p.name, d.Prefix, d.Reason, d.Message)
		}
	})}
}

// checksOfCaches is the metric that counts comparisons of caches with etcd.
const checksOfCaches = "fleet_cache_checks_total"

// countCaches counts those comparisons.
func (w *world) countCaches(counts Counts) {
	families, err := w.registry.Gather()
	if err != nil {
		panic(err)
	}
	for _, family := range families {
		if family.GetName() != checksOfCaches {
			continue
		}
		for _, metric := range family.GetMetric() {
			n := int(metric.GetCounter().GetValue())
			for _, label := range metric.GetLabel() {
				switch {
				case label.GetName() != "result" || label.GetValue() == "Failed":
				case label.GetValue() == cache.Behind:
					counts.of(invCaches).Excused["the watch is held up"] += n
				default:
					counts.of(invCaches).Checked += n
				}
			}
		}
	}
}
