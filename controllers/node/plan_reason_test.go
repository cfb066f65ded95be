package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// planOf plans for existing units, each with the text of its placement.
func planOf(in Input) Decision {
	if in.Now.IsZero() {
		in.Now = t0
	}
	in.FromStore = true
	in.Files = map[string]string{}
	for name, pl := range in.Placements {
		in.Files[name] = pl.Hash
	}
	completeTexts(&in)
	return Plan(in)
}

func stateIn(t *testing.T, p Decision, unit string) v1.UnitState {
	t.Helper()
	for _, a := range p.Actions {
		if a.Kind == WriteState && a.Unit == unit {
			return a.State
		}
	}
	require.FailNow(t, "no state", "%s:\n%s", unit, transcript(p))
	return v1.UnitState{}
}

// ran is the record of a unit started as placed.
func ran(pl v1.Placement) Record {
	return Record{Loaded: pl.Hash, Launched: pl.Hash, RequestedAt: pl.RequestedAt}
}

func TestWhyAStartFailed(t *testing.T) {
	ended := func(result string) SystemdUnit {
		u := unit("inactive", "")
		u.JobResult = result
		return u
	}
	missing := unit("failed", "i1")
	missing.Result, missing.Exit = "exit-code", Exit{Code: "exited", Status: 203}
	for _, tc := range []struct {
		unit, job string
		relations Relations
		needed    SystemdUnit
		message   string
	}{
		{"a.service", "skipped", Relations{Conditions: []string{"ConditionPathExists=/x"}}, SystemdUnit{},
			"not started, which is not a failure: ConditionPathExists=/x is not met"},
		{"a.service", "skipped", Relations{Conditions: []string{"ConditionPathExists=/x", "AssertHost=h", "ConditionUser=u"}}, SystemdUnit{},
			"not started, which is not a failure: not all of these are met: ConditionPathExists=/x, ConditionUser=u"},
		{"a.service", "skipped", Relations{}, SystemdUnit{}, "not started, which is not a failure: its ExecCondition= is not met"},
		{"a.service", "assert", Relations{Conditions: []string{"ConditionUser=u", "AssertPathExists=/x"}}, SystemdUnit{}, "not started: AssertPathExists=/x is not met"},
		{"a.service", "dependency", Relations{Requires: []string{"b.service"}}, missing,
			"not started: b.service, which it depends on, failed: result exit-code, exit status 203 (EXEC: the program cannot be executed)"},
		{"a.service", "dependency", Relations{Requires: []string{"b.service"}, BindsTo: []string{"c.mount"}}, unit("inactive", ""),
			"not started: a unit that it depends on could not be started: one of c.mount, b.service"},
		{"a.service", "timeout", Relations{}, SystemdUnit{}, "not started: its start waited longer than JobTimeoutSec= allows"},
		{"a.swap", "unsupported", Relations{}, SystemdUnit{}, "not started: the systemd of this machine does not support this type of unit"},
		{"a.service", "canceled", Relations{}, SystemdUnit{}, "not started: another job for it canceled its start, such as that of systemctl stop"},
		{"a.socket", "failed", Relations{}, SystemdUnit{}, "not started (job result failed): its service, a.service or that of Service=, must be on this machine and not running already"},
		{"a.mount", "failed", Relations{}, SystemdUnit{}, "not started: systemd ended its start with the result failed"},
	} {
		pl := ask("A", "1")
		in := Input{Placements: map[string]v1.Placement{tc.unit: pl}, Relations: map[string]Relations{tc.unit: tc.relations},
			Records: map[string]Record{tc.unit: ran(pl)}, Units: map[string]SystemdUnit{tc.unit: ended(tc.job)}}
		if tc.needed.LoadState != "" {
			in.Placements["b.service"], in.Records["b.service"], in.Units["b.service"] = pl, ran(pl), tc.needed
		}
		state := stateIn(t, planOf(in), tc.unit)
		require.Equal(t, []string{tc.message, tc.job, "1"}, []string{state.Message, state.JobResult, state.RequestedAt}, tc.unit)

		// A restarted fleetd reads it from its record.
		rec := ran(pl)
		rec.JobResult = tc.job
		in.Units[tc.unit], in.Records[tc.unit] = unit("inactive", ""), rec
		require.Equal(t, state, stateIn(t, planOf(in), tc.unit))
		// It is cleared when the unit runs, and when it is requested again.
		in.Units[tc.unit] = unit("active", "i9")
		p := planOf(in)
		require.Empty(t, stateIn(t, p, tc.unit).JobResult)
		require.Empty(t, stateIn(t, p, tc.unit).Message)
		in.Units[tc.unit], in.Placements[tc.unit] = unit("inactive", ""), ask("A", "2")
		for _, a := range planOf(in).Actions {
			if a.Kind == Start && a.Unit == tc.unit {
				require.Empty(t, a.Record.JobResult)
			}
		}
	}
}

