package check

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// placement is the file that a unit of a machine has from a moment on; without a file it is taken away.
type placement struct {
	at   time.Time
	hash string
}

// files are the texts of unit files, by hash.
type files map[string]string

// fleet is what a unit's file says in [X-Fleet].
func (f files) fleet(unit, hash string) (fleet unitfile.Fleet, ok bool) {
	text, ok := f[hash]
	if !ok {
		return fleet, false
	}
	file, err := unitfile.Parse(text)
	if err != nil {
		return fleet, false
	}
	name, err := unitfile.ParseName(unit)
	if err != nil {
		return fleet, false
	}
	fleet, _ = unitfile.ParseFleet(file, name)
	return fleet, true
}

var keys = keyspace.New("")

// Kept reports whether a key is one that is looked at.
func Kept(key string) bool {
	for _, prefix := range []string{keys.Placements().Prefix(), keys.UnitFiles().Prefix(), endpointKeys.Prefix()} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

var endpointKeys = keyspace.Endpoints(v1.DefaultAnnouncePrefix)

// history fills in files and placed.
func (c *checker) history() {
	for _, w := range c.Writes {
		if hash, ok := keys.UnitFiles().Name(w.Key); ok && !w.Deleted {
			c.files[hash] = w.Value
		}
		name, ok := keys.Placements().Name(w.Key)
		if !ok {
			continue
		}
		id, unit, _ := keyspace.Split(name)
		var p v1.Placement
		if !w.Deleted {
			p, _ = keys.Placements().Decode([]byte(w.Value))
		}
		u := Unit{c.name(id), unit}
		c.placed[u] = append(c.placed[u], placement{w.At, p.Hash})
	}
}

// name is the name of the machine with an ID.
func (c *checker) name(id string) string {
	for _, m := range c.Machines {
		if m.ID == id {
			return m.Name
		}
	}
	return id
}

// fileAt is what a unit's file said at a moment, or the last time before when it was placed there.
func (c *checker) fileAt(u Unit, at time.Time) (fleet unitfile.Fleet) {
	for _, p := range c.placed[u] {
		if p.at.After(at) && fleet.Unit != "" {
			break
		}
		if f, ok := c.files.fleet(u.Name, p.hash); ok {
			fleet = f
		}
	}
	return fleet
}

// singles are the units that fleet placed, and placed on one machine alone.
func (c *checker) singles() map[string]bool {
	all, global := map[string]bool{}, map[string]bool{}
	for u, placements := range c.placed {
		for _, p := range placements {
			if f, ok := c.files.fleet(u.Name, p.hash); ok {
				all[u.Name] = true
				global[u.Name] = global[u.Name] || f.Global
			}
		}
	}
	maps.DeleteFunc(all, func(unit string, _ bool) bool { return global[unit] })
	return all
}

// clash says what keeps two units apart, empty if nothing does.
func clash(a, b unitfile.Fleet) string {
	for _, pair := range [][2]unitfile.Fleet{{a, b}, {b, a}} {
		for _, glob := range pair[0].Conflicts {
			if ok, err := path.Match(glob, pair[1].Unit); err == nil && ok {
				return fmt.Sprintf("%s has Conflicts=%s", pair[0].Unit, glob)
			}
		}
	}
	for _, port := range a.Ports {
		if slices.Contains(b.Ports, port) {
			return fmt.Sprintf("both have Ports=%d", port)
		}
	}
	return ""
}

// placements looks at each revision of etcd: what is placed on one machine, and what on two.
func (c *checker) placements() (problems []Problem) {
	now := map[string]map[string]string{} // hashes by machine and unit
	told := map[string]bool{}
	tell := func(at time.Time, format string, args ...any) {
		if what := fmt.Sprintf(format, args...); !told[what] {
			told[what] = true
			problems = append(problems, Problem{at, what})
		}
	}
	changed := false
	for i, w := range c.Writes {
		if name, ok := keys.Placements().Name(w.Key); ok {
			changed = true
			id, unit, _ := keyspace.Split(name)
			machine := c.name(id)
			if now[machine] == nil {
				now[machine] = map[string]string{}
			}
			delete(now[machine], unit)
			var p v1.Placement
			if !w.Deleted && json.Unmarshal([]byte(w.Value), &p) == nil && p.DesiredState != v1.Inactive {
				now[machine][unit] = p.Hash
			}
		}
		if i+1 < len(c.Writes) && c.Writes[i+1].Revision == w.Revision {
			continue // a move is one transaction
		}
		if changed {
			c.look(now, w.At, tell)
		}
		changed = false
	}
	return problems
}

// look looks at all placements of one revision.
func (c *checker) look(now map[string]map[string]string, at time.Time, tell func(time.Time, string, ...any)) {
	where := map[string]string{}
	for _, machine := range slices.Sorted(maps.Keys(now)) {
		var before []unitfile.Fleet
		for _, unit := range slices.Sorted(maps.Keys(now[machine])) {
			fleet, ok := c.files.fleet(unit, now[machine][unit])
			if !ok {
				continue
			}
			if other, twice := where[unit]; twice && !fleet.Global {
				tell(at, "%s is placed on %s and on %s", unit, other, machine)
			}
			where[unit] = machine
			for _, b := range before {
				if why := clash(b, fleet); why != "" {
					tell(at, "%s and %s are placed on %s: %s", b.Unit, unit, machine, why)
				}
			}
			before = append(before, fleet)
		}
	}
}
