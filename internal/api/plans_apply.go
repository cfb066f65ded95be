package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// applyPlan does what a saved plan says, if the same would follow now.
func (p *plans) applyPlan(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var request wire.ApplyPlanRequest
	if err := json.Unmarshal(body, &request); err != nil {
		return wire.Fail(wire.ReasonBadRequest, "this is no saved plan: %v: make one with fleetctl plan -f FILE --out PLAN", err)
	}
	if err := checkNote(request.Note); err != nil {
		return err
	}
	plan := &request.Plan
	if err := p.usable(r.Context(), plan); err != nil {
		return err
	}
	now, err := p.planAgain(r, plan.Request)
	if status := toStatus(err); err != nil && len(plan.Request.Delete) > 0 && status.Reason == wire.ReasonNotFound {
		return wire.Fail(wire.ReasonPlanOutdated, "the cluster has changed since the plan was made: %s, so nothing was stored: plan again", status.Message)
	}
	if err != nil {
		return err
	}
	if plan.Version != now.Version {
		return wire.Fail(wire.ReasonPlanRefused, "the plan was made by fleetd %s, and now it would be by fleetd %s, which may do something else: plan again", plan.Version, now.Version)
	}
	if differs := differences(plan, now); len(differs) > 0 {
		answer := wire.Fail(wire.ReasonPlanOutdated, "the cluster has changed since the plan was made: something else would happen now, so nothing was stored: plan again")
		answer.Causes = wire.Capped(differs)
		return answer
	}
	docs, err := planned(r.Context(), p.applier, plan.Request)
	if err != nil {
		return err
	}
	for _, d := range docs {
		for _, change := range now.Changes {
			if change.Object == d.what() {
				was, _ := strconv.ParseInt(change.ResourceVersion, 10, 64)
				d.planned = &was
			}
		}
	}
	record := p.applier.record(r, request.Note)
	if err := ofCommit(docs, plan.Request.Git, &record); err != nil {
		return err
	}
	answer, err := p.applier.apply(r.Context(), docs, record, applyOptions{lasting: true})
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
}

// lasting refuses to delete an app that its source would create again: the plan does not say so.
func lasting(docs []*document) error {
	for _, d := range docs {
		if d.managed && d.app == nil {
			return wire.Fail(wire.ReasonPlanRefused, "the plan deletes %s, which its source would create again: nothing was stored: %s", d.what(), d.warnings[len(d.warnings)-1].Message)
		}
	}
	return nil
}

// usable reports whether this fleetd can apply a plan.
func (p *plans) usable(ctx context.Context, plan *wire.Plan) error {
	if plan.Kind != wire.PlanKind || plan.APIVersion != v1.APIVersion {
		return wire.Fail(wire.ReasonBadRequest, "this is no saved plan, but apiVersion %q, kind %q: make one with fleetctl plan -f FILE --out PLAN", plan.APIVersion, plan.Kind)
	}
	if !plan.Signed() && plan.Version != p.options.Version { // it may have more in it than this fleetd can read
		return wire.Fail(wire.ReasonPlanRefused, "the plan was made by fleetd %s, and this is fleetd %s, which may do something else: plan again", plan.Version, p.options.Version)
	}
	if !plan.Signed() {
		return wire.Fail(wire.ReasonPlanRefused, "the plan was changed after it was made: its digest is another one: plan again")
	}
	cluster, err := p.forecasts.cluster(ctx)
	switch {
	case err != nil:
		return err
	case cluster != plan.Cluster:
		return wire.Fail(wire.ReasonPlanRefused, "the plan is for the cluster %s, and this is %s: plan again here", plan.Cluster, cluster)
	case plan.Request.WhatIf.Source != nil:
		return wire.Fail(wire.ReasonPlanRefused, "the plan is what source/%s would do, which applies nothing but commits of its repository: push the files there", plan.Request.WhatIf.Source.Name)
	case !plan.Request.WhatIf.IsZero():
		return wire.Fail(wire.ReasonPlanRefused, "the plan supposes that machines are drained, lost or added, which an apply does not do: plan without that")
	case len(plan.Request.Manifests)+len(plan.Request.Delete) == 0:
		return wire.Fail(wire.ReasonPlanRefused, "the plan has no manifests: there is nothing to apply")
	}
	return nil
}

func (f Forecasts) cluster(ctx context.Context) (string, error) {
	if f.Cluster == nil {
		return "", errors.New("this fleetd makes no plans")
	}
	return f.Cluster(ctx)
}

// differences are what differs between a plan and what would happen now: the objects, else the first actions that differ.
func differences(plan, now *wire.Plan) (causes []wire.Cause) {
	was, is := map[string]wire.PlanChange{}, map[string]wire.PlanChange{}
	for _, c := range plan.Changes {
		was[c.Object] = c
	}
	for _, c := range now.Changes {
		is[c.Object] = c
		if before, ok := was[c.Object]; !ok {
			causes = append(causes, wire.Cause{Message: c.Object + " was as planned, and is not any more"})
		} else if !before.Same(c) {
			causes = append(causes, wire.Cause{Message: c.Object + " was " + versionOf(before) + ", and is " + versionOf(c)})
		}
	}
	for _, c := range plan.Changes {
		if _, ok := is[c.Object]; !ok {
			causes = append(causes, wire.Cause{Message: c.Object + " is as planned already"})
		}
	}
	for i := range max(len(plan.Actions), len(now.Actions)) {
		planned, would := actionAt(plan, i), actionAt(now, i)
		if !planned.Same(would) {
			return append(causes, wire.Cause{Message: fmt.Sprintf("planned was to %s, now it would be to %s", sentence(planned), sentence(would))})
		}
	}
	return causes
}

func versionOf(c wire.PlanChange) string {
	if c.ResourceVersion == "" {
		return "not there"
	}
	return "at version " + c.ResourceVersion
}

func actionAt(p *wire.Plan, i int) wire.PlanAction {
	if i >= len(p.Actions) {
		return wire.PlanAction{}
	}
	return p.Actions[i]
}

// sentence is an action in a few words.
func sentence(a wire.PlanAction) string {
	if a.Action == "" {
		return "do nothing"
	}
	words := []string{a.Action}
	if a.Unit != "" {
		words = append(words, a.Unit)
	} else if a.App != "" {
		words = append(words, "app/"+a.App)
	}
	if a.From != "" {
		words = append(words, "from", a.From)
	}
	if a.Machine != "" {
		words = append(words, "on", a.Machine)
	}
	return strings.Join(append(words, "("+a.Reason+")"), " ")
}
