package fake

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/systemd"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// unit is one loaded unit.
type unit struct {
	name      string
	path      string
	text      string // of the file when it was loaded
	loadState string
	settings

	active, sub string
	result      string
	invocation  string
	since       time.Time
	pid         int
	starts      []time.Time // counted by the start limit
	restarts    int
	exit        systemd.Exit
	started     time.Time // of the last process, or of the unit if it has none
	by          string    // the unit that caused its start
	// leftInactive is when it was started, also automatically; triggered is when a timer or a socket started its other unit,
	// and waits counts how often a timer began to wait.
	leftInactive, triggered time.Time
	waits                   int
}

// settings are the modelled options of a unit file.
type settings struct {
	requires, bindsTo, wants, partOf, after, before []string

	service       bool
	oneshot       bool
	remain        bool // RemainAfterExit=
	argv          []string
	restart       string
	restartAfter  time.Duration
	startBurst    int
	startInterval time.Duration
	stop          stopping
	trigger       trigger
	// conditions and asserts are paths that must exist or, after a "!", must not.
	conditions, asserts []string
}

func (u *unit) running() bool { return u.active == "active" || u.active == "activating" }

// load returns the unit, loading its file if necessary; nil if there is none.
func (m *Manager) load(name string) *unit {
	if u := m.units[name]; u != nil {
		return u
	}
	if _, ok := m.links[name]; !ok {
		return nil
	}
	u := &unit{name: name, active: "inactive", sub: "dead"}
	m.read(u)
	m.units[name] = u
	return u
}

// read reads the unit's file.
func (m *Manager) read(u *unit) {
	path, ok := m.links[u.name]
	text, err := m.opts.ReadFile(path)
	if !ok || err != nil {
		u.loadState = "not-found"
		return
	}
	u.path, u.text, u.loadState = path, string(text), "loaded"
	if u.settings, err = parse(u.name, u.text); err != nil {
		u.loadState = "bad-setting"
	}
	for _, name := range slices.Sorted(maps.Keys(m.enabled)) {
		if i := m.enabled[name]; slices.Contains(i.wantedBy, u.name) {
			u.wants = append(u.wants, name)
		} else if slices.Contains(i.requiredBy, u.name) {
			u.requires = append(u.requires, name)
		}
	}
}

// install is the modelled part of a unit file's [Install] section.
type install struct{ wantedBy, requiredBy []string }

func parseInstall(name, text string) (i install) {
	n, err := unitfile.ParseName(name)
	if err != nil {
		return i
	}
	file, err := unitfile.Parse(text)
	if err != nil {
		return i
	}
	units := func(option string) (all []string) {
		for _, value := range file.Values("Install", option) {
			all = append(all, strings.Fields(n.Expand(value))...)
		}
		return all
	}
	return install{units("WantedBy"), units("RequiredBy")}
}

// parse parses a unit file; it returns an error if systemd would not load it.
func parse(name, text string) (settings, error) {
	n, err := unitfile.ParseName(name)
	if err != nil {
		return settings{}, err
	}
	file, err := unitfile.Parse(text)
	if err != nil {
		return settings{}, err
	}
	units := func(option string) (all []string) {
		for _, value := range file.Values("Unit", option) {
			all = append(all, strings.Fields(n.Expand(value))...)
		}
		return all
	}
	value := func(section, option, fallback string) string {
		if v, ok := file.Value(section, option); ok && v != "" {
			return v
		}
		return fallback
	}
	s := settings{
		requires: units("Requires"), bindsTo: units("BindsTo"), wants: units("Wants"), partOf: units("PartOf"), after: units("After"), before: units("Before"),
		service: n.Type == "service",
		oneshot: value("Service", "Type", "simple") == "oneshot",
		remain:  isTrue(value("Service", "RemainAfterExit", "no")),
		restart: value("Service", "Restart", "no"),
	}
	if s.conditions, s.asserts = file.Values("Unit", "ConditionPathExists"), file.Values("Unit", "AssertPathExists"); len(s.conditions)+len(s.asserts) > 0 {
		for _, paths := range [][]string{s.conditions, s.asserts} {
			for i := range paths {
				paths[i] = n.Expand(paths[i])
			}
		}
	}
	var errs [4]error
	s.restartAfter, errs[0] = parseSpan(value("Service", "RestartSec", "100ms"))
	s.startInterval, errs[1] = parseSpan(value("Unit", "StartLimitIntervalSec", "10s"))
	s.startBurst, errs[2] = strconv.Atoi(value("Unit", "StartLimitBurst", "5"))
	s.stop.timeout, errs[3] = parseSpan(value("Service", "TimeoutStopSec", "90s"))
	s.stop.ignores = harmless[value("Service", "KillSignal", "SIGTERM")]
	for _, err := range errs {
		if err != nil {
			return s, err
		}
	}
	if commands := file.Values("Service", "ExecStart"); s.service {
		if len(commands) == 0 {
			return s, fmt.Errorf("%s has no ExecStart=", name)
		}
		s.argv, err = unitfile.SplitCommand(n.Expand(commands[len(commands)-1]))
		if command := value("Service", "ExecStop", ""); err == nil && command != "" {
			s.stop.execStop, err = unitfile.SplitCommand(n.Expand(command))
		}
		return s, err
	}
	if s.trigger, err = parseTrigger(n, file); err == nil && s.trigger.starts != "" {
		s.before = append(s.before, s.trigger.starts)
	}
	return s, err
}

