package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Request is what to read.
type Request struct {
	// Reference is its full name, such as refs/heads/main; empty: only Hash is known, and the server has to give it by that.
	Reference string
	// Hash is the commit. If the reference has moved on meanwhile, its new one is read.
	Hash string
	// Path is the directory to read, relative to the root; empty or "." for all.
	Path string
	// Signers are lines of an allowed signers file, see ssh-keygen(1); none: signatures are not checked.
	Signers []string
}

// RequestOf is what a source reads of a commit, and how that has to be signed. Without a Reference it is that very commit.
func RequestOf(spec *v1.SourceSpec, hash string) Request {
	q := Request{Hash: hash, Path: spec.Git.Path}
	if spec.Verify != nil {
		q.Signers = spec.Verify.SSHSigners
	}
	return q
}

// local is the reference that fetched commits get here.
const local = "refs/fleet/fetched"

// Read fetches a commit without its history, and returns the manifests below the path: files that end in .yaml, .yml or .json, in
// the order of their paths. Files and directories that begin with a dot are left out.
func (g *Git) Read(ctx context.Context, remote Remote, q Request) (*Commit, error) {
	r, err := g.open(ctx, remote)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.fetch(ctx, q); err != nil {
		return nil, err
	}
	commit, err := r.describe(ctx)
	if err != nil {
		return nil, err
	}
	if len(q.Signers) > 0 {
		if commit.Signer, err = r.verify(ctx, commit.Hash, q.Signers); err != nil {
			return nil, err
		}
	}
	commit.Files, err = r.manifests(ctx, commit.Hash, clean(q.Path))
	return commit, err
}

// manifests are those of a path of a commit: its files, or what its kustomization builds.
func (r *repository) manifests(ctx context.Context, hash, below string) ([]File, error) {
	built, err := r.kustomized(ctx, hash, below)
	if err != nil {
		return nil, err
	}
	if built {
		return r.build(ctx, hash, below)
	}
	entries, err := r.entries(ctx, hash, below)
	if err != nil {
		return nil, err
	}
	return r.contents(ctx, entries)
}

// fetch gets the commit and all that it needs.
func (r *repository) fetch(ctx context.Context, q Request) error {
	if q.Hash != "" && !isHash.MatchString(q.Hash) {
		return fail(ReferenceGone, "%q is not the full hash of a commit", Printable(q.Hash, 80))
	}
	if q.Hash != "" && r.has(ctx, q.Hash) {
		_, err := r.run(ctx, r.git.Limits.List, nil, "update-ref", local, q.Hash)
		return err
	}
	c, err := r.connect()
	defer c.close()
	if err != nil {
		return err
	}
	if q.Hash != "" {
		err = r.fetchOne(ctx, c, q.Hash)
		if err == nil || q.Reference == "" || ReasonOf(err) != ReferenceGone {
			return err
		}
	}
	return r.fetchOne(ctx, c, q.Reference) // the server gives no commit by its hash, or the reference has moved and the commit is gone
}

func (r *repository) fetchOne(ctx context.Context, c *connection, what string) error {
	return r.stream(ctx, r.git.Limits.Time, c, nil, discard, "fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules",
		"--force", "--end-of-options", r.remote.URL, "+"+what+":"+local)
}

func discard(out io.Reader) error {
	_, err := io.Copy(io.Discard, out)
	return err
}

// has reports whether the commit was fetched before, with all that it needs.
func (r *repository) has(ctx context.Context, hash string) bool {
	marked, _ := os.ReadFile(filepath.Join(r.dir, "shallow"))
	if !strings.Contains(string(marked), hash) {
		return false
	}
	_, err := r.run(ctx, r.git.Limits.List, nil, "cat-file", "-e", hash+"^{tree}")
	return err == nil
}

// describe returns the fetched commit without its files.
func (r *repository) describe(ctx context.Context) (*Commit, error) {
	out, err := r.run(ctx, r.git.Limits.List, nil, "log", "-1", "--no-show-signature", "--encoding=UTF-8", "--format=%H%x00%an%x00%ct%x00%s", local)
	if err != nil {
		return nil, err
	}
	parts := strings.SplitN(string(out), "\x00", 4)
	if len(parts) != 4 {
		return nil, fail(GitFailed, "git log says %q", Printable(string(out), 80))
	}
	seconds, _ := strconv.ParseInt(parts[2], 10, 64)
	return &Commit{Hash: parts[0], Author: Printable(parts[1], 100), Time: time.Unix(seconds, 0).UTC(), Subject: Printable(parts[3], 200)}, nil
}

// clean returns a path as git lists it: without ./ and a slash at the end; "" for the root.
func clean(p string) string {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	return p
}

// entry is a file of a tree.
type entry struct {
	path, blob string
	size       int64
}

