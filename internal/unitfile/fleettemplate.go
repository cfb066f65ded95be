package unitfile

import (
	"fmt"
	"slices"
	"strings"
)

// FleetTemplate is the [X-Fleet] section of a file, read once for all units that are made from it: ParseFleet is
// ParseFleetTemplate and Resolve. It may be shared by goroutines.
type FleetTemplate struct {
	fixed    Fleet     // all that does not depend on the name
	problems []Problem // likewise
	named    bool      // whether anything is left that does

	global    item
	machineID item
	machineOf list
	conflicts list
	replaces  list
	ports     list
	metadata  list // of k=v pairs
	cpu       item
	memory    item
	spread    item
}

// item is one value and where it stands; the zero item means that the option is not set.
type item struct {
	pattern
	option string // as written
	line   int
}

func (it item) set() bool { return it.option != "" }

type list struct {
	items []item
	named bool // one of the items depends on the name
}

// fleetOptions maps what may stand in [X-Fleet] to the option that it means: deprecated spellings differ.
var fleetOptions = map[string]string{
	"MachineID": "MachineID", "X-ConditionMachineID": "MachineID",
	"MachineOf": "MachineOf", "X-ConditionMachineOf": "MachineOf",
	"Conflicts": "Conflicts", "X-Conflicts": "Conflicts",
	"MachineMetadata": "MachineMetadata", "X-ConditionMachineMetadata": "MachineMetadata",
	"Global": "Global", "Replaces": "Replaces",
	"Ports": "Ports", "CPU": "CPU", "Memory": "Memory", "SpreadOver": "SpreadOver",
}

// ParseFleetTemplate reads the [X-Fleet] section of a file. What is wrong is told by Resolve, and by Problems as far as
// it does not depend on a name.
func ParseFleetTemplate(f *File) *FleetTemplate {
	t := &FleetTemplate{}
	for _, o := range f.options {
		if o.Section == SectionFleet {
			t.read(o)
		}
	}
	t.exclude()
	t.named = t.machineID.named || t.machineOf.named || t.conflicts.named || t.replaces.named || t.ports.named ||
		t.metadata.named || t.cpu.named || t.memory.named || t.spread.named
	t.problems = append(t.problems, t.resolve(&t.fixed, Name{}, false)...)
	sortProblems(t.problems)
	return t
}

// Problems gives what is wrong for every unit of the file, in line order.
func (t *FleetTemplate) Problems() []Problem { return slices.Clone(t.problems) }

func (t *FleetTemplate) add(p Problem) { t.problems = append(t.problems, p) }

// read takes one assignment. An empty one resets the option.
func (t *FleetTemplate) read(o Option) {
	at := item{option: o.Name, line: o.Line}
	name, known := fleetOptions[o.Name]
	if !known {
		t.add(at.problem("unknown option: %s", suggestion(o.Name)))
		return
	}
	if name != o.Name {
		t.add(at.warning("deprecated spelling: write %s=", name))
	}
	switch name {
	case "MachineID":
		t.readMachineID(o)
	case "MachineOf":
		t.readList(&t.machineOf, o, t.words(o))
	case "Conflicts":
		t.readList(&t.conflicts, o, t.words(o))
	case "Replaces":
		t.readList(&t.replaces, o, t.words(o))
	case "Ports":
		t.readList(&t.ports, o, t.words(o))
	case "MachineMetadata":
		t.readMetadata(o)
	case "Global":
		t.readGlobal(o)
	case "CPU":
		t.readSingle(&t.cpu, o)
	case "Memory":
		t.readSingle(&t.memory, o)
	case "SpreadOver":
		t.readSingle(&t.spread, o)
	}
}

func (t *FleetTemplate) readList(l *list, o Option, values []string) {
	if o.Value == "" {
		*l = list{}
		return
	}
	for _, v := range values {
		it := t.item(o, v)
		l.items = append(l.items, it)
		l.named = l.named || it.named
	}
}

// readSingle takes the whole value; the last assignment wins.
func (t *FleetTemplate) readSingle(it *item, o Option) {
	*it = item{}
	if o.Value != "" {
		*it = t.item(o, o.Value)
	}
}

