package source

import (
	"context"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Supposed stands for the commit of files that are in none.
var Supposed = v1.SourceCommit{Hash: "supposed"}

// Foresee is what the controller would decide about a source, if this were the newest commit of its repository, with these files below
// its path. ok is false if there is no such source.
func (c *Controller) Foresee(ctx context.Context, name string, commit v1.SourceCommit, files []File, allowPrune bool) (plan Decision, ok bool, err error) {
	o, ok := c.Cluster.Sources.Get(name)
	if !ok {
		return plan, false, nil
	}
	var spec v1.SourceSpec
	if source, err := v1.ParseSource(name, o.Value); err == nil {
		spec = source.Spec
	}
	in, err := c.observe(ctx, name, Fetched{For: Ask{Revision: o.ModRevision}, At: c.Now(), Manifests: manifestsOf(&spec, commit, files)})
	if err != nil {
		return plan, true, err
	}
	if allowPrune { // else what people have allowed counts, if it was this commit
		in.Wish.AllowPrune = commit.Hash
	}
	return Plan(in), true, nil
}
