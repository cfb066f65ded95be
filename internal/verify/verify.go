// Package verify checks unit files and manifests without a cluster: what fleetd refuses when they are submitted, what it warns of, and
// what systemd makes of them.
package verify

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/generate"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Finding is something about a file that its author should know.
type Finding struct {
	File string
	// Line is 1-based, 0 if unknown.
	Line int
	// Field is the field of a manifest, or the section and option of a unit file; it may be empty.
	Field   string
	Message string
	// Warning: the file is accepted.
	Warning bool
}

// String returns "file:line: field: message".
func (f Finding) String() string {
	place := f.File
	if f.Line > 0 {
		place = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	if f.Warning {
		place += ": warning"
	}
	if f.Field != "" {
		place += ": " + f.Field
	}
	return place + ": " + f.Message
}

// Unit is a unit file to be checked.
type Unit struct {
	File string // as it is named in findings
	Name string // of the unit
	Text string
	// Offset is the number of lines before the text in File; -1: the text is generated, and findings have no line.
	Offset int
}

// IsManifest reports whether a file is a manifest, by its name.
func IsManifest(file string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(file)))
}

// IsUnitFile reports whether a file is a unit file, by its name.
func IsUnitFile(file string) bool { return unitfile.HasType(filepath.Base(file)) }

// UnitFile checks a unit file. It returns the unit for Systemd, nil if it cannot be read.
func UnitFile(file, text string) ([]Finding, *Unit) {
	base := filepath.Base(file)
	name, err := unitfile.ParseName(base)
	if err != nil {
		return []Finding{{File: file, Message: fmt.Sprintf("the file's name is no unit name: %v", err)}}, nil
	}
	if text == "" {
		return []Finding{{File: file, Message: "the file is empty"}}, nil
	}
	unit := Unit{File: file, Name: base, Text: text}
	findings, ok := unit.check(name)
	if !ok {
		return findings, nil
	}
	return findings, &unit
}

// check returns what fleet says of the unit; false if its text cannot be parsed.
func (u *Unit) check(name unitfile.Name) (findings []Finding, ok bool) {
	faults, warnings := CheckUnitFile(name, u.Text)
	for _, c := range faults {
		findings = append(findings, u.finding(c, false))
	}
	for _, c := range warnings {
		findings = append(findings, u.finding(c, true))
	}
	_, err := unitfile.Parse(u.Text)
	return findings, err == nil
}

func (u *Unit) finding(c wire.Cause, warning bool) Finding {
	f := Finding{File: u.File, Line: c.Line + u.Offset, Field: c.Field, Message: c.Message, Warning: warning}
	if u.Offset < 0 || c.Line == 0 {
		f.Line = 0
	}
	return f
}

// Manifests checks the documents of a file, and the unit files that are in them or are generated from them.
func Manifests(file string, data []byte) (findings []Finding, units []Unit) {
	objects, err := v1.ParseManifests(data)
	var errs v1.ManifestErrors
	switch {
	case errors.As(err, &errs):
		for _, e := range errs {
			findings = append(findings, Finding{File: file, Line: e.Line, Field: e.Field, Message: e.Message})
		}
	case err != nil:
		findings = append(findings, Finding{File: file, Message: err.Error()})
	case len(objects) == 0:
		findings = append(findings, Finding{File: file, Message: "no App or Unit found"})
	}
	seen := map[string]int{}
	for _, o := range objects {
		key := o.Kind() + "/" + o.Name()
		if line, twice := seen[key]; twice {
			findings = append(findings, Finding{File: file, Line: o.Line, Message: fmt.Sprintf("%s again: it is first defined in line %d", key, line)})
		}
		seen[key] = o.Line
		more, of := object(file, o)
		findings, units = append(findings, more...), append(units, of...)
	}
	return findings, units
}

func object(file string, o v1.Object) (findings []Finding, units []Unit) {
	if o.App == nil {
		name, err := unitfile.ParseName(o.Name())
		if err != nil || o.Unit.Spec.Contents == "" {
			return nil, nil // refused already, or stored elsewhere
		}
		u := Unit{File: file, Name: o.Name(), Text: o.Unit.Spec.Contents, Offset: -1}
		findings, ok := u.check(name)
		for i := range findings {
			findings[i].Line, findings[i].Field = o.Line, strings.TrimSpace("spec.contents "+findings[i].Field)
		}
		if !ok {
			return findings, nil
		}
		return findings, []Unit{u}
	}
	for _, w := range o.App.Warnings() {
		findings = append(findings, Finding{File: file, Line: o.Line, Field: w.Field, Message: w.Message, Warning: true})
	}
	o.App.Default()
	if len(o.App.Validate()) > 0 {
		return findings, nil
	}
	files, err := generate.Units(o.Name(), &o.App.Spec)
	if err != nil {
		return append(findings, Finding{File: file, Line: o.Line, Message: err.Error()}), nil
	}
	name := v1.AppUnit(o.Name(), 1)
	if o.App.Spec.Global {
		name = o.Name() + ".service"
	}
	return findings, []Unit{{File: file, Name: name, Text: files.Unit, Offset: -1}}
}
