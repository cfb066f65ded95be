package schedule

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

const (
	// maxElsewhere bounds the machines that an explanation lists.
	maxElsewhere = 20
	// maxTried is for how many machines, those with the fewest reasons, it looks for a change.
	maxTried = 8
	// maxPlans is how many plans are carried out to see what becomes of a change.
	maxPlans = 10
)

// Explainer explains units by plans on an index of its own: what would be without a constraint. It sees the cluster as it will be
// when the scheduler has carried out what is to be done now.
type Explainer struct {
	in       Input
	x        *index.Index
	rules    *rule.List
	was      map[string][]string // the machines of units before that
	revision int64               // of the last placement that was carried out here
}

// NewExplainer returns an explainer that uses the input's index up.
func NewExplainer(in Input) *Explainer {
	in.Limits = in.Limits.withDefaults()
	e := &Explainer{in: in, x: in.Index, rules: rule.Of(in.Index), was: map[string][]string{}, revision: 1 << 40}
	for _, u := range e.x.WithPrefix("") {
		for _, p := range u.ByMachine() {
			e.was[u.Name] = append(e.was[u.Name], p.MachineName)
		}
	}
	e.carryOut(func(string, string) {}, func(string) {})
	return e
}

// Explain says where a unit is and why not elsewhere or, if it has no machine, which constraints keep it off all of them and what
// would change that. machine asks about that machine alone. ok is false if there is no such unit, or it is inactive.
func (e *Explainer) Explain(unit, machine string) (why v1.Explanation, ok bool) {
	u := e.x.Unit(unit)
	if u == nil || u.Gone() {
		return why, false
	}
	l := &look{Explainer: e, u: u}
	refused := e.x.Unplaced(unit)
	why.Unit, why.Machines = unit, e.was[unit]
	switch {
	case refused != nil:
		why.Message = refused.Value.Message
	case len(why.Machines) > 0:
		why.Message = e.rules.Stays(u)
	case len(u.Places) > 0:
		why.Message = "it is about to be placed on " + u.Places[0].MachineName
	default:
		why.Message = "it waits for units that are about to leave their machines"
	}
	why.Elsewhere, why.More = l.elsewhere(machine)
	if machine == "" && refused != nil && len(u.Places) == 0 {
		e.x.DeleteUnplaced(unit) // so that plans say it again
		l.members = l.group()
		l.constraints(&why)
		e.x.SetUnplaced(unit, refused.Value, refused.Mod)
	}
	return why, true
}

// look is a look at one unit.
type look struct {
	*Explainer
	u       *index.Unit
	members []*index.Unit // it and the units that have to be on its machine
}

// trial is a plan of what would be.
type trial struct{ Decision }

// refused returns why a unit has no machine.
func (t trial) refused(unit string) *v1.Unplaced {
	for _, a := range t.Actions {
		if a.Kind == SetUnplaced && a.Unit == unit {
			return a.Unplaced
		}
	}
	return nil
}

// goes returns the machines that a unit gets.
func (t trial) goes(unit string) (machines []string) {
	for _, a := range t.Actions {
		if (a.Kind == Place || a.Kind == Move) && a.Unit == unit {
			machines = append(machines, a.Machine)
		}
	}
	return machines
}

func (e *Explainer) plan() trial { return trial{Plan(e.in)} }

// fits reports whether the unit has a machine when some edits have been made.
func (e *look) fits(edits []rule.Edit) (fits bool) {
	e.with(edits, func() {
		if e.rules.Preempting() {
			fits = e.settles()
			return
		}
		t := e.plan()
		if slices.ContainsFunc(t.Actions, e.ofOthers) { // which may change what the next plan says of the unit
			fits = e.settles()
			return
		}
		fits = t.refused(e.u.Name) == nil && (len(t.goes(e.u.Name)) > 0 || len(e.u.Places) > 0)
	})
	return fits
}

// ofOthers reports whether an action concerns another unit than this one.
func (e *look) ofOthers(a Action) bool { return a.Unit != e.u.Name }

