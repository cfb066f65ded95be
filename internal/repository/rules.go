package repository

import (
	"fmt"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Fault is why an object of a commit cannot be applied.
type Fault struct {
	Object  *Object
	Field   string // empty: none in particular
	Message string
}

// TakenHosts are the hosts that apps of a commit ask for and cannot have: another app of the commit asks for it, too, or another one has
// it, by host in owners, and goes on having it. gone says of an app that is not in the commit whether its hosts do not count.
func TakenHosts(objects []Object, owners map[string]string, gone func(app string) bool) (faults []Fault) {
	asked, inCommit := map[string]*Object{}, map[string]bool{}
	for i := range objects {
		if objects[i].App != nil {
			inCommit[objects[i].Name] = true
		}
	}
	for i := range objects {
		o := &objects[i]
		if o.App == nil {
			continue
		}
		for n, host := range o.App.Spec.RouteHosts() {
			if host == "" {
				continue
			}
			field, owner := fmt.Sprintf("spec.route.hosts[%d]", n), owners[host]
			switch first := asked[host]; {
			case first != nil && first != o:
				faults = append(faults, Fault{o, field, fmt.Sprintf("%s is asked for by %s (%s), too: remove one", host, first.Key, first.Place())})
			case owner != "" && owner != o.Name && !inCommit[owner] && !gone(owner):
				faults = append(faults, Fault{o, field, fmt.Sprintf("%s belongs to app/%s: remove it there first", host, owner)})
			}
			asked[host] = o
		}
	}
	return faults
}

// TakenName is why an app would not be accepted, because a unit that it needs is another's: taken has them, with their owners. Empty:
// none is.
func (o *Object) TakenName(taken map[string]string) string {
	if o.App == nil {
		return ""
	}
	if unit := v1.TakenUnit(o.App, func(unit string) bool { _, is := taken[unit]; return is }); unit != "" {
		return v1.NameTakenMessage(unit, taken[unit])
	}
	return ""
}
