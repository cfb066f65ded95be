package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
)

// Forecasts foresee what the leader does after a change, from what is stored and, on the leader, what it knows besides.
type Forecasts struct {
	// Run applies change to a copy of the cluster, supposes what else happens, and returns what follows, with the revision of etcd
	// that the copy is of. Nothing is written to etcd.
	Run func(ctx context.Context, whatIf wire.WhatIf, change func(context.Context, store.Interface) error) (*wire.Foreseen, int64, error)
	// Cluster returns the ID of the cluster.
	Cluster func(ctx context.Context) (string, error)
}

// planPatience is how long a request waits for the forecast of another one.
const planPatience = 5 * time.Second

// plans makes plans, one at a time, and applies saved ones.
type plans struct {
	forecasts Forecasts
	options   Options
	applier   *applier
	leader    *leader
	one       chan struct{}
}

func newPlans(o Options, a *applier, l *leader) *plans {
	return &plans{forecasts: o.Forecasts, options: o, applier: a, leader: l, one: make(chan struct{}, 1)}
}

// postPlan answers with what would happen, or has the leader answer.
func (p *plans) postPlan(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var request wire.PlanRequest
	if err := strictJSON(body, &request); err != nil {
		return wire.Fail(wire.ReasonBadRequest, `%v: write {"manifests": ["...", "..."]}`, err)
	}
	answer, why, err := p.leader.ask(r, "", body)
	switch {
	case err != nil:
		return err
	case answer != nil:
		return answer.write(w)
	}
	plan, err := p.plan(r.Context(), request)
	if err != nil {
		return err
	}
	warn(w, why, plan.Missed)
	return writeJSON(w, http.StatusOK, plan)
}

// planAgain returns the leader's plan of now or, if it cannot be asked, one of this fleetd.
func (p *plans) planAgain(r *http.Request, request wire.PlanRequest) (*wire.Plan, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	answer, _, err := p.leader.ask(r, wire.Prefix+plansPath, body)
	switch {
	case err != nil:
		return nil, err
	case answer == nil:
		return p.plan(r.Context(), request)
	case answer.status() != nil:
		return nil, answer.status()
	}
	plan := &wire.Plan{}
	if err := json.Unmarshal(answer.body, plan); err != nil {
		return nil, wire.Fail(wire.ReasonInternal, "cannot read the plan of the leader: %v", err)
	}
	return plan, nil
}

// plan foresees what a request asks for.
func (p *plans) plan(ctx context.Context, request wire.PlanRequest) (*wire.Plan, error) {
	if p.forecasts.Run == nil {
		return nil, wire.Fail(wire.ReasonUnavailable, "this fleetd makes no plans")
	}
	select {
	case p.one <- struct{}{}:
		defer func() { <-p.one }()
	case <-time.After(planPatience):
		return nil, wire.Fail(wire.ReasonTooManyRequests, "fleetd makes one plan at a time, and is busy with another one: try again in a moment, or ask the fleetd of another machine")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	cluster, err := p.forecasts.Cluster(ctx)
	if err != nil {
		return nil, err
	}
	plan := &wire.Plan{TypeMeta: typeOf(wire.PlanKind), Version: p.options.Version, Cluster: cluster, Time: p.options.Now().UTC().Truncate(time.Second),
		Request: request, Changes: []wire.PlanChange{}}
	foreseen, revision, err := p.forecasts.Run(ctx, request.WhatIf, func(ctx context.Context, model store.Interface) error {
		plan.Changes, err = p.change(ctx, model, request.Manifests)
		return err
	})
	if err != nil {
		return nil, err
	}
	plan.Foreseen, plan.Revision = *foreseen, revision
	return plan, plan.Sign()
}

// change applies manifests to a model of the store, as an apply would to the store itself, and returns what that changes.
func (p *plans) change(ctx context.Context, model store.Interface, manifests []string) ([]wire.PlanChange, error) {
	changes := []wire.PlanChange{}
	if len(manifests) == 0 {
		return changes, nil
	}
	o := p.options
	o.Store, o.Log = model, logr.Discard()
	a := newApplier(o)
	docs, faults := a.documents(ctx, manifests)
	if faults != nil {
		return nil, refused(faults)
	}
	before := make([]store.KV, len(docs))
	for i, d := range docs {
		var err error
		if before[i], _, _, err = model.Get(ctx, a.key(d)); err != nil {
			return nil, err
		}
	}
	answer, err := a.apply(ctx, docs, v1.Apply{Time: o.Now().UTC()}, applyOptions{})
	if err != nil {
		return nil, err
	}
	for i, item := range answer.Items {
		if item.Reason == wire.ReasonUnchanged {
			continue
		}
		change := wire.PlanChange{Object: docs[i].what(), Reason: item.Reason}
		if before[i].ModRevision > 0 {
			change.ResourceVersion = strconv.FormatInt(before[i].ModRevision, 10)
		}
		changes = append(changes, change)
	}
	return changes, nil
}

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
	docs, faults := p.applier.documents(r.Context(), plan.Request.Manifests)
	if faults != nil {
		return refused(faults)
	}
	for _, d := range docs {
		for _, change := range now.Changes {
			if change.Object == d.what() {
				was, _ := strconv.ParseInt(change.ResourceVersion, 10, 64)
				d.planned = &was
			}
		}
	}
	answer, err := p.applier.apply(r.Context(), docs, p.applier.record(r, request.Note), applyOptions{})
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
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
	case !plan.Request.WhatIf.IsZero():
		return wire.Fail(wire.ReasonPlanRefused, "the plan supposes that machines are drained, lost or added, which an apply does not do: plan without that")
	case len(plan.Request.Manifests) == 0:
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
		} else if before != c {
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
