package collect

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/store/storetest"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

var keys = keyspace.New("")

// stored is a store in which everything is used, and a collector with the default times.
type stored struct {
	t *testing.T
	s *memstore.Store
}

// The unit files that are in use, and one that is not.
const (
	ofUnit      = "[Service]\nExecStart=/unit\n"
	ofContents  = "[Service]\nExecStart=/contents\n"
	ofPlacement = "[Service]\nExecStart=/placement\n"
	ofRevision  = "[Service]\nExecStart=/revision\n"
	ofNothing   = "[Service]\nExecStart=/nothing\n"
)

func fileKey(text string) string { return keys.UnitFiles().Key(unitfile.Hash(text)) }

func newStored(t *testing.T) *stored {
	w := &stored{t, memstore.New(memstore.Options{})}
	for _, text := range []string{ofUnit, ofContents, ofPlacement, ofRevision} {
		w.put(fileKey(text), text)
	}
	lease, err := w.s.Grant(t.Context(), 24*time.Hour)
	require.NoError(t, err)
	_, err = w.s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: keys.Machines().Key("m1"), Value: []byte(`{"metadata":{"name":"m1"}}`), Lease: lease}}})
	require.NoError(t, err)
	w.put(keys.Apps().Key("web"), "apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\n")
	uid := w.s.Revision()
	revision, err := keys.Revisions().Encode(v1.Revision{Number: 1, AppUID: uid, UnitFile: unitfile.Hash(ofRevision)})
	require.NoError(t, err)
	w.put(keys.Revisions().Key(keyspace.RevisionName("web", 1)), string(revision))
	w.put(keys.Status().Key("web"), `{}`)
	w.unit("web@1.service", v1.UnitSpec{Hash: unitfile.Hash(ofUnit)})
	w.unit("own.service", v1.UnitSpec{Contents: ofContents})
	w.put(keys.Placements().Key("m1/web@1.service"), `{"hash":"`+unitfile.Hash(ofPlacement)+`"}`)
	w.put(keys.States().Key("m1/web@1.service"), `{}`)
	w.put(keys.Overrides().Key("web@1.service"), `{}`)
	return w
}

func (w *stored) put(key, value string) {
	_, err := w.s.Commit(w.t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte(value)}}})
	require.NoError(w.t, err)
}

func (w *stored) unit(name string, spec v1.UnitSpec) {
	value, err := keys.Units().Encode(v1.Unit{Metadata: v1.ObjectMeta{Owner: "web"}, Spec: spec})
	require.NoError(w.t, err)
	w.put(keys.Units().Key(name), string(value))
}

func (w *stored) delete(key string) {
	_, err := w.s.Commit(w.t.Context(), store.Txn{Ops: []store.Op{{Key: key}}})
	require.NoError(w.t, err)
}

func (w *stored) has(key string) bool {
	_, ok, _, err := w.s.Get(w.t.Context(), key)
	require.NoError(w.t, err)
	return ok
}

// run runs a collector, and its cluster, until the test ends.
func (w *stored) run(opts Options) {
	known := cluster.New(w.s, keys, logr.Discard())
	opts.Store, opts.Cluster = w.s, known
	c := New(opts)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{}, 2)
	go func() { _ = known.Run(ctx); done <- struct{}{} }()
	go func() { _ = c.Run(ctx); done <- struct{}{} }()
	w.t.Cleanup(func() { cancel(); <-done; <-done })
}

// TestWhatAChangeLeavesUnused: whatever a change leaves unused is collected a minute and five later, without another change,
// and nothing else is.
func TestWhatAChangeLeavesUnused(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(w *stored)
		goes   string
	}{
		"an app is deleted":        {func(w *stored) { w.delete(keys.Apps().Key("web")) }, keys.Status().Key("web")},
		"a machine is gone":        {func(w *stored) { w.delete(keys.Machines().Key("m1")) }, keys.States().Key("m1/web@1.service")},
		"a unit is deleted":        {func(w *stored) { w.delete(keys.Units().Key("web@1.service")) }, keys.Overrides().Key("web@1.service")},
		"a unit gets another file": {func(w *stored) { w.unit("web@1.service", v1.UnitSpec{Hash: unitfile.Hash(ofRevision)}) }, fileKey(ofUnit)},
		"a unit has another text":  {func(w *stored) { w.unit("own.service", v1.UnitSpec{Contents: ofUnit}) }, fileKey(ofContents)},
		"a placement gets another file": {func(w *stored) {
			w.put(keys.Placements().Key("m1/web@1.service"), `{"hash":"`+unitfile.Hash(ofUnit)+`"}`)
		}, fileKey(ofPlacement)},
		"a placement is deleted":            {func(w *stored) { w.delete(keys.Placements().Key("m1/web@1.service")) }, keys.States().Key("m1/web@1.service")},
		"a revision is deleted":             {func(w *stored) { w.delete(keys.Revisions().Key(keyspace.RevisionName("web", 1))) }, fileKey(ofRevision)},
		"a file comes that nothing has":     {func(w *stored) { w.put(fileKey(ofNothing), ofNothing) }, fileKey(ofNothing)},
		"an override of no unit":            {func(w *stored) { w.put(keys.Overrides().Key("no.service"), `{}`) }, keys.Overrides().Key("no.service")},
		"a status of no app":                {func(w *stored) { w.put(keys.Status().Key("no"), `{}`) }, keys.Status().Key("no")},
		"a state of a unit not placed here": {func(w *stored) { w.put(keys.States().Key("m1/no.service"), `{}`) }, keys.States().Key("m1/no.service")},
		"a revision of no app":              {func(w *stored) { w.put(keys.Revisions().Key(keyspace.RevisionName("no", 1)), `{"number":1}`) }, keys.Revisions().Key(keyspace.RevisionName("no", 1))},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newStored(t)
				before := w.s.Revision()
				w.run(Options{})
				time.Sleep(time.Hour)
				require.Equal(t, before, w.s.Revision(), "everything is used")
				tc.change(w)
				before = w.s.Revision()
				time.Sleep(6*time.Minute - time.Second)
				require.Equal(t, before, w.s.Revision(), "it is unused for less than the grace, or was not looked at yet")
				time.Sleep(2 * time.Second)
				require.False(t, w.has(tc.goes))
			})
		})
	}
}

