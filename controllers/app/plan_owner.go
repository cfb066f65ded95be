package app

import (
	"slices"
	"strconv"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// ownedBy reports whether a stored unit belongs to the app with that UID, rather than to a deleted one of the same name. A
// unit that an older fleetd wrote has no owner UID: it belongs to the app that existed when it was created.
func (u StoredUnit) ownedBy(uid int64) bool {
	if u.Metadata.OwnerUID == "" {
		return u.UID >= uid
	}
	return u.Metadata.OwnerUID == strconv.FormatInt(uid, 10)
}

// foreign reports whether a unit of that instance belongs to a deleted app.
func (p *planner) foreign(number int32) bool {
	for _, name := range []string{v1.AppUnit(p.in.App, number), v1.SidekickUnit(p.in.App, number)} {
		if u, ok := p.in.Units[name]; ok && !u.ownedBy(p.in.Manifest.UID) {
			return true
		}
	}
	return false
}

// adopts reports whether the unit belongs to a deleted app and this one, which has an accepted revision, takes it over.
func (p *planner) adopts(u StoredUnit) bool {
	return p.revision != nil && !u.ownedBy(p.in.Manifest.UID)
}

// ownerUID is the owner to write to a unit: this app if the unit should run, else its previous owner.
func (p *planner) ownerUID(stored *StoredUnit) string {
	if p.in.Manifest != nil && p.revision != nil {
		return strconv.FormatInt(p.in.Manifest.UID, 10)
	}
	if stored == nil {
		return ""
	}
	return stored.Metadata.OwnerUID
}

// adopt takes over the deleted app's units that this plan does not change otherwise. If they were left, losing the revisions
// would get them removed as leftovers.
func (p *planner) adopt() {
	written := map[string]bool{}
	for _, a := range p.actions {
		written[a.Name] = true
	}
	var names []string
	for name, u := range p.in.Units {
		if !written[name] && p.adopts(u) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		u := p.in.Units[name]
		number, _, ok := v1.ParseAppUnit(p.in.App, name)
		if !ok {
			continue
		}
		adopted := *u.Unit
		adopted.Metadata.OwnerUID = p.ownerUID(&u)
		p.actions = append(p.actions, Action{Kind: PutUnit, Reason: Adopted, Instance: number, Name: name, Unit: &adopted, If: u.Revision})
	}
}
