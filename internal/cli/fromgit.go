package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/git"
	"github.com/fleet-starter/fleet/internal/repository"
)

// fromGit are the flags that say which commit manifests are read from.
type fromGit struct{ dir, ref, path string }

func (g *fromGit) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&g.dir, "from-git", "", "read the manifests of a commit of the Git repository in this directory, a work tree or a bare one")
	f.StringVar(&g.ref, "ref", "", "with --from-git, the branch, tag or commit (default HEAD)")
	f.StringVar(&g.path, "path", "", "with --from-git, the directory of the repository to read (default: what --from-git names of a work tree)")
	_ = cmd.MarkFlagDirname("from-git")
}

// check refuses flags that do not belong together; others says that manifests are read from elsewhere.
func (g *fromGit) check(others bool) error {
	switch {
	case g.dir == "" && g.ref+g.path != "":
		return usage("--ref and --path belong to --from-git")
	case g.dir != "" && others:
		return usage("give either --from-git or files, not both")
	}
	return nil
}

// committed is a commit and its files.
type committed struct {
	v1.SourceCommit
	files []repository.File
	dirty bool
}

// readCommit reads a commit as the leader reads those of sources: from git's objects, and never the work tree. With a source, it is what
// that one reads.
func (g *fromGit) readCommit(ctx context.Context, source *v1.SourceSpec) (*committed, error) {
	ref := g.ref
	if ref == "" {
		ref = "HEAD"
	}
	checkout, err := git.FindCheckout(ctx, g.dir, ref)
	if err != nil {
		return nil, err
	}
	temporary, err := os.MkdirTemp("", "fleetctl-git-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temporary)
	q := git.Request{Hash: checkout.Hash, Path: path.Join(checkout.Below, g.path)}
	if source != nil {
		q = git.RequestOf(source, checkout.Hash)
	}
	c, err := git.New(git.Options{Dir: filepath.Join(temporary, "git"), Local: true, Kustomize: kustomizeProgram()}).Read(ctx, git.Remote{URL: checkout.URL}, q)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.dir, err)
	}
	read := &committed{SourceCommit: c.Told(), dirty: checkout.Dirty && g.ref == ""}
	for _, f := range c.Files {
		read.files = append(read.files, repository.File(f))
	}
	return read, nil
}

// kustomizeProgram is the fleet-kustomize beside fleetctl or in PATH; empty: there is none, and a kustomization is refused.
func kustomizeProgram() string {
	const name = "fleet-kustomize"
	if own, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(own), name)
		if _, err := os.Stat(beside); err == nil {
			return beside
		}
	}
	found, _ := exec.LookPath(name)
	return found
}

// readGit returns the manifests of a commit, all or none. Faults are reported one per line, and counted.
func (a *app) readGit(ctx context.Context, g fromGit) (all []manifest, faults int, err error) {
	c, err := g.readCommit(ctx, nil)
	if err != nil {
		return nil, 0, err
	}
	a.tellCommit(g, c)
	m := repository.Read(c.SourceCommit, c.files)
	if m.Fault != nil {
		return nil, a.tellCommitFaults(m.Fault), nil
	}
	for i := range m.Objects {
		o := &m.Objects[i]
		objects, err := v1.ParseManifests(o.Raw)
		if err != nil || len(objects) != 1 {
			return nil, 0, fmt.Errorf("%s: cannot be read again: %w", o.Place(), err)
		}
		read := manifest{file: o.Path, Object: objects[0], commit: &c.SourceCommit, place: o.Place()}
		read.Line, read.Raw = max(o.Line, 1), o.Raw // what was built is in no line
		all = append(all, read)
	}
	if len(all) == 0 {
		return nil, 0, fmt.Errorf("%s: commit %s has no App or Source", g.dir, c.Short())
	}
	return all, 0, nil
}

// commitReasons are those of faults of a commit itself: its source would not apply it. Others are of this computer.
var commitReasons = []string{git.PathGone, git.NotAFile, git.NotSigned, git.TooLarge}

// readFor reads what a source would read of a commit. Its faults are the leader's to tell, as is a source's manifest that cannot be read.
func (a *app) readFor(ctx context.Context, g fromGit, source *wire.SourceFiles) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	stored, err := client.Get[wire.Source](ctx, c, client.Path("sources", source.Name), nil)
	if err != nil || stored.Manifest != "" {
		return err
	}
	read, err := g.readCommit(ctx, &stored.Spec)
	var fault *git.Error
	switch {
	case errors.As(err, &fault) && slices.Contains(commitReasons, fault.Reason):
		return fmt.Errorf("source/%s would apply nothing of it: %s: %s", source.Name, fault.Reason, fault.Message)
	case err != nil:
		return err
	}
	a.tellCommit(g, read)
	source.Commit = &read.SourceCommit
	for _, f := range read.files {
		file := wire.SourceFile{Path: f.Path, Built: f.Built, Fault: f.Fault}
		file.SetContent(f.Data)
		source.Files = append(source.Files, file)
	}
	return nil
}

// tellCommit says which commit is read, and that the work tree is not.
func (a *app) tellCommit(g fromGit, c *committed) {
	a.note("fleetctl: commit %s by %s: %s", c.Short(), c.Author, c.Subject)
	if c.dirty {
		a.note("fleetctl: warning: %s has changes that are not in the commit, and are not read", g.dir)
	}
}

// tellCommitFaults writes the faults of a commit, which have their place, and returns their number.
func (a *app) tellCommitFaults(err error) int {
	var faults v1.ManifestErrors
	if !errors.As(err, &faults) {
		a.note("%v", err)
		return 1
	}
	for _, f := range faults {
		a.note("%v", f)
	}
	return faults.Count()
}

// read reads the manifests of files or, if that is asked for, of a commit.
func (a *app) read(ctx context.Context, files []string, recursive bool, g fromGit) (all []manifest, faults int, err error) {
	if g.dir != "" {
		return a.readGit(ctx, g)
	}
	return a.readManifests(files, recursive)
}

// commitOf says which commit manifests are of; nil: of none.
func commitOf(manifests []manifest) *wire.FromCommit {
	if len(manifests) == 0 || manifests[0].commit == nil {
		return nil
	}
	from := &wire.FromCommit{Commit: *manifests[0].commit}
	for _, m := range manifests {
		from.Files = append(from.Files, m.place)
	}
	return from
}
