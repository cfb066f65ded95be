package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// recordsOf are the records left by the actions of one kind and reason for a unit.
func recordsOf(d Decision, name string, kind Kind, reason string) (records []Record) {
	for _, a := range d.Actions {
		if a.Unit == name && a.Kind == kind && a.Reason == reason {
			records = append(records, a.Record)
		}
	}
	return records
}

// TestRecordsOfUnitsThatSystemdIsGiven: the previous text is recorded only if a text replaces another one.
func TestRecordsOfUnitsThatSystemdIsGiven(t *testing.T) {
	const name = "a.service"
	for what, tt := range map[string]struct {
		file   string // "" for none
		record Record
		want   Record
	}{
		"new":                                  {"", Record{}, Record{Loaded: "A"}},
		"the record was lost":                  {"A", Record{}, Record{Loaded: "A"}},
		"the record was lost, the file is old": {"O", Record{}, Record{Loaded: "A", Previous: "O", Invocation: "i1"}},
		"the file was lost":                    {"", Record{Loaded: "A", Launched: "A"}, Record{Loaded: "A", Launched: "A"}},
		"the file was lost, and its start was refused": {"", Record{Loaded: "A", Message: "refused"}, Record{Loaded: "A"}},
	} {
		in := Input{FromStore: true, Now: t0, Placements: map[string]v1.Placement{name: launch("A")}, Files: map[string]string{},
			Records: map[string]Record{name: tt.record}, Units: map[string]SystemdUnit{name: unit("active", "i1")}}
		if tt.file != "" {
			in.Files[name] = tt.file
		}
		completeTexts(&in)
		require.Equal(t, []Record{tt.want}, recordsOf(Plan(in), name, Link, NewPlacement), what)
	}
}

// TestFileThatWasLost: it is written again, and what runs is left alone.
func TestFileThatWasLost(t *testing.T) {
	in := Input{FromStore: true, Now: t0, Placements: map[string]v1.Placement{"a.service": launch("A")},
		Records: map[string]Record{"a.service": ran(launch("A"))}, Units: map[string]SystemdUnit{"a.service": unit("active", "i1")}}
	completeTexts(&in)
	require.Equal(t, "writeFile a.service FileLost\nlink a.service NewPlacement\n", transcript(Plan(in)))
}

// TestUnitOfWhichAllIsLost: a unit that runs without file, text and record is remembered, and so stopped when it is not placed
// here any more.
func TestUnitOfWhichAllIsLost(t *testing.T) {
	const name = "a.service"
	in := Input{Now: t0, Placements: map[string]v1.Placement{name: launch("A")}, Texts: map[string]Text{"A": {Missing: "etcd is away"}},
		Units: map[string]SystemdUnit{name: unit("active", "i1")}}
	completeTexts(&in)
	require.Equal(t, []Record{{Loaded: "A"}}, recordsOf(Plan(in), name, Note, AlreadyRuns))
	gone := Input{Now: t0, FromStore: true, Records: map[string]Record{name: {Loaded: "A"}}, Units: in.Units}
	require.Equal(t, "stop a.service NotPlaced\n", transcript(Plan(gone)))

	in.Units = map[string]SystemdUnit{name: unit("inactive", "")}
	require.Empty(t, recordsOf(Plan(in), name, Note, AlreadyRuns), "it does not run")
}

// TestStopNeedsNoText: a unit that is to be loaded is stopped even if its text is missing.
func TestStopNeedsNoText(t *testing.T) {
	in := Input{FromStore: true, Now: t0, Placements: map[string]v1.Placement{"a.service": load("B")}, Texts: map[string]Text{"B": {Missing: "etcd is away"}},
		Files: map[string]string{"a.service": "A"}, Records: map[string]Record{"a.service": ran(launch("A"))}, Units: map[string]SystemdUnit{"a.service": unit("active", "i1")}}
	completeTexts(&in)
	require.Equal(t, []Record{{Loaded: "A", Stopped: true}}, recordsOf(Plan(in), "a.service", Stop, SetLoaded))
}

