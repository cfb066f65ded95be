package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/systemd"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// observe gathers the input of a plan. It has no effects besides caching.
func (n *Node) observe(ctx context.Context) (Input, error) {
	now := time.Now()
	n.passed.Store(&now)
	in := Input{Now: now, FromStore: n.Synced(), Placements: n.disk.placements}
	if in.FromStore {
		in.Placements, in.Preparations = n.placed(), n.preparing.view()
	}
	in.Records, in.CutOffAt = n.records.view(), n.CutOffAt()
	in.Confirmed = n.confirm(ctx, in)
	in.StatesRead = n.states.read() // before they are looked at
	in.States = n.states.view()
	var err error
	if in.Files, err = n.files.hashes(now); err != nil {
		return in, err
	}
	in.Refused, in.ReloadDue = refused(in), n.reloadDue
	if in.Held, err = n.held(); err != nil {
		return in, err
	}
	if in.Ports, err = n.portFiles(); err != nil {
		return in, err
	}
	wanted := withPreparations(in)
	in.Texts, in.Relations = n.texts.of(ctx, wanted)
	if in.NoPulls = n.Puller == nil; !in.NoPulls {
		in.Images = n.texts.images(wanted)
		in.Pulls, in.Booted = n.pulls.of(pullsOf(wanted)), n.stillBooting(in)
	}
	if in.Foreign, err = n.foreign(ctx, in); err != nil {
		return in, err
	}
	if in.Units, err = n.units(ctx, in); err != nil {
		return in, err
	}
	in.Outputs = n.outputs.of(now, failures(in))
	if in.FromStore {
		in.GivenUp = n.found.of(waitingForPlace(in))
		in.Holds = n.holds.of(in.Now, orphans(in))
	}
	return in, nil
}

// confirm asks etcd for the placements of isolated units, once the machine is not cut off any more: the cache may not know yet that
// they were moved meanwhile.
func (n *Node) confirm(ctx context.Context, in Input) map[string]bool {
	if !in.FromStore || !in.Now.Before(in.CutOffAt) {
		return nil
	}
	confirmed := map[string]bool{}
	for name, rec := range in.Records {
		pl, placed := in.Placements[name]
		if !rec.Isolated || !placed {
			continue
		}
		row := n.Keys.PlacementsOf(n.Machine)
		kv, there, _, err := n.Store.Get(ctx, row.Key(name))
		if err != nil {
			return confirmed // the next ones would only time out, too
		}
		stored, err := row.Decode(kv.Value)
		confirmed[name] = there && err == nil && stored == pl
	}
	return confirmed
}

// stillBooting forgets which placements the machine booted with once a unit was started, or is placed otherwise.
func (n *Node) stillBooting(in Input) map[string]v1.Placement {
	for name, had := range n.booted {
		if pl, placed := in.Placements[name]; !placed || keyOf(name, pl) != keyOf(name, had) || in.Records[name].Launched != "" {
			delete(n.booted, name)
		}
	}
	return n.booted
}

// held returns the units that are kept from starting.
func (n *Node) held() (map[string]bool, error) {
	entries, err := os.ReadDir(n.Layout.Held())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for units that are not to be started: %w", err)
	}
	held := make(map[string]bool, len(entries))
	for _, entry := range entries {
		held[entry.Name()] = true
	}
	return held, nil
}

// placed returns the cached placements. An undecodable one stays as it was: it does not mean that the unit should go.
func (n *Node) placed() map[string]v1.Placement {
	list := n.placements.List()
	placements := make(map[string]v1.Placement, len(list))
	for _, o := range list {
		if _, err := unitfile.ParseName(o.Name); err != nil && !unitfile.OnceValid(o.Name) {
			n.Log.V(1).Info("Placement is ignored", "reason", err.Error())
			continue
		}
		if o.Err == nil {
			placements[o.Name] = o.Value
		} else if last, ok := n.disk.placements[o.Name]; ok {
			placements[o.Name] = last
		}
	}
	return placements
}

// refused returns names that are not valid unit names. Earlier versions accepted some, and a single one makes a call
// fail for all units in it.
func refused(in Input) map[string]string {
	why := map[string]string{}
	look := func(name string) {
		n, err := unitfile.ParseName(name)
		switch {
		case err != nil:
			why[name] = err.Error()
		case n.Template:
			why[name] = "a template is not run itself: start an instance of it, such as " + n.Prefix + "@1." + n.Type
		}
	}
	for name := range in.Placements {
		look(name)
	}
	for name := range in.Files {
		look(name)
	}
	for name := range in.Records {
		look(name)
	}
	return why
}

// foreign asks systemd about newly placed units that the machine already has without fleet, such as ssh.service: they
// are neither replaced nor stopped later.
func (n *Node) foreign(ctx context.Context, in Input) (map[string]string, error) {
	var fresh []string
	for name, pl := range in.Placements {
		_, file := in.Files[name]
		if pl.DesiredState != v1.Inactive && !file && in.Records[name].Loaded == "" && in.Refused[name] == "" {
			fresh = append(fresh, name)
		}
	}
	slices.Sort(fresh)
	foreign, err := n.Systemd.Foreign(ctx, fresh)
	if err != nil {
		return nil, fmt.Errorf("asking systemd for units that the machine has by itself: %w", err)
	}
	return foreign, nil
}

// units asks systemd for the states of known units only: asking for a unit makes systemd look for its file.
func (n *Node) units(ctx context.Context, in Input) (map[string]SystemdUnit, error) {
	ask := map[string]bool{}
	for name := range in.Files {
		ask[name] = true
	}
	for name := range in.Records {
		ask[name] = true
	}
	for name, pl := range in.Placements {
		if in.Texts[pl.Hash].Missing != "" {
			ask[name] = true // file and record may be lost, and it runs
		}
	}
	for name := range in.Refused {
		delete(ask, name)
	}
	names := slices.Sorted(maps.Keys(ask))
	states, err := n.Systemd.States(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("asking systemd for the states of %d units: %w", len(names), err)
	}
	units := make(map[string]SystemdUnit, len(states))
	for _, s := range states {
		if s.Err != nil {
			units[s.Name] = SystemdUnit{Err: "systemd says nothing of it: " + s.Err.Error(), NoUnit: errors.Is(s.Err, systemd.ErrBadUnit)}
			continue
		}
		units[s.Name] = SystemdUnit{
			LoadState: s.LoadState, ActiveState: s.ActiveState, SubState: s.SubState,
			Result: s.Result, InvocationID: s.InvocationID, Job: s.Job, JobResult: s.JobResult, Since: s.Since,
			Restarts: s.Restarts, Exit: Exit(s.Exit),
		}
	}
	return units, nil
}

// orphans returns fleet's units that run without a placement.
func orphans(in Input) []string {
	var names []string
	for name, unit := range in.Units {
		if _, placed := in.Placements[name]; !placed && unit.up() && !in.Records[name].Found {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
