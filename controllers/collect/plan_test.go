package collect

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func world() Input {
	return Input{
		Now: now, Grace: 5 * time.Minute,
		Apps: map[string]int64{"web": 3}, Machines: map[string]bool{"m1": true},
		Units:      []StoredUnit{{Name: "web@1.service", Owner: "web", Hash: "h1", UID: 5}, {Name: "a.service", Hash: "h2"}, {Name: "old@1.service", Owner: "old", Hash: "h1"}},
		Placements: []Placement{{Machine: "m1", Unit: "web@1.service", Hash: "h3"}},
		Revisions:  []Revision{{Object: Object{"old/1", 1}, App: "old"}, {Object: Object{"web/1", 2}, App: "web", Files: []string{"h4", ""}}},
		UnitFiles:  []UnitFile{file("h1", 1), file("h2", 2), file("h3", 3), file("h4", 4)},
		Overrides:  []Object{{"web@1.service", 9}},
		Rollouts:   []Object{{"web", 20}},
		Status:     []Object{{"web", 9}},
		States:     []State{{Object: Object{"m1/web@1.service", 9}, Machine: "m1", Unit: "web@1.service"}},
	}
}

func file(name string, revision int64) UnitFile { return UnitFile{Object: Object{name, revision}} }

func TestWhatIsUsedStays(t *testing.T) {
	require.Equal(t, Decision{Unused: map[Candidate]time.Time{}}, Plan(world()))
}

func TestWhatIsUnusedGoesAfterItsGrace(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(in *Input)
		want   Action
	}{
		{"unit file", func(in *Input) { in.UnitFiles = append(in.UnitFiles, file("h5", 5)) }, Action{Candidate{UnitFiles, Object{"h5", 5}}, NotReferenced}},
		{"forged unit file", func(in *Input) {
			in.UnitFiles = append(in.UnitFiles, UnitFile{Object: Object{"h5", 5}, Forged: true})
		}, Action{Candidate{UnitFiles, Object{"h5", 5}}, Forged}},
		{"override", func(in *Input) { in.Overrides = []Object{{"gone.service", 6}} }, Action{Candidate{Overrides, Object{"gone.service", 6}}, UnitGone}},
		{"wish for the roll-outs of a deleted app", func(in *Input) { in.Rollouts = []Object{{"gone", 6}} }, Action{Candidate{Rollouts, Object{"gone", 6}}, AppGone}},
		{"override of an earlier unit", func(in *Input) { in.Overrides = []Object{{"web@1.service", 4}} }, Action{Candidate{Overrides, Object{"web@1.service", 4}}, UnitGone}},
		{"override of a deleted app's unit", func(in *Input) { in.Apps["web"] = 10 }, Action{Candidate{Overrides, Object{"web@1.service", 9}}, UnitGone}},
		{"revision of a deleted app", func(in *Input) { in.Revisions[1].Foreign = true }, Action{Candidate{Revisions, Object{"web/1", 2}}, AppGone}},
		{"status", func(in *Input) { in.Status = []Object{{"gone", 6}} }, Action{Candidate{Status, Object{"gone", 6}}, AppGone}},
		{"revision", func(in *Input) { in.Units = in.Units[:2] }, Action{Candidate{Revisions, Object{"old/1", 1}}, AppGone}},
		{"state of a machine", func(in *Input) { in.Machines = nil }, Action{Candidate{States, Object{"m1/web@1.service", 9}}, MachineGone}},
		{"state of a unit", func(in *Input) {
			in.States[0].Unit, in.States[0].Name = "a.service", "m1/a.service"
		}, Action{Candidate{States, Object{"m1/a.service", 9}}, NotPlaced}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := world()
			c.change(&in)
			first := Plan(in)
			require.Empty(t, first.Actions)
			require.Equal(t, in.Grace, first.After)

			in.Unused, in.Now = first.Unused, now.Add(4*time.Minute)
			second := Plan(in)
			require.Empty(t, second.Actions)
			require.Equal(t, time.Minute, second.After)

			in.Unused, in.Now = second.Unused, now.Add(5*time.Minute)
			third := Plan(in)
			require.Equal(t, []Action{c.want}, third.Actions)
			require.Zero(t, third.After)
			require.Empty(t, third.Unused)
		})
	}
}

