package source

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/controller"
)

const (
	// fetchesAtOnce is how many repositories are looked at at once: servers that hang delay no others until there are so many of them.
	fetchesAtOnce = 16
	// fetchQueue is how many looks may wait to begin; later passes ask again for the rest.
	fetchQueue = 256
)

// Repositories reads Git repositories: see internal/git.
type Repositories interface {
	// Newest returns the commit that a source follows, by its hash, and the tag that its range of versions chose.
	Newest(ctx context.Context, spec *v1.SourceSpec) (Head, error)
	// Read returns a commit and its manifests' files.
	Read(ctx context.Context, spec *v1.SourceSpec, head Head) (v1.SourceCommit, []File, error)
	// Branches returns the branches that previews are for, sorted by name.
	Branches(ctx context.Context, spec *v1.SourceSpec) ([]Branch, error)
	// Reason is the reason of an error, for conditions.
	Reason(err error) string
}

// Head is the commit that a source follows.
type Head struct {
	Hash string
	// Tag is the one that a range of versions chose.
	Tag string
}

// fetches looks at repositories, each look in its own goroutine, which run waits for. A pass never waits for one.
type fetches struct {
	repositories Repositories
	log          logr.Logger
	now          func() time.Time
	changed      func(source string)
	asked        chan look

	mu       sync.Mutex
	known    map[string]Fetched
	recalled map[string]Recalled
}

// look is one look at a repository.
type look struct {
	source string
	ask    Ask
	spec   v1.SourceSpec
	// recall: the commit was applied before, and is read for its texts only.
	recall bool
}

func newFetches(o Options, changed func(string)) *fetches {
	return &fetches{repositories: o.Repositories, log: o.Log, now: o.Now, changed: changed, asked: make(chan look, fetchQueue),
		known: map[string]Fetched{}, recalled: map[string]Recalled{}}
}

// of returns what is known of a source's repository.
func (f *fetches) of(source string) Fetched {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known[source]
}

// forget drops what is known of a source that is gone.
func (f *fetches) forget(source string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.known, source)
	delete(f.recalled, source)
}

// applied returns the commit that a source applied last, if that is known.
func (f *fetches) applied(source string) Recalled {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.recalled[source]
}

// keep remembers the commit that a source has applied.
func (f *fetches) keep(source string, applied Recalled) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recalled[source] = applied
}

// begin asks for a look.
func (f *fetches) begin(l look) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case f.asked <- l:
		if l.recall {
			known := f.recalled[l.source]
			known.Running = true
			f.recalled[l.source] = known
			return
		}
		known := f.known[l.source]
		known.Running = true
		f.known[l.source] = known
	default: // the next pass asks again
	}
}

// run looks until ctx ends.
func (f *fetches) run(ctx context.Context) { controller.Each(ctx, f.asked, fetchesAtOnce, f.work) }

func (f *fetches) work(ctx context.Context, l look) {
	if l.recall {
		f.again(ctx, l)
		return
	}
	before := f.of(l.source)
	manifests, newest, err := f.look(ctx, l, before)
	if ctx.Err() != nil { // fleetd ends, or another machine leads
		return
	}
	found := Fetched{For: l.ask, At: f.now(), Manifests: manifests, Newest: newest}
	if err != nil {
		found.Reason, found.Message = f.repositories.Reason(err), err.Error()
		f.log.Info("The repository cannot be read", "source", l.source, "reason", found.Reason, "error", found.Message)
	}
	if found.Listing = f.list(ctx, l, found); ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	f.known[l.source] = found
	f.mu.Unlock()
	f.changed(l.source)
}

// list lists the branches of previews. A server that has just not answered is not asked again.
func (f *fetches) list(ctx context.Context, l look, found Fetched) (listing Listing) {
	if l.spec.Previews == nil {
		return Listing{}
	}
	if found.Newest == "" && found.Reason != ReferenceGone {
		return Listing{Reason: found.Reason, Message: found.Message}
	}
	branches, err := f.repositories.Branches(ctx, &l.spec)
	if err != nil {
		listing.Reason, listing.Message = f.repositories.Reason(err), err.Error()
		f.log.Info("The branches cannot be listed", "source", l.source, "reason", listing.Reason, "error", listing.Message)
		return listing
	}
	return Listing{Known: true, Branches: branches}
}

// atCommit has the commit read that was asked for, instead of the newest one.
func (l *look) atCommit() {
	if l.ask.Commit != "" {
		l.spec.Git = l.spec.Git.AtCommit(l.ask.Commit)
	}
}

// again reads a commit that was applied before.
func (f *fetches) again(ctx context.Context, l look) {
	l.atCommit()
	found := Recalled{Hash: l.ask.Commit, Revision: l.ask.Revision}
	commit, files, err := f.repositories.Read(ctx, &l.spec, Head{Hash: l.ask.Commit})
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		found.Manifests = manifestsOf(&l.spec, commit, files)
		err = found.Manifests.Fault
	}
	if err != nil {
		found.Manifests, found.Reason, found.Message = nil, f.repositories.Reason(err), v1.Summary(err)
		f.log.Info("The applied commit cannot be read", "source", l.source, "commit", l.ask.Commit, "reason", found.Reason, "error", found.Message)
	}
	found.At = f.now()
	f.mu.Lock()
	if f.recalled[l.source].Running { // else another one was applied meanwhile
		f.recalled[l.source] = found
	}
	f.mu.Unlock()
	f.changed(l.source)
}

// look reads the newest commit unless it is known.
func (f *fetches) look(ctx context.Context, l look, before Fetched) (m *Manifests, newest string, err error) {
	known := before.Manifests
	if before.For.Revision != l.ask.Revision {
		known = nil // read with another path, or by other rules
	}
	l.atCommit()
	head, err := f.repositories.Newest(ctx, &l.spec)
	if err != nil {
		return known, "", err
	}
	if known != nil && known.Commit.Hash == head.Hash && known.Commit.Tag == head.Tag {
		return known, head.Hash, nil
	}
	commit, files, err := f.repositories.Read(ctx, &l.spec, head)
	if err != nil {
		return known, head.Hash, err
	}
	f.log.Info("Read a commit", "source", l.source, "reason", v1.ReasonFetching, "commit", commit.Hash, "tag", commit.Tag, "author", commit.Author, "subject", commit.Subject, "files", len(files))
	return manifestsOf(&l.spec, commit, files), head.Hash, nil
}