// settles reports whether the unit has a machine when plans have been carried out until nothing is left to do: what gets a machine
// now may have to make room in the next plan.
func (e *look) settles() bool {
	type key struct{ machine, unit string }
	places, refusals := map[key]*index.Placed{}, map[string]*index.Unplaced{}
	e.carryOut(func(machine, unit string) {
		k := key{machine, unit}
		if _, known := places[k]; known {
			return
		}
		places[k] = nil
		if is := e.at(machine, unit); is != nil {
			before := is.Placed
			places[k] = &before
		}
	}, func(unit string) {
		if _, known := refusals[unit]; !known {
			refusals[unit] = e.x.Unplaced(unit)
		}
	})
	fits := len(e.u.Places) > 0 && !(e.u.Fleet.Global && e.x.Unplaced(e.u.Name) != nil)
	for k, before := range places {
		if before == nil {
			e.x.DeletePlacement(k.machine, k.unit)
		} else {
			e.x.SetPlacement(*before)
		}
	}
	for unit, before := range refusals {
		e.refuse(unit, before)
	}
	return fits
}

// carryOut carries plans out until nothing is left to do, as the scheduler does: a unit whose refusal is another one now is looked at
// again. It says before what it changes: placements, and refusals.
func (e *Explainer) carryOut(placement func(machine, unit string), refusal func(unit string)) {
	put := func(machine, unit string, value *v1.Placement) {
		placement(machine, unit)
		e.put(machine, unit, value)
	}
	for range maxPlans {
		t, writes := e.plan(), 0
		Commit(e.x, t.Decision)
		for _, a := range t.Actions {
			switch a.Kind {
			case Move:
				put(a.From, a.Unit, nil)
				put(a.Machine, a.Unit, &a.Placement)
			case Place, Update:
				put(a.Machine, a.Unit, &a.Placement)
			case Unplace:
				put(a.Machine, a.Unit, nil)
			case SetUnplaced:
				refusal(a.Unit)
				e.refuse(a.Unit, &index.Unplaced{Value: *a.Unplaced, Mod: 1})
			case ClearUnplaced:
				refusal(a.Unit)
				e.refuse(a.Unit, nil)
			default:
				continue
			}
			writes++
		}
		if writes == 0 {
			return
		}
	}
}

// refuse writes a refusal into the index; nil deletes it.
func (e *Explainer) refuse(unit string, value *index.Unplaced) {
	if value == nil {
		e.x.DeleteUnplaced(unit)
	} else {
		e.x.SetUnplaced(unit, value.Value, value.Mod)
	}
}

// put writes a placement into the index; nil deletes it.
func (e *Explainer) put(machine, unit string, value *v1.Placement) {
	if value == nil {
		e.x.DeletePlacement(machine, unit)
		return
	}
	e.revision++
	placed := index.Placed{MachineName: machine, UnitName: unit, Value: *value, Mod: e.revision, Create: e.revision}
	if p := e.at(machine, unit); p != nil {
		placed.Create = p.Create
	}
	e.x.SetPlacement(placed)
}

func (e *Explainer) at(machine, unit string) *index.Place {
	u, m := e.x.Unit(unit), e.x.Machine(machine)
	if u == nil || m == nil {
		return nil
	}
	return e.x.PlaceOf(u, m)
}

// with evaluates what with edits in the index.
func (e *look) with(edits []rule.Edit, what func()) {
	units := map[*index.Unit]index.UnitSpec{}
	for _, x := range edits {
		if x.Of != nil {
			for _, u := range rule.Sharers(x.Of) {
				units[u] = u.UnitSpec
			}
		}
	}
	for _, u := range slices.SortedFunc(maps.Keys(units), index.ByName) {
		spec := units[u]
		spec.Fleet = rule.Edited(spec.Fleet, slices.DeleteFunc(slices.Clone(edits), func(x rule.Edit) bool { return x.Of == nil || !rule.SameFile(x.Of, u) }))
		spec.Follows = rule.Follows(&spec.Fleet)
		e.x.SetUnit(spec)
	}
	type state struct {
		spec   index.MachineSpec
		config v1.MachineConfig
	}
	machines := map[*index.Machine]state{}
	for _, x := range edits {
		m := x.Closed
		if m == nil {
			continue
		}
		if _, ok := machines[m]; !ok {
			machines[m] = state{m.MachineSpec, m.Config}
		}
		spec, config := rule.Opened(x.Option, m.MachineSpec, m.Config)
		e.x.SetMachine(spec)
		e.x.SetMachineConfig(m.ID, config)
	}
	what()
	for m, before := range machines {
		e.x.SetMachine(before.spec)
		e.x.SetMachineConfig(m.ID, before.config)
	}
	for _, spec := range units {
		e.x.SetUnit(spec)
	}
}

