package node

import (
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Relations are a unit's relations to others, see systemd.unit(5).
type Relations struct {
	// BindsTo are the units that this one cannot run without. Starting it starts them.
	BindsTo []string
	// Requires are the units that are started with this one.
	Requires []string
	// Triggers are what a timer, socket or path starts: one unit. Its own start fails without it, see systemd.timer(5).
	Triggers []string
	// After are the units that are started before this one.
	After []string
	// Conditions are its Condition...= and Assert...= options as written.
	Conditions []string
	// Announces reports whether it runs fleet's announcer.
	Announces bool
	// Installs reports whether it has an [Install] section.
	Installs bool
	// Mentions are all units it has a relation to, sorted.
	Mentions []string
	// Conflicts are the globs of its Conflicts= in [X-Fleet].
	Conflicts []string
	// Isolates reports whether it has OnPartition=stop there.
	Isolates bool
}

// RelationsOf reads the relations from a unit file.
func RelationsOf(f *unitfile.File, name unitfile.Name) Relations {
	units := func(options ...string) []string {
		var found []string
		for _, option := range options {
			for _, value := range f.Values(unitfile.SectionUnit, option) {
				for word := range strings.FieldsSeq(value) {
					found = append(found, name.Expand(word))
				}
			}
		}
		return found
	}
	r := Relations{
		BindsTo:  units("BindsTo", "BindTo"),
		Requires: units("Requires", "Requisite"),
		After:    units("After"),
	}
	if other := f.Triggers(name); other != "" {
		r.Triggers = []string{other}
	}
	for _, o := range f.Options() {
		switch {
		case o.Section == "Install":
			r.Installs = true
		case o.Section == unitfile.SectionUnit && (strings.HasPrefix(o.Name, "Condition") || strings.HasPrefix(o.Name, "Assert")):
			r.Conditions = append(r.Conditions, o.Name+"="+name.Expand(o.Value))
		case o.Section == "Service" && o.Name == "ExecStart" && o.Value != "":
			program, _, _ := strings.Cut(strings.TrimLeft(o.Value, `"@-:+!`), " ")
			r.Announces = strings.Trim(program, `"`) == v1.BinDir+"/announcer"
		}
	}
	r.Mentions = slices.Concat(r.BindsTo, r.Requires, r.Triggers, r.After, units("Wants", "Before", "PartOf", "Conflicts", "Upholds", "OnFailure", "OnSuccess"))
	slices.Sort(r.Mentions)
	r.Mentions = slices.Compact(r.Mentions)
	return r
}

// lacking returns the units that its start needs, directly or through others, and that are not on this machine.
func (p *planner) lacking(name string) []string {
	var lacks []string
	seen := map[string]bool{name: true}
	var visit func(string)
	visit = func(n string) {
		r := p.in.Relations[n]
		for _, needed := range slices.Concat(r.BindsTo, r.Requires, r.Triggers) {
			if seen[needed] {
				continue
			}
			seen[needed] = true
			if visit(needed); !p.here(needed) {
				lacks = append(lacks, needed)
			}
		}
	}
	visit(name)
	slices.Sort(lacks)
	return lacks
}

// here reports whether systemd can load the unit's file because fleet has put it on this machine.
func (p *planner) here(name string) bool { return p.linked[name] || p.in.Records[name].Loaded != "" }

// levels numbers the units so that each is above those it comes after. A cycle is broken at its first unit by name.
func (p *planner) levels(names []string) map[string]int {
	levels := map[string]int{}
	visiting := map[string]bool{}
	var visit func(string) int
	visit = func(name string) int {
		if level, ok := levels[name]; ok || visiting[name] {
			return level
		}
		visiting[name] = true
		level := 0
		r := p.in.Relations[name]
		for _, before := range [][]string{r.BindsTo, r.Requires, r.After} {
			for _, other := range before {
				if _, ours := p.in.Relations[other]; ours {
					level = max(level, visit(other)+1)
				}
			}
		}
		levels[name] = level
		return level
	}
	for _, name := range names {
		visit(name)
	}
	return levels
}
