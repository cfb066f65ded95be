package node

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// place brings one placed unit to its desired state.
func (p *planner) place(name string, pl v1.Placement) {
	text, unit, rec := p.in.Texts[pl.Hash], p.in.Units[name], p.in.Records[name]
	if origin := p.in.Foreign[name]; origin != "" {
		p.report(name, pl, Record{}, fmt.Sprintf("not taken over: this machine already has its own %s (%s): rename one of them", name, origin))
		return
	}
	if unit.Err != "" {
		p.unknown(name, pl, rec, unit)
		return
	}
	was := rec.Found
	if was {
		rec = adopted(rec, pl)
	}
	p.prepare(name, pl.Next)
	if text.Missing != "" {
		// A running unit keeps its text; a stop does not need one. One whose file and record are lost is remembered, for it
		// to be stopped if it is not placed here any more before its text is back.
		if _, file := p.in.Files[name]; unit.up() && !file && rec.Loaded == "" {
			rec.Loaded = pl.Hash
			p.act(Action{Kind: Note, Unit: name, Record: rec, Reason: AlreadyRuns})
		}
		if pl.DesiredState == v1.Loaded {
			rec = p.stopped(name, pl, rec, unit)
		}
		p.report(name, pl, rec, text.Missing)
		return
	}
	if why := p.isolated(name, pl, rec, unit); why != "" {
		p.report(name, pl, p.isolate(name, rec, unit), why)
		return
	}
	lost := unit.up() && rec.Loaded == "" // its record: it runs, with whatever file
	if pl.DesiredState == v1.Launched && rec.Loaded != pl.Hash && !lost {
		// A crash meanwhile starts it as it was: its file is replaced when the image is there.
		if wait := p.waitsForImage(name, pl, rec, unit); wait != "" {
			p.report(name, pl, rec, wait)
			return
		}
	}
	p.hold(name, pl)
	if (unit.up() || unit.stopping()) && p.changes(name, pl, text, rec) {
		if pl.DesiredState == v1.Loaded {
			rec = p.stopped(name, pl, rec, unit)
		}
		// Its former file says how it stops: ExecStop=, ExecStopPost=.
		if unit.stopping() || p.halting[name] {
			p.report(name, pl, rec, "")
			return
		}
		if wait := p.leavesWith(name); wait != "" {
			p.report(name, pl, rec, wait)
			return
		}
	}
	if was && unit.up() {
		p.tellTakenOver(name, p.changes(name, pl, text, rec))
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

// changes reports whether systemd has another text of the unit than its placement's.
func (p *planner) changes(name string, pl v1.Placement, text Text, rec Record) bool {
	onDisk, there := p.in.Files[name]
	return there && onDisk != text.FileHash || rec.Loaded != "" && rec.Loaded != pl.Hash
}

// load makes systemd know the text. Only a unit that was loaded before needs a reload; a new one is loaded when it is
// started.
func (p *planner) load(name string, pl v1.Placement, text Text, rec Record) Record {
	onDisk, there := p.in.Files[name]
	changed := rec.Loaded != "" && rec.Loaded != pl.Hash
	written := onDisk == text.FileHash
	if pl.Assigned != "" && p.in.Ports[name] != pl.Assigned.Environment() {
		p.act(Action{Kind: WritePorts, Unit: name, Ports: pl.Assigned, Reason: PortsAssigned})
	}
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
		p.reload = cmp.Or(p.reload, FileChanged)
		p.reloads[name] = true
	}
	if rec.Loaded == "" || !there {
		if rec.Loaded == "" && there && !written {
			rec.Previous, rec.Invocation = onDisk, p.in.Units[name].InvocationID // the record was lost: it runs with that text
		}
		rec.Loaded, rec.Message, rec.Enabled = pl.Hash, "", false
		p.act(Action{Kind: Link, Unit: name, Record: rec, Reason: NewPlacement})
		return p.enable(name, rec, true)
	}
	if rec = p.enable(name, rec, changed); changed {
		if !p.in.Units[name].runsPrevious(rec) {
			rec.Previous, rec.Invocation = rec.Loaded, p.in.Units[name].InvocationID
		}
		rec.Loaded, rec.Message = pl.Hash, ""
		p.act(Action{Kind: Note, Unit: name, Record: rec, Reason: FileChanged})
	}
	return rec
}

// enable makes systemd heed the unit's [Install] section, as systemctl enable does. changed: the links that it asks for may
// have changed.
func (p *planner) enable(name string, rec Record, changed bool) Record {
	installs := p.in.Relations[name].Installs
	if installs == rec.Enabled && !(installs && changed) {
		return rec
	}
	rec.Enabled = installs
	p.act(Action{Kind: Enable, Unit: name, Record: rec, Reason: Installed})
	p.reload = cmp.Or(p.reload, FileChanged)
	p.reloads[name] = true
	return rec
}

// hold keeps an announcer that is to be loaded from being started: its app Wants= it, so every restart of the app would
// bring it back and announce a withdrawn instance.
func (p *planner) hold(name string, pl v1.Placement) {
	hold := pl.DesiredState == v1.Loaded && p.in.Relations[name].Announces
	switch {
	case hold && !p.in.Held[name]:
		p.act(Action{Kind: Hold, Unit: name, Reason: SetLoaded})
	case !hold && p.in.Held[name]:
		p.act(Action{Kind: Release, Unit: name, Reason: NotLaunched})
	}
}

// stopped stops the unit once per request to load it: later starts by systemd or a user are left alone. An announcer is
// always stopped, as its file may lack the condition that holds it.
func (p *planner) stopped(name string, pl v1.Placement, rec Record, unit SystemdUnit) Record {
	want := rec
	want.Launched, want.Pending, want.Stopped, want.RequestedAt, want.Message = "", false, true, pl.RequestedAt, ""
	want.JobResult, want.Failing = "", false
	acted := rec.Stopped && rec.RequestedAt == pl.RequestedAt
	switch {
	case unit.up() && !unit.stopping() && (!acted || p.in.Relations[name].Announces):
		p.act(Action{Kind: Stop, Unit: name, Record: want, Reason: SetLoaded})
	case want != rec:
		p.act(Action{Kind: Note, Unit: name, Record: want, Reason: SetLoaded})
	}
	return want
}

// launched starts the unit once per text and once per request, and again when what it lacked has come. After that systemd is in
// charge (Restart=). The message is what the start waits for.
func (p *planner) launched(name string, pl v1.Placement, rec Record, unit SystemdUnit) (Record, string) {
	done := rec.Launched == pl.Hash && (!rec.Pending || unit.InvocationID != "" && unit.InvocationID != rec.Invocation)
	came := done && p.neededCame(rec, unit)
	switch {
	case done && rec.RequestedAt == pl.RequestedAt && !came:
		return p.follow(name, rec, unit)
	case done && unit.up() && unit.Job == "" && unit.runsPrevious(rec) && rec.Previous != pl.Hash, // the restart was refused
		!done && unit.up() && p.runsOther(rec, unit, pl.Hash):
		if wait := cmp.Or(p.leavesWith(name), p.waitsForImage(name, pl, rec, unit)); wait != "" {
			return rec, wait
		}
		return p.replace(name, pl, rec, unit), ""
	case done && unit.up():
		rec.RequestedAt, rec.Message = pl.RequestedAt, ""
		return p.note(name, rec, AlreadyRuns), ""
	case unit.up() && !rec.Stopped && !rec.Pending:
		rec.Launched, rec.RequestedAt = pl.Hash, pl.RequestedAt
		return p.note(name, rec, AlreadyRuns), ""
	}
	if wait := p.waitsFor(name); wait != "" {
		return rec, wait
	}
	if wait := p.waitsForImage(name, pl, rec, unit); wait != "" {
		return rec, wait
	}
	reason := NotLaunched
	switch {
	case done && rec.RequestedAt != pl.RequestedAt:
		reason = Requested
	case came:
		reason = NeededCame
	}
	return p.start(name, pl, rec, unit, reason), ""
}

// neededCame reports whether the start failed while the unit lacked another one that is here now.
func (p *planner) neededCame(rec Record, unit SystemdUnit) bool {
	rec = rec.outcome(unit)
	failed := rec.Message != "" || rec.JobResult != "" && rec.JobResult != jobSkipped
	return failed && unit.ActiveState == "inactive" && unit.Job == "" && slices.ContainsFunc(strings.Fields(rec.Lacks), p.here)
}

// runsOther reports whether it runs a launch of another text, with no request since.
func (p *planner) runsOther(rec Record, unit SystemdUnit, hash string) bool {
	switch {
	case rec.Launched != "" && rec.Launched != hash:
		return true
	case !unit.runsPrevious(rec):
		return false
	}
	// The text changed while it ran: its record was lost, the launch was never requested, or systemd started it for
	// another unit.
	return rec.Previous != hash && (rec.Pending || rec.Launched == "")
}

// replace restarts a unit whose text changed, unless systemd restarts it anyway with the unit it binds to.
func (p *planner) replace(name string, pl v1.Placement, rec Record, unit SystemdUnit) Record {
	if !unit.runsPrevious(rec) {
		rec.Previous, rec.Invocation = rec.Launched, unit.InvocationID
	}
	rec = rec.launch(pl, p.lacking(name))
	for _, target := range p.in.Relations[name].BindsTo {
		if p.restarting[target] {
			p.act(Action{Kind: Note, Unit: name, Record: rec, Reason: WithTarget})
			p.acted[name] = true
			return rec
		}
	}
	p.act(Action{Kind: Restart, Unit: name, Record: rec, Reason: FileChanged})
	return rec
}

func (p *planner) start(name string, pl v1.Placement, rec Record, unit SystemdUnit, reason string) Record {
	if unit.failed() {
		p.act(Action{Kind: ResetFailed, Unit: name, Record: rec, Reason: reason})
	}
	rec.Invocation, rec.Previous = unit.InvocationID, ""
	rec.Target = p.targetOf(name, rec)
	rec = rec.launch(pl, p.lacking(name))
	p.act(Action{Kind: Start, Unit: name, Record: rec, Reason: reason})
	return rec
}

// launch is the record after the unit was started as its placement says, without the units that it lacks.
func (rec Record) launch(pl v1.Placement, lacks []string) Record {
	rec.Launched, rec.RequestedAt = pl.Hash, pl.RequestedAt
	rec.Pending, rec.Stopped, rec.Isolated = false, false, false
	rec.Message, rec.JobResult, rec.Failing, rec.Lacks = "", "", false, strings.Join(lacks, " ")
	return rec
}

// note settles the record of a unit that needs no action.
func (p *planner) note(name string, rec Record, reason string) Record {
	rec = rec.outcome(p.in.Units[name])
	rec.Pending, rec.Stopped = false, false
	rec.Target = p.targetOf(name, rec)
	p.settle(name, rec, reason)
	return rec
}

// settle saves a record that changed.
func (p *planner) settle(name string, rec Record, reason string) {
	if rec != p.in.Records[name] {
		p.act(Action{Kind: Note, Unit: name, Record: rec, Reason: reason})
	}
}

// follow handles a launched unit with no new request. A unit that binds to another stops with it and, without a Wants=,
// only fleet brings it back.
func (p *planner) follow(name string, rec Record, unit SystemdUnit) (Record, string) {
	if rec.Pending {
		return p.note(name, rec, LaunchConfirmed), ""
	}
	rec = rec.outcome(unit)
	target := p.targetOf(name, rec)
	returned := unit.ActiveState == "inactive" && target != "" && target != rec.Target
	if returned && p.waitsFor(name) == "" {
		rec.Target, rec.Invocation, rec.JobResult = target, unit.InvocationID, ""
		p.act(Action{Kind: Start, Unit: name, Record: rec, Reason: TargetReturned})
		return rec, ""
	}
	if target == "" || unit.active() && !unit.stopping() {
		return p.note(name, rec, AlreadyRuns), ""
	}
	p.settle(name, rec, StartEnded)
	return rec, p.culprit(name)
}

// targetOf is the invocation of fleet's unit that this one binds to, or the recorded one while that is down. It is empty
// if that was stopped on purpose: then any later invocation brings this unit back.
func (p *planner) targetOf(name string, rec Record) string {
	for _, target := range p.in.Relations[name].BindsTo {
		_, ours := p.placed(target)
		record, known := p.in.Records[target]
		switch {
		case !known:
		case !ours || record.Stopped && !p.stays(target):
			return ""
		case p.in.Units[target].active():
			return p.in.Units[target].InvocationID
		}
	}
	return rec.Target
}

// waitsFor returns which unit must be up before this one may be started, as starting this one would start that one too.
func (p *planner) waitsFor(name string) string {
	for _, target := range p.in.Relations[name].BindsTo {
		_, ours := p.placed(target)
		_, known := p.in.Records[target]
		if !ours && !known || p.bindsTo(target, name) {
			continue
		}
		if !ours || !p.stays(target) || p.launching[target] {
			return fmt.Sprintf("waits for %s, which it is bound to, to be active%s", target, p.trouble(target))
		}
		if why := p.heldUp(target); why != "" { // announcing it now would send it requests until its restart
			return fmt.Sprintf("waits for %s, which it is bound to, to get its new file: %s", target, why)
		}
	}
	return ""
}

// leavesWith returns which unit it is bound to is being stopped, and takes it along. Restarting it would start that one again.
func (p *planner) leavesWith(name string) string {
	for _, target := range p.in.Relations[name].BindsTo {
		if p.halting[target] || p.in.Units[target].stopping() {
			return fmt.Sprintf("waits for %s, which it is bound to, to be active%s", target, p.trouble(target))
		}
	}
	return ""
}

// heldUp is why a unit keeps running another file than its placement's; empty if it does not.
func (p *planner) heldUp(name string) string {
	pl, placed := p.placed(name)
	if !placed || p.in.Records[name].Loaded == pl.Hash {
		return ""
	}
	return cmp.Or(p.waiting[name], p.in.Texts[pl.Hash].Missing)
}

// stays reports whether it is active and about to stay so.
func (p *planner) stays(name string) bool {
	unit := p.in.Units[name]
	return unit.active() && !unit.stopping() && !p.halting[name]
}

// bindsTo reports whether name stops whenever other does, directly or through further units.
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
