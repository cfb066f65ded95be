package forecast

import (
	"context"
	"fmt"
	"maps"
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// The largest cluster that is copied: some 50,000 units.
const (
	maxKeys  = 250_000
	maxBytes = 256 << 20
	pageSize = 5_000
)

// Copy is what is stored of a cluster at one revision, as far as decisions depend on it.
type Copy struct {
	Revision int64
	kvs      []store.KV
	bytes    int
}

// Read copies a cluster, for a forecast that supposes that. All is read at one revision, in pages.
func Read(ctx context.Context, s store.Interface, keys keyspace.Keys, whatIf wire.WhatIf) (*Copy, error) {
	c := &Copy{}
	prefixes := []string{
		keys.Apps().Prefix(), keys.Units().Prefix(), keys.UnitFiles().Prefix(), keys.Revisions().Prefix(), keys.Machines().Prefix(),
		keys.MachineConfigs().Prefix(), keys.Overrides().Prefix(), keys.Rollouts().Prefix(), keys.Placements().Prefix(), keys.Preparations().Prefix(),
		keys.Unplaced().Prefix(), keys.States().Prefix(), keys.Routes().Prefix(), keys.Routers().Prefix(),
		keys.Sources().Prefix(), keys.SourceStatus().Prefix(), keys.SourceWishes().Prefix(),
	}
	if whatIf.Source != nil { // a source leaves alone what was undone
		prefixes = append(prefixes, keys.Applies().Prefix())
	}
	for _, prefix := range prefixes {
		if err := c.read(ctx, s, prefix); err != nil {
			return nil, err
		}
	}
	for prefix := range c.announcePrefixes(keys) {
		if err := c.read(ctx, s, keyspace.Endpoints(prefix).Prefix()); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Copy) read(ctx context.Context, s store.Interface, prefix string) error {
	revision, err := store.ListAll(ctx, s, prefix, store.ListOptions{Limit: pageSize, Revision: c.Revision}, func(kv store.KV) error {
		c.kvs = append(c.kvs, kv)
		c.bytes += len(kv.Key) + len(kv.Value)
		if len(c.kvs) > maxKeys || c.bytes > maxBytes {
			return tooMuch("the cluster has more than %d keys, or %d MB of them", maxKeys, maxBytes>>20)
		}
		return nil
	})
	if c.Revision == 0 {
		c.Revision = revision
	}
	return err
}

// announcePrefixes are the prefixes that revisions name.
func (c *Copy) announcePrefixes(keys keyspace.Keys) map[string]bool {
	prefixes := map[string]bool{v1.DefaultAnnouncePrefix: true}
	for _, kv := range c.kvs {
		if _, ok := keys.Revisions().Name(kv.Key); !ok {
			continue
		}
		if r, err := keys.Revisions().Decode(kv.Value); err == nil && r.Spec.Announce != nil && r.Spec.Announce.Prefix != "" {
			prefixes[r.Spec.Announce.Prefix] = true
		}
	}
	return prefixes
}

// fewRouters leaves out routers that would answer exactly as another one does: in a forecast all that work do so at once, and 1,000
// rows would be written for each change of an endpoint.
func (c *Copy) fewRouters(keys keyspace.Keys) []store.KV {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(c.kvs), func(kv store.KV) bool {
		if _, ok := keys.Routers().Name(kv.Key); !ok {
			return false
		}
		r, err := keys.Routers().Decode(kv.Value)
		if err != nil || r.Failing != nil {
			return false
		}
		serves := fmt.Sprint(r.Served != nil, slices.Sorted(maps.Keys(r.Served)))
		twice := seen[serves]
		seen[serves] = true
		return twice
	})
}
