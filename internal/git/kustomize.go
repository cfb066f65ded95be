package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strconv"
	"syscall"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/kustomize"
)

// kustomized reports whether a path of a commit has a kustomization of its own.
func (r *repository) kustomized(ctx context.Context, hash, below string) (bool, error) {
	args := []string{"ls-tree", "-z", "--name-only", "--full-tree", hash, "--"}
	for _, name := range kustomize.FileNames {
		args = append(args, ":(literal)"+path.Join(below, name))
	}
	out, err := r.run(ctx, r.git.Limits.List, nil, args...)
	return len(out) > 0, err
}

// build builds the kustomization of a path. A base may be anywhere in the commit, so that all YAML files of it are given to the program.
func (r *repository) build(ctx context.Context, hash, below string) ([]File, error) {
	if r.git.Kustomize == "" {
		return nil, fail(NotBuilt, "commit %s has a kustomization, and fleet-kustomize is not installed", v1.ShortHash(hash))
	}
	tree, err := r.tree(ctx, hash)
	if err != nil {
		return nil, err
	}
	program := kustomize.Program{Path: r.git.Kustomize, Limits: r.git.Limits.Build}
	if u := r.git.User; u != nil {
		program.User = &syscall.Credential{Uid: u.UID, Gid: u.GID}
	}
	result, err := program.Build(ctx, tree, below)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fail(NotBuilt, "commit %s has a kustomization, and it cannot be built: %v", v1.ShortHash(hash), err)
	}
	if result.File == "" {
		result.File = path.Join(below, kustomize.FileNames[0])
	}
	if result.Fault != "" {
		return []File{{Path: result.File, Fault: Printable(result.Fault, maxFault)}}, nil
	}
	files := make([]File, len(result.Objects))
	for i, o := range result.Objects {
		sum := sha256.Sum256([]byte(o.Text))
		files[i] = File{Path: result.File, Blob: hex.EncodeToString(sum[:]), Data: []byte(o.Text), Built: Printable(o.Name, maxName)}
	}
	return files, nil
}

// How much of the program's words is told.
const (
	maxFault = 1000
	maxName  = 300
)

// tree is what a build may read: all YAML files of the commit; symbolic links by their names alone.
func (r *repository) tree(ctx context.Context, hash string) ([]kustomize.File, error) {
	var found []entry
	var tree []kustomize.File
	total := int64(0)
	err := r.list(ctx, hash, "", func(line string) error {
		fields, name, err := parseLine(line)
		if err != nil {
			return err
		}
		switch {
		case fields[0] == "120000":
			tree = append(tree, kustomize.File{Path: name, Refused: kustomize.IsLink})
		case fields[1] != "blob" || !isYAML(name) && !kustomize.IsFile(name):
		default:
			size, err := strconv.ParseInt(fields[3], 10, 64)
			if err != nil {
				return fail(GitFailed, "git ls-tree says %q", Printable(line, 80))
			}
			if size > r.git.Limits.File { // the build says so if it needs it
				tree = append(tree, kustomize.File{Path: name, Refused: fmt.Sprintf("has %d bytes, the limit of a file is %d", size, r.git.Limits.File)})
				return nil
			}
			found, total = append(found, entry{path: name, blob: fields[2], size: size}), total+size
		}
		if len(found)+len(tree) > r.git.Limits.Entries || total > r.git.Limits.Total {
			return fail(TooLarge, "the repository has more than %d YAML files or %d MiB of them, which a kustomization may need: use a repository that has only manifests",
				r.git.Limits.Entries, r.git.Limits.Total>>20)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	files, err := r.contents(ctx, found)
	for _, f := range files {
		tree = append(tree, kustomize.File{Path: f.Path, Data: f.Data})
	}
	return tree, err
}