// TestRecordsOfLaunches: the record of a unit placed with the text A and requested at 2, after it was started or found
// running.
func TestRecordsOfLaunches(t *testing.T) {
	const name = "a.service"
	job := unit("active", "i1")
	job.Job = "restart"
	for what, tt := range map[string]struct {
		record Record
		unit   SystemdUnit
		kind   Kind
		reason string
		want   Record
	}{
		"it runs, by systemd": {Record{Loaded: "A"}, unit("active", "i1"), Note, AlreadyRuns, Record{Loaded: "A", Launched: "A", RequestedAt: "2"}},
		"it runs, and its last start had failed": {Record{Loaded: "A", Launched: "A", JobResult: "dependency", Message: "refused"}, unit("active", "i1"), Note, AlreadyRuns,
			Record{Loaded: "A", Launched: "A", RequestedAt: "2"}},
		"its file was changed and changed back, and it was not launched": {Record{Loaded: "A", Previous: "A", Invocation: "i1"}, unit("active", "i1"), Note, AlreadyRuns,
			Record{Loaded: "A", Launched: "A", Previous: "A", Invocation: "i1", RequestedAt: "2"}},
		"its file was changed back before fleetd ended": {Record{Loaded: "A", Launched: "A", Pending: true, Previous: "A", Invocation: "i1"}, unit("active", "i1"), Start, NotLaunched,
			Record{Loaded: "A", Launched: "A", Invocation: "i1", RequestedAt: "2"}},
		"systemd started it again before it was restarted": {Record{Loaded: "A", Launched: "O", Previous: "O", Invocation: "i1"}, unit("active", "i2"), Restart, FileChanged,
			Record{Loaded: "A", Launched: "A", Previous: "O", Invocation: "i2", RequestedAt: "2"}},
		"its restart was refused": {Record{Loaded: "A", Launched: "A", Previous: "O", Invocation: "i1", Message: "refused"}, unit("active", "i1"), Restart, FileChanged,
			Record{Loaded: "A", Launched: "A", Previous: "O", Invocation: "i1", RequestedAt: "2"}},
		"its restart is under way": {Record{Loaded: "A", Launched: "A", Previous: "O", Invocation: "i1"}, job, Note, AlreadyRuns,
			Record{Loaded: "A", Launched: "A", Previous: "O", Invocation: "i1", RequestedAt: "2"}},
		"its restart was refused, and it has failed since": {Record{Loaded: "A", Launched: "A", Previous: "O", Invocation: "i1"}, unit("failed", "i1"), Start, Requested,
			Record{Loaded: "A", Launched: "A", Invocation: "i1", RequestedAt: "2"}},
	} {
		d := planOf(Input{Placements: map[string]v1.Placement{name: ask("A", "2")}, Records: map[string]Record{name: tt.record}, Units: map[string]SystemdUnit{name: tt.unit}})
		require.Equal(t, []Record{tt.want}, recordsOf(d, name, tt.kind, tt.reason), "%s:\n%s", what, transcript(d))
	}
}

