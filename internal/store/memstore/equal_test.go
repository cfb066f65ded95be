package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestSameAsEtcd applies the same random operations to the model and to etcd: every answer, the content at every
// revision and the history of watches must be equal.
func TestSameAsEtcd(t *testing.T) {
	etcd := etcdtest.Start(t)
	client := etcd.Client()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		prefix := fmt.Sprintf("/run%d/", run)
		_, _, base, err := client.Get(ctx, prefix)
		require.NoError(t, err)
		model := memstore.New(memstore.Options{})
		p := pair{t: t, ctx: ctx, prefix: prefix, etcd: client, model: model, base: base - model.Revision()}
		for range rapid.IntRange(5, 40).Draw(t, "steps") {
			p.step()
		}
		p.compareHistory(base)
	})
}

// pair is etcd and its model. etcd's revisions are ahead by base; leases are paired by index.
type pair struct {
	t      *rapid.T
	ctx    context.Context
	prefix string
	etcd   store.Interface
	model  *memstore.Store
	base   int64
	leases [][2]store.LeaseID // {etcd's, the model's}
}

func (p *pair) step() {
	switch rapid.SampledFrom([]string{"commit", "commit", "commit", "grant", "revoke"}).Draw(p.t, "step") {
	case "commit":
		ofEtcd, ofModel := p.txn()
		r1, err1 := p.etcd.Commit(p.ctx, ofEtcd)
		r2, err2 := p.model.Commit(p.ctx, ofModel)
		require.Equal(p.t, kind(err1), kind(err2), "etcd: %v, model: %v", err1, err2)
		if err1 == nil {
			require.Equal(p.t, r1-p.base, r2)
		}
	case "grant":
		if len(p.leases) == 2 {
			return
		}
		l1, err1 := p.etcd.Grant(p.ctx, time.Minute)
		l2, err2 := p.model.Grant(p.ctx, time.Minute)
		require.NoError(p.t, errors.Join(err1, err2))
		p.leases = append(p.leases, [2]store.LeaseID{l1, l2})
	case "revoke":
		lease := p.lease()
		err1, err2 := p.etcd.Revoke(p.ctx, lease[0]), p.model.Revoke(p.ctx, lease[1])
		if lease[0] != 0 {
			require.Equal(p.t, kind(err1), kind(err2), "etcd: %v, model: %v", err1, err2)
		}
	}
}

func (p *pair) lease() [2]store.LeaseID {
	if len(p.leases) == 0 {
		return [2]store.LeaseID{}
	}
	return rapid.SampledFrom(p.leases).Draw(p.t, "lease")
}

// txn generates one transaction, for etcd and for the model.
func (p *pair) txn() (ofEtcd, ofModel store.Txn) {
	key := rapid.SampledFrom([]string{"a", "b", "c", "c/d", "e", "f"})
	revision := func() int64 { return rapid.Int64Range(1, p.model.Revision()).Draw(p.t, "revision") }
	if rapid.IntRange(0, 4).Draw(p.t, "fenced") == 0 {
		ofModel.Fence = store.Fence{Key: p.prefix + key.Draw(p.t, "leader"), CreateRevision: revision()}
		ofEtcd.Fence = store.Fence{Key: ofModel.Fence.Key, CreateRevision: ofModel.Fence.CreateRevision + p.base}
	}
	for range rapid.IntRange(1, 3).Draw(p.t, "ops") {
		op := store.Op{Key: p.prefix + key.Draw(p.t, "key")}
		op2 := op
		if rapid.Bool().Draw(p.t, "put") {
			lease := p.lease()
			op.Value = []byte(rapid.SampledFrom([]string{"", "x", "y"}).Draw(p.t, "value"))
			op2.Value, op.Lease, op2.Lease = op.Value, lease[0], lease[1]
			if rapid.Bool().Draw(p.t, "no lease") {
				op.Lease, op2.Lease = 0, 0
			}
		}
		switch rapid.IntRange(0, 9).Draw(p.t, "if") {
		case 0:
			op.If, op2.If = store.Absent(), store.Absent()
		case 1, 2:
			r := revision()
			op.If, op2.If = store.Unchanged(r+p.base), store.Unchanged(r)
		}
		ofEtcd.Ops, ofModel.Ops = append(ofEtcd.Ops, op), append(ofModel.Ops, op2)
	}
	return ofEtcd, ofModel
}

// compareHistory compares the content at every revision and the events of a watch from the start.
func (p *pair) compareHistory(start int64) {
	last := p.model.Revision()
	for r := start - p.base; r <= last; r++ {
		p1, err1 := p.etcd.List(p.ctx, p.prefix, store.ListOptions{Revision: r + p.base})
		p2, err2 := p.model.List(p.ctx, p.prefix, store.ListOptions{Revision: r})
		require.NoError(p.t, errors.Join(err1, err2))
		require.Equal(p.t, p.normal(p1.KVs), p2.KVs, "at revision %d", r)
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	w1, w2 := p.etcd.Watch(ctx, p.prefix, start), p.model.Watch(ctx, p.prefix, start-p.base)
	var e1, e2 []store.Event
	for seen := start - p.base; seen < last; {
		b := <-w2
		require.NoError(p.t, b.Err)
		e2, seen = append(e2, b.Events...), b.Revision
	}
	for len(e1) < len(e2) {
		b := <-w1
		require.NoError(p.t, b.Err)
		e1 = append(e1, b.Events...)
	}
	require.Len(p.t, e1, len(e2))
	for i := range e1 {
		require.Equal(p.t, e1[i].Deleted, e2[i].Deleted)
		require.Equal(p.t, p.normal([]store.KV{e1[i].KV})[0], e2[i].KV)
	}
}

// normal converts etcd's revisions and leases to the model's.
func (p *pair) normal(kvs []store.KV) []store.KV {
	var out []store.KV
	for _, kv := range kvs {
		kv.ModRevision -= p.base
		if kv.CreateRevision != 0 {
			kv.CreateRevision -= p.base
		}
		for _, l := range p.leases {
			if kv.Lease == l[0] {
				kv.Lease = l[1]
			}
		}
		out = append(out, kv)
	}
	return out
}

func kind(err error) error {
	for _, k := range []error{store.ErrConflict, store.ErrFenced, store.ErrLeaseNotFound, store.ErrInvalid} {
		if errors.Is(err, k) {
			return k
		}
	}
	return err
}
