package source

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/repository"
)

var now = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// files are a commit's manifests of apps, by path.
func files(apps map[string]string) (list []File) {
	for path, text := range apps {
		list = append(list, File{Path: path, Blob: "blob of " + path, Data: []byte(text)})
	}
	return list
}

// settled is an input whose commit is applied: nothing is left to do.
func settled(t require.TestingT, apps map[string]string) Input {
	in := Input{Now: now, Name: "prod", Source: &Manifest{Spec: v1.SourceSpec{Interval: v1.Duration(30 * time.Second), Prune: true}, Revision: 5, UID: 4},
		Current: map[Key]Current{}, Others: map[Key]string{}, Hosts: map[string]string{}}
	in.Fetched = Fetched{For: Ask{Revision: 5}, At: now.Add(-10 * time.Second), Manifests: repository.Read(v1.SourceCommit{Hash: strings.Repeat("1", 40), Subject: "One"}, files(apps))}
	require.NoError(t, in.Fetched.Manifests.Fault)
	settle(&in, Plan(in))
	settle(&in, Plan(in)) // what was just applied is ready
	plan := Plan(in)
	require.Empty(t, plan.Changes)
	require.Nil(t, plan.Status, "nothing is written again")
	require.Equal(t, 20*time.Second, plan.After)
	return in
}

// settle does what a plan says.
func settle(in *Input, plan Decision) {
	for _, c := range plan.Changes {
		if c.Raw == nil {
			delete(in.Current, c.Key)
			continue
		}
		in.Current[c.Key] = Current{Hash: hashOf(c.Raw), Revision: in.Current[c.Key].Revision + 10}
	}
	if plan.Status != nil {
		in.Status, in.StatusRevision = plan.Status, in.StatusRevision+1
	}
	if plan.Commit != nil && !plan.PutBack {
		in.Recalled = Recalled{Hash: plan.Commit.Hash, Revision: in.Source.Revision, At: now, Manifests: in.Fetched.Manifests}
	}
}

func hashOf(raw []byte) string {
	return repository.Read(v1.SourceCommit{}, []File{{Path: "x.yaml", Data: raw}}).Objects[0].Hash
}

// next has the repository move on.
func next(in *Input, apps map[string]string) {
	in.Fetched.Manifests = repository.Read(v1.SourceCommit{Hash: strings.Repeat("2", 40), Subject: "Two"}, files(apps))
}

func app(name string) Key { return Key{Kind: v1.KindApp, Name: name} }

func hosted(name, host string) string {
	return manifest(name, "  ports: [{name: http, port: 3000, hostPort: auto}]\n  announce: {port: http}\n  route: {hosts: ["+host+"]}\n")
}

