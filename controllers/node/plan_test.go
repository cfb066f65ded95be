package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

const (
	app  = "web@1.service"
	side = "web-discovery@1.service"
)

var (
	t0      = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	binding = map[string]Relations{app: {Mentions: []string{side}}, side: {BindsTo: []string{app}, After: []string{app}, Mentions: []string{app}}}
)

func launch(hash string) v1.Placement { return v1.Placement{Hash: hash, DesiredState: v1.Launched} }
func load(hash string) v1.Placement   { return v1.Placement{Hash: hash, DesiredState: v1.Loaded} }
func ask(hash, at string) v1.Placement {
	return v1.Placement{Hash: hash, DesiredState: v1.Launched, RequestedAt: at}
}
func unit(active, invocation string) SystemdUnit {
	return SystemdUnit{LoadState: "loaded", ActiveState: active, InvocationID: invocation}
}

// transcript shows the actions on systemd and on files, and the records that they leave.
func transcript(p Decision) string {
	var b strings.Builder
	for _, a := range p.Actions {
		switch a.Kind {
		case WriteState:
			fmt.Fprintf(&b, "state %s %s %s %s\n", a.Unit, a.State.ActiveState, a.State.Hash, a.State.Message)
		case Reload:
			fmt.Fprintf(&b, "%s %s\n", a.Kind, a.Reason)
		default:
			fmt.Fprintf(&b, "%s %s %s\n", a.Kind, a.Unit, a.Reason)
		}
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

func TestPlan(t *testing.T) {
	run := func(hash string) Record { return Record{Loaded: hash, Launched: hash} }
	for _, tc := range []struct {
		name string
		in   Input
		want string
	}{
		{"new units are written, linked and started without a reload, what others need first", Input{
			Placements: map[string]v1.Placement{"a.service": launch("A"), "b.service": launch("A")},
			Relations:  map[string]Relations{"a.service": {After: []string{"b.service"}}, "b.service": {}},
		}, `
writeFile a.service NewPlacement
writeFile b.service NewPlacement
link a.service NewPlacement
link b.service NewPlacement
start b.service NotLaunched
start a.service NotLaunched
`},
		{"a sidekick waits until its target is active, and says so", Input{
			Placements: map[string]v1.Placement{app: launch("A"), side: launch("S")}, Relations: binding,
			Files:   map[string]string{app: "A", side: "S"},
			Records: map[string]Record{app: {Loaded: "A"}, side: {Loaded: "S"}},
		}, `
start web@1.service NotLaunched
state web-discovery@1.service inactive S waits for web@1.service, which it is bound to, to be active
`},
		{"a sidekick is not started while its target waits for its new file", Input{
			Placements: map[string]v1.Placement{app: launch("B"), side: launch("S")}, Relations: binding,
			Texts:   map[string]Text{"B": {Missing: "etcd is away"}, "S": {FileHash: "S"}},
			Files:   map[string]string{app: "A", side: "S"},
			Records: map[string]Record{app: run("A"), side: {Loaded: "S", Stopped: true}},
			Units:   map[string]SystemdUnit{app: unit("active", "i1"), side: unit("inactive", "")},
			States:  map[string]v1.UnitState{app: {LoadState: "loaded", ActiveState: "active", SubState: "dead", Hash: "A", InvocationID: "i1", DesiredState: v1.Launched, Message: "etcd is away"}},
		}, `
state web-discovery@1.service inactive S waits for web@1.service, which it is bound to, to get its new file: etcd is away
`},
		{"but it is where that is the file that runs", Input{
			Placements: map[string]v1.Placement{app: launch("A"), side: launch("S")}, Relations: binding,
			Texts:   map[string]Text{"A": {Missing: "etcd is away"}, "S": {FileHash: "S"}},
			Files:   map[string]string{app: "A", side: "S"},
			Records: map[string]Record{app: run("A"), side: {Loaded: "S", Stopped: true}},
			Units:   map[string]SystemdUnit{app: unit("active", "i1"), side: unit("inactive", "")},
			States:  map[string]v1.UnitState{app: {LoadState: "loaded", ActiveState: "active", SubState: "dead", Hash: "A", InvocationID: "i1", DesiredState: v1.Launched, Message: "etcd is away"}},
		}, `
start web-discovery@1.service NotLaunched
`},
		{"then it is started", Input{
			Placements: map[string]v1.Placement{app: launch("A"), side: launch("S")}, Relations: binding,
			Files:   map[string]string{app: "A", side: "S"},
			Records: map[string]Record{app: run("A"), side: {Loaded: "S"}},
			Units:   map[string]SystemdUnit{app: unit("active", "i1"), side: unit("inactive", "")},
			States:  map[string]v1.UnitState{app: {LoadState: "loaded", ActiveState: "active", SubState: "dead", Hash: "A", InvocationID: "i1", DesiredState: v1.Launched}},
		}, "start web-discovery@1.service NotLaunched\n"},
		{"one that its target brought is adopted", Input{
			Placements: map[string]v1.Placement{app: launch("A"), side: launch("S")}, Relations: binding,
			Files:   map[string]string{app: "A", side: "S"},
			Records: map[string]Record{app: run("A"), side: {Loaded: "S"}},
			Units:   map[string]SystemdUnit{app: unit("active", "i1"), side: unit("active", "s1")},
		}, `
note web-discovery@1.service AlreadyRuns
state web-discovery@1.service active S
state web@1.service active A
`},
		{"a target that runs again brings back a sidekick that nothing wants", Input{
			Placements: map[string]v1.Placement{app: launch("A"), side: launch("S")}, Relations: binding,
			Files:   map[string]string{app: "A", side: "S"},
			Records: map[string]Record{app: run("A"), side: {Loaded: "S", Launched: "S", Target: "i1"}},
			Units:   map[string]SystemdUnit{app: unit("active", "i2"), side: unit("inactive", "")},
		}, `
start web-discovery@1.service TargetReturned
state web@1.service active A
`},
		{"but not one that ended by itself", Input{
			Placements: map[string]v1.Placement{app: launch("A"), side: launch("S")}, Relations: binding,
			Files:   map[string]string{app: "A", side: "S"},
			Records: map[string]Record{app: run("A"), side: {Loaded: "S", Launched: "S", Target: "i1"}},
			Units:   map[string]SystemdUnit{app: unit("active", "i1"), side: unit("inactive", "")},
		}, `
state web-discovery@1.service inactive S
state web@1.service active A
`},
		{"nor one that failed: that is systemd's affair", Input{
			Placements: map[string]v1.Placement{app: launch("A"), side: launch("S")}, Relations: binding,
			Files:   map[string]string{app: "A", side: "S"},
			Records: map[string]Record{app: run("A"), side: {Loaded: "S", Launched: "S", Target: "i1", Failing: true}},
			Units:   map[string]SystemdUnit{app: unit("active", "i2"), side: unit("failed", "s1")},
		}, `
state web-discovery@1.service failed S
state web@1.service active A
`},
		{"a sidekick is not started beside its target, which is restarted", Input{
			Placements: map[string]v1.Placement{app: launch("B"), side: launch("S")}, Relations: binding,
			Files:   map[string]string{app: "A", side: "S"},
			Records: map[string]Record{app: run("A"), side: {Loaded: "S"}},
			Units:   map[string]SystemdUnit{app: unit("active", "i1"), side: unit("inactive", "")},
		}, `
writeFile web@1.service FileChanged
reload FileChanged
note web@1.service FileChanged
restart web@1.service FileChanged
state web-discovery@1.service inactive S waits for web@1.service, which it is bound to, to be active
`},
		{"what needs others is stopped before them, whatever their names", Input{
			Placements: map[string]v1.Placement{"a.service": load("A"), "m.service": load("A"), "z.service": load("A")},
			Relations:  map[string]Relations{"z.service": {BindsTo: []string{"m.service"}}, "m.service": {After: []string{"a.service"}}, "a.service": {}},
			Files:      map[string]string{"a.service": "A", "m.service": "A", "z.service": "A"},
			Records:    map[string]Record{"a.service": run("A"), "m.service": run("A"), "z.service": run("A")},
			Units:      map[string]SystemdUnit{"a.service": unit("active", "i1"), "m.service": unit("active", "i2"), "z.service": unit("active", "i3")},
		}, `
stop z.service SetLoaded
stop m.service SetLoaded
stop a.service SetLoaded
`},
		{"a sidekick to be loaded is stopped, its target untouched", Input{
			Placements: map[string]v1.Placement{app: launch("A"), side: load("S")}, Relations: binding,
			Files:   map[string]string{app: "A", side: "S"},
			Records: map[string]Record{app: run("A"), side: run("S")},
			Units:   map[string]SystemdUnit{app: unit("active", "i1"), side: unit("active", "s1")},
		}, `
stop web-discovery@1.service SetLoaded
state web@1.service active A
`},
		{"failed and stopped units are systemd's affair", Input{
			Placements: map[string]v1.Placement{"a.service": launch("A"), "b.service": launch("A")},
			Files:      map[string]string{"a.service": "A", "b.service": "A"},
			Records:    map[string]Record{"a.service": run("A"), "b.service": run("A")},
			Units:      map[string]SystemdUnit{"a.service": unit("failed", "i1"), "b.service": unit("inactive", "")},
		}, `
note a.service Failed
state a.service failed A
state b.service inactive A
tell a.service Failed
`},
		{"until a person asks", Input{
			Placements: map[string]v1.Placement{"a.service": ask("A", "1"), "b.service": ask("A", "1"), "c.service": ask("A", "1")},
			Files:      map[string]string{"a.service": "A", "b.service": "A", "c.service": "A"},
			Records:    map[string]Record{"a.service": run("A"), "b.service": run("A"), "c.service": run("A")},
			Units:      map[string]SystemdUnit{"a.service": unit("failed", "i1"), "b.service": unit("inactive", ""), "c.service": unit("active", "i3")},
		}, `
resetFailed a.service Requested
note c.service AlreadyRuns
start a.service Requested
start b.service Requested
state c.service active A
`},
		{"asked again for a restart that was refused, while what runs has the old file", Input{
			Placements: map[string]v1.Placement{"a.service": ask("B", "1"), "b.service": ask("B", "1"), "c.service": launch("B")},
			Files:      map[string]string{"a.service": "B", "b.service": "B", "c.service": "B"},
			Records: map[string]Record{
				"a.service": {Loaded: "B", Launched: "B", Previous: "A", Invocation: "i1", Message: "refused"},
				"b.service": {Loaded: "B", Launched: "B", Previous: "A", Invocation: "i1"},
				"c.service": {Loaded: "B", Launched: "B", Previous: "A", Invocation: "i3", Message: "refused"},
			},
			Units: map[string]SystemdUnit{"a.service": unit("active", "i1"), "b.service": unit("active", "i2"), "c.service": unit("active", "i3")},
		}, `
note b.service AlreadyRuns
restart a.service FileChanged
state a.service active A refused
state b.service active B
state c.service active A refused
`},
		{"files and records are lost: a target that is only started restarts no sidekick", Input{
			Placements: map[string]v1.Placement{app: launch("A"), side: launch("S")}, Relations: binding,
			Files: map[string]string{side: "empty"},
			Units: map[string]SystemdUnit{app: unit("inactive", ""), side: unit("active", "s1")},
		}, `
writeFile web-discovery@1.service FileChanged
writeFile web@1.service NewPlacement
link web-discovery@1.service NewPlacement
link web@1.service NewPlacement
reload FileChanged
start web@1.service NotLaunched
restart web-discovery@1.service FileChanged
`},
		{"changed files: one reload, each restarted once, the sidekick by its target", Input{
			Placements: map[string]v1.Placement{app: launch("B"), side: launch("T"), "other.service": launch("O"), "quiet.service": load("Q2")}, Relations: binding,
			Files:   map[string]string{app: "A", side: "S", "other.service": "O", "quiet.service": "Q1"},
			Records: map[string]Record{app: run("A"), side: run("S"), "other.service": run("O"), "quiet.service": {Loaded: "Q1", Stopped: true}},
			Units:   map[string]SystemdUnit{app: unit("active", "i1"), side: unit("active", "s1"), "other.service": unit("active", "o1"), "quiet.service": unit("inactive", "")},
			States:  map[string]v1.UnitState{"other.service": {LoadState: "loaded", ActiveState: "active", SubState: "dead", Hash: "O", InvocationID: "o1", DesiredState: v1.Launched}},
		}, `
writeFile quiet.service FileChanged
writeFile web-discovery@1.service FileChanged
writeFile web@1.service FileChanged
reload FileChanged
note quiet.service FileChanged
note web-discovery@1.service FileChanged
note web-discovery@1.service WithTarget
note web@1.service FileChanged
restart web@1.service FileChanged
state quiet.service inactive Q2
`},
		{"a sidekick with a new file stops with its target: a restart would start that again", Input{
			Placements: map[string]v1.Placement{app: load("A"), side: launch("T")}, Relations: binding,
			Files:   map[string]string{app: "A", side: "S"},
			Records: map[string]Record{app: run("A"), side: run("S")},
			Units:   map[string]SystemdUnit{app: unit("active", "i1"), side: unit("active", "s1")},
		}, `
stop web@1.service SetLoaded
state web-discovery@1.service active S waits for web@1.service, which it is bound to, to be active
`},
		{"until the restart is over the old text runs", Input{
			Placements: map[string]v1.Placement{"a.service": launch("B")},
			Files:      map[string]string{"a.service": "B"},
			Records:    map[string]Record{"a.service": {Loaded: "B", Launched: "B", Previous: "A", Invocation: "i1"}},
			Units:      map[string]SystemdUnit{"a.service": unit("active", "i1")},
		}, "state a.service active A\n"},
		{"a launch that was to be asked for when fleetd ended", Input{
			Placements: map[string]v1.Placement{"asked.service": launch("A"), "not.service": launch("A"), "restart.service": launch("B")},
			Files:      map[string]string{"asked.service": "A", "not.service": "A", "restart.service": "B"},
			Records: map[string]Record{"asked.service": {Loaded: "A", Launched: "A", Pending: true}, "not.service": {Loaded: "A", Launched: "A", Pending: true},
				"restart.service": {Loaded: "B", Launched: "B", Pending: true, Previous: "A", Invocation: "i1"}},
			Units: map[string]SystemdUnit{"asked.service": unit("failed", "i9"), "not.service": unit("inactive", ""), "restart.service": unit("active", "i1")},
		}, `
note asked.service LaunchConfirmed
note asked.service Failed
start not.service NotLaunched
restart restart.service FileChanged
state asked.service failed A
tell asked.service Failed
`},
		{"what runs under a lost record is adopted", Input{
			Placements: map[string]v1.Placement{"a.service": launch("A")},
			Files:      map[string]string{"a.service": "A"},
			Units:      map[string]SystemdUnit{"a.service": unit("active", "i1")},
		}, `
link a.service NewPlacement
note a.service AlreadyRuns
`},
		{"unless its file is another one", Input{
			Placements: map[string]v1.Placement{"a.service": launch("B")},
			Files:      map[string]string{"a.service": "A"},
			Units:      map[string]SystemdUnit{"a.service": unit("active", "i1")},
		}, `
writeFile a.service FileChanged
link a.service NewPlacement
reload FileChanged
restart a.service FileChanged
`},
		{"without a placement: stopped first, taken away when it is down", Input{
			FromStore: true,
			Files:     map[string]string{"up.service": "A", "down.service": "A", "failed.service": "A", "going.service": "A"},
			Records:   map[string]Record{"up.service": run("A"), "down.service": run("A"), "failed.service": run("A"), "going.service": run("A")},
			Units:     map[string]SystemdUnit{"up.service": unit("active", "i"), "down.service": unit("inactive", ""), "failed.service": unit("failed", "f"), "going.service": unit("deactivating", "g")},
			States:    map[string]v1.UnitState{"up.service": {}, "down.service": {}, "failed.service": {}, "gone.service": {}},
		}, `
stop up.service NotPlaced
resetFailed failed.service NotPlaced
unlink down.service NotPlaced
unlink failed.service NotPlaced
removeFile down.service NotPlaced
removeFile failed.service NotPlaced
forget down.service NotPlaced
forget failed.service NotPlaced
state going.service deactivating A
deleteState down.service NotPlaced
deleteState failed.service NotPlaced
deleteState gone.service NotPlaced
`},
		{"the copy on disk takes nothing away", Input{
			Files:   map[string]string{"up.service": "A"},
			Records: map[string]Record{"up.service": run("A")},
			Units:   map[string]SystemdUnit{"up.service": unit("active", "i")},
			States:  map[string]v1.UnitState{"gone.service": {}},
		}, ""},
		{"held until its replacement is active, or for so long", Input{
			FromStore: true, Now: t0,
			Files:   map[string]string{"held.service": "A", "late.service": "A"},
			Records: map[string]Record{"held.service": run("A"), "late.service": run("A")},
			Units:   map[string]SystemdUnit{"held.service": unit("active", "i"), "late.service": unit("active", "i")},
			Holds:   map[string]time.Time{"held.service": t0.Add(time.Second), "late.service": t0},
		}, `
stop late.service NotPlaced
state held.service active A no longer placed here: runs until its replacement is active
`},
		{"held, and in the way of what is placed here", Input{
			FromStore: true, Now: t0,
			Placements: map[string]v1.Placement{"web@2.service": launch("A"), "loaded@2.service": load("A")},
			Texts:      map[string]Text{"A": {FileHash: "A"}},
			Relations:  map[string]Relations{"web@2.service": {Conflicts: []string{"web@*.service"}}, "loaded@2.service": {Conflicts: []string{"loaded@*.service"}}},
			Files:      map[string]string{"web@1.service": "A", "loaded@1.service": "A", "web@2.service": "A", "loaded@2.service": "A"},
			Records: map[string]Record{"web@1.service": run("A"), "loaded@1.service": run("A"), "web@2.service": run("A"),
				"loaded@2.service": {Loaded: "A"}},
			Units: map[string]SystemdUnit{"web@1.service": unit("active", "i"), "loaded@1.service": unit("active", "i"), "web@2.service": unit("active", "i"), "loaded@2.service": unit("inactive", "")},
			Holds: map[string]time.Time{"web@1.service": t0.Add(time.Second), "loaded@1.service": t0.Add(time.Second)},
		}, `
stop web@1.service NotPlaced
note loaded@2.service SetLoaded
state loaded@1.service active A no longer placed here: runs until its replacement is active
state loaded@2.service inactive A
state web@2.service active A
`},
		{"a text that is missing concerns its unit alone; what runs goes on", Input{
			Placements: map[string]v1.Placement{"a.service": launch("missing"), "b.service": launch("B")},
			Texts:      map[string]Text{"missing": {Missing: "no such file"}},
			Files:      map[string]string{"a.service": "A"},
			Records:    map[string]Record{"a.service": run("A")},
			Units:      map[string]SystemdUnit{"a.service": unit("active", "i1")},
		}, `
writeFile b.service NewPlacement
link b.service NewPlacement
start b.service NotLaunched
state a.service active A no such file
`},
		{"a unit that the machine has by itself is left alone, whatever is wanted of it", Input{
			FromStore:  true,
			Placements: map[string]v1.Placement{"ssh.service": launch("A"), "cron.service": load("A"), "side.service": launch("A")},
			Relations:  map[string]Relations{"side.service": {BindsTo: []string{"ssh.service"}}},
			Foreign:    map[string]string{"ssh.service": "/lib/ssh.service", "cron.service": "/lib/cron.service"},
		}, `
writeFile side.service NewPlacement
link side.service NewPlacement
state cron.service inactive  not taken over: this machine already has its own cron.service (/lib/cron.service): rename one of them
state ssh.service inactive  not taken over: this machine already has its own ssh.service (/lib/ssh.service): rename one of them
`},
		{"and what was never given to systemd is not taken from it", Input{
			FromStore: true,
			Records:   map[string]Record{"ssh.service": {Message: "no space left"}},
			Units:     map[string]SystemdUnit{"ssh.service": unit("active", "i")},
			States:    map[string]v1.UnitState{"ssh.service": {}},
		}, "forget ssh.service NotPlaced\ndeleteState ssh.service NotPlaced\n"},
		{"units bound to each other are started", Input{
			Placements: map[string]v1.Placement{"a.service": launch("A"), "b.service": launch("B")},
			Relations:  map[string]Relations{"a.service": {BindsTo: []string{"b.service"}}, "b.service": {BindsTo: []string{"a.service"}}},
			Files:      map[string]string{"a.service": "A", "b.service": "B"},
			Records:    map[string]Record{"a.service": {Loaded: "A"}, "b.service": {Loaded: "B"}},
		}, `
start b.service NotLaunched
start a.service NotLaunched
`},
		{"a new file waits until the unit has stopped as its former one says", Input{
			Placements: map[string]v1.Placement{"a.service": launch("B"), "b.service": load("B")},
			Files:      map[string]string{"a.service": "A", "b.service": "A"},
			Records:    map[string]Record{"a.service": {Loaded: "A", Stopped: true}, "b.service": {Loaded: "A", Stopped: true}},
			Units:      map[string]SystemdUnit{"a.service": unit("deactivating", "i1"), "b.service": {ActiveState: "active", Job: "stop"}},
		}, `
state a.service deactivating A
state b.service active A
`},
		{"so does its reload where it is written, and a file that was changed by hand", Input{
			Placements: map[string]v1.Placement{"a.service": launch("B"), "b.service": launch("B")},
			Files:      map[string]string{"a.service": "B", "b.service": "by hand"},
			Records:    map[string]Record{"a.service": {Loaded: "A", Stopped: true}, "b.service": {Loaded: "B", Stopped: true}},
			Units:      map[string]SystemdUnit{"a.service": unit("deactivating", "i1"), "b.service": unit("deactivating", "i1")},
		}, `
state a.service deactivating A
state b.service deactivating B
`},
		{"what is not new waits for nothing", Input{
			Placements: map[string]v1.Placement{"a.service": launch("A"), "b.service": launch("B"), "c.service": launch("C")},
			Files:      map[string]string{"a.service": "A"},
			Records:    map[string]Record{"a.service": {Loaded: "A", Stopped: true}, "b.service": {Loaded: "B", Stopped: true}},
			Units: map[string]SystemdUnit{"a.service": unit("deactivating", "i1"), "b.service": unit("deactivating", "i1"),
				"c.service": unit("deactivating", "i1")},
		}, `
writeFile b.service FileLost
writeFile c.service NewPlacement
link b.service NewPlacement
link c.service NewPlacement
start a.service NotLaunched
start b.service NotLaunched
start c.service NotLaunched
`},
		{"and until it is stopped", Input{
			Placements: map[string]v1.Placement{"a.service": load("B")},
			Files:      map[string]string{"a.service": "A"},
			Records:    map[string]Record{"a.service": run("A")},
			Units:      map[string]SystemdUnit{"a.service": unit("active", "i1")},
		}, "stop a.service SetLoaded\n"},
		{"it comes then", Input{
			Placements: map[string]v1.Placement{"a.service": launch("B")},
			Files:      map[string]string{"a.service": "A"},
			Records:    map[string]Record{"a.service": {Loaded: "A", Stopped: true}},
			Units:      map[string]SystemdUnit{"a.service": unit("inactive", "")},
		}, `
writeFile a.service FileChanged
reload FileChanged
note a.service FileChanged
start a.service NotLaunched
`},
		{"loaded and launched again before it has stopped", Input{
			Placements: map[string]v1.Placement{"a.service": launch("A")},
			Files:      map[string]string{"a.service": "A"},
			Records:    map[string]Record{"a.service": {Loaded: "A", Stopped: true}},
			Units:      map[string]SystemdUnit{"a.service": unit("active", "i1")},
		}, "start a.service NotLaunched\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			completeTexts(&tc.in)
			require.Equal(t, strings.TrimPrefix(tc.want, "\n"), transcript(Plan(tc.in)))
		})
	}
}

// completeTexts adds every text whose file has the hash of the text.
func completeTexts(in *Input) {
	if in.Texts == nil {
		in.Texts = map[string]Text{}
	}
	for _, pl := range in.Placements {
		for _, hash := range hashesOf(pl) {
			if _, ok := in.Texts[hash]; !ok {
				in.Texts[hash] = Text{FileHash: hash}
			}
		}
	}
	if in.Relations == nil {
		in.Relations = map[string]Relations{}
	}
	for name := range in.Placements {
		if _, ok := in.Relations[name]; !ok {
			in.Relations[name] = Relations{}
		}
	}
}

func TestShortStartIsReportedOnceItIsOver(t *testing.T) {
	plan := func(sub string, since time.Time, last *v1.UnitState) (string, time.Duration) {
		in := Input{FromStore: true, Now: t0, Placements: map[string]v1.Placement{app: launch("A")},
			Files: map[string]string{app: "A"}, Records: map[string]Record{app: {Loaded: "A", Launched: "A"}},
			Units: map[string]SystemdUnit{app: {LoadState: "loaded", ActiveState: "activating", SubState: sub, Result: "success", Since: since}}}
		if last != nil {
			in.States = map[string]v1.UnitState{app: *last}
		}
		completeTexts(&in)
		p := Plan(in)
		return transcript(p), p.After
	}
	const reported = "state web@1.service activating A\n"
	for _, tc := range []struct {
		name, sub string
		since     time.Duration
		last      *v1.UnitState
		want      string
		after     time.Duration
	}{
		{"it has just begun", "start", 40 * time.Millisecond, nil, "", 60 * time.Millisecond},
		{"it was stopped before", "start", 40 * time.Millisecond, &v1.UnitState{ActiveState: "inactive"}, "", 60 * time.Millisecond},
		{"it takes its time", "start", 100 * time.Millisecond, nil, reported, 0},
		{"it ran before", "start", 40 * time.Millisecond, &v1.UnitState{ActiveState: "active"}, reported, 0},
		{"systemd waits until it starts it again", "auto-restart", 40 * time.Millisecond, nil, reported, 0},
		{"the clock was set back", "start", -time.Hour, nil, reported, 0},
	} {
		actions, after := plan(tc.sub, t0.Add(-tc.since), tc.last)
		require.Equal(t, tc.want, actions, tc.name)
		require.Equal(t, tc.after, after, tc.name)
	}
}

func TestHeldPlanLooksAgain(t *testing.T) {
	p := Plan(Input{FromStore: true, Now: t0,
		Files: map[string]string{"a.service": "A"}, Units: map[string]SystemdUnit{"a.service": unit("active", "i")},
		Holds: map[string]time.Time{"a.service": t0.Add(7 * time.Second)}})
	require.Equal(t, 7*time.Second, p.After)
}

// systemd unloads an inactive unit with its result: its job's result is all that is left of a program that did its work.
func TestUnitThatHasDoneItsWork(t *testing.T) {
	done := unit("inactive", "")
	done.JobResult = "done"
	queued := done
	queued.Job = "start"
	for _, tt := range []struct {
		unit      SystemdUnit
		placement v1.Placement
		want      string
	}{
		{done, launch("A"), "success"}, {queued, launch("A"), ""}, {done, load("A"), ""}, {unit("inactive", ""), launch("A"), ""},
	} {
		p := planner{}
		require.Equal(t, tt.want, p.stateOf("a.service", tt.unit, tt.placement, Record{}, "").Result)
	}
}