// group returns the unit and those that have to be on its machine, the unit first.
func (e *look) group() []*index.Unit {
	members := []*index.Unit{e.u}
	visit := func(u *index.Unit) {
		if u != nil && tied(u) && !slices.Contains(members, u) {
			members = append(members, u)
		}
	}
	for i := 0; i < len(members); i++ { // members grows
		if u := members[i]; tied(u) {
			for _, name := range u.Follows {
				visit(e.x.Unit(name))
			}
			for _, f := range e.x.Followers(u.Name) {
				visit(f)
			}
		}
	}
	slices.SortFunc(members[1:], index.ByName)
	return members
}

// elsewhere returns why the unit is not on the other machines, or on the one that is asked for.
func (e *look) elsewhere(machine string) (list []v1.NotThere, more int) {
	e.rules.Begin()
	for _, m := range e.x.Machines() {
		if machine != "" && m.ID != machine || e.x.PlaceOf(e.u, m) != nil {
			continue
		}
		if len(list) == maxElsewhere {
			more++
			continue
		}
		list = append(list, v1.NotThere{Machine: m.ID, Reasons: e.not(m)})
	}
	return list, more
}

// not returns every reason why the unit is not on a machine.
func (e *look) not(m *index.Machine) (reasons []v1.Refusal) {
	refuse := func(why rule.Refusal) {
		reasons = append(reasons, v1.Refusal{Reason: why.Reason, Message: rule.Valid(why.Message), Count: 1})
	}
	if e.u.Problem != "" {
		refuse(rule.Refusal{Reason: ReasonUnitFile, Message: e.u.Problem})
	}
	if excepts(e.u, m) {
		refuse(rule.Refusal{Reason: ReasonExcepted, Message: "its app makes room there for an instance"})
	}
	members := e.group()
	if len(e.u.Places) == 0 { // those that have a machine stay there
		members = slices.DeleteFunc(members, func(v *index.Unit) bool { return len(v.Places) > 0 })
	}
	for _, name := range e.u.Follows {
		switch t := e.x.Unit(name); {
		case t == nil || !t.Known:
			refuse(rule.WaitsFor(name, "which does not exist"))
		case t.Gone():
			refuse(rule.WaitsFor(name, "which is inactive"))
		case t.Problem != "":
			refuse(rule.WaitsFor(name, "which has a problem of its own: "+t.Problem))
		case len(t.Places) > 0 && !slices.Contains(members, t) && e.x.PlaceOf(t, m) == nil && !t.Fleet.Global:
			refuse(rule.NotBeside(name, m.ID))
		}
	}
	return append(reasons, e.rules.On(members, m)...)
}

// constraints finds a smallest set of constraints that keeps the unit off, and a smallest change that gives it a machine.
func (e *look) constraints(why *v1.Explanation) {
	var own, states []*rule.Constraint
	for i, u := range e.members {
		if !slices.ContainsFunc(e.members[:i], func(v *index.Unit) bool { return rule.SameFile(u, v) }) {
			own = append(own, rule.ConstraintsOf(u)...)
		}
	}
	others := e.rules.Against(e.members)
	for _, m := range e.x.Machines() {
		states = append(states, rule.StatesOf(m)...)
	}
	all := slices.Concat(own, states, others) // the first ones are named where there is a choice
	keepsOff := func(set []*rule.Constraint) bool {
		return !e.fits(rule.Lifted(slices.DeleteFunc(slices.Clone(all), func(c *rule.Constraint) bool { return slices.Contains(set, c) })))
	}
	if len(all) > 0 && !keepsOff(nil) { // else no constraint is the cause
		for _, c := range smallest(all, keepsOff) {
			why.Constraints = append(why.Constraints, c.Constraint)
		}
		for _, x := range e.change(slices.Concat(own, others), states) {
			why.Changes = append(why.Changes, v1.Change{Constraint: x.Constraint.Constraint, To: x.To, Message: x.Words()})
		}
	}
	if m := rule.Needs(e.members); len(why.Changes) == 0 && e.fitsOn(m) {
		why.Changes = []v1.Change{{Constraint: v1.Constraint{Machine: m.ID, Option: rule.ReasonNoMachines}, To: pairs(m.Metadata), Message: wanted(m)}}
	}
}

