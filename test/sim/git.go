package sim

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/source"
	"github.com/fleet-starter/fleet/internal/git"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// withGit: one in so many plans has a source.
const withGit = 3

// The sources: one in each plan that has any, and another one in some of them, see git_more.go.
const (
	gitSource  = "git"
	moreSource = "more"
)

var (
	gitSources = []string{gitSource, moreSource}
	// gitApps are the apps that commits of the first source may have; people do not create them, but edit and delete them.
	gitApps = []string{"ga", "gb", "gc", "gd", "ge", "gf"}
	// moreApps are those that only the other one has.
	moreApps    = []string{"ha", "hb", "hc"}
	allGitApps  = slices.Concat(gitApps, moreApps)
	gitURL      = func(source string) string { return "https://git.example.com/" + source + ".git" }
	gitManifest = func(app string, version uint64) string { return manifest(app, version%3, version/3%5, 0) } // one of many versions
)

// sourceManifest is the manifest of a source; more is added to its spec.
func sourceManifest(source, more string) string {
	return "apiVersion: fleet/v1\nkind: Source\nmetadata: {name: " + source + "}\nspec:\n  git: {url: \"" + gitURL(source) + "\"}\n  interval: 10s\n  prune: true\n" + more
}

// gitCommit is one commit: its manifests, by app.
type gitCommit struct {
	v1.SourceCommit
	files  map[string]string
	broken bool
}

// repository is a model of the server's repository.
type repository struct {
	mu      sync.Mutex
	commits map[string]*gitCommit
	branch  []*gitCommit // the valid ones, the newest last
	head    *gitCommit   // what the branch points to; nil: nothing was pushed

	// Its faults.
	gone, fails, slow bool
}

func newRepositories() map[string]*repository {
	all := map[string]*repository{}
	for _, source := range gitSources {
		all[source] = &repository{commits: map[string]*gitCommit{}}
	}
	return all
}

// push adds a commit to the branch, on top of the last valid one.
func (r *repository) push(w *world, subject string, broken bool, change func(files map[string]string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	files := map[string]string{}
	if len(r.branch) > 0 {
		maps.Copy(files, r.branch[len(r.branch)-1].files)
	}
	change(files)
	n := len(r.commits) + 1
	c := &gitCommit{v1.SourceCommit{Hash: fmt.Sprintf("%016x%024d", w.chance("commit"), n), Author: "Ada", Subject: subject, Time: time.Now().UTC()}, files, broken}
	r.commits[c.Hash], r.head = c, c
	if !broken {
		r.branch = append(r.branch, c)
	}
	w.tell("person", "pushes %s (%s): %v", c.Hash[:10], subject, sortedKeys(files))
}

// rewind makes an earlier commit the newest one, as a force push does.
func (r *repository) rewind(n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.branch) > 0 {
		r.branch = r.branch[:1+n%uint64(len(r.branch))]
	}
}

// newest is what the branch points to; nil if nothing was pushed.
func (r *repository) newest() *gitCommit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head
}

// commit is the commit of that hash; nil if there is none.
func (r *repository) commit(hash string) *gitCommit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commits[hash]
}

// wrong changes its faults.
func (r *repository) wrong(change func(r *repository)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

// answers returns the error that the server answers with.
func (r *repository) answers() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.fails:
		return &git.Error{Reason: git.Unreachable, Message: "git: fatal: unable to access the server"}
	case r.gone || r.head == nil:
		return &git.Error{Reason: git.ReferenceGone, Message: "the repository has no refs/heads/main: nothing is deleted because of that"}
	}
	return nil
}

// gitClient is git as one fleetd runs it: a look takes a moment, or long if the server is slow.
type gitClient struct{ p *process }