func TestReasonNamesTheCulprit(t *testing.T) {
	loop := SystemdUnit{LoadState: "loaded", ActiveState: "activating", SubState: "auto-restart", Result: "exit-code", Restarts: 7, InvocationID: "i1",
		Exit: Exit{Code: "exited", Status: 1}}
	for name, tc := range map[string]struct {
		app  SystemdUnit
		rec  Record
		want string
	}{
		"its app is in a restart loop": {loop, ran(launch("A")), "web@1.service, which it depends on, failed: result exit-code, exit status 1"},
		"its app was refused":          {unit("inactive", ""), Record{Loaded: "A", Launched: "A", Message: "no such user"}, "web@1.service, which it depends on, does not run: no such user"},
		"its app starts":               {unit("activating", "i1"), ran(launch("A")), ""},
		"its app ended":                {unit("inactive", ""), ran(launch("A")), ""},
	} {
		p := planOf(Input{Placements: map[string]v1.Placement{app: launch("A"), side: launch("S")}, Relations: binding,
			Records: map[string]Record{app: tc.rec, side: {Loaded: "S", Launched: "S", Target: "i0"}},
			Units:   map[string]SystemdUnit{app: tc.app, side: unit("inactive", "")}})
		require.Equal(t, tc.want, stateIn(t, p, side).Message, name)
	}
	p := planOf(Input{Placements: map[string]v1.Placement{app: launch("A"), side: launch("S")}, Relations: binding,
		Records: map[string]Record{app: ran(launch("A")), side: {Loaded: "S"}}, Units: map[string]SystemdUnit{app: loop, side: unit("inactive", "")}})
	require.Equal(t, "waits for web@1.service, which it is bound to, to be active, failed: result exit-code, exit status 1", stateIn(t, p, side).Message)
}

func TestFailureOfACommandBeforeTheMainProcess(t *testing.T) {
	u := unit("failed", "i1")
	u.Result, u.Exit = "timeout", Exit{Code: "killed", Status: 15, Command: "ExecStartPre"}
	p := planOf(Input{Placements: map[string]v1.Placement{"a.service": launch("A")}, Records: map[string]Record{"a.service": ran(launch("A"))},
		Units: map[string]SystemdUnit{"a.service": u}})
	state := stateIn(t, p, "a.service")
	require.Equal(t, "its ExecStartPre= failed: result timeout, killed by signal 15", state.Message)
	require.Equal(t, []any{"killed", 15}, []any{state.ExitCode, state.ExitStatus})
}

