package v1

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

func (v *validator) placement(s *AppSpec) {
	p := s.Placement
	for i, glob := range p.Conflicts {
		field := at("spec.placement.conflicts", i)
		if _, err := path.Match(glob, "x"); err != nil || !unitPattern(glob) {
			v.add(field, "%s is not a valid glob of unit names: use one such as example-app@*.service", quoteShort(glob))
		}
	}
	for i, unit := range p.MachineOf {
		field := at("spec.placement.machineOf", i)
		name := v.expandUnit(unit)
		parsed, err := unitfile.ParseName(name)
		switch _, _, own := ParseAppUnit(v.app, name); {
		case !unitPattern(unit) || err != nil || parsed.Template:
			v.add(field, "%s is not a valid unit name: use one such as db@%%i.service", quoteShort(unit))
		case own:
			v.add(field, "%s is the app's own unit: name the unit to share a machine with", quoteShort(unit))
		}
	}
	if s.Global && len(p.MachineOf) > 0 {
		v.add("spec.placement.machineOf", "cannot be given with global, which runs on every machine: remove one of the two")
	}
	if p.MachineID != "" {
		v.machineID(s)
	}
	v.machineMetadata("spec.placement.machineMetadata", p.MachineMetadata)
	if p.Prefer != nil {
		v.machineMetadata("spec.placement.prefer.metadata", p.Prefer.Metadata)
		if s.Global {
			v.add("spec.placement.prefer", "cannot be given with global, which runs on every machine: remove one of the two")
		}
	}
	if p.SpreadOver != "" && !metadataText.MatchString(p.SpreadOver) {
		v.add("spec.placement.spreadOver", "%s is not a valid metadata key: use one such as zone", quoteShort(p.SpreadOver))
	}
	if p.SpreadOver != "" && s.Global {
		v.add("spec.placement.spreadOver", "cannot be given with global, which runs on every machine: remove one of the two")
	}
}

// machineMetadata checks what is asked of a machine's metadata.
func (v *validator) machineMetadata(at string, wanted map[string]StringList) {
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		field := keyed(at, key)
		if !metadataText.MatchString(key) {
			v.add(field, "%s is not a valid metadata key: use letters, digits and . _ / -", quoteShort(key))
		}
		if len(wanted[key]) == 0 {
			v.add(field, "has no values: set at least one")
		}
		for _, value := range wanted[key] {
			if !metadataText.MatchString(value) {
				v.add(field, "%s is not a valid metadata value: use letters, digits and . _ / : @ + -", quoteShort(value))
			}
		}
	}
}

// MachineOf returns the units that the app's units must share a machine with; for an app with several instances, those
// of the first.
func (a *App) MachineOf() (units []string) {
	if a.Spec.Placement == nil {
		return nil
	}
	v := &validator{app: a.Metadata.Name}
	for _, unit := range a.Spec.Placement.MachineOf {
		units = append(units, v.expandUnit(unit))
	}
	return units
}

// Warnings returns what is valid but unlikely to do what was meant.
func (a *App) Warnings() (warnings ManifestErrors) {
	if a.Spec.Placement == nil {
		return nil
	}
	v := &validator{app: a.Metadata.Name}
	for i, pattern := range a.Spec.Placement.Conflicts {
		if glob, err := unitfile.ParseGlob(v.expandUnit(pattern)); err == nil && !glob.MatchesNames() {
			warnings.add(at("spec.placement.conflicts", i), "%s", glob.NoName())
		}
	}
	return warnings
}

// machineID checks that nothing else restricts the machine too (fleet's own rule).
func (v *validator) machineID(s *AppSpec) {
	const field = "spec.placement.machineID"
	if !metadataText.MatchString(s.Placement.MachineID) {
		v.add(field, "%s is not a valid machine ID: use one shown by list-machines --full", quoteShort(s.Placement.MachineID))
	}
	if s.Global || len(s.Placement.Conflicts) > 0 || len(s.Placement.MachineOf) > 0 {
		v.add(field, "cannot be given with global, placement.conflicts or placement.machineOf, as it already selects one machine: remove one of them")
	}
}