// TestPlan: each row begins with the apps a and b applied from commit One.
func TestPlan(t *testing.T) {
	a, b, other := manifest("a", ""), manifest("b", ""), manifest("a", "  replicas: 3\n")
	for name, c := range map[string]struct {
		change func(in *Input)
		// changes are those that are made, as "reason object"; reason and says are of Synced; held is why a is not as in the repository.
		changes      []string
		reason, says string
		held         string
	}{
		"a change in the repository": {func(in *Input) { next(in, map[string]string{"a.yaml": other, "b.yaml": b}) }, []string{"Configured app/a"}, Applied, "commit 2222222222: Two", ""},
		"an edit past Git":           {func(in *Input) { in.Current[app("a")] = Current{Hash: "x", Revision: 9} }, []string{"DriftReverted app/a"}, Applied, "One", ""},
		"a deletion past Git":        {func(in *Input) { delete(in.Current, app("a")) }, []string{"DriftReverted app/a"}, Applied, "One", ""},
		"an undo": {func(in *Input) {
			in.Current[app("a")] = Current{Hash: "x", Revision: 9, Undone: "it was undone by ada"}
		}, nil, Applied, "app/a is not as in the repository: it was undone by ada", "it was undone by ada"},
		"an undo that deleted it": {func(in *Input) { in.Current[app("a")] = Current{Gone: true, Undone: "it was undone"} }, nil, Applied, "it was undone", "it was undone"},
		"a change after an undo": {func(in *Input) {
			in.Current[app("a")] = Current{Hash: "x", Revision: 9, Undone: "it was undone by ada"}
			next(in, map[string]string{"a.yaml": other, "b.yaml": b})
		}, []string{"Configured app/a"}, Applied, "Two", ""},
		"paused": {func(in *Input) { in.Current[app("a")] = Current{Hash: "x", Revision: 9, Paused: true} }, nil, Applied, "fleet/sync is paused", "its annotation fleet/sync is paused"},
		"paused, and gone": {func(in *Input) {
			in.Current[app("a")] = Current{Hash: "x", Revision: 9, Paused: true}
			next(in, map[string]string{"b.yaml": b})
		}, nil, Applied, "app/a is no longer in the repository", "its annotation fleet/sync is paused"},
		"pruned":             {func(in *Input) { next(in, map[string]string{"b.yaml": b}) }, []string{"Pruned app/a"}, Applied, "Two", ""},
		"gone by hand, too":  {func(in *Input) { delete(in.Current, app("a")); next(in, map[string]string{"b.yaml": b}) }, nil, Applied, "Two", ""},
		"not to prune":       {func(in *Input) { in.Source.Spec.Prune = false; next(in, map[string]string{"b.yaml": b}) }, nil, Applied, "Two", ""},
		"all is gone":        {func(in *Input) { next(in, nil) }, nil, PruneRefused, "2 of 2 objects would be deleted (app/a, app/b)", ""},
		"all may go":         {func(in *Input) { next(in, nil); in.Wish.AllowPrune = strings.Repeat("2", 40) }, []string{"Pruned app/a", "Pruned app/b"}, Applied, "Two", ""},
		"another commit may": {func(in *Input) { next(in, nil); in.Wish.AllowPrune = strings.Repeat("1", 40) }, nil, PruneRefused, "", ""},
		"disowned":           {func(in *Input) { in.Wish.Disown = []string{"app/a"}; in.Current[app("a")] = Current{Hash: "x"} }, nil, Applied, "One", ""},
		"disowned, and gone": {func(in *Input) { in.Wish.Disown = []string{"app/a"}; next(in, map[string]string{"b.yaml": b}) }, nil, Applied, "Two", ""},
		"a name that people have": {func(in *Input) {
			in.Current[app("c")] = Current{Hash: "x", Revision: 9}
			next(in, map[string]string{"a.yaml": other, "b.yaml": b, "c.yaml": manifest("c", "")})
		}, nil, NotOwned, "c.yaml:1: app/c exists, and was not applied by this source: fleetctl adopt source/prod app/c", ""},
		"adopted": {func(in *Input) {
			in.Current[app("c")], in.Wish.Adopt = Current{Hash: "x", Revision: 9}, []string{"app/c"}
			next(in, map[string]string{"a.yaml": a, "b.yaml": b, "c.yaml": manifest("c", "")})
		}, []string{"Configured app/c"}, Applied, "Two", ""},
		"the same that people have": {func(in *Input) {
			in.Current[app("c")] = Current{Hash: hashOf([]byte(manifest("c", ""))), Revision: 9}
			next(in, map[string]string{"a.yaml": a, "b.yaml": b, "c.yaml": manifest("c", "")})
		}, nil, Applied, "Two", ""},
		"another source's": {func(in *Input) {
			in.Others[app("c")] = "stage"
			next(in, map[string]string{"a.yaml": other, "b.yaml": b, "c.yaml": manifest("c", "")})
		}, nil, NotOwned, "app/c belongs to source/stage: remove it from one of the two repositories, or fleetctl disown source/stage app/c", ""},
		"another app's host": {func(in *Input) {
			in.Hosts["x.example.com"] = "web"
			next(in, map[string]string{"a.yaml": hosted("a", "x.example.com"), "b.yaml": b})
		}, nil, HostTaken, "a.yaml:1: spec.route.hosts[0]: x.example.com belongs to app/web", ""},
		"the same host twice": {func(in *Input) {
			next(in, map[string]string{"a.yaml": hosted("a", "x.example.com"), "b.yaml": hosted("b", "x.example.com")})
		}, nil, HostTaken, "x.example.com is asked for by", ""},
		"a host that moves": {func(in *Input) {
			in.Hosts["x.example.com"] = "a"
			next(in, map[string]string{"a.yaml": a, "b.yaml": hosted("b", "x.example.com")})
		}, []string{"Configured app/b"}, Applied, "Two", ""},
		"a unit that is another's": {func(in *Input) {
			in.Taken = map[string]map[string]string{"a": {"a@3.service": "b"}}
			next(in, map[string]string{"a.yaml": other, "b.yaml": b})
		}, nil, NotOwned, "a.yaml:1: app/a: unit a@3.service belongs to app b", ""},
		"a file that is wrong": {func(in *Input) { next(in, map[string]string{"a.yaml": other, "b.yaml": "b"}) }, nil, InvalidCommit, "commit 2222222222: b.yaml:1: expected a mapping", ""},
		"the server is away": {func(in *Input) {
			in.Fetched.Reason, in.Fetched.Message = "Unreachable", "git: no route to host"
			next(in, map[string]string{"b.yaml": b})
		}, nil, "Unreachable", "no route to host", ""},
		"suspended":           {func(in *Input) { in.Source.Spec.Suspend = true; next(in, map[string]string{"b.yaml": b}) }, nil, Suspended, "fleetctl resume source/prod", ""},
		"suspended by people": {func(in *Input) { in.Wish.Suspended = true; next(in, map[string]string{"b.yaml": b}) }, nil, Suspended, "fleetctl resume source/prod", ""},
		"waits for another one": {func(in *Input) {
			in.Waits = []string{"source/db is not ready"}
			next(in, map[string]string{"b.yaml": b})
		}, nil, v1.ReasonWaiting, "source/db is not ready", ""},
		"a source that is wrong": {func(in *Input) { in.Source.Fault = errors.New("line 3: spec.git.url: no URL") }, nil, v1.ReasonInvalidManifest, "spec.git.url", ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := settled(t, map[string]string{"a.yaml": a, "b.yaml": b})
			inventory := in.Status.Inventory
			c.change(&in)
			plan := Plan(in)
			var changes []string
			for _, change := range plan.Changes {
				changes = append(changes, change.Reason+" "+change.String())
			}
			require.Equal(t, c.changes, changes)
			status := in.Status
			if plan.Status != nil {
				status = plan.Status
			}
			synced := v1.FindCondition(status.Conditions, v1.Synced)
			require.Equal(t, c.reason, synced.Reason)
			require.Contains(t, synced.Message, c.says)
			held := ""
			for _, o := range status.Inventory {
				held += o.Held
			}
			require.Equal(t, c.held, held)
			if c.reason != Applied {
				require.Equal(t, inventory, status.Inventory, "what ran before goes on, and belongs to the source")
				require.Equal(t, v1.ConditionFalse, v1.FindCondition(status.Conditions, v1.Ready).Status)
			}
			settle(&in, plan)
			again := Plan(in)
			require.Empty(t, again.Changes, "once is enough")
			settle(&in, again)
			again = Plan(in)
			require.Nil(t, again.Status)
		})
	}
}

