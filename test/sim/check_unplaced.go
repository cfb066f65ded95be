package sim

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// unplaced/ is checked against the machines, one by one: each constraint has to refuse the unit on as many machines as it
// counts, because of the units it names, and each machine has to be refused by one of the constraints.

// The forms of an explanation.
var (
	staysPrefix  = regexp.MustCompile(`^it stays on (\S+) (?:for now \(.*?\)|as it was): `)
	noneFits     = regexp.MustCompile(`^0 of (\d+)(?: other)? machines? fits?(?: (\S+) together with ([^:]+))?: `)
	globalNoRoom = regexp.MustCompile(`^(\d+) of the (\d+) machines that match ha(?:s|ve) no room: `)
	besideTarget = regexp.MustCompile(`^machine (\S+), beside what it follows \(MachineOf=([^)]*)\), does not fit: it `)
	waitsFor     = regexp.MustCompile(`^it waits for (\S+) \(MachineOf=\), which (.+)$`)
	forMember    = regexp.MustCompile(` for (\S+) beside it`)
	ownConflict  = regexp.MustCompile(`\(Conflicts=(\S+): ([^)]+)\)`)
	conflictOf   = regexp.MustCompile(`\(Conflicts=(\S+) of ([^)]+)\)`)
	portInUse    = regexp.MustCompile(`port (\d+) in use.* \(by ([^)]+)\)`)
	noMetadata   = regexp.MustCompile(`no metadata ([^=]+)=`)
	andMore      = regexp.MustCompile(` and \d+ more$`)
)

// refusedUnit is a unit that fits nowhere, with those placed together with it, and the machines in question.
type refusedUnit struct {
	members  []unitfile.Fleet // the constraints of the first one are given without its name
	machines []string
}

// unplacedProblem returns what is wrong in the explanations when everything is at rest; "" for nothing.
func (c *checker) unplacedProblem() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range c.names(c.keys.Unplaced().Prefix()) {
		said, err := c.keys.Unplaced().Decode(c.kv[c.keys.Unplaced().Key(name)].Value)
		unit, readable := c.unit(name)
		if err != nil || !c.has(c.keys.Units().Key(name)) || readable && unit.Spec.DesiredState == v1.Inactive {
			return fmt.Sprintf("%s has a reason why it fits nowhere, and no unit wants to be anywhere: %v", name, err)
		}
		if problem := c.explanationProblem(name, unit.Spec.Hash, said); problem != "" {
			return fmt.Sprintf("of %s: %s: %s", name, said.Message, problem)
		}
	}
	return ""
}

func (c *checker) explanationProblem(name, hash string, said v1.Unplaced) string {
	fleet, readable := c.fleet(name, hash)
	message := said.Message
	stays := ""
	if m := staysPrefix.FindStringSubmatch(message); m != nil {
		message, stays = message[len(m[0]):], m[1]
		if _, there := c.placed[stays][name]; !there {
			return "it is not on " + stays
		}
	}
	if !readable || c.refusedName(name) {
		c.counts.Check(invUnplaced)
		if len(said.Reasons) != 1 || said.Reasons[0].Reason != "UnitFile" {
			return "its file cannot be read, and that is not said"
		}
		return ""
	}
	if m := waitsFor.FindStringSubmatch(message); m != nil {
		c.counts.Check(invUnplaced)
		return c.waitsProblem(fleet, m[1], m[2])
	}
	r := refusedUnit{members: []unitfile.Fleet{fleet}}
	switch {
	case noneFits.MatchString(message):
		m := noneFits.FindStringSubmatch(message)
		if m[2] != "" {
			r.members = c.together(m[2], m[3])
		}
		for _, id := range c.present() {
			if id != stays {
				r.machines = append(r.machines, id)
			}
		}
		if m[1] != strconv.Itoa(len(r.machines)) {
			return fmt.Sprintf("there are %d machines", len(r.machines))
		}
	case globalNoRoom.MatchString(message):
		m, all := globalNoRoom.FindStringSubmatch(message), 0
		for _, id := range c.present() {
			machine, _ := c.keys.Machines().Decode(c.kv[c.keys.Machines().Key(id)].Value)
			config, _ := c.keys.MachineConfigs().Decode(c.kv[c.keys.MachineConfigs().Key(id)].Value)
			_, placed := c.placed[id][name]
			switch {
			case placed:
				all++
			case c.wanted(fleet, machine) && !config.Cordoned && !config.Drain:
				all++
				r.machines = append(r.machines, id)
			}
		}
		if m[1] != strconv.Itoa(len(r.machines)) || m[2] != strconv.Itoa(all) {
			return fmt.Sprintf("%d machines match, and it is not on %v", all, r.machines)
		}
	case besideTarget.MatchString(message):
		m := besideTarget.FindStringSubmatch(message)
		for _, target := range strings.Fields(m[2]) {
			if _, there := c.placed[m[1]][target]; !there {
				return fmt.Sprintf("%s is not on %s", target, m[1])
			}
		}
		r.machines = []string{m[1]}
	default:
		c.counts.Excuse(invUnplaced, "it is said in other words")
		return ""
	}
	c.counts.Check(invUnplaced)
	return c.refusalsProblem(r, said.Reasons)
}

