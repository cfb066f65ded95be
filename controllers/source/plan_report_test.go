package source

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// reporting is a settled input whose commit One was reported.
func reporting(t *testing.T) Input {
	in := settled(t, map[string]string{"a.yaml": manifest("a", ""), "b.yaml": manifest("b", "")})
	in.Source.Spec.Report = &v1.SourceReport{Provider: v1.ProviderGitHub}
	plan := Plan(in)
	require.Equal(t, &v1.CommitReport{Commit: strings.Repeat("1", 40), State: v1.CommitSuccess, Description: "it is applied, and all apps are ready"}, plan.Report)
	taken(&in, plan)
	settle(&in, Plan(in))
	require.Equal(t, now, in.Status.Reported.Time)
	plan = Plan(in)
	require.Nil(t, plan.Report, "nothing is told twice")
	require.Nil(t, plan.Status)
	return in
}

// taken has the server take what a plan reports.
func taken(in *Input, plan Decision) {
	in.Reporting = Reporting{For: *plan.Report, Revision: in.Source.Revision, At: in.Now}
}

// TestReport: what the Git server is told of which commit. Each row begins with commit One applied and reported.
func TestReport(t *testing.T) {
	a, b, other := manifest("a", ""), manifest("b", ""), manifest("a", "  replicas: 3\n")
	one, two := strings.Repeat("1", 40), strings.Repeat("2", 40)
	for name, c := range map[string]struct {
		change func(in *Input)
		want   *v1.CommitReport
	}{
		"nothing new": {func(*Input) {}, nil},
		"an app that is away later": {func(in *Input) {
			in.Current[app("a")] = Current{Hash: in.Current[app("a")].Hash, Revision: 10, NotReady: "Unplaced: no machine"}
		}, nil},
		"a new commit": {func(in *Input) { next(in, map[string]string{"a.yaml": other, "b.yaml": b}) }, &v1.CommitReport{Commit: two, State: v1.CommitPending, Description: "app/a: just applied"}},
		"a new commit that changes nothing": {func(in *Input) { next(in, map[string]string{"a.yaml": a, "b.yaml": b}) },
			&v1.CommitReport{Commit: two, State: v1.CommitSuccess, Description: "it is applied, and all apps are ready"}},
		"one that is wrong": {func(in *Input) { next(in, map[string]string{"a.yaml": other, "b.yaml": "b"}) },
			&v1.CommitReport{Commit: two, State: v1.CommitFailure, Description: "InvalidCommit: b.yaml:1: expected a mapping that begins with apiVersion: fleet/v1, got the string \"b\""}},
		"one that is refused": {func(in *Input) { next(in, nil) },
			&v1.CommitReport{Commit: two, State: v1.CommitFailure, Description: "PruneRefused: 2 of 2 objects would be deleted (app/a, app/b): fleetctl sync source/prod --allow-prune does so"}},
		"one that waits": {func(in *Input) {
			next(in, map[string]string{"b.yaml": b})
			in.Waits = []string{"source/db is not ready"}
		},
			&v1.CommitReport{Commit: two, State: v1.CommitPending, Description: "source/db is not ready"}},
		"one that is not signed": {func(in *Input) {
			in.Fetched.Newest, in.Fetched.Reason, in.Fetched.Message = two, "NotSigned", "no signature"
		}, &v1.CommitReport{Commit: two, State: v1.CommitFailure, Description: "NotSigned: no signature"}},
		"a server that is away": {func(in *Input) { in.Fetched.Reason, in.Fetched.Message = "Unreachable", "no route" }, nil},
		"a server that is away after a new commit": {func(in *Input) {
			next(in, map[string]string{"b.yaml": b})
			in.Fetched.Reason, in.Fetched.Message = "Unreachable", "no route"
		}, nil},
		"suspended": {func(in *Input) { in.Wish.Suspended = true; next(in, map[string]string{"b.yaml": b}) }, nil},
		"a part of one": {func(in *Input) {
			in.Status.Staged = &v1.SourceCommit{Hash: two}
			in.Fetched.Reason, in.Fetched.Message = "Unreachable", "no route"
		}, &v1.CommitReport{Commit: two, State: v1.CommitPending, Description: "it is being applied"}},
		"a manifest that is wrong": {func(in *Input) { in.Source.Fault = errors.New("line 3") }, nil},
		"a roll-out that is taken back": {func(in *Input) {
			next(in, map[string]string{"a.yaml": other, "b.yaml": b})
			settle(in, Plan(*in))
			in.Current[app("a")] = Current{Hash: in.Current[app("a")].Hash, Revision: 10, Rejected: true, NotReady: "Rejected: revision 2 was taken back: it ends"}
		}, &v1.CommitReport{Commit: two, State: v1.CommitFailure, Description: "app/a: Rejected: revision 2 was taken back: it ends"}},
		"back to what was before": {func(in *Input) {
			in.Status.Reported, in.Reporting = &v1.CommitReport{Commit: two, State: v1.CommitFailure}, Reporting{}
		}, &v1.CommitReport{Commit: one, State: v1.CommitSuccess, Description: "it is applied, and all apps are ready"}},
		"a reason of several lines": {func(in *Input) {
			in.Fetched.Manifests = &Manifests{Commit: v1.SourceCommit{Hash: two}, Fault: errors.New(strings.Repeat("ä", 400) + "\nb.yaml:2")}
		}, &v1.CommitReport{Commit: two, State: v1.CommitFailure, Description: "InvalidCommit: " + strings.Repeat("ä", 242) + "..."}},
	} {
		t.Run(name, func(t *testing.T) {
			in := reporting(t)
			c.change(&in)
			plan := Plan(in)
			require.Equal(t, c.want, plan.Report)
			settle(&in, plan)
			if c.want == nil {
				return
			}
			in.Reporting.Running = true
			require.Nil(t, Plan(in).Report, "one at a time")
			taken(&in, plan)
			plan = Plan(in)
			if c.want.Description == "app/a: just applied" { // meanwhile it is ready, and that is told next
				require.Equal(t, v1.CommitSuccess, plan.Report.State)
				return
			}
			require.Nil(t, plan.Report)
			require.Equal(t, c.want.State, plan.Status.Reported.State)
			settle(&in, plan)
			in.Reporting = Reporting{} // as a new leader knows it
			require.Nil(t, Plan(in).Report, "a new leader repeats nothing")
		})
	}
}