// entries lists the manifests below a path of a commit.
func (r *repository) entries(ctx context.Context, hash, below string) (found []entry, err error) {
	n, total := 0, int64(0)
	err = r.list(ctx, hash, below, func(line string) error {
		if n++; n > r.git.Limits.Entries {
			return fail(TooLarge, "%s has more than %d files: set path to the directory of the manifests", place(below), r.git.Limits.Entries)
		}
		e, err := r.readEntry(line, below)
		if err != nil {
			return err
		}
		if e != nil {
			found, total = append(found, *e), total+e.size
		}
		if len(found) > r.git.Limits.Files || total > r.git.Limits.Total {
			return fail(TooLarge, "%s has more than %d manifests or %d MiB of them: use several sources", place(below), r.git.Limits.Files, r.git.Limits.Total>>20)
		}
		return nil
	})
	if err == nil && n == 0 {
		if below == "" {
			return nil, fail(PathGone, "commit %s has no files", v1.ShortHash(hash))
		}
		return nil, fail(PathGone, "%s is not in commit %s, or is empty", place(below), v1.ShortHash(hash))
	}
	return found, err
}

// list calls each with the lines of git ls-tree --long, one for each file below a path of a commit.
func (r *repository) list(ctx context.Context, hash, below string, each func(line string) error) error {
	args := []string{"ls-tree", "-r", "-z", "--long", "--full-tree", hash}
	if below != "" {
		args = append(args, "--", ":(literal)"+below+"/")
	}
	return r.stream(ctx, r.git.Limits.List, &connection{}, nil, func(out io.Reader) error {
		lines := bufio.NewReaderSize(out, 64<<10)
		for {
			line, err := readUntil(lines, 0)
			if err == io.EOF {
				return nil
			}
			if err == nil {
				err = each(line)
			}
			if err != nil {
				return err
			}
		}
	}, args...)
}

func place(below string) string {
	if below == "" {
		return "the repository"
	}
	return Printable(below, 120)
}

// longestPath is longer than any path that a file system accepts.
const longestPath = 8 << 10

// readUntil is bufio's ReadBytes with a limit.
func readUntil(in *bufio.Reader, end byte) (string, error) {
	var line []byte
	for {
		part, err := in.ReadSlice(end)
		line = append(line, part...)
		switch {
		case len(line) > longestPath:
			return "", fail(TooLarge, "a path of the repository is longer than %d bytes", longestPath)
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			return "", err
		default:
			return string(line[:len(line)-1]), nil
		}
	}
}

// readEntry reads one line of git ls-tree --long; nil if it is no manifest.
func (r *repository) readEntry(line, below string) (*entry, error) {
	fields, name, err := parseLine(line)
	if err != nil {
		return nil, err
	}
	inside := strings.TrimPrefix(strings.TrimPrefix(name, below), "/")
	if fields[1] != "blob" || !IsManifest(inside) {
		return nil, nil // a submodule, or not for us
	}
	if fields[0] == "120000" {
		return nil, fail(NotAFile, "%s is a symbolic link: write the manifest itself", Printable(name, 120))
	}
	size, err := strconv.ParseInt(fields[3], 10, 64)
	if err != nil || size > r.git.Limits.File {
		return nil, fail(TooLarge, "%s has %s bytes, the limit of a manifest's file is %d", Printable(name, 120), fields[3], r.git.Limits.File)
	}
	return &entry{path: name, blob: fields[2], size: size}, nil
}

// parseLine returns mode, type, hash and size of a file, and its path.
func parseLine(line string) (fields []string, name string, err error) {
	meta, name, ok := strings.Cut(line, "\t")
	if fields = strings.Fields(meta); !ok || len(fields) != 4 {
		return nil, "", fail(GitFailed, "git ls-tree says %q", Printable(line, 80))
	}
	return fields, name, nil
}

// IsManifest reports whether a file of that path, relative to the directory of a source, is read.
func IsManifest(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if strings.HasPrefix(part, ".") {
			return false
		}
	}
	return isYAML(p)
}

func isYAML(p string) bool {
	switch path.Ext(p) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// contents reads the files.
func (r *repository) contents(ctx context.Context, entries []entry) ([]File, error) {
	var names strings.Builder
	for _, e := range entries {
		names.WriteString(e.blob + "\n")
	}
	files := make([]File, len(entries))
	err := r.stream(ctx, r.git.Limits.List, &connection{}, strings.NewReader(names.String()), func(out io.Reader) error {
		in := bufio.NewReader(out)
		for i, e := range entries {
			header, err := readUntil(in, '\n')
			if err != nil {
				return err
			}
			if header != fmt.Sprintf("%s blob %d", e.blob, e.size) {
				return fail(GitFailed, "%s cannot be read: %s", Printable(e.path, 120), Printable(header, 80))
			}
			data := make([]byte, e.size+1) // and a line break
			if _, err := io.ReadFull(in, data); err != nil {
				return err
			}
			files[i] = File{Path: e.path, Blob: e.blob, Data: data[:e.size]}
		}
		return nil
	}, "cat-file", "--batch")
	return files, err
}
