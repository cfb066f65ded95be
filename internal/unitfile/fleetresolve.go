package unitfile

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Resolve returns the section for one unit and all problems in line order, including the file's. What does not depend on the
// name is shared, not copied. For a template's own name, values that depend on an instance are not checked.
func (t *FleetTemplate) Resolve(n Name) (Fleet, []Problem) {
	fl := t.fixed
	fl.Unit = n.Full
	var found []Problem
	if t.named {
		found = t.resolve(&fl, n, true)
		if n.Template {
			found = nil // valid or not depends on the instance
		}
	}
	found = append(found, t.checkPeers(&fl, n)...)
	if len(found) == 0 {
		return fl, slices.Clone(t.problems)
	}
	found = append(found, t.problems...)
	sortProblems(found)
	return fl, found
}

// resolve fills in the options that depend on the name (named), or those that do not.
func (t *FleetTemplate) resolve(fl *Fleet, n Name, named bool) (problems []Problem) {
	for i, l := range t.values {
		if len(l.items) > 0 && l.named == named {
			problems = append(problems, fleetOptions[i].resolve(fl, l, n)...)
		}
	}
	return problems
}

// checkPeers checks the MachineOf names, whose errors all depend on the unit's own name.
func (t *FleetTemplate) checkPeers(fl *Fleet, n Name) (problems []Problem) {
	peers := t.of("MachineOf")
	for i, peer := range fl.MachineOf {
		it := peers.items[i]
		if n.Template && it.named {
			continue
		}
		parsed, err := ParseName(peer)
		switch {
		case err != nil:
			problems = append(problems, it.problem("%v", err))
		case peer == n.Full:
			problems = append(problems, it.problem("names the unit itself: name another unit"))
		case parsed.Template:
			problems = append(problems, it.problem("%s is a template and never on a machine: name an instance, such as %s@%%i.%s",
				peer, parsed.Prefix, parsed.Type))
		}
		if glob, ok := fl.ConflictsWith(peer); ok {
			problems = append(problems, it.problem("%s cannot be on the same machine: Conflicts=%s matches it: remove one of the two", peer, glob))
		}
		if glob, ok := fl.ReplacesUnit(peer); ok {
			problems = append(problems, it.problem("%s cannot be on the same machine: Replaces=%s matches it: remove one of the two", peer, glob))
		}
	}
	return problems
}

// Line returns the line of an option's value in the file of a unit; 0 if it is not there. The value of MachineMetadata is that of a key.
func (t *FleetTemplate) Line(n Name, option, value string) int {
	i := optionOf(option)
	if i < 0 {
		return 0
	}
	key, _, _ := strings.Cut(value, "=")
	for _, it := range t.values[i].items {
		is := it.expand(n, option == "Conflicts" || option == "Replaces")
		switch option {
		case "CPU", "Memory", "AutoPorts": // the amount is written in several ways, and the names are one constraint
			return it.line
		case "MachineMetadata":
			if strings.HasPrefix(is, key+"=") {
				return it.line
			}
		default:
			if is == value {
				return it.line
			}
		}
	}
	return 0
}

func (l list) expand(n Name, glob bool) []string {
	values := make([]string, len(l.items))
	for i, it := range l.items {
		values[i] = it.expand(n, glob)
	}
	return values
}

// text is the value of an option that takes only one.
func (l list) text(n Name) string { return l.first().expand(n, false) }

func (l list) checkGlobs(globs []string) (problems []Problem) {
	for i, g := range globs {
		switch glob, err := ParseGlob(g); {
		case err != nil:
			problems = append(problems, l.items[i].problem("%v", err))
		case !glob.MatchesNames():
			problems = append(problems, l.items[i].warning("%s", glob.NoName()))
		}
	}
	return problems
}

// metadata returns the values for each key, sorted. The pairs were validated when they were read.
func (l list) metadata(n Name) map[string][]string {
	m := make(map[string][]string, len(l.items))
	for _, it := range l.items {
		key, value, _ := strings.Cut(it.expand(n, false), "=")
		m[key] = append(m[key], value)
	}
	for key, values := range m {
		slices.Sort(values)
		m[key] = slices.Clip(slices.Compact(values))
	}
	return m
}

// image returns the runtime and the name of an image.
func (l list) image(n Name) ([]string, []Problem) {
	words := l.expand(n, false)
	if len(words) == 1 {
		words = []string{RuntimeDocker, words[0]}
	}
	if len(words) != 2 || words[0] != RuntimeDocker && words[0] != RuntimePodman || words[1] == "" || words[1][0] == '-' {
		return nil, []Problem{l.first().problem("%s is not an image: write its name, such as localhost:5000/web:1, or docker or podman and its name",
			excerpt(strings.Join(l.expand(n, false), " ")))}
	}
	return words, nil
}

func (l list) portNumbers(n Name) (ports []int, problems []Problem) {
	ports = make([]int, 0, len(l.items))
	for _, it := range l.items {
		port, err := parsePort(it.expand(n, false))
		if err != nil {
			problems = append(problems, it.problem("%v", err))
			continue
		}
		ports = append(ports, port)
	}
	slices.Sort(ports)
	return slices.Clip(slices.Compact(ports)), problems
}

// portName is a port's name as manifests have it, or its number.
var portName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// IsPortName reports whether AutoPorts= may contain a name.
func IsPortName(name string) bool { return portName.MatchString(name) }

func (l list) portNames(n Name) (names []string, problems []Problem) {
	for _, it := range l.items {
		switch name := it.expand(n, false); {
		case !portName.MatchString(name):
			problems = append(problems, it.problem("port name %s: write names such as http, with lowercase letters, digits and -, separated by white space", excerpt(name)))
		case !slices.Contains(names, name):
			names = append(names, name)
		}
	}
	return names, problems
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %s: write numbers from 1 to 65535, separated by white space", excerpt(s))
	}
	return int(n), nil
}

func (l list) quantity(n Name, parse func(string) (int64, error)) (int64, []Problem) {
	text := l.text(n)
	v, err := parse(text)
	if err != nil {
		return v, []Problem{l.first().problem("%s is %v", excerpt(text), err)}
	}
	return v, nil
}

func sortProblems(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
}
