package api

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/git"
	"github.com/fleet-starter/fleet/internal/repository"
	"github.com/fleet-starter/fleet/internal/store"
)

var commitHash = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// Limits of what a client says of a commit, in bytes: those of internal/git, and the longest path.
const (
	maxAuthor  = 100
	maxSubject = 200
	maxFile    = 4096
)

// ofCommit notes in the record that documents are of a commit, and in each its file.
func ofCommit(docs []*document, from *wire.FromCommit, record *v1.Apply) error {
	if from == nil {
		return nil
	}
	c := from.Commit
	if !commitHash.MatchString(c.Hash) || len(from.Files) != len(docs) {
		return wire.Fail(wire.ReasonBadRequest, "git: write the commit's full hash, and for each manifest its file")
	}
	record.Commit = &v1.SourceCommit{Hash: c.Hash, Author: git.Printable(c.Author, maxAuthor), Subject: git.Printable(c.Subject, maxSubject), Time: c.Time}
	if record.Note == "" {
		record.Note = fmt.Sprintf("commit %s: %s", c.Short(), record.Commit.Subject)
	}
	for i, d := range docs {
		d.file = git.Printable(from.Files[i], maxFile)
	}
	return nil
}

// ownership says whose objects are.
type ownership struct{ *applier }

// check looks once through the inventories of sources: people are warned of what belongs to one, and a commit is refused for what another
// source's would be.
func (a ownership) check(ctx context.Context, docs []*document, record v1.Apply, o applyOptions) error {
	switch {
	case record.Undo: // a source leaves it
		return nil
	case record.Commit != nil:
		return a.ruled(ctx, docs)
	}
	if err := a.apps.reader.warnManaged(ctx, docs); err != nil || !o.lasting {
		return err
	}
	return lasting(docs)
}

// placeOf splits prod/web.yaml:1; what was built is in no line.
func placeOf(file string) (path string, line int) {
	if i := strings.LastIndexByte(file, ':'); i >= 0 {
		if line, err := strconv.Atoi(file[i+1:]); err == nil {
			return file[:i], line
		}
	}
	return file, 0
}

// ruled refuses documents by the rules of sources: an object that belongs to a source, a unit's name or a host that is another's.
func (a ownership) ruled(ctx context.Context, docs []*document) error {
	objects := make([]repository.Object, len(docs))
	for i, d := range docs {
		objects[i] = repository.Object{Key: repository.Key{Kind: d.kind, Name: d.name}, App: d.app}
		objects[i].Path, objects[i].Line = placeOf(d.file)
	}
	faults, bad := make([][]wire.Cause, len(docs)), false
	refuse := func(i int, field, format string, args ...any) {
		faults[i], bad = append(faults[i], wire.Cause{Field: field, Line: 1, Message: fmt.Sprintf(format, args...)}), true
	}
	managers, err := a.apps.reader.managers(ctx)
	if err != nil {
		return err
	}
	for i, d := range docs {
		if d.kind == v1.KindUnit {
			refuse(i, "", "a commit has kinds App and Source: write an App, or submit the unit with fleetctl")
		}
		if source := managers[objects[i].Key]; source != "" {
			refuse(i, "", "it %s", managedBy(source, d))
		}
		taken, err := a.othersUnits(ctx, d)
		if err != nil {
			return err
		}
		if why := objects[i].TakenName(taken); why != "" {
			refuse(i, "metadata.name", "%s", why)
		}
	}
	owners, err := a.hostOwners(ctx)
	if err != nil {
		return err
	}
	for _, f := range repository.TakenHosts(objects, owners, func(string) bool { return false }) {
		for i := range objects {
			if f.Object == &objects[i] {
				refuse(i, f.Field, "%s", f.Message)
			}
		}
	}
	if !bad {
		return nil
	}
	items := make([]*wire.Status, len(docs))
	for i, list := range faults {
		if len(list) > 0 {
			items[i] = wire.Invalid(docs[i].what(), list)
		}
	}
	return refused(items)
}

// othersUnits are the units that an app could want and does not own, with their owners, as cluster.OthersUnits.
func (a ownership) othersUnits(ctx context.Context, d *document) (map[string]string, error) {
	taken := map[string]string{}
	if d.app == nil {
		return taken, nil
	}
	row := a.keys.Units()
	err := a.apps.reader.apps.scan(ctx, row.Key(d.name), store.ListOptions{}, func(kv store.KV) bool {
		if name, ok := row.Name(kv.Key); ok {
			unit, _ := row.Decode(kv.Value) // an unreadable one is people's
			if unit.Metadata.Owner != d.name {
				taken[name] = unit.Metadata.Owner
			}
		}
		return true
	})
	return taken, err
}

// hostOwners are the apps that hosts are routed to.
func (a ownership) hostOwners(ctx context.Context) (map[string]string, error) {
	owners, row := map[string]string{}, a.keys.Routes()
	err := a.apps.reader.apps.scan(ctx, row.Prefix(), store.ListOptions{}, func(kv store.KV) bool {
		name, ok := row.Name(kv.Key)
		route, err := row.Decode(kv.Value)
		if ok && err == nil {
			for host := range route.Hosts {
				if host != "" {
					owners[host] = name
				}
			}
		}
		return true
	})
	return owners, err
}
