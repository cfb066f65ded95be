package unitfile

import (
	"fmt"
	"slices"
	"strings"
)

// FleetTemplate is the [X-Fleet] section of a file, parsed once for all units that are made from it: ParseFleet is
// ParseFleetTemplate and Resolve. It may be shared by goroutines.
type FleetTemplate struct {
	fixed    Fleet     // everything that does not depend on the name
	problems []Problem // likewise
	named    bool      // whether anything does

	values []list // by the rows of fleetOptions
}

// item is one value and its position; the zero item means that the option is not set.
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

// first returns the first item; the zero item if there is none.
func (l list) first() item {
	if len(l.items) == 0 {
		return item{}
	}
	return l.items[0]
}

// ParseFleetTemplate parses the [X-Fleet] section of a file. Resolve reports problems, and so does Problems if they do not
// depend on a name.
func ParseFleetTemplate(f *File) *FleetTemplate {
	t := &FleetTemplate{values: make([]list, len(fleetOptions))}
	for _, o := range f.options {
		if o.Section == SectionFleet {
			t.read(o)
		}
	}
	t.exclude()
	t.named = slices.ContainsFunc(t.values, func(l list) bool { return l.named })
	t.problems = append(t.problems, t.resolve(&t.fixed, Name{}, false)...)
	sortProblems(t.problems)
	return t
}

// Problems returns the problems that every unit of the file has, in line order.
func (t *FleetTemplate) Problems() []Problem { return slices.Clone(t.problems) }

func (t *FleetTemplate) add(p Problem) { t.problems = append(t.problems, p) }

// read takes one assignment. An empty one resets the option.
func (t *FleetTemplate) read(o Option) {
	at := item{option: o.Name, line: o.Line}
	i := optionOf(o.Name)
	if i < 0 {
		t.add(at.warning("unknown option, has no effect: %s", suggestion(o.Name)))
		return
	}
	switch option := fleetOptions[i]; o.Name {
	case option.name:
	case option.legacy:
		t.add(at.warning("boot IDs are not known, the value is compared with machine IDs: write %s=", option.name))
	default:
		t.add(at.warning("deprecated spelling: write %s=", option.name))
	}
	fleetOptions[i].read(t, &t.values[i], o)
}

// of are the values of an option.
func (t *FleetTemplate) of(name string) list { return t.values[optionOf(name)] }

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

// readWords takes words from all assignments.
func (t *FleetTemplate) readWords(l *list, o Option) { t.readList(l, o, t.words(o)) }

// readSingle takes the whole value; the last assignment wins.
func (t *FleetTemplate) readSingle(l *list, o Option) {
	*l = list{}
	if o.Value != "" {
		t.readList(l, o, []string{o.Value})
	}
}

// readMachineID takes one ID. Unlike elsewhere the first assignment wins, and newer spellings go before older ones, as in the
// original fleet.
func (t *FleetTemplate) readMachineID(l *list, o Option) {
	words := t.words(o)
	at := item{option: o.Name, line: o.Line}
	switch {
	case o.Value == "":
		*l = list{}
	case len(words) != 1:
		t.add(at.problem("%s is not one machine ID: a unit can be on one machine only", excerpt(o.Value)))
	case l.first().set() && newer(l.first().option, o.Name):
		former := l.first()
		t.add(former.warning("ignored: %s= (line %d) wins: remove it", o.Name, o.Line))
		*l = list{}
		t.readList(l, o, words)
	case l.first().set() && l.first().option != o.Name:
		t.add(at.warning("ignored: %s= (line %d) wins: remove it", l.first().option, l.first().line))
	case l.first().set():
		t.add(at.warning("ignored: the first one (line %d) wins: remove it", l.first().line))
	default:
		t.readList(l, o, words)
	}
}

// machineIDs are the spellings of MachineID=, newest first.
var machineIDs = []string{"MachineID", "X-ConditionMachineID", "X-ConditionMachineBootID"}

// newer reports whether b is a newer spelling of MachineID= than a.
func newer(a, b string) bool { return slices.Index(machineIDs, b) < slices.Index(machineIDs, a) }

// readMetadata takes one pair, or several in double quotes. A pair without quotes may have white space in its value.
func (t *FleetTemplate) readMetadata(l *list, o Option) {
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
	t.readList(l, o, valid)
}

func (t *FleetTemplate) readBool(l *list, o Option) {
	at := item{option: o.Name, line: o.Line}
	*l = list{}
	switch strings.ToLower(o.Value) {
	case "true", "yes", "1", "on", "t":
		l.items = []item{at}
	case "false", "no", "0", "off", "f", "":
	default:
		t.add(at.warning("%s is neither true nor false, and taken as false", excerpt(o.Value)))
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

// words splits a value at white space; double quotes keep a word together, and are removed. There are no escapes: backslashes
// belong to unit names and globs.
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
	first := func(option string) item { return t.of(option).first() }
	for _, pair := range [][2]string{
		{"MachineID", "MachineOf"}, {"MachineID", "Conflicts"}, {"MachineID", "Global"}, {"MachineID", "Replaces"},
		{"Global", "MachineOf"}, {"Global", "Replaces"}, {"Replaces", "Conflicts"},
	} {
		a, b := first(pair[0]), first(pair[1])
		if !a.set() || !b.set() {
			continue
		}
		if a.line > b.line {
			a, b = b, a
		}
		t.add(b.problem("cannot be combined with %s= (line %d): remove one of the two", a.option, a.line))
	}
	for _, option := range []string{"SpreadOver", "PreferMetadata"} {
		if first("Global").set() && first(option).set() {
			t.add(first(option).warning("without effect: a global unit is on every machine anyway"))
		}
	}
}

func (it item) problem(format string, args ...any) Problem {
	return Problem{Line: it.line, Option: it.option, Msg: fmt.Sprintf(format, args...)}
}

func (it item) warning(format string, args ...any) Problem {
	p := it.problem(format, args...)
	p.Warning = true
	return p
}
