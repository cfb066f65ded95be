package node

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	fakeruntime "github.com/fleet-starter/fleet/internal/container/fake"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
)

// What a plan does for a unit that is about to be moved here.
func TestPlanPreparesMoves(t *testing.T) {
	moves := map[string]v1.Preparation{app: {Hash: "B"}}
	images := map[string]Images{app: {Next: newImage}}
	reports := func(state v1.PreparedState) map[string]v1.UnitState {
		return map[string]v1.UnitState{app: {LoadState: "not-found", ActiveState: "inactive", SubState: "dead",
			Prepared: v1.Prepared{Preparation: v1.Preparation{Hash: "B"}, State: state}}}
	}
	for _, tc := range []struct {
		name string
		in   Input
		want string
	}{
		{"its image is pulled, and nothing else is done", Input{FromStore: true, Preparations: moves, Images: images}, `
pull reg/web:2 for web@1.service B
state web@1.service inactive
prepared B pulling pulling reg/web:2 since 2026-01-02T03:04:05Z
`},
		{"then it is ready", Input{FromStore: true, Preparations: moves, Images: images, States: reports(v1.PreparedPulling),
			Pulls: map[PullKey]Pull{{app, v1.Preparation{Hash: "B"}}: {}}}, `
state web@1.service inactive
prepared B ready
`},
		{"a failure is said", Input{FromStore: true, Preparations: moves, Images: images, States: reports(v1.PreparedPulling),
			Pulls: map[PullKey]Pull{{app, v1.Preparation{Hash: "B"}}: {Err: "no such image", Retry: t0.Add(time.Second)}}}, `
state web@1.service inactive
prepared B failed cannot pull reg/web:2: no such image
Warning PullFailed: cannot pull reg/web:2: no such image
`},
		{"a machine that pulls nothing is ready", Input{FromStore: true, Preparations: moves, Images: images, NoPulls: true}, `
state web@1.service inactive
prepared B ready
`},
		{"nothing is done by a copy on the disk", Input{Preparations: moves, Images: images}, ""},
		{"when it is here it is started with what was pulled", Input{FromStore: true, Preparations: moves, Placements: map[string]v1.Placement{app: launch("B")},
			Images: map[string]Images{app: {Now: newImage}}, States: reports(v1.PreparedReady), Pulls: map[PullKey]Pull{{app, v1.Preparation{Hash: "B"}}: {}}}, `
writeFile web@1.service NewPlacement
link web@1.service NewPlacement
start web@1.service NotLaunched
`},
		{"what is prepared no more is forgotten", Input{FromStore: true, Preparations: map[string]v1.Preparation{}, States: reports(v1.PreparedReady)}, `
deleteState web@1.service NotPlaced
`},
		{"but not before it is known what is", Input{FromStore: true, States: reports(v1.PreparedReady)}, ""},
		{"it is still stopping here, from before", Input{FromStore: true, Preparations: moves, Images: images, Files: map[string]string{app: "A"},
			Records: map[string]Record{app: {Loaded: "A"}}, Units: map[string]SystemdUnit{app: unit("deactivating", "i1")}}, `
pull reg/web:2 for web@1.service B
state web@1.service deactivating A
prepared B pulling pulling reg/web:2 since 2026-01-02T03:04:05Z
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.in.Now, tc.in.StatesRead = t0, true
			completeTexts(&tc.in)
			require.Equal(t, strings.TrimPrefix(tc.want, "\n"), strings.ReplaceAll(pullTranscript(Plan(tc.in)), " \n", "\n"))
		})
	}
}

// A machine pulls what it is asked to prepare for a unit that is elsewhere, says how far that is, and starts it without another
// pull when it comes.
func TestMoveIsPrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPuller(t)
		r.Registry.Push("reg/web:2")
		r.Registry.Break("reg/web:2", fakeruntime.Hangs)
		m := startModel(t, fake.Options{}, func(o *Options) { o.Puller = r })
		text := stays + "[X-Fleet]\nImage=reg/web:2\n"
		start := v1.Preparation{Hash: m.keep(text), RequestedAt: "noon"}
		row := m.Keys.PreparationsOf(m.Machine)
		ask := func() {
			value, err := row.Encode(v1.Next{Preparation: start})
			require.NoError(t, err)
			m.commit(store.Op{Key: row.Key(app), Value: value})
		}
		take := func() { m.commit(store.Op{Key: row.Key(app)}) }

		ask()
		m.pass(time.Minute)
		require.Equal(t, "inactive", m.told(app).ActiveState)
		require.Equal(t, v1.PreparedPulling, m.told(app).Prepared.State)
		require.Contains(t, m.told(app).Prepared.Message, "pulling reg/web:2 since ")
		take() // the unit stays where it is
		m.pass(time.Second)
		_, told, _, err := m.etcd.Get(t.Context(), m.Keys.StatesOf(m.Machine).Key(app))
		require.NoError(t, err)
		require.False(t, told)
		require.Zero(t, r.now)

		r.Registry.Break("reg/web:2", fakeruntime.None)
		ask()
		m.pass(3 * time.Second)
		require.Equal(t, v1.PreparedReady, m.told(app).Prepared.State)
		require.Equal(t, start, m.told(app).Prepared.Preparation)
		require.Len(t, r.pulls, 2)
		m.place(app, text, func(pl *v1.Placement) { pl.RequestedAt = start.RequestedAt })
		m.pass(500 * time.Millisecond)
		take()
		m.pass(500 * time.Millisecond)
		require.Equal(t, "active", m.told(app).ActiveState)
		require.Zero(t, m.told(app).Prepared)
		require.Len(t, r.pulls, 2, "it was prepared")
	})
}
