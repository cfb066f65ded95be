// Package facts reads from a unit file what the API shows of it beside its text.
package facts

import (
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// File is a unit file with the facts that its units share.
type File struct {
	facts v1.UnitFileFacts
	fleet *unitfile.FleetTemplate // nil if it cannot be parsed
}

// Read reads a text, as far as it can be parsed.
func Read(text string) *File {
	f := &File{facts: v1.UnitFileFacts{SHA1: unitfile.FleetHash(text)}}
	file, err := unitfile.Parse(text)
	if err != nil {
		return f
	}
	f.facts.Description, _ = file.Value(unitfile.SectionUnit, "Description")
	for _, o := range file.Options() {
		if o.Section == unitfile.SectionFleet {
			f.facts.Options = append(f.facts.Options, v1.UnitOption{Name: o.Name, Value: o.Value})
		}
	}
	f.fleet = unitfile.ParseFleetTemplate(file)
	return f
}

// Of returns what the file says for the unit of that name.
func (f *File) Of(unit string) *v1.UnitFileFacts {
	facts := f.facts
	if name, err := unitfile.ParseName(unit); err == nil && f.fleet != nil {
		options, _ := f.fleet.Resolve(name) // as far as it can be parsed
		facts.Global, facts.MachineOf = options.Global, options.MachineOf
	}
	return &facts
}
