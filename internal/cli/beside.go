package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// target is one of the units or manifests that a command waits for.
type target struct {
	name   string
	global bool
	// beside are the targets of the same command that it has to share a machine with (MachineOf=).
	beside []*target
	// asked means that its state was requested, failed that the request was refused.
	asked, failed bool
	// done is closed when waiting for it has ended.
	done chan struct{}
}

// tie links each target to those that it has to be beside. Cycles are ignored: the scheduler refuses to place them.
func tie(targets []*target, beside func(t, other *target) bool) {
	for _, t := range targets {
		for _, other := range targets {
			if beside(t, other) && !other.waitsFor(t) {
				t.beside = append(t.beside, other)
			}
		}
	}
}

func (t *target) waitsFor(other *target) bool {
	return t == other || slices.ContainsFunc(t.beside, func(b *target) bool { return b.waitsFor(other) })
}

// tieManifests makes a target of each stored manifest and links it to those that bring the units named in its
// MachineOf=.
func (a *app) tieManifests(ctx context.Context, manifests []manifest) []*target {
	targets, of, machineOf := make([]*target, len(manifests)), map[*target]manifest{}, map[*target][]string{}
	for i, m := range manifests {
		t := &target{name: m.what(), done: make(chan struct{})}
		targets[i], of[t], machineOf[t] = t, m, a.machineOf(ctx, m)
	}
	tie(targets, func(t, other *target) bool {
		return slices.ContainsFunc(machineOf[t], of[other].makes)
	})
	return targets
}

// machineOf returns the units named by MachineOf= in a manifest's units; all instances of an app have the same. If
// fleetd does not report them, the unit is waited for as if it had none.
func (a *app) machineOf(ctx context.Context, m manifest) []string {
	switch {
	case m.Source != nil:
		return nil
	case m.App != nil:
		return m.App.MachineOf()
	}
	unit, err := a.unitWithFile(ctx, m.Name())
	if err != nil {
		return nil
	}
	return fileOf(unit).MachineOf
}

// makes reports whether the manifest defines the unit, itself or through its app.
func (m manifest) makes(unit string) bool {
	if m.App == nil {
		return m.Unit != nil && m.Name() == unit
	}
	_, _, ours := v1.ParseAppUnit(m.Name(), unit)
	return ours
}

// besideGrace is how long a unit may still be reported as waiting for others after those are placed.
const besideGrace = 5 * time.Second

// afterOthers calls wait once the targets that t has to be beside are done: until then it is not an error that t fits
// no machine. The scheduler's reason may be outdated right after that, so wait is called again.
func (t *target) afterOthers(ctx context.Context, wait func() error) error {
	for _, other := range t.beside {
		if other.failed {
			continue
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return endOfWait(ctx)
		}
	}
	grace := time.After(besideGrace)
	for {
		err := wait()
		if len(t.beside) == 0 || !waitsForOthers(err) {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-grace:
			return err
		case <-ctx.Done():
			return endOfWait(ctx)
		}
	}
}

// waitsForOthers reports whether err only says that other units are not where they have to be.
func waitsForOthers(err error) bool {
	var unplaced *unplacedError
	var app *brokenError
	switch {
	case errors.As(err, &unplaced):
		return unplaced.status.WaitsForOthers
	case errors.As(err, &app):
		return app.summary.WaitsForOthers
	}
	return false
}

// unplacedError means that a unit is not on any machine.
type unplacedError struct {
	unit   string
	status v1.UnitStatus
}

func (e *unplacedError) Error() string {
	return fmt.Sprintf("unit %s is not on any machine: %s; it will be placed when one fits", e.unit, e.status.Unplaced.Message)
}

// brokenError is the condition that keeps an app from being ready.
type brokenError struct {
	condition *v1.Condition
	summary   v1.AppSummary
	words     string // the last log lines of its units
}

// rejectedError means that a changed manifest failed, and what was there before runs again.
type rejectedError struct {
	condition *v1.Condition
	rejection v1.Rejection
	log       string // the last lines of what failed
	probe     string // why its health check failed
}

