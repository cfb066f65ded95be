package source

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/repository"
)

// Reporting is what is known of the last report to the Git server.
type Reporting struct {
	// For is what was to be reported, Revision that of the source's manifest then.
	For      v1.CommitReport
	Revision int64
	// At is when that ended; zero: it has not. Running: it is under way.
	At      time.Time
	Running bool
	// Reason and Message are why it failed, Failures how often in a row; empty: it did not.
	Reason, Message string
	Failures        int
}

// The reason of Reported while it is true.
const (
	ReportTaken = "ReportTaken" // of Reported: the Git server was told what became of the newest commit
)

// A report that failed is tried again after firstRetry, then after twice as long, up to lastRetry.
const (
	firstRetry = 10 * time.Second
	lastRetry  = 10 * time.Minute
)

// ofTheCommit are the reasons of looks that failed because of what is in the newest commit.
var ofTheCommit = []string{"NotSigned", "PathGone", "NotAFile"}

// report decides what the Git server is told, by what it was told last. A server that takes nothing changes nothing else.
func (p *planner) report() {
	source := p.in.Source
	if source.Fault != nil {
		return
	}
	if source.Spec.Report == nil {
		p.status.Reported = nil
		p.status.Conditions = slices.DeleteFunc(p.status.Conditions, func(c v1.Condition) bool { return c.Type == v1.Reported })
		return
	}
	want, known := p.toReport(), p.in.Reporting
	if want == nil || told(p.status.Reported, *want) || known.Running {
		return
	}
	if known.Revision < source.UID { // of another source of the same name
		known = Reporting{}
	}
	switch {
	case !told(&known.For, *want) || known.At.IsZero():
		p.plan.Report = want
	case known.Reason == "":
		want.Description, want.Time = known.For.Description, known.At.UTC().Truncate(time.Second)
		p.status.Reported = want
		p.condition(v1.Reported, v1.ConditionTrue, ReportTaken, fmt.Sprintf("commit %s: %s: %s", v1.ShortHash(want.Commit), want.State, want.Description))
	default:
		p.condition(v1.Reported, v1.ConditionFalse, known.Reason, fmt.Sprintf("%s of commit %s could not be reported: %s", want.State, v1.ShortHash(want.Commit), known.Message))
		due := known.At.Add(min(lastRetry, firstRetry<<min(known.Failures-1, 10)))
		if known.Revision != source.Revision || !due.After(p.in.Now) {
			p.plan.Report = want
		} else {
			p.after(due.Sub(p.in.Now))
		}
	}
}

// told reports whether a report says what another one is to say. What a commit that is pending waits for changes all the time, and is told
// once: servers take some 1,000 reports of a commit.
func told(last *v1.CommitReport, want v1.CommitReport) bool {
	return last != nil && last.Commit == want.Commit && last.State == want.State && (want.State != v1.CommitFailure || last.Description == want.Description)
}

// toReport is what there is to be told of the newest commit; nil: nothing new.
func (p *planner) toReport() *v1.CommitReport {
	synced, last := v1.FindCondition(p.status.Conditions, v1.Synced), p.status.Reported
	if synced == nil || synced.Reason == Suspended {
		return nil
	}
	want := p.ofRefused(synced)
	if want == nil && synced.Status == v1.ConditionTrue && p.status.Applied != nil {
		want = p.ofApplied()
	}
	if want == nil {
		return nil
	}
	if want.State == v1.CommitPending && last != nil && last.Commit == want.Commit && last.State == v1.CommitSuccess {
		return nil // it was rolled out; what becomes of its apps later is no longer about the commit
	}
	want.Description, _, _ = strings.Cut(want.Description, "\n")
	if len(want.Description) > maxDescription {
		want.Description = strings.ToValidUTF8(want.Description[:maxDescription], "") + "..."
	}
	return want
}

// maxDescription is how much of a reason a report has, in bytes; each server gets what it takes of that.
const maxDescription = 500

// ofRefused is the report of a commit that is not applied yet, or refused.
func (p *planner) ofRefused(synced *v1.Condition) *v1.CommitReport {
	in, status := p.in, &p.status
	if synced.Status == v1.ConditionTrue {
		return nil
	}
	switch {
	case status.Failed != nil && p.ofCommit:
		return &v1.CommitReport{Commit: status.Failed.Hash, State: v1.CommitFailure, Description: synced.Reason + ": " + p.why}
	case slices.Contains(ofTheCommit, synced.Reason) && in.Fetched.Newest != "":
		return &v1.CommitReport{Commit: in.Fetched.Newest, State: v1.CommitFailure, Description: synced.Reason + ": " + p.why}
	case status.Staged != nil:
		return &v1.CommitReport{Commit: status.Staged.Hash, State: v1.CommitPending, Description: "it is being applied"}
	case synced.Reason == v1.ReasonWaiting && in.Fetched.Manifests != nil:
		return &v1.CommitReport{Commit: in.Fetched.Manifests.Commit.Hash, State: v1.CommitPending, Description: p.why}
	}
	return nil
}

// ofApplied is the report of the commit that is applied.
func (p *planner) ofApplied() *v1.CommitReport {
	report := &v1.CommitReport{Commit: p.status.Applied.Hash, State: v1.CommitPending}
	for _, o := range p.status.Inventory {
		key := repository.KeyOf(o)
		if current := p.in.Current[key]; current.Rejected && current.Hash == o.Hash {
			report.State, report.Description = v1.CommitFailure, key.String()+": "+current.NotReady
			return report
		}
	}
	ready := v1.FindCondition(p.status.Conditions, v1.Ready)
	switch {
	case ready == nil:
		return nil
	case ready.Status == v1.ConditionTrue:
		report.State, report.Description = v1.CommitSuccess, "it is applied, and all apps are ready"
	default:
		report.Description = ready.Message
	}
	return report
}