// One event when it begins to fail, one when it has run for a while, whatever happens in between.
func TestEventsOfAUnitThatFails(t *testing.T) {
	rec, now, told := ran(launch("A")), t0, []string(nil)
	step := func(after time.Duration, u SystemdUnit, output string) {
		now = now.Add(after)
		in := Input{Now: now, Placements: map[string]v1.Placement{"a.service": launch("A")}, Records: map[string]Record{"a.service": rec},
			Units: map[string]SystemdUnit{"a.service": u}, Outputs: map[string]Output{"a.service": {Text: output}}}
		for _, a := range planOf(in).Actions {
			switch a.Kind {
			case Note:
				rec = a.Record
			case Tell:
				told = append(told, a.Event.Type+" "+a.Event.Reason+": "+a.Event.Message)
			}
		}
	}
	again := func(restarts int) SystemdUnit {
		return SystemdUnit{LoadState: "loaded", ActiveState: "activating", SubState: "auto-restart", Result: "exit-code", Restarts: restarts, Since: now,
			Exit: Exit{Code: "exited", Status: 1}}
	}
	runs := func(restarts int) SystemdUnit {
		return SystemdUnit{LoadState: "loaded", ActiveState: "active", SubState: "running", Result: "success", Restarts: restarts, Since: now}
	}
	step(0, runs(0), "")
	require.Empty(t, told)
	for i := range 50 {
		step(time.Second, again(i), "one\ntwo")
		step(time.Second, runs(i+1), "one\ntwo")
	}
	require.Equal(t, []string{"Warning Restarting: result exit-code, exit status 1: two"}, told)
	stable := runs(50)
	step(time.Minute, stable, "")
	require.Len(t, told, 1, "a minute is not enough after so many restarts")
	step(time.Minute, stable, "")
	require.Equal(t, "Normal Recovered: it runs again", told[1])
	step(time.Hour, stable, "")
	require.Len(t, told, 2)

	failed := unit("failed", "i3")
	failed.Result, failed.Exit = "oom-kill", Exit{Code: "killed", Status: 9}
	step(time.Second, failed, "")
	step(time.Second, failed, "more")
	require.Equal(t, []string{"Warning Failed: result oom-kill, killed by signal 9"}, told[2:])
}

// TestEventsOfAUnitThatHasRecovered: the event comes when it has run for long enough, or has exited successfully; until then
// the plan is repeated in time.
func TestEventsOfAUnitThatHasRecovered(t *testing.T) {
	const name = "a.service"
	failing := ran(launch("A"))
	failing.Failing = true
	at := func(since time.Duration) SystemdUnit {
		u := unit("active", "i1")
		u.Since = t0.Add(-since)
		return u
	}
	done := unit("inactive", "")
	done.Result = "success"
	failed, exited := done, at(0)
	failed.Result, exited.Result = "exit-code", "success"
	exited.ActiveState = "deactivating"
	stable := instance.StableAfter(v1.DefaultMinReady, 0)
	const recovered = "note a.service Recovered\n"
	for what, tt := range map[string]struct {
		unit  SystemdUnit
		told  string
		after time.Duration
	}{
		"it has just begun to run":   {at(0), "", stable},
		"it runs for a little less":  {at(stable - time.Millisecond), "", time.Millisecond},
		"it runs for long enough":    {at(stable), "it runs again", 0},
		"the clock was set back":     {at(stable - time.Hour), "it runs again", 0},
		"a little less":              {at(stable - time.Hour + 1), "", time.Hour - 1},
		"it has exited successfully": {done, "it has exited successfully", 0},
		"it has ended otherwise":     {failed, "", 0},
		"it is about to be down":     {exited, "", 0},
	} {
		p := planOf(Input{Placements: map[string]v1.Placement{name: launch("A")}, Records: map[string]Record{name: failing}, Units: map[string]SystemdUnit{name: tt.unit}})
		require.Equal(t, tt.after, p.After, what)
		var told []string
		for _, a := range p.Actions {
			switch a.Kind {
			case Note:
				require.False(t, a.Record.Failing, what)
			case Tell:
				told = append(told, a.Event.Message)
			}
		}
		if tt.told == "" {
			require.Empty(t, told, what)
			require.NotContains(t, transcript(p), recovered, what)
			continue
		}
		require.Equal(t, []string{tt.told}, told, what)
		require.Contains(t, transcript(p), recovered, what)
	}
}

// TestEventsOfAStartThatEnded: a failed start gets an event; one that a condition prevented is not a failure.
func TestEventsOfAStartThatEnded(t *testing.T) {
	const name = "a.service"
	for result, want := range map[string][]string{"assert": {"NotStarted not started: one of its Assert...= is not met"}, jobSkipped: nil} {
		u := unit("inactive", "")
		u.JobResult = result
		var told []string
		for _, a := range planOf(Input{Placements: map[string]v1.Placement{name: launch("A")}, Records: map[string]Record{name: ran(launch("A"))},
			Units: map[string]SystemdUnit{name: u}}).Actions {
			if a.Kind == Tell {
				told = append(told, a.Event.Reason+" "+a.Event.Message)
			}
		}
		require.Equal(t, want, told, result)
	}
}