// TestPutBack: while the newest commit is refused or the server is away, what people change goes back to the commit that is applied.
// Each row begins with the apps a and b applied from commit One, commit Two is broken, and a was edited.
func TestPutBack(t *testing.T) {
	a, b := manifest("a", ""), manifest("b", "")
	edit := Current{Hash: "x", Revision: 9}
	for name, c := range map[string]struct {
		change func(in *Input)
		// changes are those that are made, recall whether commit One is read again; says is what is said of a, held why it stays.
		changes []string
		recall  bool
		says    string
		held    string
	}{
		"a leader that applied it": {func(*Input) {}, []string{"DriftReverted app/a"}, false, "", ""},
		"deleted":                  {func(in *Input) { delete(in.Current, app("a")) }, []string{"DriftReverted app/a"}, false, "", ""},
		"both":                     {func(in *Input) { in.Current[app("b")] = edit }, []string{"DriftReverted app/a", "DriftReverted app/b"}, false, "", ""},
		"nothing":                  {func(in *Input) { in.Current[app("a")] = Current{Hash: hashOf([]byte(a)), Revision: 9} }, nil, false, "", ""},
		"the server is away":       {func(in *Input) { in.Fetched.Reason, in.Fetched.Message = "Unreachable", "no route" }, []string{"DriftReverted app/a"}, false, "", ""},
		"the newest one has it, too": {func(in *Input) {
			in.Recalled = Recalled{}
			next(in, map[string]string{"a.yaml": a})
			in.Waits = []string{"x"}
		}, []string{"DriftReverted app/a"}, true, "", ""},
		"a new leader": {func(in *Input) { in.Recalled = Recalled{} }, nil, true, "", ""},
		"it reads":     {func(in *Input) { in.Recalled = Recalled{Running: true} }, nil, false, "", ""},
		"it cannot": {func(in *Input) {
			in.Recalled.Manifests, in.Recalled.Reason, in.Recalled.Message = nil, "Unreachable", "no route"
		}, nil, false,
			"app/a cannot be put back to what commit 1111111111 says: no route", ""},
		"it cannot, for the same reason": {func(in *Input) {
			in.Recalled.Manifests, in.Recalled.Reason, in.Recalled.Message, in.Recalled.At = nil, "Unreachable", "no route", in.Fetched.At.Add(-1)
			in.Fetched.Reason = "Unreachable"
		}, nil, false, "cannot be put back", ""},
		"it may now": {func(in *Input) {
			in.Recalled.Manifests, in.Recalled.Reason, in.Recalled.Message, in.Recalled.At = nil, "Unreachable", "no route", in.Fetched.At.Add(-1)
		}, nil, true, "cannot be put back", ""},
		"another commit is known": {func(in *Input) { in.Recalled.Hash = strings.Repeat("0", 40); in.Recalled.Manifests = nil }, nil, true, "", ""},
		"another path":            {func(in *Input) { in.Recalled.Manifests = &Manifests{} }, nil, false, "this source's path does not have the text", ""},
		"another path, once":      {func(in *Input) { in.Recalled.Manifests = &Manifests{}; in.Recalled.Revision = 1 }, nil, true, "does not have the text", ""},
		"undone":                  {func(in *Input) { in.Current[app("a")] = Current{Hash: "x", Revision: 9, Undone: "it was undone"} }, nil, false, "", "it was undone"},
		"paused":                  {func(in *Input) { in.Current[app("a")] = Current{Hash: "x", Revision: 9, Paused: true} }, nil, false, "", "its annotation fleet/sync is paused"},
		"disowned":                {func(in *Input) { in.Wish.Disown = []string{"app/a"} }, nil, false, "", ""},
		"another's":               {func(in *Input) { in.Others[app("a")] = "stage" }, nil, false, "", ""},
		"suspended":               {func(in *Input) { in.Wish.Suspended = true }, nil, false, "", ""},
		"not read":                {func(in *Input) { in.Fetched = Fetched{} }, nil, false, "", ""},
		"a source that is wrong":  {func(in *Input) { in.Source.Fault = errors.New("no URL") }, nil, false, "", ""},
		"in the middle of a commit": {func(in *Input) {
			in.Status.Staged = &in.Fetched.Manifests.Commit
			in.Fetched.For.Commit = in.Status.Staged.Hash
		}, nil, false, "", ""},
		"its units are another's": {func(in *Input) { in.Taken = map[string]map[string]string{"a": {"a@1.service": "c"}} }, nil, false,
			"what is not as in commit 1111111111 is not put back: a.yaml:1: app/a: unit a@1.service belongs to app c", ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := settled(t, map[string]string{"a.yaml": a, "b.yaml": b})
			next(&in, map[string]string{"a.yaml": manifest("a", "  replicas: 3\n"), "b.yaml": "b"})
			settle(&in, Plan(in))
			in.Current[app("a")] = edit
			c.change(&in)
			plan := Plan(in)
			var changes []string
			for _, change := range plan.Changes {
				changes = append(changes, change.Reason+" "+change.String())
				require.Contains(t, []string{a, b}, string(change.Raw))
			}
			require.Equal(t, c.changes, changes)
			require.Equal(t, c.recall, plan.Recall == strings.Repeat("1", 40))
			require.Equal(t, len(changes) > 0, plan.PutBack)
			settle(&in, plan)
			synced := v1.FindCondition(in.Status.Conditions, v1.Synced)
			require.Equal(t, v1.ConditionFalse, synced.Status)
			require.Contains(t, synced.Message, c.says)
			require.True(t, c.says != "" || !strings.Contains(synced.Message, "put back"), synced.Message)
			require.Equal(t, strings.Repeat("1", 40), in.Status.Applied.Hash)
			held := ""
			for _, o := range in.Status.Inventory {
				held += o.Held
			}
			require.Equal(t, c.held, held)
			require.Empty(t, Plan(in).Changes, "once is enough")
			require.Nil(t, Plan(in).Status)
		})
	}
	// A host that another app has got meanwhile stays there.
	in := settled(t, map[string]string{"a.yaml": hosted("a", "x.example.com"), "b.yaml": hosted("b", "y.example.com")})
	next(&in, map[string]string{"a.yaml": "a"})
	delete(in.Current, app("a"))
	in.Hosts["x.example.com"], in.Hosts["y.example.com"] = "c", "b"
	plan := Plan(in)
	require.Empty(t, plan.Changes)
	require.Contains(t, v1.FindCondition(plan.Status.Conditions, v1.Synced).Message, "is not put back: a.yaml:1: spec.route.hosts[0]: x.example.com belongs to app/c")
	in.Hosts["x.example.com"] = "b" // as before a commit that moved it
	require.Len(t, Plan(in).Changes, 1)
}

