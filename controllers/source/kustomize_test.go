package source

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestKustomize: what a kustomization builds is applied like a file's documents: whole or not at all, put back, and left undone.
func TestKustomize(t *testing.T) {
	w := newWorld(t, memstore.New(memstore.Options{}))
	base := map[string]string{"base/web.yaml": manifest("web", "  replicas: 1\n"), "base/db.yaml": manifest("db", ""), "base/kustomization.yaml": "resources: [web.yaml, db.yaml]\n",
		"prod/kustomization.yaml": "resources: [../base]\nnamePrefix: shop-\nreplicas: [{name: web, count: 3}]\n", "prod/unused.yaml": "not for us"}
	first := w.repo.Push("First", base)
	w.follows("prod", "branch: main, path: prod", "  prune: true\n")
	status := w.sync("prod", v1.SourceWish{}, Applied)
	require.Equal(t, first, status.Applied.Hash)
	require.Len(t, status.Inventory, 2)
	web := status.Inventory[1]
	require.Equal(t, []any{"App", "shop-web", "prod/kustomization.yaml", 0}, []any{web.Kind, web.Name, web.Path, web.Line})
	require.Contains(t, w.apps()["shop-web"], "replicas: 3")
	require.Len(t, w.apps(), 2)

	// A commit that changes nothing of what is built changes nothing; what it changes is told by the blob.
	w.repo.Push("A word", map[string]string{"README.md": "word\n"})
	require.Equal(t, status.Inventory, w.sync("prod", v1.SourceWish{}, Applied).Inventory)
	w.repo.Push("More of the base", map[string]string{"base/web.yaml": manifest("web", "  env: {A: b}\n")})
	status = w.sync("prod", v1.SourceWish{}, Applied)
	require.NotEqual(t, web.Blob, status.Inventory[1].Blob)
	require.NotEqual(t, web.Hash, status.Inventory[1].Hash)

	// A fault of what is built, and of the kustomization: nothing is applied, and it says where.
	before := w.apps()
	w.repo.Push("Too few", map[string]string{"prod/kustomization.yaml": "resources: [../base]\nnamePrefix: shop-\nreplicas: [{name: web, count: -3}]\n"})
	status = w.sync("prod", v1.SourceWish{}, InvalidCommit)
	require.Contains(t, synced(status).Message, "prod/kustomization.yaml: app/shop-web, as it is built: spec.replicas: -3 is negative")
	w.repo.Push("From elsewhere", map[string]string{"prod/kustomization.yaml": "resources: ['https://example.com/base']\n"})
	status = w.sync("prod", v1.SourceWish{}, InvalidCommit)
	require.Contains(t, synced(status).Message, `prod/kustomization.yaml: resources[0]: "https://example.com/base" is not in this repository`)
	require.Equal(t, "From elsewhere", status.Failed.Subject)
	require.NoError(t, os.Symlink("/etc", filepath.Join(w.repo.Tree, "outside")))
	w.repo.Push("Out of the tree", map[string]string{"prod/kustomization.yaml": "resources: [../outside]\n"})
	status = w.sync("prod", v1.SourceWish{}, InvalidCommit)
	require.Contains(t, synced(status).Message, "prod/kustomization.yaml: resources[0]: outside is a symbolic link")
	require.Equal(t, before, w.apps())

	// A kustomization below the path of a source is not guessed at.
	w.repo.Push("Right again", map[string]string{"prod/kustomization.yaml": base["prod/kustomization.yaml"]})
	w.follows("prod", "branch: main", "  prune: true\n")
	status = w.sync("prod", v1.SourceWish{}, InvalidCommit)
	require.Contains(t, synced(status).Message, "base/kustomization.yaml: a kustomization is built only in the path of a source: set spec.git.path to base")
	require.Equal(t, before, w.apps())
}