// noUnit is systemd's error for an invalid unit name.
func noUnit(op, name string) error {
	return &systemd.Error{Op: op, Unit: name, Kind: systemd.ErrBadUnit, Err: errors.New("invalid argument")}
}

func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true
	}
	return false
}

// forever is longer than any simulation.
const forever = 100 * 365 * 24 * time.Hour

// parseSpan parses a time span: a number of seconds, or systemd.time(7) notation up to hours.
func parseSpan(s string) (time.Duration, error) {
	if s == "infinity" {
		return forever, nil
	}
	if seconds, err := strconv.ParseFloat(s, 64); err == nil {
		return time.Duration(seconds * float64(time.Second)), nil
	}
	return time.ParseDuration(strings.NewReplacer(" ", "", "min", "m", "sec", "s").Replace(s))
}

// canBe is systemd's rule for valid unit names. unitfile's rule is tested against it.
func canBe(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 || name[0] == '@' || len(name) > 255 {
		return false
	}
	at := strings.IndexByte(name[:dot], '@')
	switch name[dot+1:] {
	case "service", "socket", "target", "timer", "path":
		return at != dot-1 // a template is not a unit
	case "mount", "automount", "swap", "slice", "device", "scope":
		return at < 0
	}
	return false
}

// isFileName is systemd's rule for unit file names: linking accepts any with a known type.
func isFileName(name string) bool { return name[0] != '@' && canBe(strings.ReplaceAll(name, "@", "_")) }

// state is the unit's entry in a list.
func (m *Manager) state(name string) systemd.UnitState {
	if !canBe(name) {
		return systemd.UnitState{Name: name, Err: noUnit("list", name)}
	}
	s := systemd.UnitState{Name: name, LoadState: "not-found", ActiveState: "inactive", SubState: "dead", JobResult: m.results[name]}
	if j := m.jobs[name]; j != nil {
		s.Job = string(j.kind)
	}
	u := m.load(name)
	if u == nil {
		return s
	}
	s.LoadState, s.ActiveState, s.SubState = u.loadState, u.active, u.sub
	if u.loadState != "loaded" {
		return s
	}
	if u.active == "inactive" {
		return s
	}
	s.Result, s.InvocationID, s.Since = u.result, u.invocation, u.since
	s.Restarts, s.Exit = u.restarts, u.exit
	return s
}

// inspection is what the unit's entry in a list leaves out.
func (m *Manager) inspection(name string) (found systemd.Inspection) {
	u := m.load(name)
	if u == nil || u.loadState != "loaded" {
		return found
	}
	text, err := m.opts.ReadFile(m.links[name])
	found = systemd.Inspection{FragmentPath: u.path, NeedReload: err != nil || string(text) != u.text}
	if u.active != "inactive" {
		found.MainPID = u.pid
	}
	return found
}

// collect unloads units like systemd: those that are idle and that no other unit depends on.
func (m *Manager) collect() {
	kept := map[*unit]bool{}
	var keep func(u *unit)
	keep = func(u *unit) {
		if u == nil || kept[u] {
			return
		}
		kept[u] = true
		for _, names := range [][]string{u.requires, u.bindsTo, u.wants, {u.trigger.starts}} {
			for _, name := range names {
				keep(m.units[name])
			}
		}
	}
	for _, u := range m.units {
		if u.active != "inactive" || m.jobs[u.name] != nil {
			keep(u)
		}
	}
	for name, u := range m.units {
		if !kept[u] {
			delete(m.units, name)
		}
	}
}
