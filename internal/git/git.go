// Package git reads commits of repositories that it does not trust, by the git program.
//
// Nothing is checked out. Files are read from the object database, so that hooks, filters, symbolic links and submodules of a
// repository have no effect. Every command has a time limit, every fetch a size limit, and no credential is in an argument, an
// error or a log.
package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/kustomize"
)

// Limits bound what a repository can cost. The zero value of a field means its default.
type Limits struct {
	// Fetch is the size of a repository's directory, in bytes, above which a fetch is ended. Default 256 MiB.
	Fetch int64
	// Entries is how many files the path may have; Files how many of them may be manifests. Default 50,000 and 5,000.
	Entries, Files int
	// File and Total are the size of one manifest and of all of them, in bytes. Default 4 MiB and 64 MiB.
	File, Total int64
	// List is how long the server may take to list its references, Time how long a fetch may take. Default 20 s and 2 min.
	List, Time time.Duration
	// Build bounds the build of a kustomization.
	Build kustomize.Limits
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		limit *int64
		value int64
	}{{&l.Fetch, 256 << 20}, {&l.File, 4 << 20}, {&l.Total, 64 << 20}} {
		if *d.limit == 0 {
			*d.limit = d.value
		}
	}
	if l.Entries == 0 {
		l.Entries = 50_000
	}
	if l.Files == 0 {
		l.Files = 5_000
	}
	if l.List == 0 {
		l.List = 20 * time.Second
	}
	if l.Time == 0 {
		l.Time = 2 * time.Minute
	}
	return l
}

// Options set up a Git.
type Options struct {
	// Dir is where fetched objects are kept between reads; it is created. Losing it costs a fetch.
	Dir string
	// Local allows file:// URLs: repositories on the machine itself.
	Local bool
	// User is the system user that git runs as; nil: the caller's.
	User *User
	// Program is the git program. Default "git".
	Program string
	// Kustomize is the program fleet-kustomize. Empty: kustomizations are not built.
	Kustomize string
	Limits    Limits
}

// User is a system user.
type User struct{ UID, GID uint32 }

// Git reads repositories. Reads of different repositories do not wait for each other.
type Git struct {
	Options
	mu    sync.Mutex
	locks map[string]*sync.Mutex // by directory
}

// New returns a Git. It runs nothing yet.
func New(o Options) *Git {
	o.Limits = o.Limits.withDefaults()
	if o.Program == "" {
		o.Program = "git"
	}
	return &Git{Options: o, locks: map[string]*sync.Mutex{}}
}

// Remote is a repository on a server.
type Remote struct {
	// URL is https://, ssh://, user@host:path or, where local ones are allowed, file://.
	URL string
	// SSHKeyFile and KnownHostsFile are for ssh. TokenFile, a token or user:password, and CAFile, the certificates of the server's
	// authority if it is not a public one, are for https.
	SSHKeyFile, KnownHostsFile, TokenFile, CAFile string
}

// Commit is a commit and the manifests below a path of it.
type Commit struct {
	Hash string
	// Author is the author's name, Subject the first line of the message; without control characters, shortened.
	Author, Subject string
	Time            time.Time
	// Signer is who signed it; empty if that was not asked for.
	Signer string
	Files  []File
}

// Told is the commit as it is stored and told, without its files.
func (c *Commit) Told() v1.SourceCommit {
	return v1.SourceCommit{Hash: c.Hash, Author: c.Author, Subject: c.Subject, Time: c.Time, Signer: c.Signer}
}

// File is a file of a commit.
type File struct {
	// Path is relative to the repository's root, Blob the hash of the content.
	Path, Blob string
	Data       []byte
	// Built is the object that kustomize has built, such as app/web; Path is the kustomization's. Empty: it is the very file.
	Built string
	// Fault is why a kustomization cannot be built. Then there is no Data.
	Fault string
}

// repository is the directory of one remote's objects. Its lock is held.
type repository struct {
	git    *Git
	dir    string
	remote Remote
}

// open locks a remote's directory, and creates it if there is none. The caller calls close.
func (g *Git) open(ctx context.Context, remote Remote) (*repository, error) {
	if err := v1.CheckGitURL(remote.URL, g.Local); err != nil {
		return nil, fail(InvalidURL, "%v", err)
	}
	// What was fetched with credentials is for those who have them.
	sum := sha256.Sum256([]byte(strings.Join([]string{remote.URL, remote.SSHKeyFile, remote.TokenFile}, "\x00")))
	dir := filepath.Join(g.Dir, hex.EncodeToString(sum[:16]))
	g.mu.Lock()
	lock := g.locks[dir]
	if lock == nil {
		lock = &sync.Mutex{}
		g.locks[dir] = lock
	}
	g.mu.Unlock()
	lock.Lock()
	r := &repository{git: g, dir: dir, remote: remote}
	if err := r.create(ctx); err != nil {
		lock.Unlock()
		return nil, err
	}
	return r, nil
}

func (r *repository) close() { r.git.locks[r.dir].Unlock() }

// create makes an empty bare repository, unless there is one that a fetch can add to.
func (r *repository) create(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(r.dir, "HEAD")); err == nil && size(r.dir) < r.git.Limits.Fetch/2 {
		return nil
	}
	if err := os.RemoveAll(r.dir); err != nil {
		return err
	}
	if err := r.git.mkdir(r.git.Dir); err != nil {
		return err
	}
	if err := r.git.mkdir(r.dir); err != nil {
		return err
	}
	_, err := r.run(ctx, r.git.Limits.List, nil, "init", "--quiet", "--bare", "--template=", ".")
	return err
}

// mkdir makes a directory that only the user has access to that git runs as.
func (g *Git) mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the directory of Git repositories: %w", err)
	}
	return g.own(dir)
}

func (g *Git) own(path string) error {
	if g.User == nil {
		return nil
	}
	return os.Chown(path, int(g.User.UID), int(g.User.GID))
}

// size is that of all files below a directory, in bytes; of those that vanish meanwhile, nothing.
func size(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}
