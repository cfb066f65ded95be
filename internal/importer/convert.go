package importer

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// convert makes an App of the unit; nil if it cannot, with a note.
func (s *source) convert() *v1.App {
	app := &v1.App{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindApp}, Metadata: v1.ObjectMeta{Name: s.app}}
	if !s.main(app) {
		return nil
	}
	if s.sidekick != nil && !s.announce(app) {
		s.release()
	}
	for _, o := range s.file.Options() {
		o.Value = s.literal(o.Value)
		switch o.Section {
		case "Unit":
			s.unitOption(app, o)
		case "Service":
			s.serviceOption(app, o)
		case "X-Fleet":
		default:
			s.pass(app, o)
		}
	}
	s.placement(app)
	if plain := s.app + strings.TrimPrefix(s.name.Full, unitBase(s.name)); plain != s.name.Full && !s.fleet.Global {
		s.note(0, "unit %s becomes %s: an App's name is a DNS label", s.name.Full, plain)
	}
	switch {
	case s.fleet.Global:
		app.Spec.Global = true
	case s.name.Template:
		s.note(0, "a template: set spec.replicas to the number of instances that run")
	case !strings.Contains(s.name.Full, "@"):
		s.note(0, "unit %s becomes %s@1.service", s.name.Full, s.app)
	}
	return app
}

// unitNameNow is the name that the unit has as an App's.
func (s *source) unitNameNow() string {
	switch {
	case s.fleet.Global:
		return s.app + ".service"
	case s.name.Template:
		return s.app + "@.service"
	case strings.Contains(s.name.Full, "@"):
		return s.app + "@" + s.name.Instance + ".service"
	}
	return s.app + "@1.service"
}

// literal writes the unit's name in the place of specifiers that would be another one's in the App.
func (s *source) literal(value string) string {
	if s.name.Template && s.app == unitBase(s.name) || s.unitNameNow() == s.name.Full || !strings.Contains(value, "%") {
		return value
	}
	names := []string{"%%", "%%", "%p", unitBase(s.name)}
	if s.name.Template {
		full := strings.Replace(s.name.Full, "@.", "@%i.", 1)
		names = append(names, "%n", full, "%N", strings.TrimSuffix(full, ".service"))
	} else {
		names = append(names, "%n", s.name.Full, "%N", s.name.WithoutType(), "%i", s.name.Instance)
	}
	return strings.NewReplacer(names...).Replace(value)
}

func unitBase(n unitfile.Name) string {
	base, _, _ := strings.Cut(n.Full, "@")
	return strings.TrimSuffix(base, "."+n.Type)
}

// main reads ExecStart=.
func (s *source) main(app *v1.App) bool {
	var start unitfile.Option
	for _, o := range s.file.Options() {
		if o.Section == "Service" && o.Name == "ExecStart" && o.Value != "" {
			start = o
			start.Value = s.literal(o.Value)
		}
	}
	words := command(start.Value)
	if len(words) > 0 && expands(words[0]) {
		s.note(start.Line, "stays a unit file: the program's path has a variable")
		return false
	}
	if v, ok := splits(start.Value); ok {
		s.note(start.Line, "stays a unit file: systemd splits %s into words, and an App's arguments are not split", v)
		return false
	}
	if len(words) == 0 || start.Value[0] != '/' {
		s.note(start.Line, "stays a unit file: ExecStart= is not one command with an absolute path")
		return false
	}
	run, err := parseRun(words)
	if err == nil && expands(run.image) {
		s.note(start.Line, "runs as a process, not as an App's container: the image %s has a variable", run.image)
	} else if err == nil {
		s.runs(app, run, start.Line)
		return true
	} else if strings.Contains(start.Value, "docker") {
		s.note(start.Line, "runs as a process, not as an App's container: %v", err)
	}
	app.Spec.Exec = &v1.Exec{Command: words}
	return true
}

