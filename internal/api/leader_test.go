package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
)

const plansAt = "/apis/fleet/v1/plans"

// makesPlans has a server make plans, and explanations, in which its name is.
func makesPlans(name string) func(*api.Options) {
	return func(o *api.Options) {
		o.Forecasts = api.Forecasts{
			Cluster: func(context.Context) (string, error) { return "c1", nil },
			Run: func(ctx context.Context, _ wire.WhatIf, change func(context.Context, store.Interface) error) (*wire.Foreseen, int64, error) {
				return &wire.Foreseen{Actions: []wire.PlanAction{{Action: wire.ActionWarn, App: name}}, Missed: []string{"m9"}}, 7, nil
			},
		}
		o.Explain = func(_ context.Context, units []string, _ string) ([]v1.Explanation, []string, error) {
			return []v1.Explanation{{Unit: units[0], Message: name}}, []string{"m9"}, nil
		}
	}
}

// leads has a machine lead, before or after others that are candidates.
func (c *cluster) leads(machine string) {
	c.t.Helper()
	lease, err := c.store.Grant(context.Background(), time.Hour)
	require.NoError(c.t, err)
	_, err = c.store.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: keys.Leader("engine") + "/" + lease.String(), Value: []byte(machine), Lease: lease}}})
	require.NoError(c.t, err)
}

// who made a plan, and the warning that came with it.
func (c *cluster) planned(headers ...string) (by, warning string) {
	c.t.Helper()
	a := c.do(http.MethodPost, plansAt, `{"whatIf":{"drain":["m1"]}}`, headers...)
	require.Equal(c.t, http.StatusOK, a.code, a.body)
	var plan wire.Plan
	require.NoError(c.t, json.Unmarshal([]byte(a.body), &plan))
	require.True(c.t, plan.Signed())
	return plan.Actions[0].App, wire.WarningText(a.header.Get(wire.WarningHeader))
}

func (c *cluster) explained() (by, warning string) {
	c.t.Helper()
	a := c.do(http.MethodGet, units+"/a.service/explain", "")
	require.Equal(c.t, http.StatusOK, a.code, a.body)
	var list wire.List[v1.Explanation]
	require.NoError(c.t, json.Unmarshal([]byte(a.body), &list))
	return list.Items[0].Message, wire.WarningText(a.header.Get(wire.WarningHeader))
}

// Plans and explanations are the leader's, whichever fleetd is asked: only the leader knows since when machines are missed. Where it
// cannot be asked the one that is asked answers itself, and where machines are missed it says so.
func TestTheLeaderPlans(t *testing.T) {
	c := newCluster(t, makesPlans("here"))
	c.put("/fleet/units/a.service", v1.Unit{Spec: v1.UnitSpec{DesiredState: v1.Launched}})
	var asked []string
	leader := api.New(func() api.Options {
		o := api.Options{Store: c.conn, Keys: keys, MachineID: there, Version: "1.2.3", Log: logr.Discard()}
		makesPlans("there")(&o)
		return o
	}())
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.RequestURI())
		leader.ServeHTTP(w, r)
	}))
	defer other.Close()
	expect := func(what, who, doubt string) {
		t.Helper()
		for _, ask := range []func() (string, string){func() (string, string) { return c.planned() }, c.explained} {
			by, warning := ask()
			require.Equal(t, who, by, what)
			if doubt == "" {
				require.Empty(t, warning, what)
				continue
			}
			require.Contains(t, warning, doubt, what)
			require.Contains(t, warning, "since when machine m9 is missed is known to the leader alone", what)
		}
	}
	expect("before the first one leads", "here", "no machine leads now")
	c.leads(there)
	c.leads(here)
	expect("it is gone", "here", "the leader, machine "+there+", is away")
	m := machine("10.0.0.2")
	c.put("/fleet/machines/"+there, m)
	expect("it listens on no address", "here", "does not listen on TCP")
	m.Spec.Endpoint = other.URL
	c.put("/fleet/machines/"+there, m)
	require.Empty(t, asked)
	expect("it leads", "there", "")
	require.Equal(t, []string{"GET /version", "POST " + plansAt, "GET /version", "GET " + units + "/a.service/explain"}, asked)

	by, warning := c.planned("X-Fleet-Forwarded", there)
	require.Equal(t, "here", by, "what was forwarded is not forwarded again")
	require.Contains(t, warning, "machine "+there+" leads meanwhile")
	for _, endpoint := range []string{"http://127.0.0.1:1", "%", c.url} { // the last one is another machine
		m.Spec.Endpoint = endpoint
		c.put("/fleet/machines/"+there, m)
		expect(endpoint, "here", "did not answer")
	}
}

// A leader that hangs, as one that is stopped, is given up in time; what it refuses is refused.
func TestTheLeaderHangsOrRefuses(t *testing.T) {
	c := newCluster(t, makesPlans("here"))
	c.leads(there)
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-release }))
	defer hangs.Close()
	defer close(release)
	m := machine("10.0.0.2")
	m.Spec.Endpoint = hangs.URL
	c.put("/fleet/machines/"+there, m)
	start := time.Now()
	by, warning := c.planned()
	require.Equal(t, "here", by)
	require.Contains(t, warning, "did not answer")
	require.Less(t, time.Since(start), 10*time.Second)

	for code, reason := range map[int]string{http.StatusUnprocessableEntity: wire.ReasonTooMuch, http.StatusBadGateway: ""} {
		refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/version" {
				_ = json.NewEncoder(w).Encode(wire.Version{MachineID: there})
				return
			}
			w.WriteHeader(code)
			_ = json.NewEncoder(w).Encode(wire.Status{TypeMeta: v1.TypeMeta{Kind: "Status"}, Code: code, Reason: reason})
		}))
		m.Spec.Endpoint = refuses.URL
		c.put("/fleet/machines/"+there, m)
		if reason == "" {
			_, warning := c.planned()
			require.Contains(t, warning, "failed: 502")
		} else {
			require.Equal(t, reason, c.do(http.MethodPost, plansAt, `{"whatIf":{"drain":["m1"]}}`).status(t).Reason)
		}
		refuses.Close()
	}
}
