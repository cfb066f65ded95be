package api

import (
	"context"
	"encoding/json"
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
	if s := request.WhatIf.Source; s != nil && s.Commit != nil && !commitHash.MatchString(s.Commit.Hash) {
		return nil, wire.Fail(wire.ReasonBadRequest, "whatIf.source.commit: write the commit's full hash")
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
		Request: request}
	changes, notes := []wire.PlanChange{}, []string(nil)
	foreseen, revision, err := p.forecasts.Run(ctx, request.WhatIf, func(ctx context.Context, model store.Interface) error {
		changes, notes, err = p.change(ctx, model, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	plan.Foreseen, plan.Revision = *foreseen, revision
	plan.Changes, plan.Notes = append(changes, foreseen.Changes...), append(notes, foreseen.Notes...)
	for i, c := range plan.Changes {
		if app, is := strings.CutPrefix(c.Object, "app/"); is && c.Reason == wire.ReasonDeleted {
			plan.Changes[i].Ends = foreseen.EndsOf(app)
		}
	}
	return plan, plan.Sign()
}

// change stores and deletes objects in a model of the store, as an apply would in the store itself, and returns what that changes.
func (p *plans) change(ctx context.Context, model store.Interface, request wire.PlanRequest) (changes []wire.PlanChange, notes []string, err error) {
	changes = []wire.PlanChange{}
	o := p.options
	o.Store, o.Log, o.Events = model, logr.Discard(), nil
	a := newApplier(o)
	docs, err := planned(ctx, a, request)
	if err != nil || len(docs) == 0 {
		return changes, nil, err
	}
	record := v1.Apply{Time: o.Now().UTC()}
	if err := ofCommit(docs, request.Git, &record); err != nil {
		return nil, nil, err
	}
	before := make([]store.KV, len(docs))
	for i, d := range docs {
		exists := false
		if before[i], exists, _, err = model.Get(ctx, a.key(d)); err != nil {
			return nil, nil, err
		}
		if i >= len(request.Manifests) && !exists {
			return nil, nil, wire.Fail(wire.ReasonNotFound, "%s does not exist", d.what())
		}
	}
	answer, err := a.apply(ctx, docs, record, applyOptions{})
	if err != nil {
		return nil, nil, err
	}
	for i, item := range answer.Items {
		if docs[i].managed {
			notes = append(notes, docs[i].warnings[len(docs[i].warnings)-1].Message)
		}
		if item.Reason == wire.ReasonUnchanged {
			continue
		}
		change := wire.PlanChange{Object: docs[i].what(), Reason: item.Reason}
		if before[i].ModRevision > 0 {
			change.ResourceVersion = strconv.FormatInt(before[i].ModRevision, 10)
		}
		changes = append(changes, change)
	}
	return changes, notes, nil
}

// planned are the objects that a plan stores and deletes.
func planned(ctx context.Context, a *applier, request wire.PlanRequest) ([]*document, error) {
	docs, faults := a.documents(ctx, request.Manifests)
	if faults != nil {
		return nil, refused(faults)
	}
	seen := map[string]bool{}
	for _, d := range docs {
		seen[d.what()] = true
	}
	for _, object := range request.Delete {
		kind, name, _ := strings.Cut(object, "/")
		kinds := map[string]string{"app": v1.KindApp, "unit": v1.KindUnit}
		switch {
		case kinds[kind] == "" || name == "":
			return nil, wire.Fail(wire.ReasonBadRequest, "cannot plan that %q is deleted: write app/NAME or unit/NAME", object)
		case seen[object]:
			return nil, wire.Fail(wire.ReasonBadRequest, "%s is in the request twice: write each object once", object)
		}
		seen[object] = true
		docs = append(docs, a.deletion(ctx, kinds[kind], name))
	}
	return docs, nil
}
