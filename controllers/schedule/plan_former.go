package schedule

import (
	"fmt"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// former is a file that placements of a unit name although the unit has another one: what still runs runs with it. Until they name
// the new file both hold, and nothing is placed that either of them keeps away.
type former struct {
	hash   string
	fleet  unitfile.Fleet
	places int
	// shade occupies machines as a unit of that name would: with what the former file has and the new one has not. nil: nothing.
	shade *unit
}

// outdated says that a placement names another file than the one that its unit is known by.
func (x *place) outdated() bool {
	return x.Value.Hash != "" && (x.Value.Hash != x.unit.Hash || x.unit.Problem != "")
}

func (x *place) shade() *unit {
	if x.former == nil {
		return nil
	}
	return x.former.shade
}

// requests is what the file asks for that the placement names, as far as it is known.
func (x *place) requests() request {
	f := &x.unit.Fleet
	if x.former != nil {
		f = &x.former.fleet
	}
	return request{CPU: f.CPU, Memory: f.Memory}
}

// cast enters a placement's shade in the index, or takes it out.
func (c *Cluster) cast(x *place, do func(*unit, *machine)) {
	if shade := x.shade(); shade != nil && x.machine.indexed {
		do(shade, x.machine)
	}
}

// adopt ties a placement that the index does not count now to the file that it names. Where that one is not known it is asked for.
func (c *Cluster) adopt(x *place) {
	if !x.outdated() {
		return
	}
	f := fileNamed(x.unit.formers, x.Value.Hash)
	if f == nil {
		c.unexplained = append(c.unexplained, x)
		return
	}
	f.places++
	x.former = f
}

// fileNamed is the file with that hash; nil where it is not among them.
func fileNamed(files []*former, hash string) *former {
	for _, f := range files {
		if f.hash == hash {
			return f
		}
	}
	return nil
}

// disown undoes adopt.
func (c *Cluster) disown(x *place) {
	f := x.former
	if f == nil {
		return
	}
	x.former = nil
	c.wake |= unmetSpace | unmetDrain
	if f.places--; f.places == 0 {
		x.unit.formers = remove(x.unit.formers, f)
		c.dropShade(f)
	}
}

// reform finds a unit's former files again after its file has changed. The index does not count the unit now, so no glob may be new:
// was are the files of before, and what they carry is dropped at the end.
func (c *Cluster) reform(u *unit, was []*former) {
	u.formers = nil
	for _, x := range u.places {
		if x.former = nil; !x.outdated() {
			continue
		}
		if f := fileNamed(was, x.Value.Hash); f != nil && fileNamed(u.formers, f.hash) == nil {
			u.formers = append(u.formers, c.newFormer(u, f.hash, f.fleet))
		}
		c.adopt(x)
	}
	for _, f := range was {
		c.dropShade(f)
	}
}

// files are the files of a unit that are known: its own and those of before.
func (u *unit) files() []*former {
	if len(u.places) == 0 || u.Hash == "" || u.Problem != "" {
		return u.formers
	}
	return append(slices.Clone(u.formers), &former{hash: u.Hash, fleet: u.Fleet})
}

func (c *Cluster) newFormer(u *unit, hash string, fleet unitfile.Fleet) *former {
	f := &former{hash: hash, fleet: fleet}
	var extra unitfile.Fleet
	extra.Conflicts, extra.Replaces = without(fleet.Conflicts, u.Fleet.Conflicts), without(fleet.Replaces, u.Fleet.Replaces)
	extra.Ports = without(fleet.Ports, u.Fleet.Ports)
	extra.CPU, extra.Memory = max(fleet.CPU-u.Fleet.CPU, 0), max(fleet.Memory-u.Fleet.Memory, 0)
	if len(extra.Conflicts)+len(extra.Replaces)+len(extra.Ports) == 0 && extra.CPU == 0 && extra.Memory == 0 {
		return f
	}
	f.shade = &unit{name: u.name, Unit: Unit{Name: u.name, Fleet: extra}, shadeOf: u,
		conflicts: c.carry(extra.Conflicts), replaces: c.carry(extra.Replaces)}
	return f
}

func (c *Cluster) dropShade(f *former) {
	if f.shade != nil {
		c.drop(f.shade.conflicts)
		c.drop(f.shade.replaces)
	}
}

func without[T comparable](list, others []T) (rest []T) {
	for _, x := range list {
		if !slices.Contains(others, x) {
			rest = append(rest, x)
		}
	}
	return rest
}

// EachUnexplained asks for the files that placements name and that the index was never told of: what a new leader finds, or a
// person wrote. file returns the [X-Fleet] section of one for the unit; false: it is not stored, and keeps nothing away.
func (c *Cluster) EachUnexplained(file func(hash, unit string) (unitfile.Fleet, bool)) {
	list := c.unexplained
	c.unexplained = nil
	for _, x := range list {
		u := x.unit
		if x.former != nil || !x.outdated() || c.placeOf(u, x.machine) != x {
			continue
		}
		fleet, ok := file(x.Value.Hash, u.name)
		if !ok {
			continue
		}
		if fileNamed(u.formers, x.Value.Hash) == nil {
			u.formers = append(u.formers, c.newFormer(u, x.Value.Hash, fleet)) // its globs find the units as they are counted now
		}
		c.adopt(x)
		c.cast(x, c.claim)
		c.touchPlace(u, x.machine)
	}
}

// obstructs says why a unit cannot be beside a placement, because of the file that the placement names still. "": it can.
func (x *place) obstructs(u *unit) (reason, why string) {
	shade := x.shade()
	if shade == nil || x.unit == u {
		return "", ""
	}
	if g := shared(shade.conflicts, u.matched); g != nil {
		return ReasonConflicts, fmt.Sprintf("%s conflicts with it (Conflicts=%s)", x.label(), g.Pattern)
	}
	if port := sharedPort(shade, u); port != 0 {
		return ReasonPorts, fmt.Sprintf("port %d of %s is used by %s", port, x.Machine, x.label())
	}
	if x.replaced(u) {
		return reasonReplaces, fmt.Sprintf("%s takes its place (Replaces=)", x.label())
	}
	return "", ""
}

// stillClashes: a unit cannot be beside what runs there, whatever file that is to have.
func (x *place) stillClashes(u *unit) bool {
	if x.former == nil {
		return clashes(u, x.unit)
	}
	f := x.former.fleet
	f.Unit = x.unit.name
	_, conflicts := f.ConflictsWith(u.name)
	_, replaces := f.ReplacesUnit(u.name)
	return conflicts || shared(u.conflicts, x.unit.matched) != nil || replaces != (shared(u.replaces, x.unit.matched) != nil) ||
		slices.ContainsFunc(f.Ports, func(port int) bool { return slices.Contains(u.Fleet.Ports, port) })
}

// replaced: the former file takes the place of a unit.
func (x *place) replaced(u *unit) bool {
	shade := x.shade()
	return shade != nil && shared(shade.replaces, u.matched) != nil && shared(u.replaces, x.unit.matched) == nil
}

func (x *place) label() string { return x.shade().label() }

// label is a unit for people.
func (u *unit) label() string {
	if u.shadeOf != nil {
		return u.name + " with its former file"
	}
	return u.name
}

// held is why a placement goes on with its former file although the unit may stay: others there run with theirs.
type held struct {
	reason, message string
	by              *place // nil: what all of them request
}

// holdBack finds out who of those that may stay on a machine has to wait with its new file until others there have theirs, or have
// left. Where each would wait for the other, who comes later has to leave.
func (p *planner) holdBack(in []*place, m *machine) {
	left := machine{Machine: m.Machine}
	for _, x := range m.places {
		r := x.requests()
		left.used.CPU += r.CPU
		left.used.Memory += r.Memory
	}
	stays := make(map[*place]bool, len(in))
	for _, x := range in {
		stays[x] = true
	}
	// Those that leave come first: to wait for them is enough.
	others := slices.DeleteFunc(slices.Clone(m.places), func(x *place) bool { return stays[x] })
	slices.SortFunc(others, func(a, b *place) int { return strings.Compare(a.Unit, b.Unit) })
	others = append(others, in...)
	for _, x := range in {
		if !x.changes() || x.unit.plan.problem != "" {
			continue
		}
		if h, waits := x.heldBy(&left, others, stays); waits {
			p.holdOff(x, h)
		}
	}
	for _, x := range slices.Backward(in) {
		if h := p.held[x]; p.waitsForItself(x) {
			delete(p.held, x)
			p.lose(x, loss{h.reason, h.message, true})
		}
	}
}

// waitsForItself: what a placement waits for waits in the end for that placement.
func (p *planner) waitsForItself(x *place) bool {
	by := p.held[x].by
	for range len(p.held) {
		if by == x {
			return true
		}
		by = p.held[by].by
	}
	return false
}

// holdOff has a placement go on with its former file.
func (p *planner) holdOff(x *place, h held) {
	if p.held == nil {
		p.held = map[*place]held{}
	}
	p.held[x] = h
}

// firstHeld is the first placement of a global unit that waits for its new file.
func (p *planner) firstHeld(u *unit) *place {
	if len(p.held) == 0 {
		return nil
	}
	list := sortedPlaces(u)
	i := slices.IndexFunc(list, func(x *place) bool { _, waits := p.held[x]; return waits })
	if i < 0 {
		return nil
	}
	return list[i]
}

// heldBy says what a placement has to wait for with its new file: the first of others, all that is there. left is what the files
// request that run there until then.
func (x *place) heldBy(left *machine, others []*place, stays map[*place]bool) (held, bool) {
	for _, y := range others {
		if reason, why := y.obstructs(x.unit); reason != "" {
			return held{reason, why, y}, true
		}
		if y != x && !stays[y] && y.stillClashes(x.unit) {
			return held{ReasonConflicts, y.unit.name + ", which it cannot be beside, has not left " + y.Machine + " yet", y}, true
		}
	}
	now, f := x.requests(), &x.unit.Fleet
	more := request{CPU: max(f.CPU-now.CPU, 0), Memory: max(f.Memory-now.Memory, 0)}
	if !left.fits(more) {
		l := tooLittle(left, request{CPU: f.CPU, Memory: f.Memory}, more)
		return held{l.reason, l.message, nil}, true
	}
	left.used.CPU += more.CPU
	left.used.Memory += more.Memory
	return held{}, false
}

// explainHeld says why a unit has not got its new file, unless others get theirs with this plan: then it may have it with the next.
func (p *planner) explainHeld(x *place) {
	if p.released {
		return
	}
	h := p.held[x]
	message := valid(h.message)
	p.setUnplaced(x.unit, ReasonNoMachineFits, &v1.Unplaced{
		Message: valid("it stays on "+x.Machine+" with its former file for now: ") + message,
		Reasons: []v1.Refusal{{Reason: h.reason, Message: message}},
	})
}
