package daemon

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/source"
	"github.com/fleet-starter/fleet/internal/config"
	"github.com/fleet-starter/fleet/internal/git"
	"github.com/fleet-starter/fleet/internal/layout"
)

// repositories returns what reads Git. Without the user that git is to run as, it says so of each source.
func repositories(cfg *config.Config, l layout.Layout) source.Repositories {
	own, err := gitUser(cfg.GitUser)
	if err != nil {
		return noRepositories{err}
	}
	return source.ByGit(git.New(git.Options{Dir: l.Git(), Local: cfg.GitLocal, User: own, Kustomize: besideFleetd("fleet-kustomize")}))
}

// besideFleetd is the path of another of fleet's programs; empty: fleetd does not know where itself is.
func besideFleetd(name string) string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Join(filepath.Dir(self), name)
}

// gitUser is the user that git runs as; nil: fleetd's own, because it is not root and can start nothing as another one.
func gitUser(name string) (*git.User, error) {
	if os.Getuid() != 0 || name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("git_user: %w: systemd-sysusers creates fleet-git, see /usr/lib/sysusers.d/fleet.conf", err)
	}
	uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
	if errUID != nil || errGID != nil {
		return nil, fmt.Errorf("git_user: %s has no numeric IDs: %s, %s", name, u.Uid, u.Gid)
	}
	return &git.User{UID: uint32(uid), GID: uint32(gid)}, nil
}

// noRepositories reads nothing, and says why.
type noRepositories struct{ why error }

// Newest implements source.Repositories.
func (n noRepositories) Newest(context.Context, *v1.SourceSpec) (source.Head, error) {
	return source.Head{}, n.why
}

// Branches implements source.Repositories.
func (n noRepositories) Branches(context.Context, *v1.SourceSpec) ([]source.Branch, error) {
	return nil, n.why
}

// Read implements source.Repositories.
func (n noRepositories) Read(context.Context, *v1.SourceSpec, source.Head) (v1.SourceCommit, []source.File, error) {
	return v1.SourceCommit{}, nil, n.why
}

// Reason implements source.Repositories.
func (n noRepositories) Reason(err error) string { return git.ReasonOf(err) }
