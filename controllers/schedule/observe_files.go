package schedule

import (
	"errors"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// files are the parsed [X-Fleet] sections of unit files by hash, with their users.
type files map[string]*file

type file struct {
	read     bool // it was looked up in the store
	stored   bool // it exists there
	parsed   bool
	template *unitfile.FleetTemplate
	problem  string // why it cannot be parsed
	users    set
}

// of returns a unit's file.
func (f files) of(hash, unit string) *file {
	entry := f[hash]
	if entry == nil {
		entry = &file{users: set{}}
		f[hash] = entry
	}
	entry.users[unit] = struct{}{}
	return entry
}

// changed makes a file be looked up again, and returns its users.
func (f files) changed(hash string) set {
	entry := f[hash]
	if entry == nil {
		return nil
	}
	entry.read, entry.parsed = false, false
	return entry.users
}

// former returns the section of a file that a placement still names.
func (c *Controller) former(hash, unit string) (unitfile.Fleet, bool) {
	name, err := unitfile.ParseName(unit)
	if err != nil {
		return unitfile.Fleet{}, false
	}
	entry := c.files[hash]
	if entry == nil || !entry.parsed {
		entry = &file{}
		entry.look(c.Cluster.UnitFiles.Get(hash))
	}
	if !entry.parsed {
		return unitfile.Fleet{}, false
	}
	fleet, problem := entry.resolve(name)
	return fleet, problem == ""
}

// leave removes a unit from the users of a file.
func (f files) leave(hash, unit string) {
	entry := f[hash]
	if entry == nil {
		return
	}
	if delete(entry.users, unit); len(entry.users) == 0 {
		delete(f, hash)
	}
}

func (f *file) look(stored *cache.Object[string], ok bool) {
	f.read, f.stored = true, ok
	if ok {
		f.parse(stored.Value)
	}
}

func (f *file) parse(text string) {
	if f.parsed {
		return
	}
	f.parsed, f.template, f.problem = true, nil, ""
	if parsed, err := unitfile.Parse(text); err != nil {
		f.problem = "its unit file cannot be read: " + summary(err)
	} else {
		f.template = unitfile.ParseFleetTemplate(parsed)
	}
}

// resolve returns the section for a unit, or what is wrong with it.
func (f *file) resolve(name unitfile.Name) (unitfile.Fleet, string) {
	if f.problem != "" {
		return unitfile.Fleet{}, f.problem
	}
	fleet, problems := f.template.Resolve(name)
	var errs []error
	for _, p := range unitfile.Errors(problems) {
		errs = append(errs, errors.New(p.String()))
	}
	return fleet, summary(errors.Join(errs...))
}

// summary shortens an error to one line that etcd accepts, however much is wrong.
func summary(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(v1.Summary(err), "\n", "; ")
}
