package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/forecast"
	"github.com/fleet-starter/fleet/internal/store"
)

var commit = v1.SourceCommit{Hash: "25488a0d68" + strings.Repeat("0", 30), Author: "Ada", Subject: "Say bye"}

// applyCommit applies manifests of a commit, each in the file of its place in the list: prod/0.yaml, prod/1.yaml.
func (c *cluster) applyCommit(query string, manifests ...string) answer {
	c.t.Helper()
	request := wire.ApplyRequest{Manifests: manifests, Git: &wire.FromCommit{Commit: commit}}
	for i := range manifests {
		request.Git.Files = append(request.Git.Files, "prod/"+string(rune('0'+i))+".yaml:1")
	}
	return c.do(http.MethodPost, applies+query, body(c.t, request))
}

func body(t testing.TB, request any) string {
	data, err := json.Marshal(request)
	require.NoError(t, err)
	return string(data)
}

const otherSource = "apiVersion: fleet/v1\nkind: Source\nmetadata: {name: other}\nspec: {git: {url: https://example.com/a.git}}\n"

// TestEventsNameTheCommit that an apply is of, as those of a source do; what a plan or a dry run would change is told to none.
func TestEventsNameTheCommit(t *testing.T) {
	var recorder *events.Recorder
	c := newCluster(t, func(o *api.Options) {
		recorder = events.New(o.Store, o.Keys, events.Options{Source: "api", Machine: here, Log: logr.Discard()})
		o.Events = recorder
		o.Forecasts = api.Forecasts{Run: forecast.On(o.Store, forecast.Options{Keys: keys}), Cluster: func(context.Context) (string, error) { return "c1", nil }}
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = recorder.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	told := func(n int) (list []string) {
		var all []v1.Event
		for end := time.Now().Add(10 * time.Second); len(all) < n && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			all = getAs[wire.List[v1.Event]](c, wire.Prefix+"/events").Items
		}
		for _, e := range all {
			list = append(list, strings.Join([]string{e.Source, strings.ToLower(e.Kind) + "/" + e.Name, e.Type, e.Reason, e.Message}, " "))
		}
		return list
	}

	plan := wire.PlanRequest{Manifests: []string{named("planned", 1)}, Git: &wire.FromCommit{Commit: commit, Files: []string{"prod/0.yaml:1"}}}
	require.Equal(t, http.StatusOK, c.do(http.MethodPost, plansPath, body(t, plan)).code)
	require.Equal(t, http.StatusOK, c.applyCommit("?dryRun=true", named("dry", 1)).code)
	c.applied(named("people", 1))
	require.Equal(t, http.StatusOK, c.applyCommit("", named("a", 1), otherSource).code)
	require.ElementsMatch(t, []string{
		"api app/a Normal Created prod/0.yaml:1: commit 25488a0d68 by Ada: Say bye",
		"api source/other Normal Created prod/1.yaml:1: commit 25488a0d68 by Ada: Say bye",
	}, told(2))
	require.Equal(t, http.StatusOK, c.applyCommit("", named("b", 1), named("a", 2), otherSource).code)
	require.ElementsMatch(t, []string{
		"api app/b Normal Created prod/0.yaml:1: commit 25488a0d68 by Ada: Say bye",
		"api app/a Normal Configured prod/1.yaml:1: commit 25488a0d68 by Ada: Say bye",
	}, told(4)[2:])
}

// scanned counts how often the inventories of sources are listed.
type scanned struct {
	store.Interface
	times atomic.Int32
}

func (s *scanned) List(ctx context.Context, prefix string, o store.ListOptions) (store.Page, error) {
	if prefix == keys.SourceStatus().Prefix() {
		s.times.Add(1)
	}
	return s.Interface.List(ctx, prefix, o)
}

// TestInventoriesAreScannedOnce by each apply: of people, of a commit, and of a saved plan.
func TestInventoriesAreScannedOnce(t *testing.T) {
	counted := &scanned{}
	c := newCluster(t, func(o *api.Options) {
		counted.Interface = o.Store
		o.Forecasts = api.Forecasts{Run: forecast.On(o.Store, forecast.Options{Keys: keys}), Cluster: func(context.Context) (string, error) { return "c1", nil }}
		o.Store = counted
	})
	times := func(what string, a answer) {
		t.Helper()
		require.Equal(t, http.StatusOK, a.code, a.body)
		require.Equal(t, int32(1), counted.times.Swap(0), what)
	}
	times("people", c.apply("", "", named("a", 1)))
	times("a commit", c.applyCommit("", named("a", 2), named("b", 1)))
	times("a dry run", c.applyCommit("?dryRun=true", named("a", 3)))
	for _, request := range []wire.PlanRequest{
		{Manifests: []string{named("a", 4)}, Git: &wire.FromCommit{Commit: commit, Files: []string{"prod/0.yaml:1"}}},
		{Manifests: []string{named("a", 5)}, Delete: []string{"app/b"}},
	} {
		a := c.do(http.MethodPost, plansPath, body(t, request))
		require.Equal(t, http.StatusOK, a.code, a.body)
		var plan wire.Plan
		require.NoError(t, json.Unmarshal([]byte(a.body), &plan))
		counted.times.Store(0)
		times("a saved plan", c.do(http.MethodPost, plansPath+"/apply", body(t, wire.ApplyPlanRequest{Plan: plan})))
	}
}

// overtaken has something happen before the first commit.
type overtaken struct {
	store.Interface
	first func()
}

func (s *overtaken) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if first := s.first; first != nil {
		s.first = nil
		first()
	}
	return s.Interface.Commit(ctx, txn)
}

// TestASourceIsFaster: what it takes while a commit is applied is its own.
func TestASourceIsFaster(t *testing.T) {
	between := &overtaken{}
	c := newCluster(t, func(o *api.Options) {
		between.Interface = o.Store
		o.Store = between
	})
	between.first = func() {
		c.put(keys.Apps().Key("a"), named("a", 7))
		c.put(keys.SourceStatus().Key("web"), v1.SourceStatus{Inventory: []v1.SourceObject{{Kind: v1.KindApp, Name: "a"}}})
	}
	a := c.applyCommit("", named("a", 1))
	require.Equal(t, http.StatusUnprocessableEntity, a.code, a.body)
	require.Contains(t, a.body, "it belongs to source/web")
	require.Equal(t, named("a", 7), c.get(keys.Apps().Key("a")))
}

// TestCommitsAreNamedWhole: by their full hash, in an apply and in a plan of a source.
func TestCommitsAreNamedWhole(t *testing.T) {
	c := newCluster(t, planning("cluster-a"))
	for _, hash := range []string{"", "main", commit.Hash[:10], commit.Hash + "0", strings.ToUpper(commit.Hash)} {
		short := &v1.SourceCommit{Hash: hash}
		a := c.do(http.MethodPost, applies, body(t, wire.ApplyRequest{Manifests: []string{named("a", 1)}, Git: &wire.FromCommit{Commit: *short, Files: []string{"a.yaml:1"}}}))
		require.Equal(t, http.StatusBadRequest, a.code, hash)
		a = c.do(http.MethodPost, plansPath, body(t, wire.PlanRequest{WhatIf: wire.WhatIf{Source: &wire.SourceFiles{Name: "prod", Commit: short}}}))
		require.Equal(t, http.StatusBadRequest, a.code, hash)
		require.Contains(t, a.body, "write the commit's full hash")
	}
	c.saved(wire.PlanRequest{WhatIf: wire.WhatIf{Source: &wire.SourceFiles{Name: "prod", Commit: &commit}}})
}