// rejectedLines is how many lines of its log are shown of what failed.
const rejectedLines = 20

// lastLog is the end of the log of what failed, as far as its machine can be asked, or else the last lines that are stored.
func (a *app) lastLog(ctx context.Context, r v1.Rejection) string {
	if r.Unit == "" || r.Machine == "" {
		return r.Output
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	lines := a.linesBefore(ctx, r, r.Unit, rejectedLines)
	if len(lines) == 0 {
		return r.Output
	}
	return a.safe(strings.Join(lines, "\n"))
}

// lastProbe is why the health check of what failed has failed last, as its sidekick says; "" if that has not said so.
func (a *app) lastProbe(ctx context.Context, app string, r v1.Rejection) string {
	n, sidekick, ok := v1.ParseAppUnit(app, r.Unit)
	if !ok || sidekick || r.Machine == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, line := range slices.Backward(a.linesBefore(ctx, r, v1.SidekickUnit(app, n), 10)) {
		if found := probeMessage.FindStringSubmatch(line); found != nil {
			message, err := strconv.Unquote(found[1])
			if err != nil {
				message = found[1]
			}
			return a.safe(message)
		}
	}
	return ""
}

// probeMessage finds in a line of the announcer's log why it does not announce the instance.
var probeMessage = regexp.MustCompile(` message=("(?:[^"\\]|\\.)+"|[^" ]+)`)

// linesBefore are the last lines that a unit wrote while the rejected revision was tried: others are of what ran before, or runs again.
// There are none where its machine cannot be asked.
func (a *app) linesBefore(ctx context.Context, r v1.Rejection, unit string, most int) (lines []string) {
	err := a.unitLogs(ctx, unit, logOptions{lines: 10 * most, machine: r.Machine}, func(e wire.LogEntry) error {
		if e.Identifier != "systemd" && !e.Time.Before(r.Since) && !e.Time.After(r.At) {
			lines = append(lines, strings.Split(e.Message, "\n")...)
		}
		return nil
	})
	if err != nil {
		return nil
	}
	return lines[max(0, len(lines)-most):]
}

func (e *rejectedError) Error() string {
	message := e.rejection.Message
	if e.condition != nil {
		message = e.condition.Message
	}
	return message + e.seen()
}

// seen are the last lines of what failed, and why its health check did, each on a line of its own.
func (e *rejectedError) seen() (text string) {
	if e.log != "" {
		text += "\n  last log lines of " + e.rejection.Unit + ":\n    | " + strings.ReplaceAll(strings.TrimRight(e.log, "\n"), "\n", "\n    | ")
	}
	if e.probe != "" {
		text += "\n  its health check:\n    | " + e.probe
	}
	return text
}

// rejected is why the newest revision of an app was taken back, as far as the machine where it failed can still be asked.
func (a *app) rejected(ctx context.Context, name string, status *v1.AppStatus) *rejectedError {
	r := *status.Rejected
	return &rejectedError{v1.FindCondition(status.Conditions, v1.Accepted), r, a.lastLog(ctx, r), a.lastProbe(ctx, name, r)}
}

// takesBack reports whether an app with a failing instance is about to be taken back: a first revision has none before it. Where all
// instances have a machine, it is their new file that fits on none.
func takesBack(o wire.App, s v1.AppSummary) bool {
	if !o.Spec.Reverts() || o.Status.AcceptedRevision <= 1 {
		return false
	}
	placed := o.Status.Replicas.Scheduled >= o.Status.Replicas.Desired
	return s.Condition == v1.Progressing || s.Condition == v1.Ready || s.Condition == v1.Scheduled && placed
}

func (e *brokenError) Error() string {
	c := e.condition
	if c == nil {
		return e.summary.Message + e.words
	}
	return fmt.Sprintf("%s=%s: %s: %s%s", c.Type, c.Status, c.Reason, c.Message, e.words)
}