// TestTargetThatASidekickFollows: the record has the invocation of the sidekick's app; none if the app was stopped on
// purpose, or removed.
func TestTargetThatASidekickFollows(t *testing.T) {
	down := unit("inactive", "s1")
	for what, tt := range map[string]struct {
		placements  map[string]v1.Placement
		app, record Record
		appIs, unit SystemdUnit
		kind        Kind // "" for no action
		reason      string
		target      string
		invocation  string
	}{
		"started":        {nil, ran(launch("A")), Record{Loaded: "S"}, unit("active", "i1"), down, Start, NotLaunched, "i1", "s1"},
		"brought by it":  {nil, ran(launch("A")), Record{Loaded: "S"}, unit("active", "i1"), unit("active", "s1"), Note, AlreadyRuns, "i1", ""},
		"it has none":    {nil, ran(launch("A")), ran(launch("S")), unit("active", "i1"), unit("active", "s1"), Note, AlreadyRuns, "i1", ""},
		"it is down now": {nil, ran(launch("A")), Record{Loaded: "S", Launched: "S", Target: "i1"}, unit("inactive", ""), down, "", "", "", ""},
		"it is back": {nil, ran(launch("A")), Record{Loaded: "S", Launched: "S", Target: "i1", JobResult: "canceled"}, unit("active", "i2"), down,
			Start, TargetReturned, "i2", "s1"},
		"it was stopped on purpose": {map[string]v1.Placement{app: load("A"), side: launch("S")}, Record{Loaded: "A", Stopped: true},
			Record{Loaded: "S", Launched: "S", Target: "i1"}, unit("inactive", ""), down, Note, AlreadyRuns, "", ""},
		"it was stopped, and is started on the machine": {map[string]v1.Placement{app: load("A"), side: launch("S")}, Record{Loaded: "A", Stopped: true},
			Record{Loaded: "S", Launched: "S"}, unit("active", "i2"), down, Start, TargetReturned, "i2", "s1"},
		"it is about to be taken away": {map[string]v1.Placement{side: launch("S")}, ran(launch("A")), Record{Loaded: "S", Launched: "S", Target: "i1"},
			unit("active", "i1"), unit("active", "s1"), Note, AlreadyRuns, "", ""},
	} {
		if tt.placements == nil {
			tt.placements = map[string]v1.Placement{app: launch("A"), side: launch("S")}
		}
		d := planOf(Input{Placements: tt.placements, Relations: binding, Records: map[string]Record{app: tt.app, side: tt.record}, Units: map[string]SystemdUnit{app: tt.appIs, side: tt.unit}})
		if tt.kind == "" {
			require.Equal(t, "state web-discovery@1.service inactive S\nstate web@1.service inactive A\n", transcript(d), what)
			continue
		}
		require.Equal(t, []Record{{Loaded: "S", Launched: "S", Target: tt.target, Invocation: tt.invocation}}, recordsOf(d, side, tt.kind, tt.reason), "%s:\n%s", what, transcript(d))
	}
}

// TestStartOfASidekickThatEnded: the result is recorded while its app is down, because systemd forgets it.
func TestStartOfASidekickThatEnded(t *testing.T) {
	ended := unit("inactive", "")
	ended.JobResult = "dependency"
	d := planOf(Input{Placements: map[string]v1.Placement{app: launch("A"), side: launch("S")}, Relations: binding,
		Records: map[string]Record{app: ran(launch("A")), side: {Loaded: "S", Launched: "S", Target: "i1"}},
		Units:   map[string]SystemdUnit{app: unit("inactive", ""), side: ended}})
	require.Equal(t, []Record{{Loaded: "S", Launched: "S", Target: "i1", JobResult: "dependency"}}, recordsOf(d, side, Note, StartEnded))
}

// TestSidekickWaitsForItsTargetToBeStarted: a target that was stopped a moment ago may look as if it ran.
func TestSidekickWaitsForItsTargetToBeStarted(t *testing.T) {
	d := planOf(Input{Placements: map[string]v1.Placement{app: launch("A"), side: launch("S")}, Relations: binding,
		Records: map[string]Record{app: {Loaded: "A", Stopped: true}, side: {Loaded: "S", Stopped: true}},
		Units:   map[string]SystemdUnit{app: unit("active", "i1"), side: unit("inactive", "")}})
	require.Equal(t, "start web@1.service NotLaunched\n"+
		"state web-discovery@1.service inactive S waits for web@1.service, which it is bound to, to be active\n", transcript(d))
}

// TestUnitBoundToACircle: it waits for the circle; units in it do not wait for each other, however many there are.
func TestUnitBoundToACircle(t *testing.T) {
	const a, b, c, d = "a.service", "b.service", "c.service", "d.service"
	in := Input{Placements: map[string]v1.Placement{}, Records: map[string]Record{}, Units: map[string]SystemdUnit{},
		Relations: map[string]Relations{a: {BindsTo: []string{b}}, b: {BindsTo: []string{c}}, c: {BindsTo: []string{d}}, d: {BindsTo: []string{b}}}}
	for _, name := range []string{a, b, c, d} {
		in.Placements[name], in.Records[name], in.Units[name] = launch("A"), Record{Loaded: "A"}, unit("inactive", "")
	}
	require.Equal(t, "start d.service NotLaunched\nstart c.service NotLaunched\nstart b.service NotLaunched\n"+
		"state a.service inactive A waits for b.service, which it is bound to, to be active\n", transcript(planOf(in)))
}

