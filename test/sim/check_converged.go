package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// problem says what is not as people want it; "" if nothing. All machines are present and healthy.
func (c *checker) problem() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, find := range []func() string{c.sourceProblem, c.appProblem, c.unitProblem, c.runProblem, c.endpointProblem} {
		if problem := find(); problem != "" {
			return problem
		}
	}
	return ""
}

// names are the names in a row, sorted.
func (c *checker) names(prefix string) []string {
	var names []string
	for key := range c.kv {
		if name, ok := strings.CutPrefix(key, prefix); ok && name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (c *checker) latest(app string) *v1.Revision {
	all := c.names(c.keys.Revisions().Key(app + "/"))
	if len(all) == 0 {
		return nil
	}
	revision, err := c.keys.Revisions().Decode(c.kv[c.keys.Revisions().Key(app+"/"+all[len(all)-1])].Value)
	if err != nil || !revision.Of(c.kv[c.keys.Apps().Key(app)].CreateRevision) {
		return nil
	}
	return &revision
}

// lasting are the revisions of everything that must survive a restart of all processes: everything except who is present, who
// leads, and events. If clocks differ, another leader may consider another roll-out stalled, and reports that.
func (c *checker) lasting() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	revisions := map[string]int64{}
	skewed := slices.ContainsFunc(c.w.hosts[:c.w.machines], func(h *host) bool { return h.clock.wrong() })
	for key, kv := range c.kv {
		row, name, _ := strings.Cut(c.w.short(key), "/")
		if machine, _, _ := strings.Cut(name, "/"); row == "states" && c.w.hadTwin(machine) {
			continue // the other machine with that ID overwrote this one's state
		}
		if row != "machines" && row != "leaders" && row != "events" && (row != "status" || !skewed) {
			revisions[key] = kv.ModRevision
		}
	}
	return revisions
}

// hadTwin reports whether another machine had that ID.
func (w *world) hadTwin(id string) bool {
	return slices.ContainsFunc(w.hosts[w.machines:], func(h *host) bool { return h.id == id })
}

func (c *checker) unit(name string) (v1.Unit, bool) {
	kv, ok := c.kv[c.keys.Units().Key(name)]
	if !ok {
		return v1.Unit{}, false
	}
	unit, err := c.keys.Units().Decode(kv.Value)
	return unit, err == nil
}

func (c *checker) unplaced(name string) bool { return c.has(c.keys.Unplaced().Key(name)) }

func (c *checker) appProblem() string {
	owned := map[string][]string{}
	for _, name := range c.names(c.keys.Units().Prefix()) {
		if unit, ok := c.unit(name); ok && unit.Metadata.Owner != "" && name != v1.ReleaseUnit(unit.Metadata.Owner) {
			owned[unit.Metadata.Owner] = append(owned[unit.Metadata.Owner], name)
		}
	}
	for _, app := range sortedKeys(owned) {
		if !c.has(c.keys.Apps().Key(app)) {
			return fmt.Sprintf("app %s is deleted and has %s", app, owned[app])
		}
	}
	for _, app := range c.names(c.keys.Apps().Prefix()) {
		kv := c.kv[c.keys.Apps().Key(app)]
		parsed, err := v1.ParseAppNamed(app, kv.Value)
		latest := c.latest(app)
		switch {
		case err != nil && latest == nil:
			if len(owned[app]) > 0 {
				return fmt.Sprintf("app %s has nothing that was accepted, and has %s", app, owned[app])
			}
			continue
		case err == nil && (latest == nil || !v1.SameSpec(&latest.Spec, &parsed.Spec)):
			return fmt.Sprintf("the manifest of app %s is not accepted", app)
		}
		switch {
		case undecided(latest):
			return fmt.Sprintf("revision %d of app %s is neither rolled out nor taken back", latest.Number, app)
		case c.runsOf(app) == nil:
			if len(owned[app]) > 0 {
				return fmt.Sprintf("no revision of app %s may run, and it has %s", app, owned[app])
			}
			continue
		}
		if problem := c.instancesProblem(app, c.runsOf(app), owned[app]); problem != "" {
			return problem
		}
	}
	return ""
}

func (c *checker) instancesProblem(app string, latest *v1.Revision, owned []string) string {
	want := map[string]string{}
	first, last := int32(1), latest.Spec.Instances()
	if latest.Spec.Global {
		first, last = 0, 0
	}
	for n := first; n <= last; n++ {
		want[v1.AppUnit(app, n)] = latest.UnitFile
		if latest.SidekickFile != "" {
			want[v1.SidekickUnit(app, n)] = latest.SidekickFile
		}
	}
	if have := slices.Sorted(maps.Keys(want)); !slices.Equal(have, owned) {
		return fmt.Sprintf("app %s has %s instead of %s", app, owned, have)
	}
	for _, name := range owned {
		n, _, _ := v1.ParseAppUnit(app, name)
		if c.unplaced(name) || c.unplaced(v1.AppUnit(app, n)) { // that it fits nowhere is checked against the machines, see unitProblem
			continue
		}
		unit, _ := c.unit(name)
		if unit.Spec.Hash != want[name] && c.stalled(owned) {
			continue
		}
		if unit.Spec.Hash != want[name] {
			return fmt.Sprintf("%s does not have the file of revision %d", name, latest.Number)
		}
		desired := v1.Launched
		n, sidekick, _ := v1.ParseAppUnit(app, name)
		if sidekick {
			if w := c.wish(v1.AppUnit(app, n)); w != "" && w != v1.Launched {
				desired = w
			} else if w := c.wish(name); w != "" {
				desired = w
			}
		} else if w := c.wish(name); w != "" {
			desired = w
		}
		if unit.Spec.DesiredState != desired {
			return fmt.Sprintf("%s is %s instead of %s", name, unit.Spec.DesiredState, desired)
		}
	}
	return ""
}

// stalled reports whether a roll-out gave one of these units a new file with which it fits nowhere. The others keep their
// files until it fits: what works is not given up for what does not.
func (c *checker) stalled(owned []string) bool {
	return slices.ContainsFunc(owned, func(name string) bool {
		unit, _ := c.unit(name)
		return c.unplaced(name) && v1.RolloutOf(&unit, nil).UnderWay()
	})
}

// unitsOf are the units of an app.
func (c *checker) unitsOf(app string) []string {
	return slices.DeleteFunc(c.names(c.keys.Units().Prefix()), func(name string) bool {
		unit, ok := c.unit(name)
		return !ok || app == "" || unit.Metadata.Owner != app
	})
}

func (c *checker) wish(unit string) v1.DesiredState {
	kv, ok := c.kv[c.keys.Overrides().Key(unit)]
	owned, _ := c.unit(unit)
	app := c.kv[c.keys.Apps().Key(owned.Metadata.Owner)]
	if !ok || !c.has(c.keys.Units().Key(unit)) || !v1.OverrideCounts(kv.ModRevision, c.kv[c.keys.Units().Key(unit)].CreateRevision, app.CreateRevision) {
		return ""
	}
	override, _ := c.keys.Overrides().Decode(kv.Value)
	return override.DesiredState
}

func (c *checker) unitProblem() string {
	for _, machine := range sortedKeys(c.placed) {
		for _, unit := range sortedKeys(c.placed[machine]) {
			if u, ok := c.unit(unit); !c.has(c.keys.Units().Key(unit)) || ok && u.Spec.DesiredState == v1.Inactive {
				return fmt.Sprintf("%s is placed on %s and should not be", unit, machine)
			}
		}
	}
	for _, name := range c.names(c.keys.Units().Prefix()) {
		unit, ok := c.unit(name)
		fleet, known := c.fleet(name, unit.Spec.Hash)
		if !ok || !known || unit.Spec.DesiredState == v1.Inactive {
			continue
		}
		var machines []string
		for _, machine := range sortedKeys(c.placed) {
			if placement, there := c.placed[machine][name]; there {
				machines = append(machines, machine)
				if c.unplaced(name) || placement.Leaving && c.stalled(c.unitsOf(unit.Metadata.Owner)) {
					continue // it stays as it is for now: its new file fits nowhere, or its app does not let it go
				}
				if placement.Hash != unit.Spec.Hash || placement.DesiredState != unit.Spec.DesiredState || placement.RequestedAt != unit.Spec.RequestedAt {
					return fmt.Sprintf("the placement of %s on %s is not what the unit says", name, machine)
				}
			}
		}
		switch {
		case fleet.Global:
			for _, id := range c.names(c.keys.Machines().Prefix()) {
				machine, err := c.keys.Machines().Decode(c.kv[c.keys.Machines().Key(id)].Value)
				if err == nil && !slices.Contains(machines, id) && c.fits(fleet, machine) {
					return fmt.Sprintf("%s is global, not on %s and fits there", name, id)
				}
			}
		case len(machines) == 1 && !c.unplaced(name) && !c.belongs(fleet, machines[0]):
			return fmt.Sprintf("%s should not be on %s: %v %v", name, machines[0], fleet.MachineMetadata, fleet.MachineOf)
		case len(machines) == 0 && !c.unplaced(name):
			return name + " is neither placed nor unplaced"
		case c.unplaced(name) && len(fleet.MachineOf) == 0:
			if next, ok := c.fleet(name, unit.Next.Hash); ok && len(machines) > 0 && !fleet.Global {
				fleet = next // that is what fits nowhere
			}
			for _, id := range c.names(c.keys.Machines().Prefix()) {
				machine, err := c.keys.Machines().Decode(c.kv[c.keys.Machines().Key(id)].Value)
				if err == nil && c.fits(fleet, machine) {
					return fmt.Sprintf("%s is unplaced (%s) and fits on %s", name, machines, id)
				}
			}
		}
	}
	return ""
}

// belongs reports whether the unit may be on the machine.
func (c *checker) belongs(fleet unitfile.Fleet, id string) bool {
	machine, err := c.keys.Machines().Decode(c.kv[c.keys.Machines().Key(id)].Value)
	if err != nil || !c.wanted(fleet, machine) {
		return false
	}
	return !slices.ContainsFunc(fleet.MachineOf, func(peer string) bool {
		_, there := c.placed[id][peer]
		return !there
	})
}

func (c *checker) runProblem() string {
	for _, h := range c.w.hosts[:c.w.machines] {
		if !c.has(c.keys.Machines().Key(h.id)) {
			return h.id + " is not present"
		}
		for _, unit := range sortedKeys(c.placed[h.id]) {
			placement := c.placed[h.id][unit]
			if _, known := c.fleet(unit, placement.Hash); !known {
				continue
			}
			if problem := c.portsProblem(h, unit); problem != "" {
				return problem
			}
			never, _ := fails(unit)
			should := placement.DesiredState == v1.Launched && !never
			hash := placement.Hash
			if broughtBy[unit] != "" && placement.DesiredState == v1.Loaded && c.runs[unit][h] {
				should, hash = true, c.files[unit][h] // loaded does not stop it again, and what runs keeps the file it has
			}
			should = should && !c.tooLate[unit][h]
			if runs := c.runs[unit][h]; runs != should && !isTrigger(unit) {
				return fmt.Sprintf("%s should be %s on %s, running: %t", unit, placement.DesiredState, h.name, runs)
			}
			kv, ok := c.kv[c.keys.StatesOf(h.id).Key(unit)]
			state, err := c.keys.States().Decode(kv.Value)
			if !ok || err != nil || state.Active() != should || state.Hash != hash {
				return fmt.Sprintf("the state of %s on %s says %s, hash %s", unit, h.name, state.ActiveState, brief(state.Hash))
			}
		}
		for _, unit := range sortedKeys(c.runs) {
			if _, placed := c.placed[h.id][unit]; c.runs[unit][h] && !placed {
				return fmt.Sprintf("%s runs on %s and is not placed there", unit, h.name)
			}
		}
	}
	return ""
}

func (c *checker) endpointProblem() string {
	endpoints := map[string]string{}
	for key, kv := range c.kv {
		if strings.HasPrefix(key, v1.DefaultAnnouncePrefix+"/") && kv.Lease != 0 {
			endpoints[key] = string(kv.Value)
		}
	}
	for _, key := range sortedKeys(endpoints) {
		if h, unit := c.announced(key, c.kv[key]); h == nil || !c.runs[unit][h] {
			return fmt.Sprintf("%s is announced and does not run there", key)
		}
	}
	for _, h := range c.w.hosts[:c.w.machines] {
		for _, unit := range sortedKeys(c.placed[h.id]) {
			placement := c.placed[h.id][unit]
			name, rest, _ := strings.Cut(unit, "@")
			app, sidekick := strings.CutSuffix(name, "-discovery")
			key := fmt.Sprintf("%s/%s/%s@%s", v1.DefaultAnnouncePrefix, app, app, strings.TrimSuffix(rest, ".service"))
			if sidekick && placement.DesiredState == v1.Launched && endpoints[key] == "" {
				return fmt.Sprintf("%s runs on %s and %s is not announced", unit, h.name, key)
			}
		}
		if !c.routes(h) {
			continue // whether it should run is checked against the machines, see unitProblem
		}
		if !c.has(c.keys.Routers().Key(h.id)) {
			return "the router of " + h.name + " is not there"
		}
		if !maps.Equal(c.served[h], endpoints) {
			return fmt.Sprintf("nginx on %s serves %v instead of %v", h.name, c.served[h], endpoints)
		}
		if problem := c.hostsProblem(h); problem != "" {
			return problem
		}
	}
	return ""
}

// routes reports whether a router should run on the host. A machine that was drained when it vanished has lost it.
func (c *checker) routes(h *host) bool {
	_, placed := c.placed[h.id]["router.service"]
	return placed
}
