package schedule

import (
	"maps"
	"slices"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// SetUnit tells of a unit that is new or changed.
func (c *Cluster) SetUnit(spec Unit) {
	if spec.Problem != "" {
		spec.Fleet = unitfile.Fleet{}
	}
	u := c.unit(spec.Name)
	spec.Name = u.name // one string for all who refer to it
	if u.known && sameConstraints(u.Unit, spec) && (u.Hash == spec.Hash || len(u.places) == 0) {
		if u.DesiredState != spec.DesiredState {
			c.wake |= unmetSpace | unmetDrain
		}
		u.Unit = spec
		c.touchGroup(u)
		return
	}
	// Globs first: a new one finds the units that it matches, this one included, by what they occupy now.
	conflicts, replaces := c.carry(spec.Fleet.Conflicts), c.carry(spec.Fleet.Replaces)
	files := u.files()
	c.vacateAll(u)
	oldConflicts, oldReplaces := u.conflicts, u.replaces
	c.leave(u)
	u.Unit, u.known, u.conflicts, u.replaces = spec, true, conflicts, replaces
	c.join(u)
	c.reform(u, files)
	c.occupyAll(u)
	c.drop(oldConflicts)
	c.drop(oldReplaces)
	c.touchGroup(u)
	c.wake |= unmetSpace | unmetDrain // it may occupy less than before, or not be tied to others any more
}

// DeleteUnit tells of a unit that is gone. What it occupies it occupies until its placements are gone too.
func (c *Cluster) DeleteUnit(name string) {
	u := c.units[name]
	if u == nil || !u.known {
		return
	}
	c.touchGroup(u)
	u.known = false
	c.wake |= unmetSpace | unmetDrain
	c.forgetUnit(u)
}

// HashOf is the hash of the unit file that a unit was said to have last; "": none is known.
func (c *Cluster) HashOf(name string) string {
	if u := c.units[name]; u != nil {
		return u.Hash
	}
	return ""
}

func sameConstraints(a, b Unit) bool {
	x, y := a.Fleet, b.Fleet
	return (a.Problem == "") == (b.Problem == "") && a.Family == b.Family && x.Global == y.Global && x.MachineID == y.MachineID &&
		x.CPU == y.CPU && x.Memory == y.Memory && x.SpreadOver == y.SpreadOver && slices.Equal(x.Ports, y.Ports) &&
		slices.Equal(x.MachineOf, y.MachineOf) && slices.Equal(x.Conflicts, y.Conflicts) &&
		slices.Equal(x.Replaces, y.Replaces) && maps.EqualFunc(x.MachineMetadata, y.MachineMetadata, slices.Equal[[]string])
}

func (c *Cluster) unit(name string) *unit {
	u := c.units[name]
	if u == nil {
		u = &unit{name: name, Unit: Unit{Name: name}, selector: c.anywhere}
		u.matched = c.globs.matching(name)
		c.units[name] = u
		c.names.add(u)
	}
	return u
}

// join and leave tie a unit to what it shares with others.
func (c *Cluster) join(u *unit) {
	f := u.Fleet
	u.selector = c.selectorFor(f.MachineMetadata)
	u.selector.refs++
	if u.Family != "" {
		u.family = c.families[u.Family]
		if u.family == nil {
			u.family = &family{name: u.Family}
			c.families[u.Family] = u.family
		}
		u.family.units = append(u.family.units, u)
	}
	u.spread = c.spreadFor(u)
	for _, target := range f.MachineOf {
		c.followers[target] = append(c.followers[target], u)
	}
	if f.Global {
		c.globals[u] = struct{}{}
	}
}

func (c *Cluster) leave(u *unit) {
	if u.selector != c.anywhere {
		c.dropSelector(u.selector)
	}
	u.selector = c.anywhere
	if u.family != nil {
		u.family.units = remove(u.family.units, u)
		if len(u.family.units) == 0 {
			delete(c.families, u.family.name)
		}
		u.family = nil
	}
	c.dropSpread(u.spread)
	u.spread = nil
	for _, target := range u.Fleet.MachineOf {
		if rest := remove(c.followers[target], u); len(rest) > 0 {
			c.followers[target] = rest
		} else {
			delete(c.followers, target)
		}
	}
	delete(c.globals, u)
	u.conflicts, u.replaces = nil, nil
}

func remove[T comparable](list []T, x T) []T {
	if i := slices.Index(list, x); i >= 0 {
		list[i] = list[len(list)-1]
		return list[:len(list)-1]
	}
	return list
}

// carry finds or makes the globs of patterns.
func (c *Cluster) carry(patterns []string) []*glob {
	if len(patterns) == 0 {
		return nil
	}
	list := make([]*glob, 0, len(patterns))
	for _, pattern := range patterns {
		g := c.globs.byPattern[pattern]
		if g == nil {
			parsed, err := unitfile.ParseGlob(pattern)
			if err != nil {
				continue // it matches nothing; the unit file's problems say so
			}
			g = &glob{Glob: parsed}
			c.globs.add(g)
			for _, u := range c.names.withPrefix(g.Prefix) {
				if !u.dropped && g.Match(u.name) {
					u.matched = append(u.matched, g)
					for _, p := range u.places {
						if p.machine.indexed {
							g.matched.add(p.machine.slot, c.words)
						}
					}
					if u.on > 0 {
						g.matched.enlist(u)
					}
				}
			}
		}
		if slices.Contains(list, g) {
			continue
		}
		g.refs++
		list = append(list, g)
	}
	return list
}

func (c *Cluster) drop(list []*glob) {
	for _, g := range list {
		if g.refs--; g.refs > 0 {
			continue
		}
		c.globs.remove(g)
		for _, u := range c.names.withPrefix(g.Prefix) {
			u.matched = remove(u.matched, g)
		}
	}
}

// forgetUnit drops a unit of which nothing is left.
func (c *Cluster) forgetUnit(u *unit) {
	if u.known || len(u.places) > 0 || c.unfit[u.name] != nil {
		return
	}
	conflicts, replaces := u.conflicts, u.replaces
	c.leave(u)
	c.drop(conflicts)
	c.drop(replaces)
	u.dropped = true
	delete(c.units, u.name)
	delete(c.unmet, u)
	c.names.drop()
}