var (
	plainPorts = regexp.MustCompile(`^(\d{1,5}):(\d{1,5})(/tcp)?$`)
	bind       = regexp.MustCompile(`^[/%][^:]*:/[^:]*(:[A-Za-z0-9=,_-]+)?$`)
	envName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// runs carries the flags of docker run over: to the field that there is for one, else to options.
func (s *source) runs(app *v1.App, run *dockerRun, line int) {
	c := &v1.Container{Image: run.image, Args: run.args}
	if strings.HasSuffix(run.program, "podman") {
		c.Runtime = v1.RuntimePodman
	}
	app.Spec.Container = c
	for _, f := range run.flags {
		switch f.name {
		case "name":
			c.Name, s.container = f.value, f.value
		case "rm": // the generated unit removes it
		case "detach":
			s.note(line, "--detach is not carried over: the container is the unit's own process")
		case "restart":
			s.note(line, "--restart %s is not carried over: systemd restarts it (Restart=)", f.value)
		case "pull", "log-driver", "label":
			c.Options = append(c.Options, f.args()...)
		case "entrypoint":
			c.Command = []string{f.value}
		default:
			if !s.field(app, f) {
				c.Options = append(c.Options, f.args()...)
			}
		}
	}
	if s.pulls(c.Image) {
		c.Pull = ""
	} else {
		c.Pull = v1.PullIfNotPresent // as docker run does
	}
}

// field sets the field of a flag, if it has one.
func (s *source) field(app *v1.App, f flag) bool {
	switch f.name {
	case "publish":
		m := plainPorts.FindStringSubmatch(f.value)
		if m == nil {
			return false
		}
		host, _ := strconv.Atoi(m[1])
		port, _ := strconv.Atoi(m[2])
		if slices.ContainsFunc(app.Spec.Ports, func(p v1.Port) bool { return int(p.Port) == port }) {
			return false // it is published twice
		}
		p := v1.Port{Port: int32(port)}
		if host != port {
			p.HostPort = v1.HostPort(host)
		}
		app.Spec.Ports = append(app.Spec.Ports, p)
		return true
	case "volume":
		if !bind.MatchString(f.value) {
			return false
		}
		app.Spec.Container.Volumes = append(app.Spec.Container.Volumes, f.value)
		return true
	case "env":
		name, value, ok := strings.Cut(f.value, "=")
		if _, twice := app.Spec.Env[name]; !ok || twice || expands(value) || !envName.MatchString(name) {
			return false
		}
		if app.Spec.Env == nil {
			app.Spec.Env = map[string]string{}
		}
		app.Spec.Env[name] = value
		return true
	}
	return false
}

// pulls reports whether the unit pulls the image before it starts.
func (s *source) pulls(image string) bool {
	return slices.ContainsFunc(s.file.Values("Service", "ExecStartPre"), func(v string) bool { return about(command(v), image, "pull") })
}

func (s *source) unitOption(app *v1.App, o unitfile.Option) {
	switch {
	case o.Name == "Description" && strings.TrimSpace(o.Value) != "" && !strings.Contains(o.Value, "%"):
		app.Spec.Description = o.Value
	case o.Name == "Description":
		s.note(o.Line, "Description= is not carried over: an App's is literal")
	case s.sidekick != nil && slices.Contains([]string{"Wants", "Requires", "BindsTo", "After", "Before", "PartOf"}, o.Name):
		own := strings.Replace(s.sidekick.name.Full, "@.", "@%i.", 1)
		rest := slices.DeleteFunc(strings.Fields(o.Value), func(w string) bool { return w == own })
		if len(rest) > 0 || o.Value == "" { // the generated unit wants its sidekick
			o.Value = strings.Join(rest, " ")
			s.pass(app, o)
		}
	default:
		s.pass(app, o)
	}
}

// pass carries an option over as it is.
func (s *source) pass(app *v1.App, o unitfile.Option) {
	if app.Spec.Unit == nil {
		app.Spec.Unit = map[string]map[string]v1.StringList{}
	}
	if app.Spec.Unit[o.Section] == nil {
		app.Spec.Unit[o.Section] = map[string]v1.StringList{}
	}
	app.Spec.Unit[o.Section][o.Name] = append(app.Spec.Unit[o.Section][o.Name], o.Value)
}

func (s *source) serviceOption(app *v1.App, o unitfile.Option) {
	c := app.Spec.Container
	words := command(o.Value)
	switch o.Name {
	case "ExecStart":
	case "EnvironmentFile":
		if o.Value == "" {
			s.note(o.Line, "an empty EnvironmentFile= is not carried over")
		} else if !slices.Contains([]string{"/etc/environment", "-/etc/environment"}, o.Value) { // every generated unit has it
			app.Spec.EnvFiles = append(app.Spec.EnvFiles, o.Value)
		}
	case "Environment":
		s.environment(app, o)
	case "Type", "RemainAfterExit":
		if c == nil {
			s.pass(app, o)
		} else {
			s.note(o.Line, "%s=%s is not carried over: the container is the unit's own process", o.Name, o.Value)
		}
	case "ExecStartPre", "ExecStop", "ExecStopPost", "ExecStartPost":
		switch {
		case c == nil:
			s.pass(app, o)
		case about(words, c.Image, "pull"), s.container != "" && about(words, s.container, "kill", "rm", "stop"): // the generated unit does
		case len(words) > 1 && isDocker(words[0]) && words[1] == "login":
			s.note(o.Line, "docker login is not carried over: log in on each machine, passwords are not for unit files")
		case o.Name == "ExecStop":
			s.note(o.Line, "ExecStop= is not carried over: the generated unit stops the container; move what else it does to ExecStopPost=")
		case o.Value == "":
			s.note(o.Line, "an empty %s= is not carried over", o.Name)
		default:
			s.pass(app, o)
		}
	default:
		s.pass(app, o)
	}
}

// environment carries Environment= over: to a process as its environment, to a container's command line as the values.
func (s *source) environment(app *v1.App, o unitfile.Option) {
	words, err := unitfile.SplitCommand(strings.NewReplacer("$", "$$").Replace(o.Value))
	if err != nil || o.Value == "" || strings.Contains(o.Value, "%") {
		s.note(o.Line, "Environment= is not carried over: set spec.env")
		return
	}
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		switch {
		case !ok || !envName.MatchString(name):
			s.note(o.Line, "Environment= %s is not carried over: it is no NAME=value", w)
		case app.Spec.Container == nil:
			if app.Spec.Env == nil {
				app.Spec.Env = map[string]string{}
			}
			app.Spec.Env[name] = value
		case expands(value):
			s.note(o.Line, "Environment= %s is not carried over: write it into the container's arguments", name)
		default:
			replaceVariable(app.Spec.Container, name, value)
		}
	}
}