// readMachineID takes one ID. Unlike elsewhere the first assignment wins, as in the original fleet.
func (t *FleetTemplate) readMachineID(o Option) {
	words := t.words(o)
	at := item{option: o.Name, line: o.Line}
	switch {
	case o.Value == "":
		t.machineID = item{}
	case len(words) != 1:
		t.add(at.problem("%s is not one machine ID: a unit can be on one machine only", excerpt(o.Value)))
	case t.machineID.set():
		t.add(at.warning("ignored, the first one counts (line %d): remove it", t.machineID.line))
	default:
		t.machineID = t.item(o, words[0])
	}
}

// readMetadata takes one pair, or several in double quotes. A pair without quotes may have white space in its value.
func (t *FleetTemplate) readMetadata(o Option) {
	pairs := []string{o.Value}
	if strings.HasPrefix(o.Value, `"`) {
		pairs = t.words(o)
	}
	valid := pairs[:0]
	for _, p := range pairs {
		key, value, ok := strings.Cut(p, "=")
		if ok && trim(key) != "" && trim(value) != "" && !strings.Contains(value, "=") {
			valid = append(valid, trim(key)+"="+trim(value))
		} else if o.Value != "" {
			at := item{option: o.Name, line: o.Line}
			t.add(at.problem(`%s is not key=value: write several pairs as "a=b" "c=d"`, excerpt(p)))
		}
	}
	t.readList(&t.metadata, o, valid)
}

func (t *FleetTemplate) readGlobal(o Option) {
	at := item{option: o.Name, line: o.Line}
	t.global, t.fixed.Global = item{}, false
	switch strings.ToLower(o.Value) {
	case "true", "yes", "1", "on", "t":
		t.global, t.fixed.Global = at, true
	case "false", "no", "0", "off", "f", "":
	default:
		t.add(at.problem("%s is neither true nor false", excerpt(o.Value)))
	}
}

func (t *FleetTemplate) item(o Option, text string) item {
	it := item{option: o.Name, line: o.Line}
	var err error
	if it.pattern, err = parsePattern(text); err != nil {
		t.add(it.problem("%s: %v", excerpt(text), err))
	}
	return it
}

// words splits a value at white space; double quotes hold a word together, and are removed. There are no escapes:
// backslashes belong to unit names and globs.
func (t *FleetTemplate) words(o Option) []string {
	var words []string
	for rest := trim(o.Value); rest != ""; rest = strings.TrimLeft(rest, whitespace) {
		var word string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			if word, rest, ok = strings.Cut(quoted, `"`); !ok {
				at := item{option: o.Name, line: o.Line}
				t.add(at.problem("a quote is not closed in %s", excerpt(o.Value)))
			}
		} else {
			end := wordEnd(rest)
			word, rest = rest[:end], rest[end:]
		}
		if word != "" {
			words = append(words, word)
		}
	}
	return words
}

// exclude reports the options that contradict each other, at the later one.
func (t *FleetTemplate) exclude() {
	first := func(l list) item {
		if len(l.items) == 0 {
			return item{}
		}
		return l.items[0]
	}
	machineOf, conflicts, replaces := first(t.machineOf), first(t.conflicts), first(t.replaces)
	for _, pair := range [][2]item{
		{t.machineID, machineOf}, {t.machineID, conflicts}, {t.machineID, t.global}, {t.machineID, replaces},
		{t.global, machineOf}, {t.global, replaces}, {replaces, conflicts},
	} {
		a, b := pair[0], pair[1]
		if !a.set() || !b.set() {
			continue
		}
		if a.line > b.line {
			a, b = b, a
		}
		t.add(b.problem("cannot be combined with %s= (line %d): remove one of the two", a.option, a.line))
	}
	if t.global.set() && t.spread.set() {
		t.add(t.spread.warning("without effect: a global unit is on every machine anyway"))
	}
}

// suggestion says what to write instead of an unknown option.
func suggestion(name string) string {
	for option := range fleetOptions {
		if strings.EqualFold(option, name) {
			return "write " + fleetOptions[option] + "="
		}
	}
	if strings.EqualFold(name, "X-ConditionMachineBootID") {
		return "boot IDs are not supported, write MachineID="
	}
	return "remove it, or write one of Conflicts, CPU, Global, MachineID, MachineMetadata, MachineOf, Memory, Ports, Replaces, SpreadOver"
}

func (it item) problem(format string, args ...any) Problem {
	return Problem{Line: it.line, Option: it.option, Msg: fmt.Sprintf(format, args...)}
}

func (it item) warning(format string, args ...any) Problem {
	p := it.problem(format, args...)
	p.Warning = true
	return p
}
