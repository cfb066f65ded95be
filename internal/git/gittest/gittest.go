// Package gittest makes Git repositories for tests, and serves them by git's own http-backend.
package gittest

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Repository is a bare repository and a work tree that pushes to it.
type Repository struct {
	t testing.TB
	// Bare is the directory of the bare repository, Tree that of the work tree.
	Bare, Tree string
}

// New makes a repository, whose branch is main.
func New(t testing.TB) *Repository {
	t.Helper()
	dir := t.TempDir()
	r := &Repository{t: t, Bare: filepath.Join(dir, "repository.git"), Tree: filepath.Join(dir, "tree")}
	require.NoError(t, os.Mkdir(r.Tree, 0o755))
	r.Git("init", "--quiet", "--bare", "--initial-branch=main", r.Bare)
	r.Git("init", "--quiet", "--initial-branch=main", ".")
	r.Git("remote", "add", "origin", r.Bare)
	return r
}

// Git runs git in the work tree, and returns what it writes, trimmed.
func (r *Repository) Git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.Tree
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.Tree, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com"}
	out, err := cmd.CombinedOutput()
	require.NoError(r.t, err, "git %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

// Write writes files into the work tree; an empty text removes one.
func (r *Repository) Write(files map[string]string) {
	r.t.Helper()
	for path, text := range files {
		path = filepath.Join(r.Tree, path)
		if text == "" {
			require.NoError(r.t, os.Remove(path))
			continue
		}
		require.NoError(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(r.t, os.WriteFile(path, []byte(text), 0o644))
	}
}

// Push commits files, as Write, and pushes them to main; it returns the hash.
func (r *Repository) Push(subject string, files map[string]string) string {
	r.t.Helper()
	r.Write(files)
	r.Git("add", "--all", "--force", ".")
	r.Git("commit", "--quiet", "--allow-empty", "-m", subject)
	r.Git("push", "--quiet", "--force", "origin", "HEAD:main")
	return r.Git("rev-parse", "HEAD")
}

// Import gives the bare repository what write writes for git fast-import(1), uncompressed, as that is fast.
func (r *Repository) Import(write func(*bufio.Writer)) {
	r.t.Helper()
	cmd := exec.Command("git", "-c", "core.compression=0", "-c", "core.bigFileThreshold=1m", "-c", "fastimport.unpackLimit=1", "fast-import", "--quiet")
	cmd.Dir = r.Bare
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	require.NoError(r.t, err)
	require.NoError(r.t, cmd.Start())
	out := bufio.NewWriterSize(in, 1<<20)
	write(out)
	_ = out.Flush() // git says why it reads no more
	_ = in.Close()
	require.NoError(r.t, cmd.Wait(), "git fast-import: %s", &said)
	r.Git("--git-dir="+r.Bare, "config", "core.bigFileThreshold", "1m") // it is not read into memory where it is served, either
	r.Git("--git-dir="+r.Bare, "config", "core.compression", "0")
}

// File is the repository's URL on this machine.
func (r *Repository) File() string { return "file://" + r.Bare }

// Handler serves the directory that the bare repository is in by git's own http-backend, to those who have the token of the moment, if
// it is not empty.
func (r *Repository) Handler(token func() string) http.Handler {
	backend := &cgi.Handler{Path: "/usr/lib/git-core/git-http-backend", Stderr: os.Stderr,
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(r.Bare), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if _, password, _ := q.BasicAuth(); token() != "" && password != token() {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, fmt.Sprintf("no: %q", password), http.StatusUnauthorized)
			return
		}
		if protocol := q.Header.Get("Git-Protocol"); protocol != "" {
			h := *backend
			h.Env = append(h.Env[:len(h.Env):len(h.Env)], "GIT_PROTOCOL="+protocol)
			h.ServeHTTP(w, q)
			return
		}
		backend.ServeHTTP(w, q)
	})
}

// Serve serves the repository over https with the token, if one is asked for; it returns its URL and the server, whose
// certificate is no public one.
func (r *Repository) Serve(token string) (string, *httptest.Server) {
	r.t.Helper()
	server := httptest.NewTLSServer(r.Handler(func() string { return token }))
	r.t.Cleanup(server.Close)
	return server.URL + "/" + filepath.Base(r.Bare), server
}