// replaceVariable writes a value in the place of ${NAME}.
func replaceVariable(c *v1.Container, name, value string) {
	for _, list := range [][]string{c.Args, c.Options, c.Command, c.Volumes} {
		for i, w := range list {
			if !strings.Contains(w, "$${"+name+"}") {
				list[i] = strings.ReplaceAll(w, "${"+name+"}", value)
			}
		}
	}
	c.Name = strings.ReplaceAll(c.Name, "${"+name+"}", value)
}

// placement carries [X-Fleet] over.
func (s *source) placement(app *v1.App) {
	t := unitfile.ParseFleetTemplate(s.file)
	for _, p := range t.Problems() {
		if strings.HasPrefix(p.Msg, "deprecated spelling") {
			continue // it is carried over by its name of today
		}
		s.note(p.Line, "[X-Fleet] %s is not carried over: %s", p.Option, p.Msg)
	}
	rules := &v1.PlacementRules{MachineID: s.fleet.MachineID}
	for _, o := range s.file.Options() {
		if o.Section != "X-Fleet" {
			continue
		}
		switch o.Name {
		case "Conflicts", "X-Conflicts":
			for _, glob := range strings.Fields(o.Value) {
				rules.Conflicts = append(rules.Conflicts, s.renamed(glob))
			}
		case "MachineOf", "X-ConditionMachineOf":
			rules.MachineOf = append(rules.MachineOf, strings.Fields(o.Value)...)
		case "Replaces":
			s.pass(app, o)
		}
	}
	for key, values := range s.fleet.MachineMetadata {
		if rules.MachineMetadata == nil {
			rules.MachineMetadata = map[string]v1.StringList{}
		}
		rules.MachineMetadata[key] = values
	}
	if rules.MachineID != "" || len(rules.Conflicts)+len(rules.MachineOf)+len(rules.MachineMetadata) > 0 {
		app.Spec.Placement = rules
	}
}

// renamed is a name or glob of this unit by the name that the App gives it.
func (s *source) renamed(glob string) string {
	base := unitBase(s.name)
	if rest, ok := strings.CutPrefix(glob, base+"@"); ok {
		return s.app + "@" + rest
	}
	if glob == s.name.Full && !s.name.Template {
		return s.app + "@*.service"
	}
	return glob
}
