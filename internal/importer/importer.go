// Package importer turns unit files that people wrote for the original fleet into manifests: a service that runs a container or a
// program, with the sidekick that announces it, into an App, and everything else into a Unit with the same text. What an App has no
// place for is told with its line.
package importer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Input is a unit file.
type Input struct {
	File, Text string
}

// Note is something that was not carried over, or not as it was.
type Note struct {
	File    string
	Line    int // 1-based, 0 for the file as a whole
	Message string
}

// String returns "file:line: message".
func (n Note) String() string {
	if n.Line > 0 {
		return fmt.Sprintf("%s:%d: %s", n.File, n.Line, n.Message)
	}
	return n.File + ": " + n.Message
}

// Object is a manifest: an App or a Unit, with the notes on it.
type Object struct {
	App   *v1.App
	Unit  *v1.Unit
	Notes []Note

	file     string // of the unit
	sidekick bool   // the App has the unit of its sidekick, too
}

// YAML is the manifest, with its notes as comments.
func (o Object) YAML() ([]byte, error) {
	var b strings.Builder
	for _, n := range o.Notes {
		fmt.Fprintf(&b, "# %s\n", strings.NewReplacer("\n", " ", "\r", " ").Replace(strings.ToValidUTF8(n.String(), "?")))
	}
	value := any(o.Unit)
	if o.App != nil {
		value = o.App
	}
	text, err := yaml.Marshal(value)
	return append([]byte(b.String()), text...), err
}

// source is a unit file that has been read.
type source struct {
	Input
	name  unitfile.Name
	file  *unitfile.File
	fleet unitfile.Fleet
	notes []Note
	app   string // the name that it gets as an App
	// container is the container's name as the unit file has it.
	container string
	// sidekick announces this unit; announces is the unit that this one announces.
	sidekick, announces *source
	announcement        announcement
}

func (s *source) note(line int, format string, args ...any) {
	s.notes = append(s.notes, Note{s.File, line, fmt.Sprintf(format, args...)})
}

// Import returns the manifests of the files, in their order, and notes on files that cannot be read.
func Import(inputs []Input) (objects []Object, refused []Note) {
	var sources []*source
	seen := map[string]string{}
	for _, in := range inputs {
		s, err := read(in)
		if err != nil {
			refused = append(refused, Note{in.File, 0, err.Error()})
			continue
		}
		if first, twice := seen[s.name.Full]; twice {
			refused = append(refused, Note{in.File, 0, fmt.Sprintf("left out: %s is unit %s, too", first, s.name.Full)})
			continue
		}
		seen[s.name.Full] = in.File
		sources = append(sources, s)
	}
	pair(sources)
	taken := map[string]bool{}
	for _, s := range sources {
		if s.announces == nil {
			objects = append(objects, s.object(taken))
		}
	}
	for _, s := range sources { // a sidekick whose app stays a unit stays one, too
		if s.announces != nil && s.announces.sidekick == nil {
			objects = append(objects, s.unit("what it announces becomes no part of an App"))
		}
	}
	mentions(sources, objects)
	return objects, refused
}

// mentions notes where a file names a unit that gets another name.
func mentions(sources []*source, objects []Object) {
	renamed := map[string]string{}
	of := map[string]int{}
	for i, o := range objects {
		of[o.file] = i
	}
	for _, s := range sources {
		if i, ok := of[s.File]; ok && objects[i].App != nil && s.unitNameNow() != s.name.Full {
			renamed[s.name.Full] = s.unitNameNow()
			renamed[strings.Replace(s.name.Full, "@.", "@%i.", 1)] = strings.Replace(s.unitNameNow(), "@.", "@%i.", 1)
		}
	}
	for _, s := range sources {
		i, ok := of[s.File]
		if !ok {
			continue
		}
		for _, o := range s.file.Options() {
			for _, w := range strings.Fields(o.Value) {
				if now, is := renamed[w]; is && (o.Section == "Unit" || o.Section == "X-Fleet") && w != s.name.Full {
					objects[i].Notes = append(objects[i].Notes, Note{s.File, o.Line, fmt.Sprintf("%s= names %s, which becomes %s: change it", o.Name, w, now)})
				}
			}
		}
	}
}

func read(in Input) (*source, error) {
	name, err := unitfile.ParseName(filepath.Base(in.File))
	if err != nil {
		return nil, err
	}
	file, err := unitfile.Parse(in.Text)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(in.Text) == "" || strings.Contains(in.Text, "\x00") {
		return nil, fmt.Errorf("it is empty, or no text")
	}
	s := &source{Input: in, name: name, file: file}
	instance := name
	if name.Template {
		if instance, err = unitfile.ParseName(strings.Replace(name.Full, "@.", "@1.", 1)); err != nil {
			return nil, err
		}
	}
	s.fleet, _ = unitfile.ParseFleet(file, instance)
	s.app = appName(name)
	return s, nil
}

// appName is the unit's name as a DNS label; "" if there is none.
func appName(n unitfile.Name) string {
	base, _, _ := strings.Cut(n.Full, "@")
	base = strings.TrimSuffix(base, "."+n.Type)
	label := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, base)
	return strings.Trim(label, "-")
}

// object is the manifest of a unit that is no sidekick.
func (s *source) object(taken map[string]bool) Object {
	if why := s.staysUnit(taken); why != "" {
		s.release()
		return s.unit(why)
	}
	app := s.convert()
	if app == nil {
		s.release()
		return s.unit("")
	}
	text, err := yaml.Marshal(app)
	if err == nil {
		_, err = v1.ParseApp(text)
	}
	if err != nil {
		s.notes = nil
		if s.sidekick != nil {
			s.sidekick.notes = nil
		}
		s.release()
		return s.unit("an App would not be valid: " + v1.Summary(err))
	}
	taken[s.app] = true
	notes := s.notes
	if s.sidekick != nil {
		notes = append(notes, s.sidekick.notes...)
	}
	return Object{App: app, Notes: notes, file: s.File, sidekick: s.sidekick != nil}
}

// staysUnit is why a unit cannot be an App.
func (s *source) staysUnit(taken map[string]bool) string {
	switch {
	case s.name.Type != "service":
		return fmt.Sprintf("a .%s has no counterpart in an App", s.name.Type)
	case s.app == "" || taken[s.app]:
		return fmt.Sprintf("another App has the name %q", s.app)
	case len(s.file.Values("Service", "ExecStart")) != 1:
		return "an App has exactly one ExecStart="
	}
	if t, _ := s.file.Value("Service", "Type"); t != "" && t != "simple" && t != "notify" && t != "exec" && !(t == "forking" && s.detached()) {
		return "Type=" + t + " is not that of a process that keeps running"
	}
	return ""
}

// release gives the sidekick up: it stays a unit, too.
func (s *source) release() { s.sidekick = nil }

// unit is the file as it is.
func (s *source) unit(why string) Object {
	if why != "" {
		s.note(0, "stays a unit file, to be started with fleetctl start: %s", why)
	}
	u := &v1.Unit{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindUnit}, Metadata: v1.ObjectMeta{Name: s.name.Full},
		Spec: v1.UnitSpec{Contents: s.Text, DesiredState: v1.Inactive}}
	return Object{Unit: u, Notes: s.notes, file: s.File}
}

// detached reports whether the unit starts a container in the background.
func (s *source) detached() bool {
	for _, o := range s.file.Options() {
		if o.Section == "Service" && o.Name == "ExecStart" {
			run, err := parseRun(command(o.Value))
			if err != nil {
				return false
			}
			return slices.ContainsFunc(run.flags, func(f flag) bool { return f.name == "detach" })
		}
	}
	return false
}
