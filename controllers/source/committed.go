package source

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Committed returns the manifests of the commit that a source has applied or, before the first one, of the newest. They are known from
// the last pass or look; else the repository is read. Nothing is stored.
func (c *Controller) Committed(ctx context.Context, name string) (*Manifests, error) {
	if c.Repositories == nil {
		return nil, errors.New("this fleetd reads no repositories")
	}
	if err := c.Cluster.WaitForSync(ctx); err != nil {
		return nil, err
	}
	o, ok := c.Cluster.Sources.Get(name)
	if !ok {
		return nil, fmt.Errorf("source/%s does not exist", name)
	}
	source, err := v1.ParseSource(name, o.Value)
	if err != nil {
		return nil, err
	}
	spec, wanted := source.Spec, ""
	if status, ok := c.Cluster.SourceStatus.Get(name); ok && status.Err == nil && status.Value.UID == o.CreateRevision && status.Value.Applied != nil {
		wanted = status.Value.Applied.Hash
	}
	if r := c.fetches.applied(name); r.Manifests != nil && r.Hash == wanted && r.Revision == o.ModRevision {
		return r.Manifests, nil
	}
	known := c.fetches.of(name)
	if m := known.Manifests; m != nil && known.For.Revision == o.ModRevision && (wanted == m.Commit.Hash || wanted == "" && m.Fault == nil) {
		return m, nil
	}
	return c.read(ctx, spec, wanted)
}

// read reads that very commit, or the newest one.
func (c *Controller) read(ctx context.Context, spec v1.SourceSpec, hash string) (*Manifests, error) {
	if hash != "" {
		spec.Git = spec.Git.AtCommit(hash)
	}
	newest, err := c.Repositories.Newest(ctx, &spec)
	if err != nil {
		return nil, err
	}
	commit, files, err := c.Repositories.Read(ctx, &spec, newest)
	if err != nil {
		return nil, err
	}
	m := manifestsOf(&spec, commit, files)
	return m, m.Fault
}
