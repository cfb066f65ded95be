package index

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// UnitSpec is what placement has to know of a unit.
type UnitSpec struct {
	Name string
	// Template is that of an instance, such as example-app@.service: its instances are a family. "": it is none.
	Template     string
	Hash         string
	DesiredState v1.DesiredState
	RequestedAt  string
	// Owner is the app that has to let the unit go before it is moved off a machine that is drained, LetGo the machine that it
	// may leave.
	Owner, LetGo string
	// Except are the machines, separated by commas, that a global unit is not to be on although it matches them.
	Except string
	// Fleet is the [X-Fleet] section, resolved for this name. Follows are the units that it has to be beside, by that.
	Fleet   unitfile.Fleet
	Follows []string
	// Text is the unit file where only the unit itself has it: it has to be stored before a machine can fetch it.
	Text string
	// Problem says why the unit or its file cannot be read; Fleet means nothing then. What runs goes on as it is.
	Problem string
}

// Unit is a unit of the index, or the former file of one.
type Unit struct {
	UnitSpec
	// Known: it is stored under units/. Else only its placements or its unplaced record are left.
	Known  bool
	Family *Family
	Places []*Place
	// Formers are the files that its placements name still. Of is whose former file this is; nil: it is a unit.
	Formers []*Former
	Of      *Unit
	// On is how many machines of the index it is on, Stay how often it came to be on any.
	On   int32
	Stay uint32
	// Rank: units with a smaller one have less choice, and are placed first.
	Rank int8
	// Concerns are the rules, a bit each, that have to be told where it is. What they keep of it is in Bindings.
	Concerns uint32
	Bindings []Binding
	// Scratch is of a plan.
	Scratch any

	dirty, dropped bool
}

// Binding is what a rule keeps of a unit.
type Binding struct {
	Rule  int
	Value any
}

// Bound is what a rule keeps of the unit; nil: nothing.
func (u *Unit) Bound(rule int) any {
	for _, b := range u.Bindings {
		if b.Rule == rule {
			return b.Value
		}
	}
	return nil
}

// SetBound has a rule keep a value, and be told where the unit is; nil: nothing any more.
func (u *Unit) SetBound(rule int, value any) {
	u.Bindings = slices.DeleteFunc(u.Bindings, func(b Binding) bool { return b.Rule == rule })
	u.Concerns &^= 1 << rule
	if value != nil {
		u.Bindings = append(u.Bindings, Binding{rule, value})
		u.Concerns |= 1 << rule
	}
}

// Family is the instances of a template: a drain moves them one after the other.
type Family struct {
	Name  string
	Units []*Unit
	Mark  uint64 // scratch of a plan
}

// Gone says that the unit is to be nowhere.
func (u *Unit) Gone() bool { return !u.Known || u.DesiredState == v1.Inactive }

// Dropped says that nothing is left of the unit: it was dirty, and is not looked at.
func (u *Unit) Dropped() bool { return u.dropped }

// FamilyName is the template of an instance, else the name: a plain unit is a family of its own.
func (u *Unit) FamilyName() string {
	if u.Template != "" {
		return u.Template
	}
	return u.Name
}

// Label is the unit for people.
func (u *Unit) Label() string {
	if u.Of != nil {
		return u.Name + " with its former file"
	}
	return u.Name
}

// weight is what a unit counts among those of its machine: a former file is none of them.
func (u *Unit) weight() int32 {
	if u.Of != nil {
		return 0
	}
	return 1
}

// SetUnit tells of a unit that is new or changed.
func (x *Index) SetUnit(spec UnitSpec) {
	if spec.Problem != "" {
		spec.Fleet, spec.Follows = unitfile.Fleet{}, nil
	}
	u := x.unit(spec.Name)
	spec.Name = u.Name // one string for all that refer to it
	if u.Known && x.same(u, &spec) && (u.Hash == spec.Hash || len(u.Places) == 0) {
		if u.DesiredState != spec.DesiredState {
			x.wake |= ForRoom | ForDrain
		}
		u.UnitSpec = spec
		x.touchGroup(u)
		return
	}
	files := u.files()
	x.vacateAll(u)
	x.rules.Unbind(u)
	x.leave(u)
	u.UnitSpec, u.Known = spec, true
	x.join(u)
	x.rules.Bind(u)
	x.reform(u, files)
	x.occupyAll(u)
	x.touchGroup(u)
	x.wake |= ForRoom | ForDrain // it may occupy less than before, or not be tied to others any more
}