func (g gitClient) asks(ctx context.Context, spec *v1.SourceSpec, what, hash string) (*repository, error) {
	w := g.p.w
	r := w.git[gitSource]
	if spec.Git.URL == gitURL(moreSource) {
		r, what = w.git[moreSource], what+" "+moreSource
	}
	takes := w.delay(what, g.p.name, hash)
	r.mu.Lock()
	if r.slow {
		takes = w.exactly(2*time.Second<<(takes.order%5), what, g.p.name, hash)
	}
	r.mu.Unlock()
	if err := g.p.pause(ctx, takes); err != nil {
		return nil, err
	}
	return r, r.answers()
}

// Newest implements source.Repositories.
func (g gitClient) Newest(ctx context.Context, spec *v1.SourceSpec) (source.Head, error) {
	r, err := g.asks(ctx, spec, "ls-remote", "")
	if err != nil {
		return source.Head{}, err
	}
	if spec.Git.Commit != "" {
		return source.Head{Hash: spec.Git.Commit}, nil
	}
	return source.Head{Hash: r.newest().Hash}, nil
}

// Branches implements source.Repositories.
func (g gitClient) Branches(context.Context, *v1.SourceSpec) ([]source.Branch, error) {
	return nil, nil
}

// Read implements source.Repositories.
func (g gitClient) Read(ctx context.Context, spec *v1.SourceSpec, head source.Head) (v1.SourceCommit, []source.File, error) {
	r, err := g.asks(ctx, spec, "fetch", head.Hash)
	if err != nil {
		return v1.SourceCommit{}, nil, err
	}
	c := r.commit(head.Hash)
	var files []source.File
	for _, app := range sortedKeys(c.files) {
		files = append(files, source.File{Path: app + ".yaml", Blob: head.Hash, Data: []byte(c.files[app])})
	}
	return c.SourceCommit, files, nil
}

// Reason implements source.Repositories.
func (g gitClient) Reason(err error) string { return git.ReasonOf(err) }

// What a push changes.
const (
	pushChange = iota
	pushMore
	pushAdd
	pushRemove
	pushRemoveMany // as a merge does that went wrong
	pushBroken
	pushForce // on top of an earlier commit
	pushes
)

// drawGit adds a source and its steps to some plans. They are drawn separately, like the rare steps.
func (p *Plan) drawGit(length time.Duration) {
	r := rand.New(rand.NewPCG(p.Seed, 911))
	if r.IntN(withGit) != 0 {
		return
	}
	add := func(at time.Duration, do string, kind uint64) {
		p.Steps = append(p.Steps, step{At: at, Do: do, A: r.Uint64() >> 8, B: kind, C: r.Uint64() >> 8})
	}
	at := 2*time.Second + time.Duration(r.Int64N(int64(4*time.Second)))
	add(at, "add source", 0)
	for range 5 + r.IntN(6) {
		at += time.Second + time.Duration(r.Int64N(int64(length/4)))
		switch do := []string{"push", "push", "push", "push", "edit past git", "delete past git", "undo past git", "trap source", "branch gone", "git fails", "git slow"}[r.IntN(11)]; do {
		case "branch gone", "git fails", "git slow":
			add(at, do, 0)
			add(at+lasts(r)/2, "git works", 0)
			add(at+time.Duration(r.Int64N(int64(5*time.Second))), "push", r.Uint64N(pushes))
		case "trap source": // the leader goes while it applies a commit
			add(at, do, r.Uint64N(uint64(len(traps))))
			add(at+time.Millisecond, "push", pushMore)
		default:
			add(at, do, r.Uint64N(pushes))
		}
	}
}