// TestRefusedInTheMiddle: a commit that was begun, and cannot be finished because of what happened meanwhile, gives way to a newer one;
// until there is one that can be applied, it stays.
func TestRefusedInTheMiddle(t *testing.T) {
	a, b := manifest("a", ""), manifest("b", "")
	in := settled(t, map[string]string{"a.yaml": a})
	next(&in, map[string]string{"a.yaml": a, "b.yaml": b})
	in.Status.Staged = &in.Fetched.Manifests.Commit
	in.Fetched.For.Commit = in.Status.Staged.Hash
	in.Others[app("b")] = "stage"
	settle(&in, Plan(in))
	require.Equal(t, in.Status.Staged.Hash, in.Status.Failed.Hash)
	require.Equal(t, NotOwned, v1.FindCondition(in.Status.Conditions, v1.Synced).Reason)
	ask := Plan(in).Fetch
	require.Equal(t, &Ask{Revision: 5}, ask, "the newest one is looked at")
	in.Fetched = Fetched{For: *ask, At: now, Reason: "Unreachable", Message: "no route"}
	settle(&in, Plan(in))
	require.Nil(t, Plan(in).Fetch, "that is not asked for again and again")
	in.Fetched = Fetched{For: *ask, At: now, Manifests: repository.Read(v1.SourceCommit{Hash: strings.Repeat("3", 40)}, files(map[string]string{"a.yaml": "a"}))}
	settle(&in, Plan(in))
	require.Nil(t, Plan(in).Fetch)
	require.NotNil(t, in.Status.Staged)
	in.Fetched.Manifests = repository.Read(v1.SourceCommit{Hash: strings.Repeat("4", 40)}, files(map[string]string{"a.yaml": a}))
	settle(&in, Plan(in))
	require.Equal(t, strings.Repeat("4", 40), in.Status.Applied.Hash)
	require.Nil(t, in.Status.Staged)
	require.Nil(t, in.Status.Failed)
}

