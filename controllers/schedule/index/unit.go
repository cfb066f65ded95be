package index

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// UnitSpec is what placement has to know of a unit.
type UnitSpec struct {
	Name string
	// Template is the template of an instance, such as example-app@.service, whose instances form a family. "": it is not an
	// instance.
	Template     string
	Hash         string
	DesiredState v1.DesiredState
	RequestedAt  string
	// Prefer is the ID of the machine that it goes to if it fits there; "": any.
	Prefer string
	// Next is the start that is to be prepared while the unit goes on. NextFleet is the [X-Fleet] section of its file, if that is
	// another one than the unit's; nil: it is the same, or unknown.
	Next      v1.Preparation
	NextFleet *unitfile.Fleet
	// Owner is the app that has to let the unit go before it leaves its machine, LetGo the machine that it may leave.
	Owner, LetGo string
	// Except are machines, separated by commas, that match a global unit but must not run it.
	Except string
	// Former are machines, separated by commas, where a global unit keeps the file that it has.
	Former string
	// Fleet is the [X-Fleet] section, resolved for this name. Follows are the units that it has to be with, according to
	// that.
	Fleet   unitfile.Fleet
	Follows []string
	// Text is the unit file if it is only in the unit itself: it has to be stored before a machine can fetch it.
	Text string
	// Problem says why the unit or its file is unreadable; Fleet is meaningless then. What runs keeps running as it is.
	Problem string
}

// Unit is a unit of the index, or a unit's former file.
type Unit struct {
	UnitSpec
	// Known: it is stored under units/. Otherwise only its placements or its unplaced record are left.
	Known  bool
	Family *Family
	Places []*Place
	// Preparing are the machines that are asked to prepare a move of it, sorted by ID.
	Preparing []*Preparing
	// Formers are the files that its placements still name. Of is the unit whose former file this is; nil: it is a unit.
	Formers []*Former
	Of      *Unit
	// On is on how many machines of the index it is, Stay how often it has become placed.
	On   int32
	Stay uint32
	// Rank: units with a smaller one have less choice, and are placed first.
	Rank int8
	// Concerns are the rules, one bit each, that have to know where it is. Bindings holds their data.
	Concerns uint32
	Bindings []Binding
	// Scratch belongs to a plan.
	Scratch any

	dirty, dropped bool
}

// Binding is a rule's data about a unit.
type Binding struct {
	Rule  int
	Value any
}

// Bound returns a rule's data about the unit; nil if there is none.
func (u *Unit) Bound(rule int) any {
	for _, b := range u.Bindings {
		if b.Rule == rule {
			return b.Value
		}
	}
	return nil
}

// SetBound sets a rule's data, and lets it know where the unit is; nil: no more.
func (u *Unit) SetBound(rule int, value any) {
	u.Bindings = slices.DeleteFunc(u.Bindings, func(b Binding) bool { return b.Rule == rule })
	u.Concerns &^= 1 << rule
	if value != nil {
		u.Bindings = append(u.Bindings, Binding{rule, value})
		u.Concerns |= 1 << rule
	}
}

// Gone reports whether the unit should be nowhere.
func (u *Unit) Gone() bool { return !u.Known || u.DesiredState == v1.Inactive }

// Dropped reports whether nothing is left of the unit: it was dirty, and is not planned.
func (u *Unit) Dropped() bool { return u.dropped }

// FamilyName is the template of an instance, else the name: a plain unit is its own family.
func (u *Unit) FamilyName() string {
	if u.Template != "" {
		return u.Template
	}
	return u.Name
}

// Label is the unit's name for people.
func (u *Unit) Label() string {
	if u.Of != nil {
		return u.Name + " with its former file"
	}
	return u.Name
}

// weight is how much a unit adds to its machine's number of units: a former file adds nothing.
func (u *Unit) weight() int32 {
	if u.Of != nil {
		return 0
	}
	return 1
}

// SetUnit adds or updates a unit.
func (x *Index) SetUnit(spec UnitSpec) {
	if spec.Problem != "" {
		spec.Fleet, spec.Follows = unitfile.Fleet{}, nil
	}
	u := x.unit(spec.Name)
	spec.Name = u.Name // share one string among all references
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
	x.wake |= ForRoom | ForDrain // it may occupy less than before, or no longer be tied to others
}

// same reports whether a unit would stay in the same sets with another spec.
func (x *Index) same(u *Unit, spec *UnitSpec) bool {
	return (u.Problem == "") == (spec.Problem == "") && u.Template == spec.Template && u.Fleet.Global == spec.Fleet.Global &&
		slices.Equal(u.Follows, spec.Follows) && x.rules.Same(u, spec)
}

// DeleteUnit removes a unit. It occupies its machines until its placements are gone, too.
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

// Unit returns the unit of that name; nil if it is unknown.
func (x *Index) Unit(name string) *Unit { return x.units[name] }

// HashOf is the unit's last known file hash; "": none is known.
func (x *Index) HashOf(name string) string {
	if u := x.units[name]; u != nil {
		return u.Hash
	}
	return ""
}

// Globals are the global units.
func (x *Index) Globals() map[*Unit]struct{} { return x.globals }

// Followers are the units that have to be with a unit, whether or not that exists.
func (x *Index) Followers(name string) []*Unit { return x.followers[name] }

// WithPrefix returns the units whose names begin with a prefix; some may be dropped.
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

// join ties a unit to its family and to the units it follows, leave unties it.
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
	if u.Known || len(u.Places) > 0 || len(u.Preparing) > 0 || x.unplaced[u.Name] != nil {
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

// Remove removes the first equal element from a list whose order does not matter.
func Remove[T comparable](list []T, e T) []T {
	if i := slices.Index(list, e); i >= 0 {
		list[i] = list[len(list)-1]
		return list[:len(list)-1]
	}
	return list
}