// pushed makes a commit as a step says; new ones are the apps that it may add.
func (w *world) pushed(r *repository, s step, new []string) {
	version := func(files map[string]string, app string, n uint64) { files[app] = gitManifest(app, s.C+n) }
	some := func(files map[string]string, n uint64) { // change so many of its apps
		names := sortedKeys(files)
		for i := range min(n, uint64(len(names))) {
			version(files, names[(s.A+i)%uint64(len(names))], i)
		}
	}
	switch kind := s.B % pushes; kind {
	case pushBroken:
		r.push(w, "a typo", true, func(files map[string]string) {
			some(files, 3)
			names := sortedKeys(files)
			if len(names) == 0 {
				names = new
			}
			files[names[s.A%uint64(len(names))]] = brokenManifests[1+s.C%3]
		})
	case pushRemove, pushRemoveMany:
		r.push(w, "fewer", false, func(files map[string]string) {
			some(files, 1)
			for len(files) > 1 {
				names := sortedKeys(files)
				delete(files, names[s.C%uint64(len(names))])
				if kind == pushRemove {
					return
				}
			}
		})
	case pushForce:
		r.rewind(s.C)
		r.push(w, "another history", false, func(files map[string]string) { some(files, 2) })
	case pushAdd:
		r.push(w, "more", false, func(files map[string]string) { version(files, new[s.A%uint64(len(new))], 0) })
	default:
		r.push(w, "a change", false, func(files map[string]string) { some(files, 1+3*kind) })
	}
}

// pastGit writes one of the source's apps past Git.
func (w *world) pastGit(s step, text func(app string) []byte, undo bool) {
	var names []string
	for _, kv := range w.list(w.keys.Apps().Prefix()) {
		if name, _ := w.keys.Apps().Name(kv.Key); slices.Contains(allGitApps, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return
	}
	app := names[s.A%uint64(len(names))]
	ops := []store.Op{{Key: w.keys.Apps().Key(app), Value: text(app)}}
	if undo {
		now := time.Now().UTC()
		record := v1.Apply{Time: now, Undo: true, User: "ada", Objects: []v1.AppliedObject{{Kind: v1.KindApp, Name: app}}}
		ops = append(ops, store.Op{Key: w.keys.Applies().Key(keyspace.ApplyName(now, fmt.Sprintf("%06x", s.C%(1<<24)))), Value: encode(record)})
	}
	w.write(ops...)
}

func init() {
	source.MaxChanges = 2 // larger commits take several transactions
	maps.Copy(people, map[string]func(w *world, s step){
		"add source": func(w *world, s step) {
			w.git[gitSource].push(w, "first", false, func(files map[string]string) {
				for i, app := range gitApps[:2+s.A%5] {
					files[app] = gitManifest(app, s.C+uint64(i))
				}
			})
			w.put(w.keys.Sources().Key(gitSource), sourceManifest(gitSource, ""))
		},
		"push": func(w *world, s step) {
			if r := w.git[gitSource]; r.newest() != nil { // else the plan was shrunk
				w.pushed(r, s, gitApps)
			}
		},
		"edit past git": func(w *world, s step) {
			w.pastGit(s, func(app string) []byte { return []byte(gitManifest(app, s.C)) }, false)
		},
		"delete past git": func(w *world, s step) { w.pastGit(s, func(string) []byte { return nil }, false) },
		"undo past git": func(w *world, s step) {
			w.pastGit(s, func(app string) []byte { return []byte(gitManifest(app, s.C)) }, true)
		},
	})
	maps.Copy(faults, map[string]func(w *world, s step){
		"branch gone": func(w *world, _ step) { w.git[gitSource].wrong(func(r *repository) { r.gone = true }) },
		"git fails":   func(w *world, _ step) { w.git[gitSource].wrong(func(r *repository) { r.fails = true }) },
		"git slow":    func(w *world, _ step) { w.git[gitSource].wrong(func(r *repository) { r.slow = true }) },
		"git works": func(w *world, _ step) {
			w.git[gitSource].wrong(func(r *repository) { r.gone, r.fails, r.slow = false, false, false })
		},
		"trap source": func(w *world, s step) {
			w.commit.Lock()
			defer w.commit.Unlock()
			w.trap = &trap{w: w, what: traps[s.B%uint64(len(traps))], part: "source"}
		},
	})
}
