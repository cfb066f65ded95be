package forecast

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/source"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

const prune = "spec:\n  git: {url: \"https://git.example.com/shop.git\"}\n  prune: true\n"

// managed is a cluster of three machines with three apps that the source prod has applied, and one that it has not. It leaves no room
// for a second app with the port 3000.
func managed(t *testing.T, rest string) *world {
	w := newWorld(t, 3)
	w.run(manifests(named(1, shop(3, "1", fixed)), named(2, shop(2, "1", auto)), named(3, shop(1, "1", auto)), named(4, shop(1, "1", auto))))
	w.write("prod", rest)
	source, _, _, err := w.store.Get(t.Context(), keys.Sources().Key("prod"))
	require.NoError(t, err)
	status := v1.SourceStatus{UID: source.CreateRevision, Applied: &v1.SourceCommit{Hash: "c1"}}
	for n := range 3 {
		status.Inventory = append(status.Inventory, v1.SourceObject{Kind: v1.KindApp, Name: appName(n + 1), Path: "old.yaml"})
	}
	put(w, keys.SourceStatus(), "prod", status, 0)
	return w
}

func (w *world) write(source, rest string) {
	put(w, keys.Sources(), source, []byte(fmt.Sprintf("apiVersion: fleet/v1\nkind: Source\nmetadata: {name: %s}\n%s", source, rest)), 0)
}

func files(texts ...string) (files []wire.SourceFile) {
	for n, text := range texts {
		files = append(files, wire.SourceFile{Path: fmt.Sprintf("prod/%d.yaml", n), Text: text})
	}
	return files
}

func appName(n int) string { return fmt.Sprintf("shop%d", n) }

// What a source would do with other files is decided by its controller: an app that is not in them goes, and its machines are free for
// others in the same plan.
func TestSourcePrunes(t *testing.T) {
	w := managed(t, prune)
	f := w.plan(wire.WhatIf{Source: &wire.SourceFiles{Name: "prod", Files: files(named(2, shop(2, "1", auto)), named(3, shop(2, "1", auto)), named(5, shop(3, "1", fixed)))}}, nil)
	var changes []string
	for _, c := range f.Changes {
		changes = append(changes, fmt.Sprintf("%s %s %t", c.Object, c.Reason, c.ResourceVersion != ""))
	}
	require.Equal(t, []string{"app/shop3 Configured true", "app/shop5 Created false", "app/shop1 Pruned true"}, changes)
	require.Empty(t, f.Unplaced, "shop5 gets the machines of shop1")
	require.Equal(t, &wire.PlanEnds{Instances: 3, Hosts: []string{"shop1.example.com"}}, f.Changes[2].Ends)
	require.Nil(t, f.Changes[0].Ends)
	require.Contains(t, lines(f), "create shop5 shop5@3.service ScaledUp")
	require.NotContains(t, lines(f), "shop4", "it is none of the source's")

	w.write("prod", "spec: {git: {url: \"https://git.example.com/shop.git\"}}\n")
	f = w.plan(wire.WhatIf{Source: &wire.SourceFiles{Name: "prod", Files: files(named(1, shop(3, "1", fixed)), named(3, shop(1, "1", auto)))}}, nil)
	require.Equal(t, []string{"app/shop2 is no longer in the repository, and goes on: prune is not set"}, f.Notes)
	require.Empty(t, f.Changes)
	require.Empty(t, f.Actions)
}

