package node

import (
	"fmt"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Results of start jobs that need an explanation.
const (
	jobDone    = "done"
	jobSkipped = v1.JobSkipped
)

// outcome records how a start ended that did not get the unit to run: systemd forgets it.
func (rec Record) outcome(unit SystemdUnit) Record {
	switch {
	case unit.up() || unit.failed():
		rec.JobResult, rec.Lacks = "", ""
	case unit.Job == "" && unit.JobResult == jobDone: // it ran and has finished
		rec.JobResult, rec.Lacks = "", ""
	case unit.Job == "" && unit.JobResult != "":
		rec.JobResult = unit.JobResult
	}
	return rec
}

// explain adds to the state why the unit is not as it should be, if systemd's own words are not enough.
func (p *planner) explain(name string, pl v1.Placement, rec Record, unit SystemdUnit, state *v1.UnitState) {
	state.JobResult = rec.JobResult
	switch {
	case state.Message != "":
	case state.LoadState != "loaded" && state.LoadState != "not-found":
		state.Message = fmt.Sprintf("systemd cannot load its unit file (%s): see systemctl status %s", state.LoadState, name)
	case pl.DesiredState == v1.Loaded && rec.Stopped && unit.up() && !unit.stopping() && !p.halting[name]:
		state.Message = v1.StartedOnMachine
	case pl.DesiredState != v1.Launched:
	case rec.JobResult != "":
		state.Message = p.notStarted(name, rec.JobResult)
	case state.ActiveState == "inactive" && unit.Job == "" && unit.JobResult == jobDone:
		state.Result = "success" // systemd has forgotten it: it ran and has finished
	case failing(unit) && unit.Exit.Command != "":
		state.Message = fmt.Sprintf("its %s= failed: %s", unit.Exit.Command, describe(unit))
	}
}

// notStarted explains the result of a start job.
func (p *planner) notStarted(name, result string) string {
	relations := p.in.Relations[name]
	switch result {
	case jobSkipped:
		return "not started, which is not a failure: " + unmet("Condition", relations.Conditions, "its ExecCondition= is not met")
	case "assert":
		return "not started: " + unmet("Assert", relations.Conditions, "one of its Assert...= is not met")
	case "dependency":
		if culprit := p.culprit(name); culprit != "" {
			return "not started: " + culprit
		}
		return "not started: a unit that it depends on could not be started" + listed(slices.Concat(relations.BindsTo, relations.Requires))
	case "timeout":
		return "not started: its start waited longer than JobTimeoutSec= allows"
	case "unsupported":
		return "not started: the systemd of this machine does not support this type of unit"
	case "canceled":
		return "not started: another job for it canceled its start, such as that of systemctl stop"
	}
	if service, ok := strings.CutSuffix(name, ".socket"); ok {
		return fmt.Sprintf("not started (job result %s): its service, %s.service or that of Service=, must be on this machine and not running already", result, service)
	}
	return fmt.Sprintf("not started: systemd ended its start with the result %s", result)
}

// unmet lists the conditions or assertions: systemd does not record which of several failed.
func unmet(kind string, conditions []string, none string) string {
	var of []string
	for _, c := range conditions {
		if strings.HasPrefix(c, kind) {
			of = append(of, c)
		}
	}
	switch len(of) {
	case 0:
		return none
	case 1:
		return of[0] + " is not met"
	}
	return "not all of these are met: " + strings.Join(of, ", ")
}

func listed(units []string) string {
	if len(units) == 0 {
		return ""
	}
	return ": one of " + strings.Join(units, ", ")
}

// culprit names the unit that keeps this one from running, and how it failed; "" if there is none.
func (p *planner) culprit(name string) string {
	r := p.in.Relations[name]
	for _, target := range slices.Concat(r.BindsTo, r.Requires) {
		if trouble := p.trouble(target); trouble != "" {
			return target + ", which it depends on" + trouble
		}
	}
	return ""
}

// trouble says why a unit that others need does not run, as a suffix to its name; "" if it runs or soon may.
func (p *planner) trouble(name string) string {
	unit, rec := p.in.Units[name], p.in.Records[name]
	switch pl, placed := p.placed(name); {
	case failing(unit):
		return ", failed: " + describe(unit)
	case placed && rec.JobResult != "":
		return ", was " + p.notStarted(name, rec.JobResult)
	case placed && rec.Message != "" && !unit.active():
		return ", does not run: " + rec.Message
	case placed && p.waiting[name] != "" && !unit.active():
		return ", does not run: " + p.waiting[name]
	case placed && p.in.Texts[pl.Hash].Missing != "" && !unit.active():
		return ", does not run: " + p.in.Texts[pl.Hash].Missing
	}
	return ""
}
