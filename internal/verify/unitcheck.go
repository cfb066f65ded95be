package verify

import (
	"errors"

	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// CheckUnitFile returns the faults in the text of a unit of that name, with line numbers of the text, and warnings
// where systemd or fleet reads something other than what the author probably meant.
func CheckUnitFile(name unitfile.Name, text string) (faults, warnings []wire.Cause) {
	file, err := unitfile.Parse(text)
	var parseError *unitfile.ParseError
	switch {
	case errors.As(err, &parseError):
		return []wire.Cause{{Line: parseError.Line, Message: parseError.Msg}}, nil
	case err != nil:
		return []wire.Cause{{Message: err.Error()}}, nil
	}
	for _, w := range file.Warnings() {
		warnings = append(warnings, wire.Cause{Line: w.Line, Message: w.Msg})
	}
	problems := unitfile.ParseFleetTemplate(file).Problems()
	if !name.Template {
		_, problems = unitfile.ParseFleet(file, name)
	}
	for _, p := range problems {
		c := wire.Cause{Line: p.Line, Field: "[" + unitfile.SectionFleet + "] " + p.Option, Message: p.Msg}
		if p.Warning {
			warnings = append(warnings, c)
		} else {
			faults = append(faults, c)
		}
	}
	return wire.Capped(faults), wire.Capped(warnings)
}
