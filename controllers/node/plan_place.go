package node

import (
	"fmt"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// place brings one placed unit to its desired state.
func (p *planner) place(name string, pl v1.Placement) {
	text, unit, rec := p.in.Texts[pl.Hash], p.in.Units[name], p.in.Records[name]
	if origin := p.in.Foreign[name]; origin != "" {
		p.report(name, pl, Record{}, fmt.Sprintf("not taken over: this machine has a %s of its own (%s): give one of them another name", name, origin))
		return
	}
	if unit.Err != "" {
		p.unknown(name, pl, rec, unit)
		return
	}
	if text.Missing != "" {
		// What runs goes on with the text that it has; a stop needs none.
		if pl.DesiredState == v1.Loaded {
			rec = p.stopped(name, pl, rec, unit)
		}
		p.report(name, pl, rec, text.Missing)
		return
	}
	rec = p.load(name, pl, text, rec)
	message := ""
	if pl.DesiredState == v1.Loaded {
		rec = p.stopped(name, pl, rec, unit)
	} else {
		rec, message = p.launched(name, pl, rec, unit)
	}
	p.report(name, pl, rec, message)
}

// load has systemd know the text. A new unit is loaded when it is started; only one that was loaded before needs a reload.
func (p *planner) load(name string, pl v1.Placement, text Text, rec Record) Record {
	onDisk, there := p.in.Files[name]
	changed := rec.Loaded != "" && rec.Loaded != pl.Hash
	written := onDisk == text.FileHash
	if !written {
		reason := NewPlacement
		switch {
		case changed || there && rec.Loaded == "":
			reason = FileChanged
		case rec.Loaded != "":
			reason = FileLost
		}
		p.act(Action{Kind: WriteFile, Unit: name, Hash: pl.Hash, Reason: reason})
	}
	if !written && there || changed {
		p.reload = FileChanged
		p.reloads[name] = true
	}
	if rec.Loaded == "" || !there {
		if rec.Loaded == "" && there && !written {
			rec.Previous, rec.Invocation = onDisk, p.in.Units[name].InvocationID // the record was lost: it runs with that
		}
		rec.Loaded, rec.Message = pl.Hash, ""
		p.act(Action{Kind: Link, Unit: name, Record: rec, Reason: NewPlacement})
	} else if changed {
		if !p.in.Units[name].runsPrevious(rec) {
			rec.Previous, rec.Invocation = rec.Loaded, p.in.Units[name].InvocationID
		}
		rec.Loaded, rec.Message = pl.Hash, ""
		p.act(Action{Kind: Note, Unit: name, Record: rec, Reason: FileChanged})
	}
	return rec
}

// stopped has the unit loaded and not running, whoever started it.
func (p *planner) stopped(name string, pl v1.Placement, rec Record, unit Unit) Record {
	want := rec
	want.Launched, want.Pending, want.Stopped, want.RequestedAt, want.Message = "", false, true, pl.RequestedAt, ""
	switch {
	case unit.up() && !unit.stopping():
		p.act(Action{Kind: Stop, Unit: name, Record: want, Reason: SetLoaded})
	case want != rec:
		p.act(Action{Kind: Note, Unit: name, Record: want, Reason: SetLoaded})
	}
	return want
}

// launched has the unit started once for its text and once for every request. What becomes of it then is between the
// unit and systemd (Restart=). The message says what it waits for.
func (p *planner) launched(name string, pl v1.Placement, rec Record, unit Unit) (Record, string) {
	done := rec.Launched == pl.Hash && (!rec.Pending || unit.InvocationID != "" && unit.InvocationID != rec.Invocation)
	switch {
	case done && rec.RequestedAt == pl.RequestedAt:
		return p.follow(name, rec, unit)
	case done && unit.up() && unit.Job == "" && unit.runsPrevious(rec) && rec.Previous != pl.Hash:
		return p.replace(name, pl, rec, unit), "" // the restart was refused
	case done && unit.up():
		rec.RequestedAt, rec.Message = pl.RequestedAt, ""
		return p.note(name, rec, AlreadyRuns), ""
	case unit.up() && p.runsOther(rec, unit, pl.Hash):
		return p.replace(name, pl, rec, unit), ""
	case unit.up() && !rec.Stopped && !rec.Pending:
		rec.Launched, rec.RequestedAt = pl.Hash, pl.RequestedAt
		return p.note(name, rec, AlreadyRuns), ""
	}
	if wait := p.waitsFor(name); wait != "" {
		return rec, wait
	}
	reason := NotLaunched
	if done {
		reason = Requested
	}
	return p.start(name, pl, rec, unit, reason), ""
}

// runsOther: what runs was launched with another text, and nothing was asked for since.
func (p *planner) runsOther(rec Record, unit Unit, hash string) bool {
	switch {
	case rec.Launched != "" && rec.Launched != hash:
		return true
	case !unit.runsPrevious(rec):
		return false
	}
	// The text changed while it ran: under a record that was lost, by a launch that was not asked for in the end, or
	// started by systemd for another unit.
	return rec.Previous != hash && (rec.Pending || rec.Launched == "")
}

// replace restarts a unit whose text changed, unless systemd restarts it anyway with what it binds to.
func (p *planner) replace(name string, pl v1.Placement, rec Record, unit Unit) Record {
	if !unit.runsPrevious(rec) {
		rec.Previous, rec.Invocation = rec.Launched, unit.InvocationID
	}
	rec.Launched, rec.RequestedAt, rec.Pending, rec.Stopped, rec.Message = pl.Hash, pl.RequestedAt, false, false, ""
	for _, target := range p.in.Relations[name].BindsTo {
		if p.launching[target] {
			p.act(Action{Kind: Note, Unit: name, Record: rec, Reason: WithTarget})
			p.acted[name] = true
			return rec
		}
	}
	p.act(Action{Kind: Restart, Unit: name, Record: rec, Reason: FileChanged})
	return rec
}

func (p *planner) start(name string, pl v1.Placement, rec Record, unit Unit, reason Reason) Record {
	if unit.failed() {
		p.act(Action{Kind: ResetFailed, Unit: name, Record: rec, Reason: reason})
	}
	rec.Invocation, rec.Previous = unit.InvocationID, ""
	rec.Target = p.targetOf(name, rec)
	rec.Launched, rec.RequestedAt, rec.Pending, rec.Stopped, rec.Message = pl.Hash, pl.RequestedAt, false, false, ""
	p.act(Action{Kind: Start, Unit: name, Record: rec, Reason: reason})
	return rec
}

// note settles the record of a unit that is as it should be.
func (p *planner) note(name string, rec Record, reason Reason) Record {
	rec.Pending, rec.Stopped = false, false
	rec.Target = p.targetOf(name, rec)
	if rec != p.in.Records[name] {
		p.act(Action{Kind: Note, Unit: name, Record: rec, Reason: reason})
	}
	return rec
}

// follow looks after a unit that was launched and not asked for again. One that binds to another stops with it, and
// where nothing Wants= it, nothing but this brings it back.
func (p *planner) follow(name string, rec Record, unit Unit) (Record, string) {
	if rec.Pending {
		return p.note(name, rec, LaunchConfirmed), ""
	}
	target := p.targetOf(name, rec)
	returned := unit.ActiveState == "inactive" && target != "" && target != rec.Target
	if returned && p.waitsFor(name) == "" {
		rec.Target, rec.Invocation = target, unit.InvocationID
		p.act(Action{Kind: Start, Unit: name, Record: rec, Reason: TargetReturned})
		return rec, ""
	}
	if target == "" || unit.active() && !unit.stopping() {
		return p.note(name, rec, AlreadyRuns), ""
	}
	return rec, ""
}

// targetOf is the invocation of the unit of ours that this one binds to, or what the record has while that is down. It
// is none where that was stopped on purpose: whatever runs there next has this one come back.
func (p *planner) targetOf(name string, rec Record) string {
	for _, target := range p.in.Relations[name].BindsTo {
		_, ours := p.placed(target)
		record, known := p.in.Records[target]
		switch {
		case !known:
		case !ours || record.Stopped:
			return ""
		case p.in.Units[target].active():
			return p.in.Units[target].InvocationID
		}
	}
	return rec.Target
}

// waitsFor says which unit has to be up before this one may be started: to start it would start that one as well.
func (p *planner) waitsFor(name string) string {
	for _, target := range p.in.Relations[name].BindsTo {
		_, ours := p.placed(target)
		_, known := p.in.Records[target]
		if !ours && !known || p.bindsTo(target, name) {
			continue
		}
		if !ours || !p.in.Units[target].active() || p.launching[target] {
			return fmt.Sprintf("waits for %s, which it is bound to, to be active", target)
		}
	}
	for _, target := range p.in.Relations[name].Requires {
		if pl, ours := p.placed(target); ours && pl.DesiredState != v1.Launched && !p.in.Units[target].active() {
			return fmt.Sprintf("waits for %s, which it requires, to be launched", target)
		}
	}
	return ""
}

// bindsTo: name stops whenever other does, be it by way of more units.
func (p *planner) bindsTo(name, other string) bool {
	seen := map[string]bool{}
	var visit func(string) bool
	visit = func(n string) bool {
		if seen[n] {
			return false
		}
		seen[n] = true
		for _, target := range p.in.Relations[n].BindsTo {
			if target == other || visit(target) {
				return true
			}
		}
		return false
	}
	return visit(name)
}