// TestUnitIsStartedWhenWhatItLackedComes: systemd does not try again, and no person may look.
func TestUnitIsStartedWhenWhatItLackedComes(t *testing.T) {
	const timer, service = "a.timer", "a.service"
	idle := unit("inactive", "")
	job := func(result string) SystemdUnit { return SystemdUnit{ActiveState: "inactive", JobResult: result} }
	relations := map[string]Relations{timer: {Triggers: []string{service}}, "b.service": {Requires: []string{timer}}, service: {}}
	in := func(name string, rec Record, is SystemdUnit, others map[string]Record) Input {
		records := map[string]Record{name: rec}
		placements := map[string]v1.Placement{name: launch("A")}
		for other, rec := range others {
			records[other], placements[other] = rec, load("O")
		}
		return Input{Placements: placements, Relations: relations, Records: records, Units: map[string]SystemdUnit{name: is, service: idle}}
	}
	lacked := Record{Loaded: "A", Launched: "A", Lacks: service}
	refused := lacked
	refused.Message = "no such unit"
	came := map[string]Record{service: {Loaded: "O", Stopped: true}}
	for what, tt := range map[string]struct {
		in   Input
		want bool
	}{
		"its start failed, and it came":     {in(timer, lacked, job("failed"), came), true},
		"its start was refused, it came":    {in(timer, refused, idle, came), true},
		"it comes in this pass":             {in(timer, refused, idle, map[string]Record{service: {}}), true},
		"it did not come":                   {in(timer, refused, idle, nil), false},
		"it lacked nothing":                 {in(timer, Record{Loaded: "A", Launched: "A"}, job("failed"), came), false},
		"a condition is not met":            {in(timer, lacked, job("skipped"), came), false},
		"it ran and has ended":              {in(timer, lacked, job("done"), came), false},
		"it runs":                           {in(timer, lacked, unit("active", "i1"), came), false},
		"it failed, for a reason of itself": {in(timer, lacked, unit("failed", "i1"), came), false},
	} {
		d := planOf(tt.in)
		records := recordsOf(d, timer, Start, NeededCame)
		require.Equal(t, tt.want, len(records) == 1, "%s:\n%s", what, transcript(d))
		if tt.want {
			require.Empty(t, records[0].Lacks, what)
		}
	}
	for what, tt := range map[string]struct {
		name   string
		others map[string]Record
		lacks  string
	}{
		"its own":                     {timer, nil, service},
		"that of a unit it requires":  {"b.service", map[string]Record{timer: {Loaded: "O"}}, service},
		"all of them":                 {"b.service", nil, service + " " + timer},
		"none":                        {timer, came, ""},
		"what is here is not lacking": {"b.service", map[string]Record{timer: {Loaded: "O"}, service: {Loaded: "O"}}, ""},
	} {
		records := recordsOf(planOf(in(tt.name, Record{Loaded: "A"}, idle, tt.others)), tt.name, Start, NotLaunched)
		require.Len(t, records, 1, what)
		require.Equal(t, tt.lacks, records[0].Lacks, what)
	}
}

func TestUnitsThatTimersSocketsAndPathsStart(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"a.timer":     {"[Timer]\nOnActiveSec=1\n", "a.service"},
		"a.b@1.timer": {"[Timer]\nUnit=%p-job@%i.service\n", "a.b-job@1.service"},
		"a.socket":    {"[Socket]\nService=other.service\n", "other.service"},
		"a@x.path":    {"[Path]\nPathExists=/x\n", "a@x.service"},
		"a.service":   {"[Service]\nExecStart=/bin/a\n[Timer]\nUnit=b.service\n", ""},
	} {
		f, err := unitfile.Parse(tt.text)
		require.NoError(t, err)
		n, err := unitfile.ParseName(name)
		require.NoError(t, err)
		r := RelationsOf(f, n)
		if tt.want == "" {
			require.Empty(t, r.Triggers, name)
		} else {
			require.Equal(t, []string{tt.want}, r.Triggers, name)
			require.Contains(t, r.Mentions, tt.want, "%s: systemd keeps it in memory as long as it has this one", name)
		}
	}
}
