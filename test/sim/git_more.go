package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// withMore: one in so many plans with a source has another one, and people who interfere with both.
const withMore = 2

// drawMore adds another source and its steps. They are drawn separately, so that the other plans stay as they are.
func (p *Plan) drawMore(length time.Duration) {
	r := rand.New(rand.NewPCG(p.Seed, 912))
	if !p.does("add source") || r.IntN(withMore) != 0 {
		return
	}
	add := func(at time.Duration, do string, kind uint64) {
		p.Steps = append(p.Steps, step{At: at, Do: do, A: r.Uint64() >> 8, B: kind, C: r.Uint64() >> 8})
	}
	some := func() time.Duration { return 6*time.Second + time.Duration(r.Int64N(int64(length))) }
	add(6*time.Second+time.Duration(r.Int64N(int64(4*time.Second))), "add more", 0)
	for range 8 + r.IntN(8) {
		at := some()
		switch do := []string{"push more", "push more", "push more", "push nothing", "allow prune", "adopt", "disown", "suspend", "pause past git", "more fails", "undo past git"}[r.IntN(11)]; do {
		case "push nothing":
			add(at, do, 0)
			add(at+lasts(r)/2, "push", pushAdd)
			add(at+lasts(r)/2, "push more", pushAdd)
		case "suspend":
			add(at, do, r.Uint64N(2))
			add(at+time.Duration(r.Int64N(int64(20*time.Second))), "push", pushMore)
			add(at+lasts(r), "resume", 0)
		case "more fails":
			add(at, do, 0)
			add(at+time.Duration(r.Int64N(int64(20*time.Second))), "edit past git", 0)
			add(at+lasts(r), "more works", 0)
		case "pause past git":
			add(at, do, 0)
			add(at+time.Duration(r.Int64N(int64(20*time.Second))), "push", pushMore)
			add(at+lasts(r)*2, "edit past git", 0)
		default:
			add(at, do, r.Uint64N(pushes))
		}
	}
}

// sourceOf is the source of a step; they take turns.
func sourceOf(s step) string { return gitSources[s.A%uint64(len(gitSources))] }

// wish changes what people ask of a source.
func (w *world) changeWish(source string, change func(wish *v1.SourceWish)) {
	key := w.keys.SourceWishes().Key(source)
	wish := v1.SourceWish{}
	for _, kv := range w.list(key) {
		if kv.Key == key {
			wish, _ = w.keys.SourceWishes().Decode(kv.Value) // an unreadable one is overwritten
		}
	}
	change(&wish)
	w.put(key, string(encode(wish)))
}

// mendGit ends the repositories' faults. Their newest commits may delete what they do not have, and mostly they are mended: none is
// broken, and what the other source has is left to it.
func (w *world) mendGit() {
	for _, source := range gitSources {
		r := w.git[source]
		r.wrong(func(r *repository) { r.gone, r.fails, r.slow = false, false, false })
		head := r.newest()
		if head == nil {
			continue
		}
		if w.seed%4 != 0 {
			w.mendRepository(source, head)
		}
		newest := r.newest().Hash
		w.changeWish(source, func(wish *v1.SourceWish) {
			*wish = v1.SourceWish{RequestedAt: time.Now().UTC().Format(time.RFC3339Nano), AllowPrune: newest, Suspended: wish.Suspended && w.seed%3 == 0}
			if w.seed%4 != 0 {
				for _, app := range allGitApps {
					wish.Adopt = append(wish.Adopt, "app/"+app)
				}
			}
		})
	}
}

// mendRepository pushes a commit that can be applied, unless the newest one can.
func (w *world) mendRepository(source string, head *gitCommit) {
	other := map[string]string{}
	if first := w.git[gitSource].newest(); source == moreSource && first != nil {
		other = first.files
	}
	if disputed := func(app string) bool { _, is := other[app]; return is }; head.broken || slices.ContainsFunc(sortedKeys(head.files), disputed) {
		w.git[source].push(w, "mended", false, func(files map[string]string) {
			maps.DeleteFunc(files, func(app, _ string) bool { return disputed(app) })
		})
	}
}

// driftIn is how long what people changed past Git may stay when all is quiet.
const driftIn = 30 * time.Second

