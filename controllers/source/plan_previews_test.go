package source

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

func hashed(c string) string { return strings.Repeat(c, 40) }

// previewing is a settled input with previews of pr/*, of which there are pr/1 and pr/2.
func previewing(t *testing.T) Input {
	in := settled(t, map[string]string{"a.yaml": manifest("a", "")})
	in.Source.Spec.Git = v1.GitSource{URL: "https://example.com/a.git", Branch: "main", Path: "prod"}
	in.Source.Spec.Previews = &v1.SourcePreviews{Branches: "pr/*", Host: "{app}-{branch}.example.com", TTL: v1.Duration(48 * time.Hour), Limit: 3}
	in.Children = map[string]*Child{}
	listed(&in, "pr/1", "a", "pr/2", "b")
	preview(&in, Plan(in))
	plan := Plan(in)
	require.Empty(t, plan.Previews)
	require.Nil(t, plan.Status, "nothing is written again")
	return in
}

// listed has the repository have these branches with these commits.
func listed(in *Input, branches ...string) {
	in.Fetched.Listing = Listing{Known: true}
	for i := 0; i < len(branches); i += 2 {
		in.Fetched.Listing.Branches = append(in.Fetched.Listing.Branches, Branch{branches[i], hashed(branches[i+1])})
	}
}

// preview does what a plan says of previews.
func preview(in *Input, plan Decision) {
	settle(in, plan)
	for _, change := range plan.Previews {
		source, err := v1.ParseSource(change.Name, change.Raw)
		if err != nil {
			panic(err)
		}
		in.Children[change.Name] = &Child{Raw: change.Raw, Revision: 100, Of: source.Spec.Preview}
	}
}

func changesOf(list []Change) (told []string) {
	for _, c := range list {
		told = append(told, c.Reason+" "+c.String())
	}
	return told
}

