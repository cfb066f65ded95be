package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

const plansPath = wire.Prefix + "/plans"

// planning has a fleetd make plans for a cluster with that ID, in which nothing follows from what is stored.
func planning(cluster string) func(*api.Options) {
	return func(o *api.Options) {
		o.Forecasts = api.Forecasts{
			Cluster: func(context.Context) (string, error) { return cluster, nil },
			Run: func(ctx context.Context, _ wire.WhatIf, change func(context.Context, store.Interface) error) (*wire.Foreseen, int64, error) {
				return &wire.Foreseen{}, 1, change(ctx, memstore.New(memstore.Options{}).Connect())
			},
		}
	}
}

// saved is the plan that a fleetd makes of a request, as it is saved.
func (c *cluster) saved(request wire.PlanRequest) string {
	c.t.Helper()
	body, err := json.Marshal(request)
	require.NoError(c.t, err)
	a := c.do(http.MethodPost, plansPath, string(body))
	require.Equal(c.t, http.StatusOK, a.code, a.body)
	return a.body
}

func (c *cluster) applyPlan(saved string) answer {
	return c.do(http.MethodPost, plansPath+"/apply", `{"plan":`+saved+`}`)
}

// TestPlansThatAreRefused: one clear error each, and nothing is stored.
func TestPlansThatAreRefused(t *testing.T) {
	c := newCluster(t, planning("cluster-a"))
	plan := c.saved(wire.PlanRequest{Manifests: []string{named("a", 1)}})
	elsewhere := newCluster(t, planning("cluster-b"))
	newer := newCluster(t, planning("cluster-a"), func(o *api.Options) { o.Version = "1.2.4" })
	for _, tt := range []struct {
		name  string
		at    *cluster
		saved string
		want  string
	}{
		{"of another cluster", elsewhere, plan, "the plan is for the cluster cluster-a, and this is cluster-b: plan again here"},
		{"of another version", newer, plan, "the plan was made by fleetd 1.2.3, and now it would be by fleetd 1.2.4, which may do something else: plan again"},
		{"edited by hand", c, strings.Replace(plan, "replicas: 1", "replicas: 9", 1), "the plan was changed after it was made: its digest is another one: plan again"},
		{"for another cluster, by hand", elsewhere, strings.Replace(plan, "cluster-a", "cluster-b", 1), "the plan was changed after it was made"},
		{"another file", c, `{"apiVersion":"fleet/v1","kind":"App"}`, `this is no saved plan, but apiVersion \"fleet/v1\", kind \"App\": make one with fleetctl plan -f FILE --out PLAN`},
		{"of no manifests", c, c.saved(wire.PlanRequest{}), "the plan has no manifests: there is nothing to apply"},
		{"of a source", c, c.saved(wire.PlanRequest{WhatIf: wire.WhatIf{Source: &wire.SourceFiles{Name: "prod"}}}), "the plan is what source/prod would do, which applies nothing but commits of its repository: push the files there"},
		{"what if", c, c.saved(wire.PlanRequest{Manifests: []string{named("a", 1)}, WhatIf: wire.WhatIf{Drain: []string{"m1"}}}), "an apply does not do: plan without that"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := tt.at.store.Revision()
			a := tt.at.applyPlan(tt.saved)
			require.Contains(t, []int{http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity}, a.code)
			require.Contains(t, a.body, tt.want)
			require.Equal(t, before, tt.at.store.Revision())
		})
	}
	a := c.applyPlan(plan)
	require.Equal(t, http.StatusOK, a.code, a.body)
	require.Equal(t, named("a", 1), c.get(keys.Apps().Key("a")))
}

// TestPlansToDelete: what a request deletes is named once, and by kind.
func TestPlansToDelete(t *testing.T) {
	c := newCluster(t, planning("cluster-a"))
	for request, want := range map[string]string{
		`{"delete":["a"]}`:             `cannot plan that \"a\" is deleted: write app/NAME or unit/NAME`,
		`{"delete":["source/a"]}`:      `cannot plan that \"source/a\" is deleted: write app/NAME or unit/NAME`,
		`{"delete":["app/"]}`:          `cannot plan that \"app/\" is deleted`,
		`{"delete":["app/a"]}`:         `app/a does not exist`,
		`{"delete":["app/a","app/a"]}`: `app/a is in the request twice`,
	} {
		a := c.do(http.MethodPost, plansPath, request)
		require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, a.code)
		require.Contains(t, a.body, want)
	}
}