// TestGoneInTheMiddle: a commit that was begun, and that the server has no more, stays begun until another one is applied: the inventory is
// of two commits.
func TestGoneInTheMiddle(t *testing.T) {
	a, b := manifest("a", ""), manifest("b", "")
	in := settled(t, map[string]string{"a.yaml": a})
	next(&in, map[string]string{"a.yaml": a, "b.yaml": b})
	staged := in.Fetched.Manifests.Commit
	in.Status.Staged = &staged
	begun := Ask{Revision: in.Source.Revision, Commit: staged.Hash}
	in.Fetched = Fetched{For: begun, At: now, Reason: ReferenceGone, Message: "the server has no such commit"}
	plan := Plan(in)
	require.Equal(t, &Ask{Revision: begun.Revision}, plan.Fetch, "the newest one is looked at")
	settle(&in, plan)
	in.Fetched = Fetched{For: *plan.Fetch, At: now, Reason: ReferenceGone, Message: "there is no branch main"}
	settle(&in, Plan(in))
	require.Nil(t, Plan(in).Fetch, "the one that is gone is not asked for again")
	require.Equal(t, &staged, in.Status.Staged)
	require.Equal(t, ReferenceGone, v1.FindCondition(in.Status.Conditions, v1.Synced).Reason)
	in.Fetched = Fetched{For: *plan.Fetch, At: now, Manifests: repository.Read(v1.SourceCommit{Hash: strings.Repeat("4", 40)}, files(map[string]string{"a.yaml": a}))}
	settle(&in, Plan(in))
	require.Equal(t, strings.Repeat("4", 40), in.Status.Applied.Hash)
	require.Nil(t, in.Status.Staged)
	require.Nil(t, in.Status.Failed)
}

