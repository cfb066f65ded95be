package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/forecast"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// What people do that a plan foresees.
var planned = []string{"apply", "apply", "apply", "apply", "apply", "delete", "stop", "start", "forget", "submit", "destroy", "configure", "unconfigure"}

const (
	changesEach = 20 // changes of one cluster
	quietFor    = 70 * time.Second
	quietWithin = 15 * time.Minute
)

// seedsPlanned make 1,000 changes.
const seedsPlanned = 50

// Random changes are planned, and then made: the controllers write to each object what was foreseen, in the order that was foreseen.
// Which of two objects is written first may depend on which of two machines is faster; that is counted, too.
func TestPlansComeTrue(t *testing.T) {
	first, count := number(t, "SIM_SEED", 1), number(t, "SIM_SEEDS", seedsPlanned)
	var mu sync.Mutex
	var sum comparison
	workers := uint64(runtime.GOMAXPROCS(0))
	for worker := range workers {
		t.Run(fmt.Sprintf("worker %d", worker), func(t *testing.T) {
			t.Parallel()
			newDir := disks(t)
			for seed := first + worker; seed < first+count; seed += workers {
				one := comparePlans(t, seed, newDir())
				mu.Lock()
				sum.add(one)
				mu.Unlock()
			}
		})
	}
	t.Cleanup(func() { // when the workers have ended
		t.Logf("%d changes were planned and made, %d of them had effects; %d writes were compared, and in %d the order of all writes was the same", sum.plans, sum.effects, sum.writes, sum.same)
		if count >= seedsPlanned && (sum.effects*3 < sum.plans || sum.same*100 < sum.plans*95) {
			t.Error("too few changes had effects, or the same order")
		}
	})
}

// comparison counts what was compared.
type comparison struct{ plans, effects, writes, same int }

func (c *comparison) add(o comparison) {
	c.plans += o.plans
	c.effects += o.effects
	c.writes += o.writes
	c.same += o.same
}

func comparePlans(t *testing.T, seed uint64, dir string) (sum comparison) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 77))
		p := Plan{Seed: seed, Machines: 3 + r.IntN(4)}
		w := newWorld(p, dir)
		w.boot(p)
		defer func() {
			w.stop()
			w.running.Wait()
			for _, h := range w.hosts {
				hostsByDir.Delete(filepath.Join(dir, h.name))
			}
		}()
		require.True(t, w.comesToRest(), "seed %d: the cluster does not come to rest: %v", seed, w.failed())
		for n := range changesEach {
			s := step{Do: planned[r.IntN(len(planned))], A: r.Uint64() >> 8, B: r.Uint64() >> 8, C: r.Uint64() >> 8}
			if s.Do == "delete" { // and nothing else, such as another app of that name: that would be two changes
				s.B = 2
			}
			if !w.comparePlan(t, fmt.Sprintf("seed %d, change %d: %s", seed, n, s), s, &sum) {
				return
			}
		}
	})
	return sum
}

// comesToRest waits until nothing is written any more.
func (w *world) comesToRest() bool {
	end := w.now() + quietWithin
	for w.now() < end {
		revision := w.etcd.Revision()
		if !w.until(w.now() + quietFor) {
			return false
		}
		if w.decisions(revision) == nil {
			return true
		}
	}
	return false
}

