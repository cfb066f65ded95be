package importer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// FleetUnit is a unit in the original's API, GET /fleet/v1/units.
type FleetUnit struct {
	Name         string        `json:"name"`
	Options      []FleetOption `json:"options"`
	DesiredState string        `json:"desiredState"`
	CurrentState string        `json:"currentState"`
	MachineID    string        `json:"machineID"`
}

// FleetOption is an assignment of a unit file in the original's API.
type FleetOption struct {
	Section string `json:"section"`
	Name    string `json:"name"`
	Value   string `json:"value"`
}

// FleetPage is an answer to GET /fleet/v1/units.
type FleetPage struct {
	Units         []FleetUnit `json:"units"`
	NextPageToken string      `json:"nextPageToken"`
}

// ReadFleetPage reads one.
func ReadFleetPage(data []byte) (page FleetPage, err error) {
	if err := json.Unmarshal(data, &page); err != nil {
		return page, fmt.Errorf("the answer is not a list of the original's units: %w", err)
	}
	return page, nil
}

// FromFleet returns the units of a cluster of the original as they are: with the text that its fleetd wrote on the machines, so that
// what runs there is taken over, and with their desired states and machines. Those that cannot be are told.
func FromFleet(units []FleetUnit) (objects []Object, refused []Note) {
	units = slices.Clone(units)
	slices.SortFunc(units, func(a, b FleetUnit) int { return strings.Compare(a.Name, b.Name) })
	for _, u := range units {
		o, err := u.object()
		if err != nil {
			refused = append(refused, Note{File: u.Name, Message: err.Error()})
			continue
		}
		objects = append(objects, o)
	}
	return objects, refused
}

func (u FleetUnit) object() (Object, error) {
	if _, err := unitfile.ParseName(u.Name); err != nil {
		return Object{}, err
	}
	options := make([]unitfile.Option, len(u.Options))
	for i, o := range u.Options {
		options[i] = unitfile.Option{Section: o.Section, Name: o.Name, Value: o.Value}
	}
	file, err := unitfile.FromOptions(options)
	if err != nil {
		return Object{}, err
	}
	unit := &v1.Unit{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindUnit}, Metadata: v1.ObjectMeta{Name: u.Name},
		Spec: v1.UnitSpec{Contents: file.String(), DesiredState: v1.DesiredState(u.DesiredState), PreferMachine: u.MachineID}}
	if errs := unit.Validate(); len(errs) > 0 {
		return Object{}, errs
	}
	o := Object{Unit: unit, file: u.Name}
	if u.MachineID != "" {
		o.Notes = append(o.Notes, Note{File: u.Name, Message: u.CurrentState + " on " + u.MachineID})
	}
	return o, nil
}
