package source

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/controller"
)

// Reporter tells Git servers what became of commits: see internal/git.
type Reporter interface {
	Report(ctx context.Context, source string, spec *v1.SourceSpec, report v1.CommitReport) error
	// Reason is the reason of an error, for conditions.
	Reason(err error) string
}

// reports tells Git servers, each report in its own goroutine, which run waits for; there is at most one of a source. A pass never
// waits for one.
type reports struct {
	reporter Reporter
	log      logr.Logger
	now      func() time.Time
	changed  func(source string)
	asked    chan posted

	mu    sync.Mutex
	known map[string]Reporting
}

// posted is one report.
type posted struct {
	source   string
	revision int64
	spec     v1.SourceSpec
	report   v1.CommitReport
}

func newReports(o Options, changed func(string)) *reports {
	return &reports{reporter: o.Reporter, log: o.Log, now: o.Now, changed: changed, asked: make(chan posted, fetchQueue),
		known: map[string]Reporting{}}
}

// of returns what is known of a source's last report.
func (r *reports) of(source string) Reporting {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[source]
}

// forget drops what is known of a source that is gone.
func (r *reports) forget(source string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, source)
}

// begin asks for a report, unless one of that source is under way.
func (r *reports) begin(p posted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.known[p.source]
	if r.reporter == nil || known.Running {
		return
	}
	select {
	case r.asked <- p:
		known.Running = true
		r.known[p.source] = known
	default: // the next pass asks again
	}
}

// run reports until ctx ends.
func (r *reports) run(ctx context.Context) { controller.Each(ctx, r.asked, fetchesAtOnce, r.work) }

func (r *reports) work(ctx context.Context, p posted) {
	r.log.Info("Reporting to the Git server", "source", p.source, "reason", p.report.State, "commit", p.report.Commit)
	err := r.reporter.Report(ctx, p.source, &p.spec, p.report)
	if ctx.Err() != nil { // fleetd ends, or another machine leads
		return
	}
	done := Reporting{For: p.report, Revision: p.revision, At: r.now()}
	r.mu.Lock()
	if err != nil {
		done.Reason, done.Message, done.Failures = r.reporter.Reason(err), err.Error(), 1
		if before := r.known[p.source]; before.Reason != "" && before.Revision == p.revision {
			done.Failures = before.Failures + 1
		}
		r.log.Info("The Git server does not take a report", "source", p.source, "reason", done.Reason, "error", done.Message)
	}
	r.known[p.source] = done
	r.mu.Unlock()
	r.changed(p.source)
}