// TestAppliesOfKeptRevisionsStay: the last 100 do, too.
func TestAppliesOfKeptRevisionsStay(t *testing.T) {
	in := world()
	for i := range KeepApplies + 3 {
		in.Applies = append(in.Applies, Object{fmt.Sprintf("%03d", i), int64(50 + i)})
	}
	in.Revisions[1].Manifest = 51
	unused := Plan(in).Unused
	require.Len(t, unused, 2)
	in.Unused, in.Now = unused, now.Add(in.Grace)
	require.Equal(t, []Action{{Candidate{Applies, Object{"000", 50}}, TooOld}, {Candidate{Applies, Object{"002", 52}}, TooOld}}, Plan(in).Actions)
}

func TestGraceRestartsAfterAWrite(t *testing.T) {
	in := world()
	in.UnitFiles = []UnitFile{file("h5", 5)}
	in.Unused = Plan(in).Unused
	in.UnitFiles, in.Now = []UnitFile{file("h5", 6)}, now.Add(time.Hour)
	plan := Plan(in)
	require.Empty(t, plan.Actions)
	require.Equal(t, map[Candidate]time.Time{{UnitFiles, Object{"h5", 6}}: in.Now}, plan.Unused)
}

func TestTheLastRevisionsStay(t *testing.T) {
	in := world()
	in.Revisions = []Revision{{Object: Object{"web/0000000000", 1}, App: "web", Foreign: true, Files: []string{"h4"}}} // which does not count
	for n := 1; n <= Keep+2; n++ {
		in.Revisions = append(in.Revisions, Revision{Object: Object{fmt.Sprintf("web/%010d", n), int64(n)}, App: "web", Files: []string{"h4"}})
	}
	plan := Plan(in)
	require.Equal(t, []Action{
		{Candidate{Revisions, Object{"web/0000000001", 1}}, TooOld}, {Candidate{Revisions, Object{"web/0000000002", 2}}, TooOld},
	}, plan.Actions)

	// Revisions that cannot be rolled back to do not count, however new.
	in.Revisions = append(in.Revisions[3:],
		Revision{Object: Object{"web/0000000013", 13}, App: "web", Unreadable: true, Files: []string{"h4"}},
		Revision{Object: Object{"web/0000000014", 14}, App: "web", Foreign: true})
	require.Empty(t, Plan(in).Actions)
}

// TestWhatRunsStays: however many revisions were rejected, or wait, since the one that runs. It goes when the newest one does not need it.
func TestWhatRunsStays(t *testing.T) {
	in := world()
	in.Revisions = nil
	for n := int64(1); n <= Keep+3; n++ {
		in.Revisions = append(in.Revisions, Revision{Object: Object{fmt.Sprintf("web/%010d", n), n}, App: "web", Files: []string{"h4"}, Number: n, Needs: []int64{2, 2}})
	}
	require.Equal(t, []Action{
		{Candidate{Revisions, Object{"web/0000000001", 1}}, TooOld}, {Candidate{Revisions, Object{"web/0000000003", 3}}, TooOld},
	}, Plan(in).Actions)
	in.Revisions[len(in.Revisions)-1].Needs = []int64{12, 12}
	require.Len(t, Plan(in).Actions, 3, "the needs of earlier ones do not count")
}

// TestNotices: people get an event for deletions that they may notice, or that were not written by fleet; one for each
// reason.
func TestNotices(t *testing.T) {
	action := func(kind Kind, name string, reason string) Action {
		return Action{Candidate{kind, Object{Name: name}}, reason}
	}
	require.Empty(t, Notices([]Action{
		action(UnitFiles, "h1", NotReferenced), action(Revisions, "web/0000000001", TooOld), action(Revisions, "old/0000000001", AppGone), action(Status, "old", AppGone),
	}, time.Minute))
	require.Equal(t, []Notice{
		{Candidate{Overrides, Object{Name: "a.service"}}, "Normal", UnitGone, "deleted: the unit a.service that it was for has not existed for 5m0s; one of that name is not affected"},
		{Candidate{States, Object{Name: "m1/a.service"}}, "Normal", MachineGone, "deleted: there has been no machine m1 for 5m0s; and 1 more for the same reason"},
		{Candidate{States, Object{Name: "m2/b.service"}}, "Warning", NotPlaced, "deleted: b.service has not been placed on m2 for 5m0s; and 1 more for the same reason"},
		{Candidate{UnitFiles, Object{Name: "x"}}, "Warning", Forged, "deleted: it is not the text with that hash, and no unit has it"},
	}, Notices([]Action{
		action(Overrides, "a.service", UnitGone), action(States, "m1/a.service", MachineGone), action(States, "m1/b.service", MachineGone), action(States, "m2/b.service", NotPlaced),
		action(States, "m3/b.service", NotPlaced), action(UnitFiles, "h1", NotReferenced), action(UnitFiles, "x", Forged),
	}, 5*time.Minute))
}
