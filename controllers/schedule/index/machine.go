package index

import (
	"maps"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// MachineSpec is what a present machine publishes about itself.
type MachineSpec struct {
	ID       string
	Metadata map[string]string
	Capacity v1.Capacity
	// AutoPorts are those that it has to assign.
	PortRange v1.PortRange
	// Since is the revision at which it became present.
	Since int64
	// Problem says why its presence is unreadable: it keeps its units and gets no new ones.
	Problem string
	// Stuck: the machine cannot start or stop units now. It keeps its units and gets no new ones, which would not start.
	Stuck bool
}

// Machine is a machine of the index, present or not.
type Machine struct {
	MachineSpec
	// Config is its configuration. Labels are its metadata with the edits of Config.
	Config v1.MachineConfig
	Labels map[string]string
	Places []*Place
	// Present: its key exists. Indexed: it is in the sets, views and counts, at Slot; -1: it has no slot.
	Present, Indexed bool
	Slot             int
	// Seen: it has been present. Gone is since when it is missed; zero: no plan has noticed yet. Lost: it vanished a moment
	// ago, or before others were frozen, and had units then.
	Seen, Lost bool
	Gone       time.Time
	// Load orders views: the number of units, then Share, how full the machine is in sixteenths.
	Load, Share int32
	// Mark is scratch space for a plan.
	Mark uint64

	waiting, dirty bool
	active         map[string]string         // units that systemd reports as active, with the hash of the file that they run
	leftover       map[string]unitfile.Fleet // those of them that are not placed there, as far as their files are known
	views          []*View
}

// Schedulable reports whether the machine may get new units.
func (m *Machine) Schedulable() bool {
	return m.Present && m.Problem == "" && !m.Stuck && !m.Config.Cordoned && !m.Config.Drain
}

// Runs reports whether systemd on the machine reports the unit as active.
func (m *Machine) Runs(u *Unit) bool {
	_, ok := m.active[u.Name]
	return ok
}

// RunsNow reports whether systemd there reports the unit as active with its file of now.
func (m *Machine) RunsNow(u *Unit) bool {
	hash, ok := m.active[u.Name]
	return ok && hash == u.Hash
}

// RunsUnits reports whether a unit that is not global is placed there.
func (m *Machine) RunsUnits() bool {
	return slices.ContainsFunc(m.Places, func(p *Place) bool { return p.Unit.Known && !p.Unit.Fleet.Global })
}

// SetMachine adds or updates a present machine.
func (x *Index) SetMachine(spec MachineSpec) {
	m := x.machine(spec.ID)
	if m.Present && m.Since == spec.Since && m.Problem == spec.Problem && m.Stuck == spec.Stuck && m.Capacity == spec.Capacity && m.PortRange == spec.PortRange && maps.Equal(m.Metadata, spec.Metadata) {
		return
	}
	x.change(m, func() { m.MachineSpec, m.Present, m.Seen, m.Lost, m.Gone = spec, true, true, false, time.Time{} })
}

// DeleteMachine marks a machine as gone.
func (x *Index) DeleteMachine(id string) {
	if m := x.machines[id]; m != nil && m.Present {
		x.change(m, func() { m.MachineSpec, m.Present, m.Lost = MachineSpec{ID: m.ID}, false, m.RunsUnits() })
	}
}

// Recall adds what another index knows of a machine that is missed.
func (x *Index) Recall(id string, gone time.Time, seen, lost bool) {
	m := x.machine(id)
	if !m.Present {
		m.Gone, m.Seen, m.Lost = gone, seen, lost
	}
	x.ForgetMachine(m)
}

// SetMachineConfig sets a machine's configuration; the zero value: none.
func (x *Index) SetMachineConfig(id string, config v1.MachineConfig) {
	m := x.machine(id)
	x.change(m, func() { m.Config = config })
}

// SetActive records whether systemd on a machine reports a unit as active, and the file that it runs.
func (x *Index) SetActive(machine, unit string, active bool, hash string) {
	m := x.machine(machine)
	delete(m.leftover, unit)
	if runs, was := m.active[unit]; was == active && (!active || runs == hash) {
		x.ForgetMachine(m)
		return
	}
	if active {
		if m.active == nil {
			m.active = map[string]string{}
		}
		m.active[unit] = hash
		x.wake |= ForDrain
		return
	}
	delete(m.active, unit)
	x.ForgetMachine(m)
}

// SetLeftover records with which file a unit runs on a machine where it is not placed any more: one that returns keeps what was
// placed elsewhere until that is active there.
func (x *Index) SetLeftover(machine, unit string, fleet unitfile.Fleet) {
	m := x.machine(machine)
	if _, active := m.active[unit]; !active {
		x.ForgetMachine(m)
		return
	}
	if m.leftover == nil {
		m.leftover = map[string]unitfile.Fleet{}
	}
	m.leftover[unit] = fleet
}

// Leftover returns the other file, if it is known, that a unit runs with on the machine although it is not placed there.
func (m *Machine) Leftover(u *Unit) (hash string, fleet unitfile.Fleet, ok bool) {
	fleet, ok = m.leftover[u.Name]
	hash = m.active[u.Name]
	return hash, fleet, ok && hash != u.Hash
}

// Machine returns the machine with that ID; nil if it is unknown.
func (x *Index) Machine(id string) *Machine { return x.machines[id] }

// Machines are the present ones, in the order of their IDs.
func (x *Index) Machines() []*Machine { return x.sorted }

// Absent are the known machines that are not present.
func (x *Index) Absent() map[*Machine]struct{} { return x.absent }

// change takes a machine out of the index, changes it and marks everything affected. The next plan puts it back.
func (x *Index) change(m *Machine, set func()) {
	if m.Indexed {
		x.detach(m)
	}
	set()
	m.Labels = labels(m)
	if m.Present && !m.waiting {
		m.waiting = true
		x.waiting = append(x.waiting, m)
	}
	if m.Present {
		delete(x.absent, m)
	} else {
		x.absent[m] = struct{}{}
		x.free(m)
	}
	for _, p := range m.Places {
		x.touchPlace(p.Unit, m)
	}
	x.touchMachine(m)
	x.wake |= ForRoom | ForDrain | ForThaw
	x.ForgetMachine(m)
}

func labels(m *Machine) map[string]string {
	if len(m.Config.Metadata) == 0 {
		return m.Metadata
	}
	meta := maps.Clone(m.Metadata)
	if meta == nil {
		meta = map[string]string{}
	}
	for k, v := range m.Config.Metadata {
		if v == "" {
			delete(meta, k)
		} else {
			meta[k] = v
		}
	}
	return meta
}

func (x *Index) machine(id string) *Machine {
	m := x.machines[id]
	if m == nil {
		m = &Machine{MachineSpec: MachineSpec{ID: id}, Slot: -1}
		x.machines[id] = m
		x.absent[m] = struct{}{}
	}
	return m
}

// ForgetMachine drops a machine of which nothing is left.
func (x *Index) ForgetMachine(m *Machine) {
	if !m.Present && !m.Lost && len(m.Places) == 0 && len(m.active) == 0 && !m.Config.Cordoned && !m.Config.Drain && len(m.Config.Metadata) == 0 {
		delete(x.machines, m.ID)
		delete(x.absent, m)
	}
}
