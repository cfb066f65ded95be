// Package storetest is the contract test of store.Interface, passed by etcd and by its model.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
)

// Backend is an empty store with an operator's actions.
type Backend struct {
	Store store.Interface
	// Compact compacts the history before a revision.
	Compact func(revision int64)
	// Fill exceeds the space quota.
	Fill func()
}

// Run tests every promise of store.Interface, each on a new backend.
func Run(t *testing.T, start func(t *testing.T) Backend) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"Get", (*suite).get},
		{"Conditions", (*suite).conditions},
		{"Checks", (*suite).checks},
		{"Identity", (*suite).identity},
		{"DeleteOfNothing", (*suite).deleteOfNothing},
		{"List", (*suite).list},
		{"ListChanged", (*suite).listChanged},
		{"ListAtOneRevision", (*suite).listAtOneRevision},
		{"ListCompacted", (*suite).listCompacted},
		{"Fence", (*suite).fence},
		{"Limits", (*suite).limits},
		{"Contexts", (*suite).contexts},
		{"ConcurrentWriters", (*suite).concurrentWriters},
		{"Watch", (*suite).watch},
		{"WatchFromThePast", (*suite).watchFromThePast},
		{"WatchEnds", (*suite).watchEnds},
		{"WatchCompacted", (*suite).watchCompacted},
		{"WatchProgress", (*suite).watchProgress},
		{"LeaseRevoked", (*suite).leaseRevoked},
		{"LeaseExpires", (*suite).leaseExpires},
		{"LeaseErrors", (*suite).leaseErrors},
		{"LeaseOfKeyChanges", (*suite).leaseOfKeyChanges},
		{"NoSpace", (*suite).noSpace},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			c.test(&suite{T: t, Backend: start(t), ctx: ctx})
		})
	}
}

type suite struct {
	*testing.T
	Backend
	ctx context.Context
}

func (s *suite) commit(ops ...store.Op) int64 {
	s.Helper()
	revision, err := s.Store.Commit(s.ctx, store.Txn{Ops: ops})
	require.NoError(s, err)
	return revision
}

func (s *suite) mustGet(key string) store.KV {
	s.Helper()
	kv, ok, _, err := s.Store.Get(s.ctx, key)
	require.NoError(s, err)
	require.True(s, ok, "no key %s", key)
	return kv
}

func (s *suite) requireAbsent(key string) {
	s.Helper()
	_, ok, _, err := s.Store.Get(s.ctx, key)
	require.NoError(s, err)
	require.False(s, ok, "key %s exists", key)
}

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }

func del(key string) store.Op { return store.Op{Key: key} }

func keysOf(kvs []store.KV) []string {
	keys := []string{}
	for _, kv := range kvs {
		keys = append(keys, kv.Key)
	}
	return keys
}

// watcher collects what a watch reports.
type watcher struct {
	*suite
	batches <-chan store.Batch
}

func (s *suite) watching(ctx context.Context, prefix string, after int64) watcher {
	return watcher{s, s.Store.Watch(ctx, prefix, after)}
}

// next returns the next batch that has events or an error.
func (w watcher) next() store.Batch {
	w.Helper()
	for {
		select {
		case b, ok := <-w.batches:
			require.True(w, ok, "the watch ended without an error")
			if len(b.Events) > 0 || b.Err != nil {
				return b
			}
		case <-w.ctx.Done():
			require.Fail(w, "no batch in time")
		}
	}
}

// events returns the next n events, and checks that revisions are complete and in order.
func (w watcher) events(n int) []store.Event {
	w.Helper()
	var events []store.Event
	var last int64
	for len(events) < n {
		b := w.next()
		require.NoError(w, b.Err)
		require.Greater(w, b.Events[0].ModRevision, last, "a revision was split")
		events = append(events, b.Events...)
		last = b.Events[len(b.Events)-1].ModRevision
		require.Equal(w, last, b.Revision)
	}
	require.Len(w, events, n)
	return events
}

func (w watcher) requireClosed() {
	w.Helper()
	for {
		select {
		case _, ok := <-w.batches:
			if !ok {
				return
			}
		case <-w.ctx.Done():
			require.Fail(w, "the watch did not end")
		}
	}
}
