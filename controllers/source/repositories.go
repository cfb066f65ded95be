package source

import (
	"context"
	"fmt"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/git"
)

// ByGit reads repositories by the git program.
func ByGit(g *git.Git) Repositories { return byGit{g} }

type byGit struct{ git *git.Git }

func remote(spec *v1.SourceSpec) git.Remote {
	r := git.Remote{URL: spec.Git.URL}
	if a := spec.Auth; a != nil {
		r.SSHKeyFile, r.KnownHostsFile, r.TokenFile, r.CAFile = a.SSHKeyFile, a.KnownHostsFile, a.TokenFile, a.CAFile
	}
	return r
}

// Newest implements Repositories.
func (b byGit) Newest(ctx context.Context, spec *v1.SourceSpec) (string, error) {
	if spec.Git.Commit != "" {
		return spec.Git.Commit, nil
	}
	name := spec.Git.Reference()
	refs, err := b.git.List(ctx, remote(spec), name)
	if err != nil {
		return "", err
	}
	for _, r := range refs {
		if r.Name == name {
			return r.Hash, nil
		}
	}
	return "", &git.Error{Reason: git.ReferenceGone, Message: fmt.Sprintf("the repository has no %s: nothing is deleted because of that", name)}
}

// Read implements Repositories.
func (b byGit) Read(ctx context.Context, spec *v1.SourceSpec, hash string) (v1.SourceCommit, []File, error) {
	q := git.Request{Reference: spec.Git.Reference(), Hash: hash, Path: spec.Git.Path}
	if spec.Verify != nil {
		q.Signers = spec.Verify.SSHSigners
	}
	c, err := b.git.Read(ctx, remote(spec), q)
	if err != nil {
		return v1.SourceCommit{}, nil, err
	}
	files := make([]File, len(c.Files))
	for i, f := range c.Files {
		files[i] = File(f)
	}
	return v1.SourceCommit{Hash: c.Hash, Author: c.Author, Subject: c.Subject, Time: c.Time, Signer: c.Signer}, files, nil
}

// Reason implements Repositories.
func (b byGit) Reason(err error) string { return git.ReasonOf(err) }