// TestPreviews: each row begins with previews of pr/1 and pr/2.
func TestPreviews(t *testing.T) {
	for name, c := range map[string]struct {
		change func(in *Input)
		// stored are the sources that are written, active the branches with a preview afterwards; reason and says are of the condition.
		stored, active []string
		reason, says   string
	}{
		"nothing new":      {func(*Input) {}, nil, []string{"pr/1", "pr/2"}, PreviewsListed, "previews: 2"},
		"another branch":   {func(in *Input) { listed(in, "pr/1", "a", "pr/2", "b", "pr/3", "c") }, []string{"PreviewBegun source/prod-pr-3"}, []string{"pr/1", "pr/2", "pr/3"}, PreviewsListed, "previews: 3"},
		"a branch is gone": {func(in *Input) { listed(in, "pr/2", "b") }, nil, []string{"pr/2"}, PreviewsListed, "previews: 1"},
		"all are gone":     {func(in *Input) { listed(in) }, nil, nil, PreviewsListed, "previews: 0"},
		"a listing that fails": {func(in *Input) {
			in.Fetched.Listing = Listing{Reason: "Unreachable", Message: "no route"}
			in.Now = now.Add(100 * time.Hour)
		}, nil, []string{"pr/1", "pr/2"}, "Unreachable", "no route"},
		"a listing for another manifest": {func(in *Input) { listed(in); in.Fetched.For.Revision = 4 }, nil, []string{"pr/1", "pr/2"}, PreviewsListed, "previews: 2"},
		"a new leader":                   {func(in *Input) { in.Fetched = Fetched{} }, nil, []string{"pr/1", "pr/2"}, PreviewsListed, "previews: 2"},
		"above the limit": {func(in *Input) { listed(in, "pr/0", "a", "pr/00", "a", "pr/1", "a", "pr/2", "b") }, []string{"PreviewBegun source/prod-pr-0"}, []string{"pr/0", "pr/1", "pr/2"},
			PreviewRefused, "branch pr/00 has no preview: there are 3, the limit: end one, or set previews.limit"},
		"two of one name": {func(in *Input) { listed(in, "pr/1", "a", "pr/1_", "b", "pr/2", "b") }, nil, []string{"pr/1", "pr/2"},
			PreviewRefused, "branch pr/1_ has no preview: it would be called pr-1, as the one of branch pr/1 is: rename one of them"},
		"no name": {func(in *Input) { listed(in, "pr/1", "a", "pr/ä b", "b", "pr/2", "b") }, nil, []string{"pr/1", "pr/2"}, PreviewRefused, "cannot be a part of a host name"},
		"a source of that name": {func(in *Input) {
			listed(in, "pr/1", "a", "pr/2", "b", "pr/3", "c")
			in.Children["prod-pr-3"] = &Child{Raw: []byte("x"), Revision: 7}
		}, nil, []string{"pr/1", "pr/2"}, PreviewRefused, "source/prod-pr-3 exists, and is no preview of this source"},
		"one of a source that is gone": {func(in *Input) {
			listed(in, "pr/1", "a", "pr/2", "b", "pr/3", "c")
			in.Children["prod-pr-3"] = &Child{Raw: []byte("x"), Revision: 7, Of: &v1.PreviewOf{Source: "prod", UID: 1}}
		}, nil, []string{"pr/1", "pr/2"}, PreviewRefused, "source/prod-pr-3 exists, and is no preview of this source"},
		"its source was deleted": {func(in *Input) { delete(in.Children, "prod-pr-1") }, []string{"PreviewBegun source/prod-pr-1"}, []string{"pr/1", "pr/2"}, PreviewsListed, ""},
		"its source was edited":  {func(in *Input) { in.Children["prod-pr-1"] = &Child{Raw: []byte("x"), Revision: 7} }, []string{"PreviewChanged source/prod-pr-1"}, []string{"pr/1", "pr/2"}, PreviewsListed, ""},
		"its source is to change": {func(in *Input) { in.Source.Spec.Git.Path = "stage" }, []string{"PreviewChanged source/prod-pr-1", "PreviewChanged source/prod-pr-2"}, []string{"pr/1", "pr/2"},
			PreviewsListed, ""},
		"suspended": {func(in *Input) { in.Wish.Suspended = true; listed(in) }, []string{"PreviewChanged source/prod-pr-1", "PreviewChanged source/prod-pr-2"}, []string{"pr/1", "pr/2"}, PreviewsListed, ""},
		"the branch that is followed is gone": {func(in *Input) {
			in.Fetched.Reason, in.Fetched.Message = ReferenceGone, "gone"
			listed(in, "pr/2", "b")
		}, nil, []string{"pr/2"}, PreviewsListed, ""},
		"a commit that is wrong": {func(in *Input) { in.Fetched.Manifests = &Manifests{Fault: errors.New("x")}; listed(in, "pr/2", "b") }, nil, []string{"pr/2"}, PreviewsListed, ""},
		"changes come first": {func(in *Input) {
			next(in, map[string]string{"a.yaml": manifest("a", "  replicas: 2\n")})
			listed(in, "pr/2", "b")
		}, nil, []string{"pr/1", "pr/2"},
			PreviewsListed, "previews: 2"},
	} {
		t.Run(name, func(t *testing.T) {
			in := previewing(t)
			c.change(&in)
			plan := Plan(in)
			require.Equal(t, c.stored, changesOf(plan.Previews))
			preview(&in, plan)
			var active []string
			for _, p := range in.Status.Previews {
				if !p.Ended {
					active = append(active, p.Branch)
				}
			}
			require.Equal(t, c.active, active)
			condition := v1.FindCondition(in.Status.Conditions, v1.Previews)
			require.Equal(t, c.reason, condition.Reason)
			require.Contains(t, condition.Message, c.says)
			if name != "changes come first" {
				preview(&in, Plan(in))
				require.Nil(t, Plan(in).Status, "once is enough")
			}
		})
	}
}

// TestPreviewSource: the source of a preview is what its source says, for the branch.
func TestPreviewSource(t *testing.T) {
	in := previewing(t)
	in.Source.Spec.Auth, in.Source.Spec.Webhook = &v1.GitAuth{TokenFile: "/t"}, &v1.SourceWebhook{SecretFile: "/s"}
	in.Source.Spec.Prune, in.Source.Spec.Git.Branch, in.Source.Spec.Git.Tag = false, "", "v1"
	plan := Plan(in)
	source, err := v1.ParseSource("prod-pr-1", plan.Previews[0].Raw)
	require.NoError(t, err)
	require.Equal(t, v1.SourceSpec{Git: v1.GitSource{URL: "https://example.com/a.git", Branch: "pr/1", Path: "prod"}, Interval: v1.Duration(30 * time.Second), Auth: &v1.GitAuth{TokenFile: "/t"},
		Prune: true, Preview: &v1.PreviewOf{Source: "prod", UID: 4, Suffix: "pr-1", Host: "{app}-{branch}.example.com"}}, source.Spec)
	require.EqualValues(t, 100, plan.Previews[0].Revision)
}