// driftAtRest edits an app of each source while nothing else happens, and checks that it is put back: when all is well, when the
// server is away, when the newest commit is broken, and when the leader is a new one, too.
func (w *world) driftAtRest() bool {
	if w.git[gitSource].newest() == nil {
		return true
	}
	if !w.until(w.now() + secondPassIn) { // there is a leader, and it has read each repository
		return false
	}
	for _, source := range gitSources {
		r, app := w.git[source], w.check.driftable(source)
		if app == "" {
			continue
		}
		head := r.newest()
		switch kind := w.seed / 4 % 4; {
		case kind == 1:
			r.wrong(func(r *repository) { r.fails = true })
		case kind > 1 && !head.broken:
			r.push(w, "a typo at rest", true, func(files map[string]string) { files[app] = "{" })
		}
		if !w.until(w.now() + 40*time.Second) { // it was looked at
			return false
		}
		if w.seed/4%4 == 3 {
			for _, h := range w.hosts[:w.machines] {
				h.killFleetd()
			}
			if !w.until(w.now() + secondPassIn) {
				return false
			}
		}
		key := w.keys.Apps().Key(app)
		is := string(w.check.stored(key).Value)
		w.put(key, is+"# edited past Git\n")
		if !w.until(w.now() + driftIn) {
			return false
		}
		if w.check.counts.Check(invDrift); string(w.check.stored(key).Value) != is {
			w.fail(invDrift, "source %s did not put app %s back within %s", source, app, driftIn)
			return false
		}
		r.wrong(func(r *repository) { r.fails = false })
		if r.newest() != head {
			r.push(w, "mended at rest", false, func(files map[string]string) { maps.Copy(files, head.files) })
		}
	}
	return true
}

func init() {
	maps.Copy(people, map[string]func(w *world, s step){
		"add more": func(w *world, s step) {
			w.git[moreSource].push(w, "first of more", false, func(files map[string]string) {
				for i, app := range moreApps[:1+s.A%3] {
					files[app] = gitManifest(app, s.C+uint64(i))
				}
			})
			w.put(w.keys.Sources().Key(moreSource), sourceManifest(moreSource, []string{"", "  dependsOn: [" + gitSource + "]\n"}[s.C/8%2]))
		},
		"push more": func(w *world, s step) { // it may claim apps of the first source
			if r := w.git[moreSource]; r.newest() != nil {
				w.pushed(r, s, append(slices.Clone(moreApps), gitApps[s.C%6], gitApps[s.C%5]))
			}
		},
		"push nothing": func(w *world, s step) { // as a merge does that went very wrong
			if r := w.git[sourceOf(s)]; r.newest() != nil {
				r.push(w, "nothing", false, func(files map[string]string) { clear(files) })
			}
		},
		"allow prune": func(w *world, s step) {
			if head := w.git[sourceOf(s)].newest(); head != nil {
				w.changeWish(sourceOf(s), func(wish *v1.SourceWish) { wish.AllowPrune = head.Hash })
			}
		},
		"adopt": func(w *world, s step) {
			app := "app/" + allGitApps[s.C%uint64(len(allGitApps))]
			w.changeWish(sourceOf(s), func(wish *v1.SourceWish) {
				wish.Adopt = append(slices.DeleteFunc(wish.Adopt, func(o string) bool { return o == app }), app)
				wish.Disown = slices.DeleteFunc(wish.Disown, func(o string) bool { return o == app })
			})
		},
		"disown": func(w *world, s step) {
			app := "app/" + allGitApps[s.C%uint64(len(allGitApps))]
			w.changeWish(sourceOf(s), func(wish *v1.SourceWish) {
				wish.Disown = append(slices.DeleteFunc(wish.Disown, func(o string) bool { return o == app }), app)
				wish.Adopt = slices.DeleteFunc(wish.Adopt, func(o string) bool { return o == app })
			})
		},
		"suspend": func(w *world, s step) {
			w.changeWish(gitSources[s.B%2], func(wish *v1.SourceWish) { wish.Suspended = true })
		},
		"resume": func(w *world, _ step) {
			for _, source := range gitSources {
				w.changeWish(source, func(wish *v1.SourceWish) { wish.Suspended = false })
			}
		},
		"pause past git": func(w *world, s step) {
			w.pastGit(s, func(app string) []byte {
				return []byte(strings.Replace(gitManifest(app, s.C), "{name: "+app+"}", fmt.Sprintf("{name: %s, annotations: {%s: %s}}", app, v1.AnnotationSync, v1.SyncPaused), 1))
			}, false)
		},
	})
	maps.Copy(faults, map[string]func(w *world, s step){
		"more fails": func(w *world, _ step) { w.git[moreSource].wrong(func(r *repository) { r.fails = true }) },
		"more works": func(w *world, _ step) { w.git[moreSource].wrong(func(r *repository) { r.fails = false }) },
	})
}
