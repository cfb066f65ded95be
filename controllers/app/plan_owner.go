package app

import (
	"maps"
	"slices"
	"strconv"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// ownedBy tells whether a stored unit is of the app with that UID, or of a deleted one of the same name. One that an older
// fleetd wrote has no owner's UID: it is of the app that was there when it was created.
func (u Unit) ownedBy(uid int64) bool {
	if u.Metadata.OwnerUID == "" {
		return u.UID >= uid
	}
	return u.Metadata.OwnerUID == strconv.FormatInt(uid, 10)
}

// foreign: a unit of that instance is a deleted app's.
func (p *planner) foreign(number int32) bool {
	for _, name := range []string{v1.AppUnit(p.in.App, number), v1.SidekickUnit(p.in.App, number)} {
		if u, ok := p.in.Units[name]; ok && !u.ownedBy(p.in.Manifest.UID) {
			return true
		}
	}
	return false
}

// adopts: the unit is a deleted app's, and this one, of which a revision is accepted, goes on with it.
func (p *planner) adopts(u Unit) bool { return p.revision != nil && !u.ownedBy(p.in.Manifest.UID) }

// ownerUID is whose a unit is once it is written: this app's where it is to run, else whose it was.
func (p *planner) ownerUID(stored *Unit) string {
	if p.in.Manifest != nil && p.revision != nil {
		return strconv.FormatInt(p.in.Manifest.UID, 10)
	}
	if stored == nil {
		return ""
	}
	return stored.Metadata.OwnerUID
}

// adopt takes over the units of a deleted app that nothing else is done with now: else they would be removed as its
// leftovers, should the revisions be lost.
func (p *planner) adopt() {
	written := map[string]bool{}
	for _, a := range p.actions {
		written[a.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(p.in.Units)) {
		u := p.in.Units[name]
		if written[name] || !p.adopts(u) {
			continue
		}
		number, _, ok := v1.ParseAppUnit(p.in.App, name)
		if !ok {
			continue
		}
		adopted := *u.Unit
		adopted.Metadata.OwnerUID = p.ownerUID(&u)
		p.actions = append(p.actions, Action{Kind: PutUnit, Reason: Adopted, Instance: number, Name: name, Unit: &adopted, If: u.Revision})
	}
}