// refusedName reports whether systemd rejects the name, see handMade.
func (c *checker) refusedName(name string) bool { return strings.HasSuffix(name, ".mount") }

func (c *checker) present() []string { return c.names(c.keys.Machines().Prefix()) }

// together are the units that are placed as one.
func (c *checker) together(first, others string) []unitfile.Fleet {
	var members []unitfile.Fleet
	for _, name := range append([]string{first}, strings.Split(others, ", ")...) {
		unit, _ := c.unit(name)
		fleet, _ := c.fleet(name, unit.Spec.Hash)
		members = append(members, fleet)
	}
	return members
}

// waitsProblem checks that a unit waits for another one that its file names and that has no machine.
func (c *checker) waitsProblem(fleet unitfile.Fleet, target, why string) string {
	unit, there := c.unit(target)
	_, placedAt := c.places(target)
	switch {
	case !slices.Contains(fleet.MachineOf, target):
		return "its file does not name " + target
	case there == strings.HasPrefix(why, "does not exist"):
		return fmt.Sprintf("there is such a unit: %t", there)
	case there && (unit.Spec.DesiredState == v1.Inactive) != strings.HasPrefix(why, "is inactive"):
		return "it is " + string(unit.Spec.DesiredState)
	case placedAt > 0:
		return "that has a machine"
	}
	return ""
}

// places returns the machines that a unit is placed on, and their number.
func (c *checker) places(unit string) (machines []string, n int) {
	for _, id := range sortedKeys(c.placed) {
		if _, there := c.placed[id][unit]; there {
			machines = append(machines, id)
		}
	}
	return machines, len(machines)
}

func (c *checker) refusalsProblem(r refusedUnit, reasons []v1.Refusal) string {
	refused := map[string]bool{}
	for _, refusal := range reasons {
		var machines []string
		for _, id := range r.machines {
			holds, err := c.refuses(r, refusal, id)
			if err != nil {
				return fmt.Sprintf("%q: %v", refusal.Message, err)
			}
			if holds {
				machines = append(machines, id)
				refused[id] = true
			}
		}
		if refusal.Count != len(machines) {
			return fmt.Sprintf("%q is so on %v, which are %d instead of %d", refusal.Message, machines, len(machines), refusal.Count)
		}
		for _, id := range refusal.Machines {
			if !slices.Contains(machines, id) {
				return fmt.Sprintf("%q is not so on %s", refusal.Message, id)
			}
		}
	}
	for _, id := range r.machines {
		if !refused[id] {
			return "nothing that is said keeps it off " + id
		}
	}
	return ""
}

// refuses reports whether a constraint keeps the units off a machine. It returns an error if the message is wrong about the
// units in the way.
func (c *checker) refuses(r refusedUnit, refusal v1.Refusal, id string) (bool, error) {
	subject := r.members[0]
	if m := forMember.FindStringSubmatch(refusal.Message); m != nil {
		i := slices.IndexFunc(r.members, func(f unitfile.Fleet) bool { return f.Unit == m[1] })
		if i < 0 {
			return false, fmt.Errorf("%s is not one of those that go together", m[1])
		}
		subject = r.members[i]
	}
	others := c.othersOn(id, r.members)
	config, _ := c.keys.MachineConfigs().Decode(c.kv[c.keys.MachineConfigs().Key(id)].Value)
	machine, _ := c.keys.Machines().Decode(c.kv[c.keys.Machines().Key(id)].Value)
	switch refusal.Reason {
	case "Draining":
		return config.Drain, nil
	case "Cordoned":
		return config.Cordoned, nil
	case "MachineMetadata":
		m := noMetadata.FindStringSubmatch(refusal.Message)
		if m == nil || len(subject.MachineMetadata[m[1]]) == 0 {
			return false, fmt.Errorf("%s does not ask for it", subject.Unit)
		}
		only := subject
		only.MachineMetadata = map[string][]string{m[1]: subject.MachineMetadata[m[1]]}
		return !c.wanted(only, machine), nil
	case "Conflicts":
		return c.refusesConflict(subject, refusal.Message, others)
	case "Ports":
		return c.refusesPort(subject, refusal.Message, others)
	case "Replaces":
		return slices.ContainsFunc(others, func(o unitfile.Fleet) bool { return replacing(subject, o) }) || c.rival(subject), nil
	case "AutoPorts":
		need, names := 0, []string{}
		for _, f := range r.members {
			need, names = need+len(f.AutoPorts), append(names, f.Unit)
		}
		return need > 0 && c.freePorts(id, names...) < need, nil
	case "CPU":
		return c.tooLittle(id, r.members, machine.Spec.Capacity.CPU, func(f unitfile.Fleet) int64 { return f.CPU }), nil
	case "Memory":
		return c.tooLittle(id, r.members, machine.Spec.Capacity.Memory, func(f unitfile.Fleet) int64 { return f.Memory }), nil
	}
	return false, fmt.Errorf("%s is no constraint that there is here", refusal.Reason)
}