// same says that a unit would be in all sets as it is with another spec.
func (x *Index) same(u *Unit, spec *UnitSpec) bool {
	return (u.Problem == "") == (spec.Problem == "") && u.Template == spec.Template && u.Fleet.Global == spec.Fleet.Global &&
		slices.Equal(u.Follows, spec.Follows) && x.rules.Same(u, spec)
}

// DeleteUnit tells of a unit that is gone. What it occupies it occupies until its placements are gone too.
func (x *Index) DeleteUnit(name string) {
	u := x.units[name]
	if u == nil || !u.Known {
		return
	}
	x.touchGroup(u)
	u.Known = false
	x.wake |= ForRoom | ForDrain
	x.forgetUnit(u)
}

// Unit is the unit of that name; nil: nothing is known of it.
func (x *Index) Unit(name string) *Unit { return x.units[name] }

// HashOf is the hash of the unit file that a unit was said to have last; "": none is known.
func (x *Index) HashOf(name string) string {
	if u := x.units[name]; u != nil {
		return u.Hash
	}
	return ""
}

// Globals are the global units.
func (x *Index) Globals() map[*Unit]struct{} { return x.globals }

// Followers are the units that have to be beside a unit, whether or not that exists.
func (x *Index) Followers(name string) []*Unit { return x.followers[name] }

// WithPrefix are the units whose names begin with a prefix, some of which may be dropped.
func (x *Index) WithPrefix(prefix string) []*Unit { return x.names.withPrefix(prefix) }

func (x *Index) unit(name string) *Unit {
	u := x.units[name]
	if u == nil {
		u = &Unit{UnitSpec: UnitSpec{Name: name}}
		x.rules.Named(u)
		x.units[name] = u
		x.names.add(u)
	}
	return u
}

// join and leave tie a unit to its family and to those that it has to be beside.
func (x *Index) join(u *Unit) {
	if u.Template != "" {
		u.Family = x.families[u.Template]
		if u.Family == nil {
			u.Family = &Family{Name: u.Template}
			x.families[u.Template] = u.Family
		}
		u.Family.Units = append(u.Family.Units, u)
	}
	for _, target := range u.Follows {
		x.followers[target] = append(x.followers[target], u)
	}
	if u.Fleet.Global {
		x.globals[u] = struct{}{}
	}
}

func (x *Index) leave(u *Unit) {
	if u.Family != nil {
		u.Family.Units = Remove(u.Family.Units, u)
		if len(u.Family.Units) == 0 {
			delete(x.families, u.Family.Name)
		}
		u.Family = nil
	}
	for _, target := range u.Follows {
		if rest := Remove(x.followers[target], u); len(rest) > 0 {
			x.followers[target] = rest
		} else {
			delete(x.followers, target)
		}
	}
	delete(x.globals, u)
}

// forgetUnit drops a unit of which nothing is left.
func (x *Index) forgetUnit(u *Unit) {
	if u.Known || len(u.Places) > 0 || x.unplaced[u.Name] != nil {
		return
	}
	x.rules.Unbind(u)
	x.leave(u)
	u.dropped = true
	x.rules.Forget(u)
	delete(x.units, u.Name)
	delete(x.pending, u)
	x.names.drop()
}

// Remove takes the first of equals off a list whose order does not matter.
func Remove[T comparable](list []T, e T) []T {
	if i := slices.Index(list, e); i >= 0 {
		list[i] = list[len(list)-1]
		return list[:len(list)-1]
	}
	return list
}