// What the source would refuse is refused, with its reason.
func TestSourceRefuses(t *testing.T) {
	w := managed(t, prune)
	one := files(named(1, shop(3, "1", fixed)))
	for name, tt := range map[string]struct {
		source string
		files  []wire.SourceFile
		allow  bool
		want   string
	}{
		"no such source": {source: "none", files: one, want: "source/none does not exist"},
		"more than half": {source: "prod", files: one, want: "source/prod would apply nothing of it: PruneRefused: 2 of 3 objects would be deleted (app/shop2, app/shop3): " +
			"fleetctl sync source/prod --allow-prune does so"},
		"allowed":  {source: "prod", files: one, allow: true},
		"not its":  {source: "prod", files: append(files(named(4, shop(9, "1", auto)), named(2, shop(2, "1", auto))), one...), want: "NotOwned: prod/0.yaml:1: app/shop4 exists, and was not applied by this source"},
		"a typo":   {source: "prod", files: append(files("kind: App\n"), one...), want: "InvalidCommit: prod/0.yaml"},
		"in two":   {source: "prod", files: files(named(1, shop(3, "1", fixed)), named(1, shop(2, "1", fixed))), want: "prod/1.yaml:1: app/shop1 is in prod/0.yaml:1, too"},
		"its host": {source: "prod", files: files(named(5, shop(1, "1", auto)), hostOf(4), named(2, shop(2, "1", auto))), want: "HostTaken: prod/1.yaml:1: spec.route.hosts[0]: shop4.example.com belongs to app/shop4"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Run(t.Context(), w.store, Options{Keys: keys}, wire.WhatIf{Source: &wire.SourceFiles{Name: tt.source, Files: tt.files, AllowPrune: tt.allow}}, nil)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
	w.write("prod", prune+"  suspend: true\n")
	_, _, err := Run(t.Context(), w.store, Options{Keys: keys}, wire.WhatIf{Source: &wire.SourceFiles{Name: "prod", Files: one}}, nil)
	require.ErrorContains(t, err, "Suspended: the source is suspended")
}

// What people took back stays so, and the plan says so.
func TestSourceLeavesWhatWasUndone(t *testing.T) {
	w := managed(t, prune)
	text, edited := named(1, shop(3, "1", fixed)), named(1, shop(2, "1", fixed))
	kv, _, _, err := w.store.Get(t.Context(), keys.SourceStatus().Key("prod"))
	require.NoError(t, err)
	status, err := keys.SourceStatus().Decode(kv.Value)
	require.NoError(t, err)
	sum := sha256.Sum256([]byte(text))
	status.Inventory[0].Hash = hex.EncodeToString(sum[:])
	put(w, keys.SourceStatus(), "prod", status, 0)
	whatIf := wire.WhatIf{Source: &wire.SourceFiles{Name: "prod", Files: files(text, named(2, shop(2, "1", auto)), named(3, shop(1, "1", auto)))}}

	put(w, keys.Apps(), "shop1", []byte(edited), 0)
	f := w.plan(whatIf, nil)
	require.Len(t, f.Changes, 1)
	require.Equal(t, source.DriftReverted, f.Changes[0].Reason)
	require.Empty(t, f.Notes)

	apply, err := keys.Applies().Encode(v1.Apply{Time: w.now, User: "ada", Undo: true, Objects: []v1.AppliedObject{{Kind: v1.KindApp, Name: "shop1"}}})
	require.NoError(t, err)
	_, err = w.store.Commit(t.Context(), store.Txn{Ops: []store.Op{
		{Key: keys.Apps().Key("shop1"), Value: []byte(edited)}, {Key: keys.Applies().Key(keyspace.ApplyName(w.now, "000001")), Value: apply},
	}})
	require.NoError(t, err)
	f = w.plan(whatIf, nil)
	require.Empty(t, f.Changes)
	require.Equal(t, []string{"source/prod leaves app/shop1 as it is: it was undone by ada at 2026-01-01T00:00:00Z, and waits for the next change of its file"}, f.Notes)
}

// hostOf is a manifest of shop1 that asks for the host of another one.
func hostOf(n int) string {
	return strings.ReplaceAll(named(1, shop(3, "1", fixed)), "shop1.example.com", appName(n)+".example.com")
}

// A commit is told by its hash: what people have allowed is allowed to that one alone. What kustomize has built, or could not, and bytes
// that are no UTF-8 reach the controller as the leader would have read them.
func TestSourceOfACommit(t *testing.T) {
	w := managed(t, prune)
	hash := strings.Repeat("2", 40)
	put(w, keys.SourceWishes(), "prod", v1.SourceWish{AllowPrune: hash}, 0)
	one := files(named(1, shop(3, "1", fixed)))
	of := func(hash string, files ...wire.SourceFile) error {
		_, _, err := Run(t.Context(), w.store, Options{Keys: keys}, wire.WhatIf{Source: &wire.SourceFiles{Name: "prod", Commit: &v1.SourceCommit{Hash: hash}, Files: files}}, nil)
		return err
	}
	require.NoError(t, of(hash, one...))
	require.ErrorContains(t, of(strings.Repeat("3", 40), one...), "PruneRefused")
	require.ErrorContains(t, of(hash, wire.SourceFile{Path: "prod/kustomization.yaml", Fault: "resources[0] is gone"}), "InvalidCommit: resources[0] is gone")
	require.ErrorContains(t, of(hash, wire.SourceFile{Path: "prod/kustomization.yaml", Text: "resources: []\n"}), "a kustomization is built only in the path of a source")
	require.NoError(t, of(hash, wire.SourceFile{Path: "prod/kustomization.yaml", Built: "app/shop1", Text: one[0].Text}))
	latin := wire.SourceFile{Path: "prod/1.yaml"}
	latin.SetContent([]byte("# caf\xe9\n"))
	require.ErrorContains(t, of(hash, latin), "InvalidCommit: prod/1.yaml")
}