// TestPreviewTTL: a preview ends when its branch had no new commit for so long, by the leader's clock, and begins again with the next.
func TestPreviewTTL(t *testing.T) {
	in := previewing(t)
	in.Fetched.At = now.Add(1000 * time.Hour)
	require.Equal(t, 48*time.Hour, Plan(in).After)
	in.Now = now.Add(47 * time.Hour)
	listed(&in, "pr/1", "c", "pr/2", "b")
	preview(&in, Plan(in))
	require.Equal(t, hashed("c"), in.Status.Previews[0].Commit)
	require.Equal(t, time.Hour, Plan(in).After)
	in.Now = now.Add(48 * time.Hour)
	plan := Plan(in)
	preview(&in, plan)
	require.Equal(t, []bool{false, true}, []bool{in.Status.Previews[0].Ended, in.Status.Previews[1].Ended})
	require.Equal(t, []Event{{Type: v1.EventNormal, Reason: PreviewEnded, Message: "source/prod-pr-2 of branch pr/2: the branch had no new commit for 48h0m0s"}}, plan.Events[:1])
	in.Now = now.Add(72 * time.Hour)
	require.Empty(t, Plan(in).Previews, "it does not begin again by itself")
	delete(in.Children, "prod-pr-2")
	listed(&in, "pr/1", "c", "pr/2", "d")
	plan = Plan(in)
	require.Equal(t, []string{"PreviewBegun source/prod-pr-2"}, changesOf(plan.Previews))
	preview(&in, plan)
	require.False(t, in.Status.Previews[1].Ended)
	in.Source.Spec.Previews = nil
	preview(&in, Plan(in))
	require.Empty(t, in.Status.Previews)
	require.Nil(t, v1.FindCondition(in.Status.Conditions, v1.Previews))
}

// TestPreviewEnds: all of a preview goes at once, although it is more than half of it, and nothing else.
func TestPreviewEnds(t *testing.T) {
	apps := map[string]string{}
	for i := range 5 {
		apps[fmt.Sprintf("%d.yaml", i)] = manifest(fmt.Sprintf("a%d", i), "")
	}
	ending := func(t *testing.T) Input {
		in := settled(t, apps)
		in.Source.Spec.Preview, in.Parent = &v1.PreviewOf{Source: "prod", UID: 4, Suffix: "pr-1", Host: "{branch}"}, &Parent{Commit: hashed("1")}
		in.Fetched.For.Seen = hashed("1")
		settle(&in, Plan(in))
		require.Equal(t, "prod", in.Status.Preview)
		require.Nil(t, Plan(in).Status)
		in.Parent.Commit = hashed("2")
		require.Equal(t, hashed("2"), Plan(in).Fetch.Seen, "what its source has seen is looked at now")
		in.Current[app("a1")] = Current{Hash: "x", Revision: 7, Paused: true}
		in.Others[app("a2")] = "stage"
		in.Wish.Disown = []string{"app/a3"}
		return in
	}
	all := []string{"PreviewEnded app/a0", "PreviewEnded app/a4"}
	t.Run("by its source", func(t *testing.T) {
		in := ending(t)
		in.Parent = &Parent{Ended: "its branch is gone"}
		plan := Plan(in)
		require.Equal(t, append(all, "PreviewEnded source/prod"), changesOf(plan.Changes))
		require.True(t, plan.Forget)
		require.Empty(t, plan.Status.Inventory)
		require.Equal(t, "the preview has ended: its branch is gone", plan.Note)
	})
	t.Run("by people", func(t *testing.T) {
		in := ending(t)
		in.Source, in.Parent = nil, nil
		plan := Plan(in)
		require.Equal(t, all, changesOf(plan.Changes))
		require.True(t, plan.Forget)
	})
	t.Run("before it began", func(t *testing.T) {
		in := ending(t)
		in.Status, in.StatusRevision, in.Parent = nil, 0, &Parent{Ended: "its branch is gone"}
		plan := Plan(in)
		require.Equal(t, []string{"PreviewEnded source/prod"}, changesOf(plan.Changes))
	})
	t.Run("it is made again", func(t *testing.T) {
		in := ending(t)
		in.Source = &Manifest{Spec: in.Source.Spec, UID: 40, Revision: 50}
		in.Fetched.For.Revision = 50
		plan := Plan(in)
		require.Empty(t, plan.Changes)
		require.Len(t, plan.Status.Inventory, 4, "less what is disowned")
	})
}