// TestFailing: a unit that exits successfully and is restarted only fails if that repeats.
func TestFailing(t *testing.T) {
	again := func(result string, restarts int) SystemdUnit {
		return SystemdUnit{ActiveState: "activating", SubState: "auto-restart", Result: result, Restarts: restarts}
	}
	require.False(t, failing(again("success", instance.LoopRestarts-1)))
	require.True(t, failing(again("success", instance.LoopRestarts)))
	require.True(t, failing(again("exit-code", 0)))
	require.False(t, failing(unit("inactive", "")))
	require.True(t, failing(unit("failed", "")))
}

func TestAFailureIsReportedTogetherWithItsOutput(t *testing.T) {
	failed := unit("failed", "i1")
	failed.Result, failed.Since = "exit-code", t0
	in := Input{Now: t0.Add(100 * time.Millisecond), Placements: map[string]v1.Placement{"a.service": launch("A")}, Records: map[string]Record{"a.service": ran(launch("A"))},
		Units: map[string]SystemdUnit{"a.service": failed}, Outputs: map[string]Output{"a.service": {Pending: true}}}
	p := planOf(in)
	require.Empty(t, transcript(p), "its log is about to be read")
	require.Equal(t, 400*time.Millisecond, p.After)
	in.Now = t0.Add(time.Second)
	require.Empty(t, stateIn(t, planOf(in), "a.service").Output, "that takes too long")
	in.Outputs["a.service"] = Output{Text: "boom"}
	told := stateIn(t, planOf(in), "a.service")
	require.Equal(t, "boom", told.Output)

	// A restarted fleetd has not read it yet, and writes nothing.
	rec := in.Records["a.service"]
	rec.Failing = true
	in.Records["a.service"], in.States = rec, map[string]v1.UnitState{"a.service": told}
	in.Outputs["a.service"] = Output{Pending: true}
	require.Empty(t, transcript(planOf(in)))

	// Output that is about to be read for another run differs from that of the last one.
	in.States["a.service"] = v1.UnitState{InvocationID: "i0", Output: "of another run"}
	require.Empty(t, stateIn(t, planOf(in), "a.service").Output)
	// Output that was read replaces what was reported.
	in.States["a.service"], in.Outputs["a.service"] = told, Output{Text: "boom again"}
	require.Equal(t, "boom again", stateIn(t, planOf(in), "a.service").Output)
	in.States = nil

	// A failure of this moment waits for it, too.
	in.Outputs["a.service"] = Output{Pending: true}
	at := in.Now
	in.Now = t0
	require.Equal(t, outputPatience, planOf(in).After)
	in.Now = t0.Add(-5 * time.Millisecond)
	require.Empty(t, transcript(planOf(in)), "it failed while the pass observed")
	in.Now = t0.Add(-time.Hour)
	require.NotEmpty(t, stateIn(t, planOf(in), "a.service"), "the clock was set back")
	in.Now = t0.Add(outputPatience)
	require.NotEmpty(t, stateIn(t, planOf(in), "a.service"), "it has waited for long enough: nothing else would have it looked at again")
	in.Now = at

	// It is cleared with the failure.
	runs := unit("active", "i2")
	runs.Since = in.Now.Add(-time.Hour)
	in.Units["a.service"] = runs
	in.Outputs = map[string]Output{"a.service": {Text: "boom"}}
	in.Records["a.service"] = ran(launch("A"))
	require.Empty(t, stateIn(t, planOf(in), "a.service").Output)
}