// fitsOn reports whether the unit has a machine when one more is there.
func (e *look) fitsOn(m index.MachineSpec) bool {
	if known := e.x.Machine(m.ID); known != nil && known.Present {
		return false
	}
	e.x.SetMachine(m)
	defer e.x.DeleteMachine(m.ID)
	return e.fits(nil)
}

// wanted says which machine to add.
func wanted(m index.MachineSpec) string {
	text := "add a machine"
	if m.ID != rule.NewMachine {
		text = "start machine " + m.ID
	}
	if metadata := pairs(m.Metadata); metadata != "" {
		text += " with metadata " + metadata
	}
	return text
}

// smallest returns a part of all from which nothing can be left out: holds is true for all and for that part.
func smallest(all []*rule.Constraint, holds func([]*rule.Constraint) bool) []*rule.Constraint {
	set := halve(nil, false, all, holds)
	if !holds(set) { // what others get in turn can make more constraints refuse less
		set = all
	}
	return least(set, holds)
}

// least leaves out what is not needed, the last ones first, until all of the rest is.
func least[T any](list []T, holds func([]T) bool) []T {
	for again := true; again; {
		again = false
		for i := len(list) - 1; i >= 0; i-- {
			if rest := slices.Delete(slices.Clone(list), i, i+1); holds(rest) {
				list, again = rest, true
			}
		}
	}
	return list
}

// halve finds the part of some that is needed in addition to a base, in as many steps as the part is large, times the logarithm of
// all (Junker, QuickXplain, 2004): a thousand machines may be cordoned.
func halve(base []*rule.Constraint, grown bool, some []*rule.Constraint, holds func([]*rule.Constraint) bool) []*rule.Constraint {
	switch {
	case grown && holds(base):
		return nil
	case len(some) == 1:
		return some
	}
	first, rest := some[:len(some)/2], some[len(some)/2:]
	second := halve(slices.Concat(base, first), true, rest, holds)
	return slices.Concat(halve(slices.Concat(base, second), len(second) > 0, first, holds), second)
}

// change returns a smallest change that gives the unit a machine: of the machines that the fewest reasons keep it off, what each needs.
func (e *look) change(own, states []*rule.Constraint) (best []rule.Edit) {
	machines := slices.Clone(e.x.Machines())
	cost := map[*index.Machine]int{}
	for _, m := range machines {
		cost[m] = len(e.not(m))
		if m.Stuck || m.Problem != "" {
			cost[m] += 100 // no change of a manifest mends it
		}
	}
	slices.SortStableFunc(machines, func(a, b *index.Machine) int {
		return cmp.Or(cmp.Compare(cost[a], cost[b]), cmp.Compare(a.Load, b.Load))
	})
	for _, m := range machines[:min(len(machines), maxTried)] {
		there := slices.Concat(own, rule.StatesOf(m))
		if e.u.Fleet.Global {
			there = slices.Concat(own, states)
		}
		var relaxed []rule.Edit
		for _, c := range there {
			relaxed = append(relaxed, e.rules.Relaxed(c, m, e.members))
		}
		for _, edits := range [][]rule.Edit{relaxed, rule.Lifted(there)} {
			if !e.fits(edits) {
				continue
			}
			if edits = least(edits, e.fits); best == nil || weight(edits) < weight(best) {
				best = edits
			}
			break
		}
	}
	if best == nil && e.fits(rule.Lifted(slices.Concat(own, states))) {
		best = least(rule.Lifted(slices.Concat(own, states)), e.fits)
	}
	return best
}

// weight is how much is asked for: what a person has to mend on a machine counts more than what can be written.
func weight(edits []rule.Edit) (n int) {
	for _, x := range edits {
		n++
		if x.Mended() {
			n += 100
		}
	}
	return n
}

func pairs(metadata map[string]string) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		list = append(list, key+"="+metadata[key])
	}
	return strings.Join(list, ",")
}