// unitPattern checks a name or glob for [X-Fleet], where white space separates and only four specifiers are known.
func unitPattern(s string) bool {
	if s == "" || strings.ContainsAny(s, " \t\"'") || len(s) > maxUnitName {
		return false
	}
	plain := strings.NewReplacer("%%", "", "%n", "", "%N", "", "%p", "", "%i", "").Replace(s)
	return !strings.Contains(plain, "%") && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// expandUnit expands fleet's specifiers for the app's first instance.
func (v *validator) expandUnit(s string) string {
	unit := AppUnit(v.app, 1)
	return strings.NewReplacer("%%", "%", "%n", unit, "%N", strings.TrimSuffix(unit, ".service"), "%p", v.app, "%i", "1").Replace(s)
}

// generatedOptions maps the options that App fields generate to the field to use instead.
var generatedOptions = map[string]map[string]string{
	"Unit": {"Description": "spec.description"},
	"Service": {
		"ExecStart": "spec.exec or spec.container", "Environment": "spec.env", "EnvironmentFile": "spec.envFiles",
	},
	"X-Fleet": {
		"Conflicts": "spec.placement.conflicts", "MachineOf": "spec.placement.machineOf", "MachineID": "spec.placement.machineID",
		"MachineMetadata": "spec.placement.machineMetadata", "SpreadOver": "spec.placement.spreadOver", "Global": "spec.global", "PreferMetadata": "spec.placement.prefer.metadata",
		"Ports": "spec.ports", "AutoPorts": "spec.ports", "CPU": "spec.resources.requests.cpu", "Memory": "spec.resources.requests.memory",
		"OnPartition": "spec.onPartition", "Image": "spec.container.image", "Pull": "spec.container.pull",
		"X-Conflicts": "spec.placement.conflicts", "X-ConditionMachineID": "spec.placement.machineID",
		"X-ConditionMachineOf": "spec.placement.machineOf", "X-ConditionMachineMetadata": "spec.placement.machineMetadata",
	},
}

// passthrough checks spec.unit: options must not be generated already and must stay on their line.
func (v *validator) passthrough(s *AppSpec) {
	for _, section := range slices.Sorted(maps.Keys(s.Unit)) {
		field := keyed("spec.unit", section)
		known := section == "Unit" || section == "Service" || section == "Install" || strings.HasPrefix(section, "X-")
		if !sectionName.MatchString(section) || !known {
			v.add(field, "%s is not a section of a service unit: use Unit, Service, Install or one beginning with X-", quoteShort(section))
			continue
		}
		for _, option := range slices.Sorted(maps.Keys(s.Unit[section])) {
			v.option(s, section, option, keyed(field, option))
		}
	}
}

func (v *validator) option(s *AppSpec, section, option, field string) {
	values := s.Unit[section][option]
	instead, generated := generatedOptions[section][option]
	switch {
	case !sectionName.MatchString(option):
		v.add(field, "%s is not a valid option name: use letters, digits and -", quoteShort(option))
	case generated:
		v.add(field, "is generated: set %s instead", instead)
	case section == "X-Fleet" && option != "Replaces":
		v.add(field, "is not an option of [X-Fleet]: use spec.placement")
	case section == "X-Fleet" && (s.Global || s.Placement != nil && (len(s.Placement.Conflicts) > 0 || s.Placement.MachineID != "")):
		v.add(field, "cannot be given with global, placement.conflicts or placement.machineID: remove one of them")
	case section == "Service" && option == "ExecStop" && s.Container != nil:
		v.add(field, "is generated, it stops the container: remove it")
	case section == "Service" && option == "ExecStartPost" && s.Container != nil && slices.Contains(values, ""):
		v.add(field, "an empty value would drop the generated command, which waits until the container runs: remove it")
	case section == "Service" && option == "ExecStopPost" && s.Container != nil && slices.Contains(values, ""):
		v.add(field, "an empty value would drop the generated command, which removes the container: remove it")
	case section == "Service" && s.limited(option):
		v.add(field, "is generated: set spec.resources.limits instead")
	case len(values) == 0:
		v.add(field, "has no value: set one, or \"\" for an empty assignment")
	}
	for _, value := range values {
		if v.text(field, value) && (strings.Trim(value, " ") != value || len(value) > maxText) {
			v.add(field, "%s begins or ends with a space or is longer than %d bytes: quote it (systemd.syntax(7)) or shorten it", quoteShort(value), maxText)
		}
	}
}

// limited reports whether spec.resources.limits generates the option.
func (s *AppSpec) limited(option string) bool {
	return s.Resources != nil && s.Container == nil &&
		(option == "CPUQuota" && s.Resources.Limits.CPU != "" || option == "MemoryMax" && s.Resources.Limits.Memory != "")
}

// Validate returns all errors in a Unit after Default, except those inside the unit file's text.
func (u *Unit) Validate() ManifestErrors {
	v := &validator{}
	v.metadata(&u.Metadata)
	name := u.Metadata.Name
	parsed, err := unitfile.ParseName(name)
	switch {
	case name == "":
		v.add("metadata.name", "missing: set a unit name such as example.service")
	case err != nil:
		v.add("metadata.name", "%v", err)
	}
	switch s := &u.Spec; {
	case s.Contents == "" && s.Hash == "":
		v.add("spec.contents", "missing: set the unit file's text")
	case s.Contents != "" && s.Hash != "":
		v.add("spec.hash", "cannot be given with contents: remove one of the two")
	case strings.Contains(s.Contents, "\x00"):
		v.add("spec.contents", "contains a NUL byte: a unit file must be text")
	case s.Hash != "" && !hexDigest.MatchString(s.Hash):
		v.add("spec.hash", "%s is not a SHA-256: use 64 hexadecimal digits", quoteShort(s.Hash))
	}
	v.oneOf("spec.desiredState", string(u.Spec.DesiredState), string(Inactive), string(Loaded), string(Launched))
	if parsed.Template && u.Spec.DesiredState != Inactive {
		v.add("spec.desiredState", "a template cannot run itself: use inactive, and start an instance such as %s", quoteShort(strings.Replace(name, "@.", "@1.", 1)))
	}
	v.text("spec.requestedAt", u.Spec.RequestedAt)
	v.text("spec.preferMachine", u.Spec.PreferMachine)
	return v.errs
}
