package index

import (
	"slices"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Former is an outdated file that placements of a unit still name: their processes still run with it. Until the placements
// name the new file both files count, and nothing is placed that clashes with either.
type Former struct {
	hash   string
	fleet  unitfile.Fleet
	places int
	// unit occupies machines with what the former file has and the new one has not. nil: it asks for the same.
	unit *Unit
}

// outdated reports whether a placement names a different file than its unit.
func (p *Place) outdated() bool {
	return p.Value.Hash != "" && (p.Value.Hash != p.Unit.Hash || p.Unit.Problem != "")
}

// Former is the unit with the former file that the placement names; nil if that asks for nothing else.
func (p *Place) Former() *Unit {
	if p.former == nil {
		return nil
	}
	return p.former.unit
}

// Runs is the unit with the file that runs there, as far as known.
func (p *Place) Runs() *Unit {
	if f := p.Former(); f != nil {
		return f
	}
	return p.Unit
}

func (x *Index) enterFormer(p *Place) {
	if f := p.Former(); f != nil && p.Machine.Indexed {
		x.enter(f, p.Machine)
	}
}

func (x *Index) leaveFormer(p *Place) {
	if f := p.Former(); f != nil && p.Machine.Indexed {
		x.exit(f, p.Machine)
	}
}

// adopt ties a placement that the index does not count yet to the file that it names. An unknown file is requested.
func (x *Index) adopt(p *Place) {
	if !p.outdated() {
		return
	}
	f := fileNamed(p.Unit.Formers, p.Value.Hash)
	if f == nil {
		x.unexplained = append(x.unexplained, p)
		return
	}
	f.places++
	p.former = f
}

// fileNamed returns the file with that hash; nil if it is not among them.
func fileNamed(files []*Former, hash string) *Former {
	for _, f := range files {
		if f.hash == hash {
			return f
		}
	}
	return nil
}

// disown is the inverse of adopt.
func (x *Index) disown(p *Place) {
	f := p.former
	if f == nil {
		return
	}
	p.former = nil
	x.wake |= ForRoom | ForDrain
	if f.places--; f.places == 0 {
		p.Unit.Formers = Remove(p.Unit.Formers, f)
		x.dropFormer(f)
	}
}

// reform finds a unit's former files again after its file has changed. The index does not count the unit at that time. was
// are the former files so far; unused ones are dropped at the end.
func (x *Index) reform(u *Unit, was []*Former) {
	u.Formers = nil
	for _, p := range u.Places {
		if p.former = nil; !p.outdated() {
			continue
		}
		if f := fileNamed(was, p.Value.Hash); f != nil && fileNamed(u.Formers, f.hash) == nil {
			u.Formers = append(u.Formers, x.newFormer(u, f.hash, f.fleet))
		}
		x.adopt(p)
	}
	for _, f := range was {
		x.dropFormer(f)
	}
}

// files are the known files of a unit: its current and its former ones.
func (u *Unit) files() []*Former {
	if len(u.Places) == 0 || u.Hash == "" || u.Problem != "" {
		return u.Formers
	}
	return append(slices.Clone(u.Formers), &Former{hash: u.Hash, fleet: u.Fleet})
}

func (x *Index) newFormer(u *Unit, hash string, fleet unitfile.Fleet) *Former {
	f := &Former{hash: hash, fleet: fleet}
	spec := UnitSpec{Name: u.Name, Fleet: fleet}
	if !x.rules.Same(u, &spec) {
		f.unit = &Unit{UnitSpec: spec, Of: u}
		x.rules.Bind(f.unit)
	}
	return f
}

func (x *Index) dropFormer(f *Former) {
	if f.unit != nil {
		x.rules.Unbind(f.unit)
		x.rules.Forget(f.unit)
	}
}

// EachUnexplained requests the files that placements name and that the index does not know: those that a new leader finds, or
// that a person wrote. file returns a file's [X-Fleet] section for the unit; false: it is not stored, and rules out nothing.
func (x *Index) EachUnexplained(file func(hash, unit string) (unitfile.Fleet, bool)) {
	list := x.unexplained
	x.unexplained = nil
	for _, p := range list {
		u := p.Unit
		if p.former != nil || !p.outdated() || x.PlaceOf(u, p.Machine) != p {
			continue
		}
		fleet, ok := file(p.Value.Hash, u.Name)
		if !ok {
			continue
		}
		if fileNamed(u.Formers, p.Value.Hash) == nil {
			u.Formers = append(u.Formers, x.newFormer(u, p.Value.Hash, fleet))
		}
		x.adopt(p)
		x.enterFormer(p)
		x.touchPlace(u, p.Machine)
	}
}

// Unit is the unit with the former file; nil if that asks for nothing else.
func (f *Former) Unit() *Unit { return f.unit }