func TestLoadedIsAWishOfTheMoment(t *testing.T) {
	loaded := Record{Loaded: "A", Stopped: true}
	up := unit("active", "i1")
	oneshot := unit("activating", "i1")
	halting := up
	halting.Job = "stop"
	asked := func(at string) v1.Placement {
		return v1.Placement{Hash: "A", DesiredState: v1.Loaded, RequestedAt: at}
	}
	for name, tc := range map[string]struct {
		pl   v1.Placement
		rec  Record
		unit SystemdUnit
		want string
	}{
		"it was launched":                        {load("A"), ran(launch("A")), up, "stop a.service SetLoaded\n"},
		"it ran when it was placed":              {load("A"), Record{Loaded: "A"}, up, "stop a.service SetLoaded\n"},
		"it is being stopped":                    {load("A"), loaded, halting, "state a.service active A\n"},
		"something started it since":             {load("A"), loaded, up, "state a.service active A started on the machine, not by fleet\n"},
		"a timer started a oneshot":              {load("A"), loaded, oneshot, "state a.service activating A started on the machine, not by fleet\n"},
		"and a person asks for it to be stopped": {asked("1"), loaded, up, "stop a.service SetLoaded\n"},
		"which was done already":                 {asked("1"), Record{Loaded: "A", Stopped: true, RequestedAt: "1"}, up, "state a.service active A started on the machine, not by fleet\n"},
		"it does not run":                        {load("A"), loaded, unit("inactive", ""), "state a.service inactive A\n"},
	} {
		tc.unit.Since = t0.Add(-time.Hour)
		p := planOf(Input{Placements: map[string]v1.Placement{"a.service": tc.pl}, Records: map[string]Record{"a.service": tc.rec}, Units: map[string]SystemdUnit{"a.service": tc.unit}})
		require.Equal(t, tc.want, transcript(p), name)
	}
}

// Nothing brings back a withdrawn sidekick: the app's Wants= would, with each restart of the app.
func TestAnnouncerThatIsLoadedIsHeld(t *testing.T) {
	relations := map[string]Relations{app: binding[app], side: binding[side]}
	announces := relations[side]
	announces.Announces = true
	relations[side] = announces
	in := Input{Placements: map[string]v1.Placement{app: launch("A"), side: load("S")}, Relations: relations,
		Records: map[string]Record{app: ran(launch("A")), side: ran(launch("S"))},
		Units:   map[string]SystemdUnit{app: unit("active", "i1"), side: unit("active", "s1")}}
	require.Equal(t, "hold web-discovery@1.service SetLoaded\nstop web-discovery@1.service SetLoaded\nstate web@1.service active A\n", transcript(planOf(in)))

	// A file without the condition: it is stopped whenever it runs.
	in.Held = map[string]bool{side: true}
	in.Records[side] = Record{Loaded: "S", Stopped: true}
	require.Contains(t, transcript(planOf(in)), "stop web-discovery@1.service SetLoaded\n")

	// After a boot it is held before its app is started.
	boot := planOf(Input{Placements: in.Placements, Relations: relations, Records: map[string]Record{app: {Loaded: "A"}, side: {Loaded: "S", Stopped: true}}})
	require.Equal(t, "hold web-discovery@1.service SetLoaded\nstart web@1.service NotLaunched\nstate web-discovery@1.service inactive S\n", transcript(boot))

	// It is released before it is started, and when it is removed.
	in.Placements[side] = launch("S")
	in.Units[side] = unit("inactive", "")
	require.Equal(t, "release web-discovery@1.service NotLaunched\nstart web-discovery@1.service NotLaunched\nstate web@1.service active A\n", transcript(planOf(in)))
	gone := Plan(Input{FromStore: true, Now: t0, Held: map[string]bool{side: true}})
	require.Equal(t, "release web-discovery@1.service NotPlaced\n", transcript(gone))
}

func TestSidekickIsNotStartedWhileItsTargetIsStopped(t *testing.T) {
	p := planOf(Input{Placements: map[string]v1.Placement{app: load("A"), side: launch("S")}, Relations: binding,
		Records: map[string]Record{app: ran(launch("A")), side: {Loaded: "S"}},
		Units:   map[string]SystemdUnit{app: unit("active", "i1"), side: unit("inactive", "")}})
	require.NotContains(t, transcript(p), "start ", "that would start the target again")
}

func TestUnitThatRequiresALoadedOneIsStarted(t *testing.T) {
	p := planOf(Input{Placements: map[string]v1.Placement{"a.service": launch("A"), "b.service": load("B")},
		Relations: map[string]Relations{"a.service": {Requires: []string{"b.service"}}, "b.service": {}},
		Records:   map[string]Record{"a.service": {Loaded: "A"}, "b.service": {Loaded: "B", Stopped: true}},
		Units:     map[string]SystemdUnit{"b.service": unit("inactive", "")}})
	require.Contains(t, transcript(p), "start a.service NotLaunched\n", "systemd starts the other one with it")
}

