package repository

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

const head = "apiVersion: fleet/v1\nkind: App\nmetadata: {name: NAME}\nspec:\n  exec: {command: [/bin/true]}\n"

func file(name, more string) File {
	return File{Path: name + ".yaml", Blob: "blob of " + name, Data: []byte(strings.Replace(head, "NAME", name, 1) + more)}
}

// TestPreview: the copies of a commit's apps are a commit of their own; sources are none of it, nor apps that say so, which the others
// then use as they are.
func TestPreview(t *testing.T) {
	of := &v1.PreviewOf{Source: "prod", UID: 1, Suffix: "pr-7", Host: "{app}-{branch}.example.com"}
	left := file("db", "")
	left.Data = []byte(strings.Replace(string(left.Data), "{name: db}", "{name: db, annotations: {fleet/previews: none}}", 1))
	m := Read(v1.SourceCommit{Hash: "1"}, []File{left, file("web", "  placement: {machineOf: [cache.service, db.service]}\n"), file("cache", ""),
		{Path: "s.yaml", Data: []byte("apiVersion: fleet/v1\nkind: Source\nmetadata: {name: other}\nspec: {git: {url: https://example.com/a.git}}\n")}})
	require.NoError(t, m.Fault)
	require.Len(t, m.Objects, 4)
	preview := m.Preview(of)
	require.NoError(t, preview.Fault)
	require.Equal(t, "1", preview.Commit.Hash)
	require.Len(t, preview.Objects, 2)
	web := preview.Objects[1]
	require.Equal(t, []string{"app/cache-pr-7", "app/web-pr-7", "web.yaml:1", "blob of web"}, []string{preview.Objects[0].String(), web.String(), web.Place(), web.Blob})
	require.Equal(t, []string{"cache-pr-7.service", "db.service"}, web.App.Spec.Placement.MachineOf)
	stored, err := v1.ParseAppNamed("web-pr-7", web.Raw)
	require.NoError(t, err)
	require.Equal(t, web.App, stored)
	sum := sha256.Sum256(web.Raw)
	require.Equal(t, hex.EncodeToString(sum[:]), web.Hash)
	require.Equal(t, "web", m.Objects[2].Name, "the commit itself stays as it is")
}

// TestPreviewFaults: all that keeps a commit from having copies, with the place; none of them is made then.
func TestPreviewFaults(t *testing.T) {
	of := &v1.PreviewOf{Source: "prod", UID: 1, Suffix: "pr-7", Host: "{app}-{branch}.example.com"}
	long := strings.Repeat("w", 60)
	m := Read(v1.SourceCommit{}, []File{file("a", "  ports: [{port: 3000}]\n"), file("b", ""), file(long, "")}).Preview(of)
	require.Empty(t, m.Objects)
	require.ErrorContains(t, m.Fault, "a.yaml:1: app/a: spec.ports[0].hostPort: a preview cannot have port 3000 of the machine, too: write auto, and listen on $PORT")
	require.ErrorContains(t, m.Fault, long+".yaml:1: app/"+long+", as a preview: metadata.name: ")
	wrong := Read(v1.SourceCommit{}, []File{{Path: "a.yaml", Data: []byte("{")}})
	require.Same(t, wrong, wrong.Preview(of))
	marked := Read(v1.SourceCommit{}, []File{{Path: "s.yaml", Data: []byte("# one\n---\napiVersion: fleet/v1\nkind: Source\nmetadata: {name: other}\nspec:\n  git: {url: https://example.com/a.git}\n" +
		"  preview: {source: prod, uid: 1, suffix: pr-7, host: '{branch}'}\n")}})
	require.ErrorContains(t, marked.Fault, "s.yaml:8: spec.preview: is only set by the source whose preview it is: remove it")
}