// TestRevisionsThatStay: those of a deleted app that still has units, and unreadable ones, which a newer version may have
// written.
func TestRevisionsThatStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStored(t)
		unreadable := keys.Revisions().Key(keyspace.RevisionName("web", 2))
		w.put(unreadable, "{")
		w.run(Options{})
		time.Sleep(time.Hour)
		require.True(t, w.has(unreadable))
		w.delete(keys.Apps().Key("web"))
		time.Sleep(time.Hour)
		require.False(t, w.has(keys.Status().Key("web")))
		require.True(t, w.has(unreadable))
		require.True(t, w.has(keys.Revisions().Key(keyspace.RevisionName("web", 1))))
	})
}

// TestAFailureIsReturned, even if something else was deleted.
func TestAFailureIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStored(t)
		known := cluster.New(w.s, keys, logr.Discard())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { _ = known.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		var plan Decision
		for i := range 2 * store.MaxTxnOps { // more than one transaction
			key := fmt.Sprintf("%03d.service", i)
			w.put(keys.Overrides().Key(key), "{}")
			plan.Actions = append(plan.Actions, Action{Candidate{Overrides, Object{key, w.s.Revision()}}, UnitGone})
		}
		first, last := keys.Overrides().Key("000.service"), keys.Overrides().Key(plan.Actions[len(plan.Actions)-1].Name)
		c := New(Options{Env: cluster.Env{Store: storetest.Refusing{Interface: w.s, Keys: map[string]error{last: store.ErrDenied}}, Cluster: known}})
		defer func() { cancel(); _ = c.Run(ctx) }() // shuts down the queue
		require.ErrorIs(t, c.apply(ctx, plan), store.ErrDenied)
		require.False(t, w.has(first))
		require.True(t, w.has(last))
	})
}

// TestForgedFilesAreReported: a file whose text does not match its hash is deleted, with an event.
func TestForgedFilesAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStored(t)
		recorder := events.New(w.s, keys, events.Options{Source: "collect"})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = recorder.Run(ctx) }()
		forged := keys.UnitFiles().Key(strings.Repeat("f", 64))
		w.put(forged, "[Service]\nExecStart=/other\n")
		w.put(fileKey(ofNothing), ofNothing)
		w.run(Options{Env: cluster.Env{Events: recorder}})
		time.Sleep(7 * time.Minute)
		require.False(t, w.has(forged))
		require.False(t, w.has(fileKey(ofNothing)))
		page, err := w.s.List(ctx, keys.Events().Key(""), store.ListOptions{})
		require.NoError(t, err)
		var told []string
		for _, kv := range page.KVs {
			var e v1.Event
			require.NoError(t, json.Unmarshal(kv.Value, &e))
			told = append(told, e.Reason+" "+e.Name)
		}
		require.Equal(t, []string{"Forged " + forged}, told)
	})
}

// TestFenced: a deposed leader's collector deletes nothing, and ends.
func TestFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStored(t)
		w.put(fileKey(ofNothing), ofNothing)
		known := cluster.New(w.s, keys, logr.Discard())
		c := New(Options{Env: cluster.Env{Store: w.s, Cluster: known, Fence: store.Fence{Key: keys.Leader("engine"), CreateRevision: 7}}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { _ = known.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		require.ErrorIs(t, c.Run(ctx), store.ErrFenced)
		require.True(t, w.has(fileKey(ofNothing)))
	})
}

// TestReconcileSeesWhatItDeleted: the next pass does not find again what this one deleted.
func TestReconcileSeesWhatItDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStored(t)
		w.put(fileKey(ofNothing), ofNothing)
		known := cluster.New(w.s, keys, logr.Discard())
		now := time.Now()
		c := New(Options{Env: cluster.Env{Store: w.s, Cluster: known, Now: func() time.Time { return now }}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { _ = known.Run(ctx); close(done) }()
		defer func() { cancel(); <-done; _ = c.Run(ctx) }() // shuts down the queue
		require.NoError(t, known.WaitForSync(ctx))
		for range 2 {
			_, err := c.Reconcile(ctx, struct{}{})
			require.NoError(t, err)
			now = now.Add(5 * time.Minute)
		}
		_, stillThere := known.UnitFiles.Get(unitfile.Hash(ofNothing))
		require.False(t, stillThere)
	})
}
