package sim

import "time"

// answered checks that no request that is waited for is under way to an instance that is stopped. c.mu is held.
func (c *checker) answered(h *host, unit string) {
	key := endpointOf(unit)
	for _, r := range c.w.hosts {
		record, there := c.kv[c.keys.Routers().Key(r.id)]
		if r.front.plain {
			continue
		}
		for _, w := range r.front.under.waits(key, h.address()) {
			if !w.waited {
				continue
			}
			excuse := c.restoredExcuse(r, record)
			switch {
			case c.w.hasTwin(r):
				excuse = "another machine has its ID"
			case !there || record.CreateRevision > c.withdrawnAt[key]:
				excuse = "a router's lease had ended when it was withdrawn"
			}
			if c.judge(invDrained, excuse) && w.left > 0 {
				c.w.fail(invDrained, "%s on %s was stopped while %d requests were under way to it from the router on %s, withdrawn %s ago", unit, h.name, w.left, r.name, time.Since(w.since))
			}
		}
	}
}
