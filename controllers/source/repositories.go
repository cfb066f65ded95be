package source

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

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
func (b byGit) Newest(ctx context.Context, spec *v1.SourceSpec) (Head, error) {
	if spec.Git.Commit != "" {
		return Head{Hash: spec.Git.Commit}, nil
	}
	if spec.Git.Semver != "" {
		return b.newestVersion(ctx, spec)
	}
	name := spec.Git.Reference()
	refs, err := b.git.List(ctx, remote(spec), name, name+"^{}") // an annotated tag has its commit beside it
	if err != nil {
		return Head{}, err
	}
	for _, r := range refs {
		if r.Name == name {
			return Head{Hash: r.Hash}, nil
		}
	}
	return Head{}, &git.Error{Reason: git.ReferenceGone, Message: fmt.Sprintf("the repository has no %s: nothing is deleted because of that", name)}
}

// newestVersion chooses the highest tag of the range.
func (b byGit) newestVersion(ctx context.Context, spec *v1.SourceSpec) (Head, error) {
	within, err := v1.ParseVersionRange(spec.Git.Semver)
	if err != nil {
		return Head{}, err
	}
	refs, err := b.git.List(ctx, remote(spec), tags+"*")
	if err != nil {
		return Head{}, err
	}
	hashes, names := map[string]string{}, make([]string, 0, len(refs))
	for _, r := range refs {
		if name, ok := strings.CutPrefix(r.Name, tags); ok {
			hashes[name], names = r.Hash, append(names, name)
		}
	}
	tag := within.Highest(names)
	if tag == "" {
		return Head{}, &git.Error{Reason: git.ReferenceGone, Message: fmt.Sprintf("none of the repository's %d tags is a version in the range %q: nothing is deleted because of that",
			len(names), spec.Git.Semver)}
	}
	return Head{Hash: hashes[tag], Tag: tag}, nil
}

// tags begins the full name of a tag.
const tags = "refs/tags/"

// maxBranches is how many branches of a pattern are looked at: the rest is not shown, and has no preview.
const maxBranches = 1000

// Branches implements Repositories.
func (b byGit) Branches(ctx context.Context, spec *v1.SourceSpec) (branches []Branch, err error) {
	const heads = "refs/heads/"
	refs, err := b.git.List(ctx, remote(spec), heads+spec.Previews.Branches)
	for _, r := range refs {
		name := strings.TrimPrefix(r.Name, heads) // the server's patterns match more, such as a/refs/heads/pr/7
		if matches, _ := path.Match(spec.Previews.Branches, name); matches && r.Name == heads+name && r.Name != spec.Git.Reference() {
			branches = append(branches, Branch{name, r.Hash})
		}
	}
	slices.SortFunc(branches, func(a, b Branch) int { return strings.Compare(a.Name, b.Name) })
	return branches[:min(len(branches), maxBranches)], err
}

// Read implements Repositories.
func (b byGit) Read(ctx context.Context, spec *v1.SourceSpec, head Head) (v1.SourceCommit, []File, error) {
	q := git.RequestOf(spec, head.Hash)
	q.Reference = spec.Git.Reference()
	if head.Tag != "" {
		q.Reference = tags + head.Tag
	}
	c, err := b.git.Read(ctx, remote(spec), q)
	if err != nil {
		return v1.SourceCommit{}, nil, err
	}
	files := make([]File, len(c.Files))
	for i, f := range c.Files {
		files[i] = File(f)
	}
	commit := c.Told()
	commit.Tag = head.Tag
	return commit, files, nil
}

// Reason implements Repositories.
func (b byGit) Reason(err error) string { return git.ReasonOf(err) }
