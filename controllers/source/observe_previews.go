package source

import (
	"context"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// previews adds the sources that have the names of a source's previews and, for one that is a preview, what its source says of it.
func (c *Controller) previews(ctx context.Context, in *Input) (err error) {
	spec := &in.Source.Spec
	if spec.Preview != nil {
		in.Parent, err = c.parent(ctx, in)
		return err
	}
	if spec.Previews == nil {
		return nil
	}
	in.Children = map[string]*Child{}
	if in.Status != nil {
		for _, preview := range in.Status.Previews {
			c.child(in, preview.Source)
		}
	}
	for _, branch := range in.Fetched.Listing.Branches {
		c.child(in, in.Name+"-"+v1.PreviewSuffix(branch.Name))
	}
	return nil
}

func (c *Controller) child(in *Input, name string) {
	o, ok := c.Cluster.Sources.Get(name)
	if !ok {
		return
	}
	child := &Child{Raw: o.Value, Revision: o.ModRevision}
	if source, err := v1.ParseSource(name, o.Value); err == nil {
		child.Of = source.Spec.Preview
	}
	in.Children[name] = child
}

// parent is what the source of a preview says of it, which was stored with the preview.
func (c *Controller) parent(ctx context.Context, in *Input) (*Parent, error) {
	if err := c.Cluster.WaitForRevision(ctx, in.Source.Revision); err != nil {
		return nil, err
	}
	of := in.Source.Spec.Preview
	source, ok := c.Cluster.Sources.Get(of.Source)
	if !ok || source.CreateRevision != of.UID {
		return &Parent{Ended: "source/" + of.Source + " was deleted"}, nil
	}
	status, ok := c.Cluster.SourceStatus.Get(of.Source)
	if !ok || status.Err != nil || status.Value.UID != of.UID {
		return &Parent{}, nil // it has not said yet
	}
	for _, preview := range status.Value.Previews {
		if preview.Source == in.Name && !preview.Ended {
			return &Parent{Commit: preview.Commit}, nil
		}
	}
	return &Parent{Ended: "its branch " + in.Source.Spec.Git.Branch + " is gone, or had no new commit for long enough"}, nil
}
