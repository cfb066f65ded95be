package v1

import (
	"maps"
	"slices"
)

// UnitOption is one option of [X-Fleet] in a unit file.
type UnitOption struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Options are what the rules are in the [X-Fleet] section of a unit, in the order in which they are written. An option with
// several values comes several times.
func (p *PlacementRules) Options() (options []UnitOption) {
	if p == nil {
		return nil
	}
	add := func(name string, values ...string) {
		for _, value := range values {
			if value != "" {
				options = append(options, UnitOption{name, value})
			}
		}
	}
	add("MachineID", p.MachineID)
	add("MachineOf", p.MachineOf...)
	add("Conflicts", p.Conflicts...)
	add("MachineMetadata", pairs(p.MachineMetadata)...)
	add("SpreadOver", p.SpreadOver)
	if p.Prefer != nil {
		add("PreferMetadata", pairs(p.Prefer.Metadata)...)
	}
	return options
}

// pairs are key=value, in the order of the keys.
func pairs(m map[string]StringList) (list []string) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		for _, value := range m[key] {
			list = append(list, key+"="+value)
		}
	}
	return list
}
