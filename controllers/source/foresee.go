package source

import (
	"context"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// supposed stands for the commit that files are supposed to be in.
const supposed = "supposed"

// Foresee is what the controller would decide about a source, if its repository had these files now, and no others. ok is false if there
// is no such source.
func (c *Controller) Foresee(ctx context.Context, name string, files []File, allowPrune bool) (plan Decision, ok bool, err error) {
	o, ok := c.Cluster.Sources.Get(name)
	if !ok {
		return plan, false, nil
	}
	var spec v1.SourceSpec
	if source, err := v1.ParseSource(name, o.Value); err == nil {
		spec = source.Spec
	}
	in, err := c.observe(ctx, name, Fetched{For: Ask{Revision: o.ModRevision}, At: c.Now(), Manifests: manifestsOf(&spec, v1.SourceCommit{Hash: supposed}, files)})
	if err != nil {
		return plan, true, err
	}
	if in.Wish.AllowPrune = ""; allowPrune { // what was allowed was allowed to another commit
		in.Wish.AllowPrune = supposed
	}
	return Plan(in), true, nil
}
