package collect

import (
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// observe gathers which keys refer to which.
func (c *Controller) observe() Input {
	in := Input{
		Now: c.Now(), Grace: c.Grace, Unused: c.unused,
		Apps: map[string]int64{}, Machines: names(c.Cluster.Machines.List()),
		Overrides: objects(c.Cluster.Overrides.List()), Rollouts: objects(c.Cluster.Rollouts.List()), Status: objects(c.Cluster.Status.List()),
		Applies: objects(c.Cluster.Applies.List()),
	}
	for _, o := range c.Cluster.Apps.List() {
		in.Apps[o.Name] = o.CreateRevision
	}
	in.Wishes, in.Sources = objects(c.Cluster.SourceWishes.List()), map[string]int64{}
	for _, o := range c.Cluster.Sources.List() {
		in.Sources[o.Name] = o.CreateRevision
	}
	for _, o := range c.Cluster.UnitFiles.List() {
		f := UnitFile{Object: object(o)}
		if _, unused := c.unused[Candidate{UnitFiles, f.Object}]; unused { // hashing is expensive, so only unused files are hashed
			f.Forged = unitfile.Hash(o.Value) != o.Name
		}
		in.UnitFiles = append(in.UnitFiles, f)
	}
	for _, o := range c.Cluster.Units.List() {
		in.Units = append(in.Units, StoredUnit{Name: o.Name, Owner: o.Value.Metadata.Owner, Hash: unitfile.HashOf(o.Value.Spec.Contents, o.Value.Spec.Hash),
			UID: o.CreateRevision})
	}
	for _, o := range c.Cluster.Placements.List() {
		if machine, unit, ok := keyspace.Split(o.Name); ok {
			in.Placements = append(in.Placements, Placement{Machine: machine, Unit: unit, Hash: o.Value.Hash})
		}
	}
	for _, o := range c.Cluster.Revisions.List() {
		if app, _, ok := keyspace.Split(o.Name); ok {
			files := []string{o.Value.UnitFile, o.Value.SidekickFile}
			if run := o.Value.Release; run != nil {
				files = append(files, run.File)
			}
			uid, exists := in.Apps[app]
			in.Revisions = append(in.Revisions, Revision{Object: object(o), App: app, Unreadable: !cluster.Readable(o), Files: files, Manifest: o.Value.ManifestRevision,
				Foreign: exists && cluster.Readable(o) && !o.Value.Of(uid), Number: o.Value.Number, Needs: []int64{o.Value.Fallback(), o.Value.Before}})
		}
	}
	for _, o := range c.Cluster.States.List() {
		if machine, unit, ok := keyspace.Split(o.Name); ok {
			in.States = append(in.States, State{Object: object(o), Machine: machine, Unit: unit})
		}
	}
	return in
}

func names[T any](list []*cache.Object[T]) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, o := range list {
		set[o.Name] = true
	}
	return set
}

func objects[T any](list []*cache.Object[T]) []Object {
	out := make([]Object, len(list))
	for i, o := range list {
		out[i] = object(o)
	}
	return out
}

func object[T any](o *cache.Object[T]) Object { return Object{Name: o.Name, Revision: o.ModRevision} }