// TestWhenToLook: at first, at each interval, when the source changes or people ask; not while a look is under way, nor suspended.
func TestWhenToLook(t *testing.T) {
	in := settled(t, map[string]string{"a.yaml": manifest("a", "")})
	looks := func(change func(in *Input)) bool {
		in := in
		change(&in)
		return Plan(in).Fetch != nil
	}
	require.False(t, looks(func(*Input) {}))
	require.True(t, looks(func(in *Input) { in.Now = now.Add(20 * time.Second) }))
	require.True(t, looks(func(in *Input) { in.Fetched = Fetched{} }))
	require.True(t, looks(func(in *Input) { in.Source = &Manifest{Spec: in.Source.Spec, UID: 4, Revision: 6} }))
	require.True(t, looks(func(in *Input) { in.Wish.RequestedAt = "now" }))
	require.False(t, looks(func(in *Input) { in.Wish.RequestedAt = "now"; in.Fetched.Running = true }))
	require.False(t, looks(func(in *Input) { in.Fetched = Fetched{}; in.Wish.Suspended = true }))
}

// TestAnother: a source of the same name begins anew; what the deleted one had is people's.
func TestAnother(t *testing.T) {
	in := settled(t, map[string]string{"a.yaml": manifest("a", "")})
	in.Source = &Manifest{Spec: in.Source.Spec, UID: 40, Revision: 50}
	in.Fetched.For.Revision = 50
	next(&in, nil)
	plan := Plan(in)
	require.Empty(t, plan.Changes)
	require.Empty(t, plan.Status.Inventory)
	in.Source = nil
	require.True(t, Plan(in).Forget)
	in.Status, in.StatusRevision = nil, 0
	require.False(t, Plan(in).Forget)
}

// TestWholeCommits: whatever happens to the cluster and the repository, a plan makes all that the source manages a whole commit's, the
// newest one's or that of the last one; and it deletes only what is in the inventory.
func TestWholeCommits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c", "d"}
		some := func(label string) map[string]string {
			apps := map[string]string{}
			for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID).Draw(t, label) {
				apps[name+".yaml"] = manifest(name, fmt.Sprintf("  replicas: %d\n", rapid.IntRange(1, 3).Draw(t, "replicas")))
			}
			return apps
		}
		in := settled(t, some("first"))
		for range 5 {
			next(&in, some("next"))
			in.Source.Spec.Prune = rapid.Bool().Draw(t, "prune")
			for _, name := range names {
				switch rapid.IntRange(0, 6).Draw(t, "past Git") {
				case 0:
					delete(in.Current, app(name))
				case 1:
					in.Current[app(name)] = Current{Hash: "x", Revision: 7}
				case 2:
					if _, exists := in.Current[app(name)]; exists {
						in.Current[app(name)] = Current{Hash: "y", Revision: 8, Undone: "it was undone"}
					}
				}
			}
			mine := map[Key]bool{}
			for _, o := range in.Status.Inventory {
				mine[Key{Kind: o.Kind, Name: o.Name}] = true
			}
			plan := Plan(in)
			for _, c := range plan.Changes {
				require.True(t, c.Raw != nil || mine[c.Key], "%s is pruned", c.Key)
				require.True(t, mine[c.Key] || in.Current[c.Key].Revision == 0, "%s is people's", c.Key)
			}
			settle(&in, plan)
			if v1.FindCondition(in.Status.Conditions, v1.Synced).Status != v1.ConditionTrue {
				require.Equal(t, len(plan.Changes) > 0, plan.PutBack)
				for _, o := range in.Status.Inventory { // all is as the last commit says
					require.True(t, o.Held != "" || in.Current[Key{Kind: o.Kind, Name: o.Name}].Hash == o.Hash, "%+v", o)
				}
				continue
			}
			require.Len(t, in.Status.Inventory, len(in.Fetched.Manifests.Objects))
			for i, o := range in.Fetched.Manifests.Objects {
				require.Equal(t, o.Hash, in.Status.Inventory[i].Hash)
				if in.Status.Inventory[i].Held == "" {
					require.Equal(t, o.Hash, in.Current[o.Key].Hash)
				}
			}
		}
	})
}