func TestRelationsKnowAnnouncersAndConditions(t *testing.T) {
	relations := func(text string) Relations {
		f, err := unitfile.Parse(text)
		require.NoError(t, err)
		name, err := unitfile.ParseName("a@1.service")
		require.NoError(t, err)
		return RelationsOf(f, name)
	}
	for text, want := range map[string]bool{
		"[Service]\nExecStart=%t/fleet/bin/announcer --app a\n":            true,
		"[Service]\nExecStart=-\"%t/fleet/bin/announcer\" --app a\n":       true,
		"[Service]\nExecStart=%t/fleet/bin/announcer\nExecStart=/bin/sh\n": false,
		"[Service]\nExecStart=/bin/sh -c '%t/fleet/bin/announcer --app'\n": false,
		"[Service]\nExecStart=%t/fleet/bin/announcer-2\n":                  false,
	} {
		require.Equal(t, want, relations(text).Announces, text)
	}
	r := relations("[Unit]\nConditionPathExists=!/x/%i\nAssertUser=root\n[Service]\nExecStart=/bin/true\n")
	require.Equal(t, []string{"ConditionPathExists=!/x/1", "AssertUser=root"}, r.Conditions)
}

// TestEachWishIsAnswered: a unit's report names the request that it answers, even if nothing else changed: an app's instance
// is stopped when its machine has confirmed that its sidekick will not run, and not before.
func TestEachWishIsAnswered(t *testing.T) {
	const app, side = "web@1.service", "web-discovery@1.service"
	for _, tt := range []struct {
		name         string
		before, wish v1.Placement
		text         Text
		answer       v1.DesiredState
	}{
		{"not to run, and waits for what it is bound to", launch("S"), load("S"), Text{FileHash: "S"}, v1.Loaded},
		{"to run, and has to wait for what it is bound to", load("S"), launch("S"), Text{FileHash: "S"}, v1.Launched},
		{"not to run, with a text that is missing", launch("S"), load("S"), Text{Missing: "etcd is away"}, v1.Loaded},
		{"to run, with a text that is missing", load("S"), launch("S"), Text{Missing: "etcd is away"}, v1.Launched},
	} {
		in := Input{FromStore: true, Now: t0, Files: map[string]string{app: "A", side: "S"}, Placements: map[string]v1.Placement{app: load("A"), side: tt.before},
			Records:   map[string]Record{app: {Loaded: "A", Stopped: true}, side: {Loaded: "S"}},
			Units:     map[string]SystemdUnit{app: unit("inactive", ""), side: unit("inactive", "")},
			Texts:     map[string]Text{"A": {FileHash: "A"}, "S": tt.text},
			Relations: map[string]Relations{side: {BindsTo: []string{app}}}, States: map[string]v1.UnitState{}}
		states := func() (written []v1.DesiredState) {
			for _, a := range Plan(in).Actions {
				if a.Kind == WriteState && a.Unit == side {
					in.States[side] = a.State
					written = append(written, a.State.DesiredState)
				}
			}
			return written
		}
		require.Equal(t, []v1.DesiredState{tt.before.DesiredState}, states(), tt.name)
		require.Empty(t, states(), "%s: it was said", tt.name)
		in.Placements[side] = tt.wish
		require.Equal(t, []v1.DesiredState{tt.answer}, states(), tt.name)
		require.Empty(t, states(), "%s: it was said", tt.name)
	}
}

// What a unit logged whose start failed is asked for once the failure is recorded: a pass after that is certain.
func TestAFailedStartIsLookedAtAgainForItsOutput(t *testing.T) {
	dead := unit("inactive", "")
	dead.JobResult = "failed"
	in := Input{Now: t0, Placements: map[string]v1.Placement{"a.socket": launch("A")}, Records: map[string]Record{"a.socket": ran(launch("A"))},
		Units: map[string]SystemdUnit{"a.socket": dead}}
	p := planOf(in)
	require.Equal(t, outputSettle, p.After)
	recorded := recordsOf(p, "a.socket", Note, NotStarted)
	require.Len(t, recorded, 1)
	in.Records["a.socket"] = recorded[0]
	require.Contains(t, failures(in), "a.socket")
	require.Zero(t, planOf(in).After)
}
