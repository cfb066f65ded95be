package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// writer is the writer of a revision: a process, and its part whose connection was used.
type writer struct {
	process *process
	part    string
}

// writers says which parts of a fleetd put and delete the keys of a row. People may do so, too.
type writers struct {
	puts, deletes []string
	// elected: only the leader's fleetd writes it.
	elected bool
	// own: a machine's keys are written by its own fleetd or router; the leader deletes what it left behind.
	own bool
}

// rows is the table of docs/reference/keys.md.
var rows = map[string]writers{
	"apps":         {puts: []string{"source"}, deletes: []string{"source"}, elected: true},
	"sourcestatus": {puts: []string{"source"}, deletes: []string{"source"}, elected: true},
	"units":        {puts: []string{"app"}, deletes: []string{"app"}, elected: true},
	"revisions":    {puts: []string{"app"}, deletes: []string{"collect"}, elected: true},
	"applies":      {puts: []string{"source"}, deletes: []string{"collect"}, elected: true},
	"unitfiles":    {puts: []string{"app", "schedule"}, deletes: []string{"collect"}, elected: true},
	"placements":   {puts: []string{"schedule"}, deletes: []string{"schedule"}, elected: true},
	"preparations": {puts: []string{"schedule"}, deletes: []string{"schedule"}, elected: true},
	"unplaced":     {puts: []string{"schedule"}, deletes: []string{"schedule"}, elected: true},
	"routes":       {puts: []string{"app"}, deletes: []string{"app"}, elected: true},
	"status":       {puts: []string{"status"}, deletes: []string{"status", "collect"}, elected: true},
	"overrides":    {deletes: []string{"collect"}, elected: true},
	"rollouts":     {deletes: []string{"collect"}, elected: true},
	"states":       {puts: []string{"node"}, deletes: []string{"node"}, own: true},
	"machines":     {puts: []string{"presence"}, deletes: []string{"presence"}, own: true},
	"routers":      {puts: []string{routerPart}, deletes: []string{routerPart}, own: true},
	"leaders":      {puts: []string{"leader"}, deletes: []string{"leader"}},
	"events":       {puts: []string{"events", routerPart, announcerPart}},
}

// The parts of processes that share one connection.
const (
	routerPart    = kindRouter
	announcerPart = kindAnnouncer
)

// rows checks the writer of each change.
func (c *checker) rows(events []store.Event, by writer) {
	for _, e := range events {
		name, _, _ := strings.Cut(c.w.short(e.Key), "/")
		switch name {
		case "apps", "machineconfig", "overrides", "rollouts":
			c.persons(e, by)
		case "units":
			c.personsUnit(e, by)
		}
		if r, ok := rows[name]; ok && by.process.kind != kindPerson {
			c.row(name, r, e, by)
		}
	}
}

// row checks one change in a row.
func (c *checker) row(name string, r writers, e store.Event, by writer) {
	c.counts.Check(invWriter)
	parts, part := r.puts, by.part
	if e.Deleted {
		parts = r.deletes
	}
	if by.process.kind != kindFleetd {
		part = by.process.kind
	}
	elected := r.elected
	switch {
	case r.own && e.Deleted && part == "collect":
		elected = true // it cleans up after lost machines
	case !slices.Contains(parts, part):
		c.w.fail(invWriter, "%s of %s wrote %s at revision %d", part, by.process.name, e.Key, e.ModRevision)
	case r.own:
		key := strings.TrimPrefix(c.w.short(e.Key), name+"/")
		if machine, _, _ := strings.Cut(key, "/"); machine != by.process.host.id {
			c.w.fail(invWriter, "%s wrote %s at revision %d, which is another machine's", by.process.name, e.Key, e.ModRevision)
		}
	}
	if elected {
		c.elected(e, by)
	}
}

// elected checks that only the leader writes it.
func (c *checker) elected(e store.Event, by writer) {
	c.counts.Check(invDeposed)
	leader := c.leader()
	if leader == by.process {
		return
	}
	if time.Since(c.restoredAt) < agentTTL+slack && c.candidate(by.process) {
		c.counts.Excuse(invDeposed, "etcd was restored, with the key of one that had led before")
		return
	}
	who := "no process"
	if leader != nil {
		who = leader.name
	}
	c.w.fail(invDeposed, "%s wrote %s at revision %d, and %s leads", by.process.name, e.Key, e.ModRevision, who)
}

// candidate reports whether the process has a leader key, not necessarily the oldest.
func (c *checker) candidate(p *process) bool {
	for key := range c.kv {
		if strings.HasPrefix(key, c.keys.Leader(keyspace.Election)+"/") && c.leaders[key] == p {
			return true
		}
	}
	return false
}

// persons checks that only people write their rows, except overrides of deleted units.
func (c *checker) persons(e store.Event, by writer) {
	c.counts.Check(invPersons)
	if by.process.kind == kindPerson {
		return
	}
	if app, ok := c.keys.Apps().Name(e.Key); ok && by.part == "source" && c.owned(app) {
		return
	}
	if unit, ok := c.keys.Overrides().Name(e.Key); ok && e.Deleted && c.wish(unit) == "" {
		return
	}
	if app, ok := c.keys.Rollouts().Name(e.Key); ok && e.Deleted && !c.has(c.keys.Apps().Key(app)) {
		return
	}
	c.w.fail(invPersons, "%s changed %s at revision %d", by.process.name, e.Key, e.ModRevision)
}

// personsUnit checks that a unit without an owning app is only written by people.
func (c *checker) personsUnit(e store.Event, by writer) {
	kv, there := c.kv[e.Key]
	if by.process.kind == kindPerson || !there {
		return
	}
	c.counts.Check(invPersons)
	if unit, err := c.keys.Units().Decode(kv.Value); err != nil || unit.Metadata.Owner == "" {
		c.w.fail(invPersons, "%s changed %s at revision %d", by.process.name, e.Key, e.ModRevision)
	}
}

// leader is the process with the oldest leader key.
func (c *checker) leader() *process {
	first := ""
	for key := range c.kv {
		if strings.HasPrefix(key, c.keys.Leader(keyspace.Election)+"/") && (first == "" || c.kv[key].CreateRevision < c.kv[first].CreateRevision) {
			first = key
		}
	}
	return c.leaders[first]
}
