package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

var (
	oldImage = unitfile.Image{Runtime: "docker", Name: "reg/web:1", Always: true}
	newImage = unitfile.Image{Runtime: "docker", Name: "reg/web:2", Always: true}
)

// pullTranscript is transcript with what is pulled, and how far it is said to be.
func pullTranscript(p Decision) string {
	var b strings.Builder
	for line := range strings.Lines(transcript(p)) {
		if !strings.HasPrefix(line, "state ") && !strings.HasPrefix(line, "pullImage ") && !strings.HasPrefix(line, "tell ") {
			b.WriteString(line)
		}
	}
	for _, a := range p.Actions {
		switch a.Kind {
		case PullImage:
			fmt.Fprintf(&b, "pull %s for %s %s\n", a.Image.Name, a.Pull.Unit, a.Pull.Hash)
		case Tell:
			fmt.Fprintf(&b, "%s %s: %s\n", a.Event.Type, a.Event.Reason, a.Event.Message)
		case WriteState:
			fmt.Fprintf(&b, "state %s %s %s %s\n", a.Unit, a.State.ActiveState, a.State.Hash, a.State.Message)
			if is := a.State.Prepared; is != (v1.Prepared{}) {
				fmt.Fprintf(&b, "prepared %s %s %s\n", is.Hash, is.State, is.Message)
			}
		}
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

func TestPlanPulls(t *testing.T) {
	const unknown = "Error response from daemon: manifest unknown"
	runsA := func(in Input) Input {
		in.Files, in.Records = map[string]string{app: "A"}, map[string]Record{app: {Loaded: "A", Launched: "A"}}
		in.Units = map[string]SystemdUnit{app: unit("active", "i1")}
		return in
	}
	pulls := func(hash string, pull Pull) map[PullKey]Pull {
		return map[PullKey]Pull{{app, v1.Preparation{Hash: hash}}: pull}
	}
	ago := func(d time.Duration) time.Time { return t0.Add(-d) }
	place := map[string]v1.Placement{app: launch("A")}
	images := map[string]Images{app: {Now: oldImage}}
	next := map[string]v1.Placement{app: {Hash: "A", DesiredState: v1.Launched, Next: v1.Preparation{Hash: "B"}}}
	nextImages := map[string]Images{app: {Now: oldImage, Next: newImage}}
	changed := map[string]v1.Placement{app: launch("B")}
	changedImages := map[string]Images{app: {Now: newImage}}
	for _, tc := range []struct {
		name string
		in   Input
		want string
	}{
		{"an image is pulled before the first start", Input{Placements: place, Images: images}, `
pull reg/web:1 for web@1.service A
state web@1.service inactive  pulling reg/web:1 since 2026-01-02T03:04:05Z
prepared A pulling
`},
		{"what it does is said", Input{Placements: place, Images: images, Pulls: pulls("A", Pull{Since: ago(time.Second), Running: true, Progress: "1 of 7 layers"})}, `
state web@1.service inactive  pulling reg/web:1 since 2026-01-02T03:04:04Z (1 of 7 layers)
prepared A pulling
`},
		{"then it is started", Input{Placements: place, Images: images, Pulls: pulls("A", Pull{Since: ago(time.Second)})}, `
writeFile web@1.service NewPlacement
link web@1.service NewPlacement
start web@1.service NotLaunched
`},
		{"a pull that fails is told in docker's words, and starts nothing", Input{Placements: place, Images: images,
			Pulls: pulls("A", Pull{Since: ago(time.Second), Err: unknown, Retry: t0.Add(time.Second)})}, `
state web@1.service inactive  cannot pull reg/web:1: ` + unknown + `
prepared A failed
Warning PullFailed: cannot pull reg/web:1: ` + unknown + `
`},
		{"it is tried again", Input{Placements: place, Images: images,
			States: map[string]v1.UnitState{app: {Prepared: v1.Prepared{Preparation: v1.Preparation{Hash: "A"}, State: v1.PreparedFailed}}},
			Pulls:  pulls("A", Pull{Since: ago(time.Second), Err: unknown, Retry: t0})}, `
pull reg/web:1 for web@1.service A
state web@1.service inactive  cannot pull reg/web:1: ` + unknown + `
prepared A failed
`},
		{"the image that is there is used, with a warning", Input{Placements: place, Images: images,
			Pulls: pulls("A", Pull{Since: ago(time.Second), Present: true, Err: unknown})}, `
writeFile web@1.service NewPlacement
link web@1.service NewPlacement
start web@1.service NotLaunched
Warning PullFailed: cannot pull reg/web:1: ` + unknown + `: the image of that name that the machine has is used
`},
		{"for one that hangs it waits", Input{Placements: place, Images: images, Pulls: pulls("A", Pull{Since: ago(59 * time.Second), Running: true, Present: true})}, `
state web@1.service inactive  pulling reg/web:1 since 2026-01-02T03:03:06Z
prepared A pulling
`},
		{"but not for long", Input{Placements: place, Images: images, Pulls: pulls("A", Pull{Since: ago(time.Minute), Running: true, Present: true})}, `
writeFile web@1.service NewPlacement
link web@1.service NewPlacement
start web@1.service NotLaunched
Warning PullFailed: reg/web:1 is not pulled after 1m0s: the image of that name that the machine has is used
`},
		{"a machine that boots starts what it has", Input{Placements: place, Images: images, Booted: place}, `
writeFile web@1.service NewPlacement
link web@1.service NewPlacement
start web@1.service NotLaunched
`},
		{"and pulls for what is new", Input{Placements: place, Images: images, Booted: map[string]v1.Placement{app: ask("A", "then")}}, `
pull reg/web:1 for web@1.service A
state web@1.service inactive  pulling reg/web:1 since 2026-01-02T03:04:05Z
prepared A pulling
`},
		{"units pull by themselves where fleetd cannot", Input{Placements: place, Images: images, NoPulls: true}, `
writeFile web@1.service NewPlacement
link web@1.service NewPlacement
start web@1.service NotLaunched
`},
		{"a unit that runs keeps its file while the image of the new one is pulled", runsA(Input{Placements: changed, Images: changedImages}), `
pull reg/web:2 for web@1.service B
state web@1.service active A pulling reg/web:2 since 2026-01-02T03:04:05Z
prepared B pulling
`},
		{"for as long as it takes", runsA(Input{Placements: changed, Images: changedImages, Pulls: pulls("B", Pull{Since: ago(5 * time.Minute), Running: true, Present: true})}), `
state web@1.service active A pulling reg/web:2 since 2026-01-02T02:59:05Z
prepared B pulling
`},
		{"then it is restarted with it", runsA(Input{Placements: changed, Images: changedImages, Pulls: pulls("B", Pull{})}), `
writeFile web@1.service FileChanged
reload FileChanged
note web@1.service FileChanged
restart web@1.service FileChanged
`},
		{"its sidekick waits with it", Input{Placements: map[string]v1.Placement{app: launch("B"), side: launch("S")}, Relations: binding, Images: changedImages,
			Files:   map[string]string{app: "A", side: "S"},
			Records: map[string]Record{app: {Loaded: "A", Launched: "A"}, side: {Loaded: "S", Stopped: true}},
			Units:   map[string]SystemdUnit{app: unit("active", "i1"), side: unit("inactive", "")},
			Pulls:   pulls("B", Pull{Since: t0, Running: true})}, `
state web-discovery@1.service inactive S waits for web@1.service, which it is bound to, to get its new file: pulling reg/web:2 since 2026-01-02T03:04:05Z
state web@1.service active A pulling reg/web:2 since 2026-01-02T03:04:05Z
prepared B pulling
`},
		{"stopping needs no image", runsA(Input{Placements: map[string]v1.Placement{app: load("B")}, Images: changedImages}), `
stop web@1.service SetLoaded
`},
		{"the next start is prepared while the unit runs", runsA(Input{FromStore: true, Placements: next, Images: nextImages}), `
pull reg/web:2 for web@1.service B
state web@1.service active A
prepared B pulling pulling reg/web:2 since 2026-01-02T03:04:05Z
`},
		{"without an image there is nothing to prepare", runsA(Input{FromStore: true, Placements: next}), `
state web@1.service active A
prepared B ready
`},
		{"a failure is said", runsA(Input{FromStore: true, Placements: next, Images: nextImages, Pulls: pulls("B", Pull{Since: t0, Err: unknown, Retry: t0.Add(time.Second)})}), `
state web@1.service active A
prepared B failed cannot pull reg/web:2: ` + unknown + `
Warning PullFailed: cannot pull reg/web:2: ` + unknown + `
`},
		{"also while it is tried again", runsA(Input{FromStore: true, Placements: next, Images: nextImages, Pulls: pulls("B", Pull{Since: t0, Running: true, Err: unknown})}), `
state web@1.service active A
prepared B failed cannot pull reg/web:2: ` + unknown + `
Warning PullFailed: cannot pull reg/web:2: ` + unknown + `
`},
		{"what is there will do", runsA(Input{FromStore: true, Placements: next, Images: nextImages, Pulls: pulls("B", Pull{Since: t0, Present: true, Err: unknown})}), `
state web@1.service active A
prepared B ready cannot pull reg/web:2: ` + unknown + `: the image of that name that the machine has is used
Warning PullFailed: cannot pull reg/web:2: ` + unknown + `: the image of that name that the machine has is used
`},
		{"what the fleetd before has prepared is ready", runsA(Input{Placements: changed, Images: changedImages,
			States: map[string]v1.UnitState{app: {Prepared: v1.Prepared{Preparation: v1.Preparation{Hash: "B"}, State: v1.PreparedReady}}}}), `
writeFile web@1.service FileChanged
reload FileChanged
note web@1.service FileChanged
restart web@1.service FileChanged
`},
		{"what it has prepared for another start is not", runsA(Input{Placements: changed, Images: changedImages,
			States: map[string]v1.UnitState{app: {Prepared: v1.Prepared{Preparation: v1.Preparation{Hash: "C"}, State: v1.PreparedReady}}}}), `
pull reg/web:2 for web@1.service B
state web@1.service active A pulling reg/web:2 since 2026-01-02T03:04:05Z
prepared B pulling
`},
		{"nor what it was about to prepare", runsA(Input{Placements: changed, Images: changedImages,
			States: map[string]v1.UnitState{app: {Prepared: v1.Prepared{Preparation: v1.Preparation{Hash: "B"}, State: v1.PreparedPulling}}}}), `
pull reg/web:2 for web@1.service B
state web@1.service active A pulling reg/web:2 since 2026-01-02T03:04:05Z
prepared B pulling
`},
		{"what it has prepared stays as it was said", runsA(Input{FromStore: true, Placements: next, Images: nextImages,
			States: map[string]v1.UnitState{app: {LoadState: "loaded", ActiveState: "active", SubState: "dead", Hash: "A", InvocationID: "i1", DesiredState: v1.Launched,
				Prepared: v1.Prepared{Preparation: v1.Preparation{Hash: "B"}, State: v1.PreparedReady, Since: ago(time.Hour), Message: "an older one"}}}}), ""},
		{"a file that is not there cannot be prepared", runsA(Input{FromStore: true, Placements: next, Texts: map[string]Text{"B": {Missing: "etcd is away"}}}), `
state web@1.service active A
prepared B failed etcd is away
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.in.Now, tc.in.StatesRead = t0, true
			completeTexts(&tc.in)
			require.Equal(t, strings.TrimPrefix(tc.want, "\n"), pullTranscript(Plan(tc.in)))
		})
	}
}

// What a person asks for is pulled for: the tag may mean another image by now.
func TestARequestedStartPulls(t *testing.T) {
	in := Input{Now: t0, Placements: map[string]v1.Placement{app: ask("A", "now")}, Images: map[string]Images{app: {Now: oldImage}},
		Files: map[string]string{app: "A"}, Records: map[string]Record{app: {Loaded: "A", Launched: "A"}}, Units: map[string]SystemdUnit{app: unit("failed", "i1")},
		Pulls: map[PullKey]Pull{{app, v1.Preparation{Hash: "A"}}: {}}}
	completeTexts(&in)
	require.Contains(t, pullTranscript(Plan(in)), "pull reg/web:1 for web@1.service A\n")
	in.Pulls = map[PullKey]Pull{{app, v1.Preparation{Hash: "A", RequestedAt: "now"}}: {}}
	require.Contains(t, pullTranscript(Plan(in)), "start web@1.service Requested\n")
}

// A plan that waits for time alone says until when.
func TestPullsAreLookedAtAgain(t *testing.T) {
	for want, pull := range map[time.Duration]Pull{
		20 * time.Second: {Since: t0.Add(-40 * time.Second), Running: true, Present: true},
		7 * time.Second:  {Since: t0, Err: "away", Retry: t0.Add(7 * time.Second)},
		0:                {Since: t0, Running: true},
	} {
		in := Input{Now: t0, Placements: map[string]v1.Placement{app: launch("A")}, Images: map[string]Images{app: {Now: oldImage}},
			Pulls: map[PullKey]Pull{{app, v1.Preparation{Hash: "A"}}: pull}}
		completeTexts(&in)
		require.Equal(t, want, Plan(in).After)
	}
}