func (w *world) comparePlan(t *testing.T, what string, s step, sum *comparison) bool {
	copied, err := forecast.Read(t.Context(), w.etcd, w.keys)
	require.NoError(t, err)
	before, now := w.etcd.Revision(), time.Now()
	var mu sync.Mutex
	var wrote [][]store.Op
	w.wrote = func(ops []store.Op) {
		mu.Lock()
		defer mu.Unlock()
		wrote = append(wrote, ops)
	}
	people[s.Do](w, s)
	w.wrote = nil
	if !w.comesToRest() {
		t.Errorf("%s: it does not come to rest: %v", what, w.failed())
		return false
	}
	is := w.decisions(before)
	var foreseen []decision
	_, err = forecast.Of(t.Context(), copied, forecast.Options{
		Keys: w.keys, Limits: schedule.Limits{Grace: agentTTL}, Now: func() time.Time { return now }, Timeout: time.Hour,
		Done: func(model *memstore.Store) { foreseen = decisionsIn(t.Context(), model, w.keys, copied.Revision) },
	}, wire.WhatIf{}, func(ctx context.Context, model store.Interface) error {
		for _, ops := range wrote {
			if _, err := model.Commit(ctx, store.Txn{Ops: ops}); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err, what)
	of := map[string]bool{} // what people wrote is no decision
	for _, ops := range wrote {
		for _, op := range ops {
			of[op.Key] = true
		}
	}
	byPeople := func(d decision) bool { return of[d.key] }
	is, foreseen = slices.DeleteFunc(is, byPeople), slices.DeleteFunc(foreseen, byPeople)
	sum.plans++
	sum.writes += len(is)
	if len(is) > 0 {
		sum.effects++
	}
	if slices.Equal(is, foreseen) {
		sum.same++
	}
	if a, b := inOrder(foreseen), inOrder(is); a != b {
		t.Errorf("%s\nforeseen:\n%s\nhappened:\n%s", what, a, b)
		return false
	}
	return true
}

// decision is one write of a controller.
type decision struct{ key, value string }

func (w *world) decisions(after int64) []decision {
	return decisionsIn(w.ctx, w.etcd, w.keys, after)
}

// decisionsIn are the writes of app and schedule after a revision, in order.
func decisionsIn(ctx context.Context, s *memstore.Store, keys keyspace.Keys, after int64) (all []decision) {
	last := s.Revision()
	if last == after {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := s.Watch(ctx, "", after)
	defer func() {
		cancel()
		for range batches { // until its goroutine has ended
		}
	}()
	for batch := range batches {
		for _, e := range batch.Events {
			if d := decide(keys, e); d != (decision{}) {
				all = append(all, d)
			}
		}
		if batch.Revision >= last {
			return all
		}
	}
	return all
}

// decide is what matters of a write; zero if it is none of app and schedule.
func decide(keys keyspace.Keys, e store.Event) decision {
	for prefix, brief := range map[string]func([]byte) string{
		keys.Units().Prefix():      briefUnit,
		keys.Placements().Prefix(): briefPlacement,
		keys.Unplaced().Prefix():   briefly[v1.Unplaced],
		keys.Revisions().Prefix():  briefRevision, // collect deletes them, some time later
		keys.Routes().Prefix():     briefRoute,
	} {
		switch {
		case !strings.HasPrefix(e.Key, prefix), e.Deleted && prefix == keys.Revisions().Prefix():
		case e.Deleted:
			return decision{e.Key, "deleted"}
		default:
			return decision{e.Key, brief(e.Value)}
		}
	}
	return decision{}
}

func decoded[T any](data []byte) (value T) {
	_ = json.Unmarshal(data, &value)
	return value
}

func briefUnit(data []byte) string {
	u := decoded[v1.Unit](data)
	return fmt.Sprint(u.Spec.DesiredState, " ", short(u.Spec.Hash), " phase=", u.Rollout.Phase, " from=", u.Rollout.From, " letGo=", u.Rollout.LetGo, " next=", short(u.Next.Hash), " except=", u.Metadata.Annotations[v1.AnnotationExcept])
}

func briefPlacement(data []byte) string {
	p := decoded[v1.Placement](data)
	return fmt.Sprint(p.DesiredState, " ", short(p.Hash), " leaving=", p.Leaving, " next=", short(p.Next.Hash), " ports=", p.Assigned)
}

func briefRevision(data []byte) string {
	r := decoded[v1.Revision](data)
	return fmt.Sprint(r.Number, " ", short(r.UnitFile), " ", short(r.SidekickFile), " before=", r.Before, " complete=", !r.Complete.IsZero())
}

func briefRoute(data []byte) string {
	r := decoded[v1.AppRoute](data)
	return fmt.Sprint(r.Prefix, " ", slices.Sorted(maps.Keys(r.Hosts)))
}

func briefly[T any](data []byte) string { return fmt.Sprintf("%+v", decoded[T](data)) }

func short(hash string) string { return hash[:min(len(hash), 6)] }

// inOrder are decisions in the order that is the same whichever machine is faster: that of each object.
func inOrder(all []decision) string {
	of := map[string][]string{}
	for _, d := range all {
		of[d.key] = append(of[d.key], d.value)
	}
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(of)) {
		fmt.Fprintf(&b, "  %s\n    %s\n", key, strings.Join(of[key], "\n    "))
	}
	return b.String()
}