func replacing(a, b unitfile.Fleet) bool {
	_, one := a.ReplacesUnit(b.Unit)
	_, other := b.ReplacesUnit(a.Unit)
	return one || other
}

// rival reports whether a unit with a machine replaces this one and is replaced by it.
func (c *checker) rival(f unitfile.Fleet) bool {
	for _, id := range sortedKeys(c.placed) {
		for _, unit := range sortedKeys(c.placed[id]) {
			other, ok := c.fleet(unit, c.placed[id][unit].Hash)
			if !ok {
				continue
			}
			_, one := f.ReplacesUnit(unit)
			if _, back := other.ReplacesUnit(f.Unit); one && back {
				return true
			}
		}
	}
	return false
}

// othersOn are the other units on a machine, with both their current and their new files.
func (c *checker) othersOn(id string, besides []unitfile.Fleet) []unitfile.Fleet {
	var all []unitfile.Fleet
	for _, unit := range sortedKeys(c.placed[id]) {
		if slices.ContainsFunc(besides, func(f unitfile.Fleet) bool { return f.Unit == unit }) {
			continue
		}
		if fleet, ok := c.fleet(unit, c.placed[id][unit].Hash); ok {
			all = append(all, fleet)
		}
		if wish, ok := c.unit(unit); ok && wish.Spec.Hash != c.placed[id][unit].Hash {
			if fleet, ok := c.fleet(unit, wish.Spec.Hash); ok {
				all = append(all, fleet)
			}
		}
	}
	return all
}

func (c *checker) refusesConflict(subject unitfile.Fleet, message string, others []unitfile.Fleet) (bool, error) {
	inTheWay := func(o unitfile.Fleet) bool { return false }
	names := ""
	if m := ownConflict.FindStringSubmatch(message); m != nil {
		if !slices.Contains(subject.Conflicts, m[1]) {
			return false, fmt.Errorf("%s does not say Conflicts=%s", subject.Unit, m[1])
		}
		names = m[2]
		inTheWay = func(o unitfile.Fleet) bool { return matches(m[1], o.Unit) }
	} else if m := conflictOf.FindStringSubmatch(message); m != nil {
		if !matches(m[1], subject.Unit) {
			return false, fmt.Errorf("%s is not meant by Conflicts=%s", subject.Unit, m[1])
		}
		names = m[2]
		inTheWay = func(o unitfile.Fleet) bool { return slices.Contains(o.Conflicts, m[1]) }
	}
	return slices.ContainsFunc(others, inTheWay), c.namedProblem(names, inTheWay)
}

func (c *checker) refusesPort(subject unitfile.Fleet, message string, others []unitfile.Fleet) (bool, error) {
	m := portInUse.FindStringSubmatch(message)
	if m == nil {
		return false, fmt.Errorf("it names no port")
	}
	port, _ := strconv.Atoi(m[1])
	if !slices.Contains(subject.Ports, port) {
		return false, fmt.Errorf("%s does not need it", subject.Unit)
	}
	inTheWay := func(o unitfile.Fleet) bool { return slices.Contains(o.Ports, port) }
	return slices.ContainsFunc(others, inTheWay), c.namedProblem(m[2], inTheWay)
}

// namedProblem checks that each named unit is placed and in the way.
func (c *checker) namedProblem(names string, inTheWay func(unitfile.Fleet) bool) error {
	for _, name := range strings.Split(andMore.ReplaceAllString(names, ""), ", ") {
		name = strings.TrimSuffix(name, " with its former file")
		machines, _ := c.places(name)
		if !slices.ContainsFunc(machines, func(id string) bool {
			return slices.ContainsFunc(c.othersOn(id, nil), func(o unitfile.Fleet) bool { return o.Unit == name && inTheWay(o) })
		}) {
			return fmt.Errorf("%q is not in the way", name)
		}
	}
	return nil
}

func matches(glob, name string) bool {
	ok, err := path.Match(glob, name)
	return err == nil && ok
}

// tooLittle reports whether the rest of a resource is not enough for all members. Of a unit with two files the larger request
// counts.
func (c *checker) tooLittle(id string, members []unitfile.Fleet, capacity int64, of func(unitfile.Fleet) int64) bool {
	used := map[string]int64{}
	for _, o := range c.othersOn(id, members) {
		used[o.Unit] = max(used[o.Unit], of(o))
	}
	sum := int64(0)
	for _, f := range members {
		sum += of(f)
	}
	for _, n := range used {
		sum += n
	}
	return capacity > 0 && sum > capacity
}
