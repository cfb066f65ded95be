package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
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

// Random changes are planned, and then made: the controllers write what was foreseen, in the order that was foreseen. Only what nothing
// waits for has no place in it, see inPlansOrder; how often that came exactly where it was foreseen is counted, too.
//
// The default is 1,000 changes; more of them: SIM_SEED=1 SIM_SEEDS=500 go test ./test/sim -run TestPlansComeTrue
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
		t.Logf("%d changes were planned and made in the plan's order, %d of them had effects; %d writes were compared, %d of them without a place in it; in %d changes those came where they were foreseen, too",
			sum.plans, sum.effects, sum.writes, sum.apart, sum.same)
		if count >= seedsPlanned && (sum.effects*3 < sum.plans || sum.apart*2 > sum.writes) {
			t.Error("too few changes had effects, or too few of their writes had an order")
		}
	})
}

// comparison counts what was compared.
type comparison struct{ plans, effects, writes, apart, same int }

func (c *comparison) add(o comparison) {
	c.plans += o.plans
	c.effects += o.effects
	c.writes += o.writes
	c.apart += o.apart
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
	copied, err := forecast.Read(t.Context(), w.etcd, w.keys, wire.WhatIf{})
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
		if os.Getenv("SIM_DIR") != "" {
			leave(t, fmt.Sprintf("plan-%d.txt", w.seed), w.transcript())
		}
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
	a, _ := inPlansOrder(w.keys, foreseen)
	b, apart := inPlansOrder(w.keys, is)
	sum.apart += apart
	if a != b {
		t.Errorf("%s\nforeseen:\n%s\nhappened:\n%s", what, a, b)
	}
	return a == b
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

// inPlansOrder are decisions in the order that a plan promises, and the number of those that have no place in it, because nothing waits
// for them: the end of an instance that is removed, once its last request and its process have ended, which each machine does at its
// own pace; why a unit has no machine, which the scheduler says as soon as it has looked again, and of which only the last counts: there are
// more where two machines end one after the other; and the note that a revision is complete, which is in no plan. Those are listed by
// instance, each in its order.
func inPlansOrder(keys keyspace.Keys, all []decision) (text string, without int) {
	var ordered []string
	apart, deleted := map[string][]string{}, map[string]bool{}
	for _, d := range all {
		unit, isUnit := keys.Units().Name(d.key)
		if isUnit {
			deleted[unit] = d.value == "deleted"
		}
		_, isRevision := keys.Revisions().Name(d.key)
		_, isReport := keys.Unplaced().Name(d.key)
		about := path.Base(d.key) // a unit, or the number of a revision
		line := d.key + " " + d.value
		switch {
		case isRevision && strings.HasSuffix(d.value, "complete=true"):
			apart[d.key] = append(apart[d.key], line)
		case isReport:
			apart[d.key] = []string{line}
		case deleted[about] && d.value == "deleted":
			instance := strings.Replace(about, "-discovery", "", 1)
			apart[instance] = append(apart[instance], line)
		default:
			ordered = append(ordered, line)
			continue
		}
		without++
	}
	for _, instance := range slices.Sorted(maps.Keys(apart)) {
		ordered = append(ordered, "apart: "+instance)
		ordered = append(ordered, apart[instance]...)
	}
	return "  " + strings.Join(ordered, "\n  "), without
}
