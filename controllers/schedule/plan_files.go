package schedule

import "slices"

// storeFiles has the files of placed units stored that only the units themselves have. They go before the placements:
// a machine fetches the file that its placement names.
func (p *planner) storeFiles() {
	var inline []*unit
	add := func(u *unit) {
		if u.Text != "" && len(u.places) > 0 && !u.gone() {
			inline = append(inline, u)
		}
	}
	for _, u := range p.work {
		add(u)
	}
	for u := range p.c.globals { // a new machine places them without a look at the unit
		add(u)
	}
	slices.SortFunc(inline, byName)
	var files []Action
	stored := map[string]bool{}
	for _, u := range inline {
		if !stored[u.Hash] {
			stored[u.Hash] = true
			p.txn++
			files = append(files, Action{Kind: StoreFile, Unit: u.name, Txn: p.txn, Hash: u.Hash, Text: u.Text, Reason: ReasonInline,
				Message: "the unit has its file's text itself"})
		}
	}
	p.out.Actions = slices.Insert(p.out.Actions, 0, files...)
}
