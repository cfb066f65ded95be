package git

import (
	"bytes"
	"cmp"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// Checkout is a repository on this computer, as people and CI have it: a work tree or a bare repository. It is trusted as far as git
// trusts it (safe.directory).
type Checkout struct {
	// URL is the repository's, Hash the commit that was asked for.
	URL, Hash string
	// Below is the directory of the work tree that was named, relative to its root; empty: the root.
	Below string
	// Dirty: files below it differ from the last commit, or are not in it.
	Dirty bool
}

// checkoutTimeout bounds each command.
const checkoutTimeout = 30 * time.Second

// FindCheckout finds the repository that a directory is in, and the commit that a name means there: a branch, a tag, a hash or HEAD.
func FindCheckout(ctx context.Context, dir, name string) (*Checkout, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fail(RepositoryNotFound, "%s is no directory", dir)
	}
	out, err := runIn(ctx, dir, "rev-parse", "--git-common-dir", "--is-inside-work-tree", "--show-prefix")
	if err != nil {
		return nil, err
	}
	lines := strings.Split(out, "\n") // a bare repository has no prefix
	common := lines[0]
	if !filepath.IsAbs(common) {
		common = filepath.Join(dir, common)
	}
	if common, err = filepath.Abs(common); err != nil {
		return nil, err
	}
	c := &Checkout{URL: (&url.URL{Scheme: "file", Path: common}).String()}
	if c.Hash, err = runIn(ctx, dir, "rev-parse", "--verify", "--end-of-options", name+"^{commit}"); err != nil {
		return nil, fail(ReferenceGone, "%s: the repository has no %s that is a commit", dir, Printable(name, 80))
	}
	if len(lines) < 2 || lines[1] != "true" {
		return c, nil
	}
	if len(lines) > 2 {
		c.Below = path.Clean("/" + lines[2])[1:]
	}
	changes, err := runIn(ctx, dir, "--no-optional-locks", "status", "--porcelain", "--", ".")
	c.Dirty = changes != ""
	return c, err
}

// runIn runs git in a directory as its user would, and returns what it writes, without the last line break. Variables of git that a
// hook or another git has set do not count.
func runIn(ctx context.Context, dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkoutTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "GIT_") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fail(GitFailed, "%s: git %s: %s", dir, args[0], cmp.Or(lastLine(said.String()), err.Error()))
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}