// TestReportAgain: a report that fails is tried again, later and later, and keeps nothing from being applied.
func TestReportAgain(t *testing.T) {
	in := reporting(t)
	in.Fetched.At = now.Add(time.Hour) // nothing else is due
	next(&in, map[string]string{"a.yaml": manifest("a", ""), "b.yaml": manifest("b", "")})
	plan := Plan(in)
	settle(&in, plan)
	want := *plan.Report
	for failures, wait := range map[int]time.Duration{1: 10 * time.Second, 2: 20 * time.Second, 5: 160 * time.Second, 7: 10 * time.Minute, 1 << 40: 10 * time.Minute} {
		in := in
		in.Reporting = Reporting{For: want, Revision: 5, At: now, Reason: "Unreachable", Message: "no route", Failures: failures}
		plan := Plan(in)
		require.Nil(t, plan.Report)
		require.Equal(t, wait, plan.After)
		condition := v1.FindCondition(plan.Status.Conditions, v1.Reported)
		require.Equal(t, []string{v1.ConditionFalse, "Unreachable", "success of commit 2222222222 could not be reported: no route"}, []string{condition.Status, condition.Reason, condition.Message})
		require.Equal(t, strings.Repeat("1", 40), plan.Status.Reported.Commit, "what it was told last")
		require.True(t, v1.IsTrue(plan.Status.Conditions, v1.Ready))
		in.Now = now.Add(wait)
		require.Equal(t, &want, Plan(in).Report)
	}
	in.Reporting = Reporting{For: want, Revision: 4, At: now, Reason: "AuthenticationFailed", Failures: 9}
	require.Equal(t, &want, Plan(in).Report, "another manifest is tried at once")
	in.Source.Spec.Report = nil
	plan = Plan(in)
	require.Nil(t, plan.Report)
	require.Nil(t, plan.Status.Reported)
	require.Nil(t, v1.FindCondition(plan.Status.Conditions, v1.Reported))
}

// TestReportOfAnother: what was reported for a source of the same name, which is gone, does not count.
func TestReportOfAnother(t *testing.T) {
	in := reporting(t)
	in.Source = &Manifest{Spec: in.Source.Spec, UID: 40, Revision: 50}
	in.Fetched.For.Revision = 50
	settle(&in, Plan(in))
	plan := Plan(in)
	require.NotNil(t, plan.Report)
	taken(&in, plan)
	require.NotNil(t, Plan(in).Status.Reported)
}