// TestRead: what files of a commit are refused for, with the place.
func TestRead(t *testing.T) {
	a := manifest("a", "")
	for name, c := range map[string]struct {
		files []File
		says  []string
	}{
		"twice in two files":  {[]File{{Path: "a.yaml", Data: []byte(a)}, {Path: "b.yaml", Data: []byte("# again\n---\n" + a)}}, []string{"b.yaml:2: app/a is in a.yaml:1, too: remove one"}},
		"a unit":              {[]File{{Path: "u.yaml", Data: []byte("apiVersion: fleet/v1\nkind: Unit\nmetadata: {name: u.service}\nspec: {contents: \"[Service]\\nExecStart=/bin/true\\n\"}\n")}}, []string{"u.yaml:1: unit/u.service: a source applies kinds App and Source"}},
		"another kind":        {[]File{{Path: "d.yaml", Data: []byte("apiVersion: apps/v1\nkind: Deployment\n")}}, []string{"d.yaml:1: apiVersion: unknown apiVersion"}},
		"kustomize":           {[]File{{Path: "x/kustomization.yaml", Data: []byte("resources: [a.yaml]\n")}}, []string{"x/kustomization.yaml: a kustomization is built only in the path of a source: set spec.git.path to x"}},
		"built, and at fault": {[]File{{Path: "x/kustomization.yaml", Built: "app/a", Data: []byte(strings.Replace(a, "spec", "spek", 1))}}, []string{"x/kustomization.yaml: app/a, as it is built: spek: unknown field"}},
		"not to be built":     {[]File{{Path: "x/kustomization.yaml", Fault: "x/kustomization.yaml: resources[0]: no"}}, []string{"x/kustomization.yaml: resources[0]: no"}},
		"several":             {[]File{{Path: "a.yaml", Data: []byte("{")}, {Path: "b.yaml", Data: []byte(strings.Replace(a, "spec", "spek", 1))}}, []string{"a.yaml:1: not YAML", "b.yaml:4: spek: unknown field"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := repository.Read(v1.SourceCommit{}, c.files)
			require.Error(t, m.Fault)
			require.Empty(t, m.Objects)
			for _, text := range c.says {
				require.Contains(t, m.Fault.Error(), text)
			}
		})
	}
	m := repository.Read(v1.SourceCommit{}, []File{{Path: "all.yaml", Blob: "1", Data: []byte("\xef\xbb\xbf# comment\r\n---\r\n" + strings.ReplaceAll(a, "\n", "\r\n") + "---\n" + manifest("b", "") + "---\n\n")}})
	require.NoError(t, m.Fault)
	require.Len(t, m.Objects, 2)
	require.Equal(t, []string{"app/a", "all.yaml:2"}, []string{m.Objects[0].String(), m.Objects[0].Place()})
	many := []File{}
	for i := range repository.MaxObjects + 1 {
		many = append(many, File{Path: fmt.Sprintf("%d.yaml", i), Data: []byte(manifest(fmt.Sprintf("a%d", i), ""))})
	}
	require.ErrorContains(t, repository.Read(v1.SourceCommit{}, many).Fault, "use several sources")
}

// TestEventsNameTheCommit: those of a source and those of its apps.
func TestEventsNameTheCommit(t *testing.T) {
	in := settled(t, map[string]string{"a.yaml": manifest("a", ""), "b.yaml": manifest("b", ""), "c.yaml": manifest("c", "")})
	in.Fetched.Manifests = repository.Read(v1.SourceCommit{Hash: strings.Repeat("2", 40), Author: "Ada", Subject: "Two"}, files(map[string]string{"a.yaml": manifest("a", "  replicas: 2\n"), "c.yaml": manifest("c", "")}))
	var told []string
	for _, e := range Plan(in).Events {
		if e.App != "" {
			told = append(told, e.Reason+" app/"+e.App+": "+e.Message)
		} else {
			told = append(told, e.Reason+" "+e.Message)
		}
	}
	require.Equal(t, []string{
		"Applied commit 2222222222: Two",
		"Configured app/a: commit 2222222222 by Ada: Two", "Configured app/a: source/prod, a.yaml:1: commit 2222222222 by Ada: Two",
		"Pruned app/b: commit 2222222222 by Ada: Two", "Pruned app/b: source/prod: commit 2222222222 by Ada: Two",
	}, told)
}

// TestAskedOfAnInvalidManifest: fleetctl sync --wait gets its answer, although there is nothing to look at.
func TestAskedOfAnInvalidManifest(t *testing.T) {
	in := settled(t, map[string]string{"a.yaml": manifest("a", "")})
	in.Source.Fault, in.Wish.RequestedAt = errors.New("line 3: spec.git.url: no URL"), "2026-01-01T00:00:00Z"
	plan := Plan(in)
	require.Nil(t, plan.Fetch)
	require.Equal(t, in.Wish.RequestedAt, plan.Status.Handled)
}
