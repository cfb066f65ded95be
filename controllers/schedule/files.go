package schedule

import (
	"slices"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// storeFiles stores the files of placed units that are only in the units themselves. This precedes the placements, because a
// machine fetches the file that its placement names.
func (p *planner) storeFiles() {
	var inline []*index.Unit
	add := func(u *index.Unit) {
		if u.Text != "" && len(u.Places) > 0 && !u.Gone() {
			inline = append(inline, u)
		}
	}
	for _, u := range p.work {
		add(u)
	}
	for u := range p.x.Globals() { // a new machine places them without planning the unit
		add(u)
	}
	slices.SortFunc(inline, index.ByName)
	var files []Action
	stored := map[string]bool{}
	for _, u := range inline {
		if !stored[u.Hash] {
			stored[u.Hash] = true
			p.last++
			files = append(files, Action{Kind: StoreFile, Unit: u.Name, Txn: p.last, File: &File{u.Hash, u.Text}, Reason: ReasonInline,
				Message: "the unit has its file's text itself"})
		}
	}
	p.out.Actions = slices.Insert(p.out.Actions, 0, files...)
}
