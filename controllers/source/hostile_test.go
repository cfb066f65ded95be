package source

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/git"
	"github.com/fleet-starter/fleet/internal/git/gittest"
	"github.com/fleet-starter/fleet/internal/ssh/sshdtest"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// says waits until a source gives that reason.
func (w *world) says(name, reason string) (status v1.SourceStatus) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		kv, ok, _, err := w.store.Get(context.Background(), w.keys.SourceStatus().Key(name))
		if err != nil || !ok {
			return false
		}
		status, err = w.keys.SourceStatus().Decode(kv.Value)
		c := synced(status)
		return err == nil && c != nil && c.Reason == reason
	}, 30*time.Second, 10*time.Millisecond, "%+v", &status)
	return status
}

func (w *world) secret(text string) string {
	path := filepath.Join(w.t.TempDir(), "secret")
	require.NoError(w.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// hostile is what a repository or its server does to the source prod, which has applied the apps a and b before.
type hostile struct {
	do func(w *world)
	// reason and says are of Synced; with Applied, apps are what is stored of a, b and others; else all stays as it is.
	reason, says string
	apps         map[string]string
	limits       git.Limits
}

var (
	hostileA, hostileB = manifest("a", ""), manifest("b", "")
	changedA           = manifest("a", "  replicas: 3\n")
)

func push(files map[string]string) func(w *world) {
	return func(w *world) { w.repo.Push("Hostile", files) }
}

func url(url string) func(w *world) {
	return func(w *world) { w.sourceAt("prod", url, "branch: main", "  prune: true\n") }
}

func spec(more string) func(w *world) {
	return func(w *world) { w.source("prod", more) }
}

func link(target, name string) func(w *world) {
	return func(w *world) {
		require.NoError(w.t, os.Symlink(target, filepath.Join(w.repo.Tree, name)))
		w.repo.Push("A link", map[string]string{"a.yaml": changedA})
	}
}

// serve has an HTTP server that does something else than git.
func serve(do func(http.ResponseWriter, *http.Request)) func(w *world) {
	return func(w *world) {
		server := httptest.NewServer(http.HandlerFunc(do))
		w.t.Cleanup(server.Close)
		w.t.Cleanup(server.CloseClientConnections)
		url(server.URL + "/x.git")(w)
	}
}

// expires serves the repository with a token that works first.
func expires(w *world) {
	address, server := w.repo.Serve("geheim")
	ca := w.secret(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	token := w.secret("geheim")
	w.sourceAt("prod", address, "branch: main", fmt.Sprintf("  prune: true\n  auth: {tokenFile: %s, caFile: %s}\n", token, ca))
	w.sync("prod", v1.SourceWish{}, Applied)
	require.NoError(w.t, os.WriteFile(token, []byte("abgelaufen"), 0o600))
}

// anotherHost serves the repository by ssh, with a host key that is known first.
func anotherHost(w *world) {
	agent, other := sshdtest.StartAgent(w.t), sshdtest.StartAgent(w.t)
	sshd := sshdtest.Start(w.t, agent)
	host, port, _ := net.SplitHostPort(sshd.Address)
	known := w.secret(fmt.Sprintf("[%s]:%s %s\n", host, port, sshd.HostKey(w.t)))
	w.sourceAt("prod", "ssh://"+sshd.User+"@"+sshd.Address+w.repo.Bare, "branch: main", fmt.Sprintf("  prune: true\n  auth: {sshKeyFile: %s, knownHostsFile: %s}\n", agent.KeyFile, known))
	w.sync("prod", v1.SourceWish{}, Applied)
	public, err := os.ReadFile(other.KeyFile + ".pub")
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(known, fmt.Appendf(nil, "[%s]:%s %s\n", host, port, strings.Join(strings.Fields(string(public))[:2], " ")), 0o600))
}

// TestHostile: whatever a repository or its server does, there is one clear condition, nothing is lost, and other sources go on.
func TestHostile(t *testing.T) {
	soon := git.Limits{List: 3 * time.Second, Time: 3 * time.Second}
	for name, c := range map[string]hostile{
		"a URL that runs a command":  {do: url("ext::sh -c touch% /tmp/x"), reason: v1.ReasonInvalidManifest, says: "spec.git.url: the URL"},
		"a URL that is an option":    {do: url("--upload-pack=touch /tmp/x"), reason: v1.ReasonInvalidManifest, says: "spec.git.url: the URL"},
		"a host that is an option":   {do: url("ssh://-oProxyCommand=x/y.git"), reason: v1.ReasonInvalidManifest, says: "spec.git.url: the URL"},
		"a line break in a URL":      {do: url("https://example.com/a\nb.git"), reason: v1.ReasonInvalidManifest, says: "spec.git.url: the URL"},
		"a branch that is an option": {do: func(w *world) { w.follows("prod", `branch: "--upload-pack=x"`, "") }, reason: v1.ReasonInvalidManifest, says: "spec.git.branch: "},
		"a path out of the tree":     {do: func(w *world) { w.follows("prod", `path: "../x"`, "") }, reason: v1.ReasonInvalidManifest, says: "leads out of the repository"},
		"a path that is gone":        {do: func(w *world) { w.follows("prod", `path: "x"`, "  prune: true\n") }, reason: git.PathGone, says: "x is not in commit "},
		"a branch that is gone":      {do: func(w *world) { w.follows("prod", `branch: "x"`, "  prune: true\n") }, reason: git.ReferenceGone, says: "the repository has no refs/heads/x: nothing is deleted because of that"},
		"a repository that is gone":  {do: func(w *world) { require.NoError(w.t, os.RemoveAll(w.repo.Bare)) }, reason: git.RepositoryNotFound, says: "the server has no such repository"},
		"an empty directory":         {do: push(map[string]string{"a.yaml": "", "b.yaml": "", "README.md": "#"}), reason: PruneRefused, says: "2 of 2 objects would be deleted (app/a, app/b): fleetctl sync source/prod --allow-prune does so"},
		"an empty commit":            {do: push(map[string]string{"a.yaml": "", "b.yaml": ""}), reason: git.PathGone, says: " has no files"},
		"filters":                    {do: push(map[string]string{"a.yaml": "# $Id$\n" + changedA, ".gitattributes": "*.yaml filter=evil ident text eol=crlf export-ignore\n"}), reason: Applied, says: "Hostile", apps: map[string]string{"a": "# $Id$\n" + changedA, "b": hostileB}},
		"another history": {do: func(w *world) {
			w.repo.Git("checkout", "--quiet", "--orphan", "new")
			push(map[string]string{"a.yaml": changedA})(w)
		}, reason: Applied, says: "Hostile", apps: map[string]string{"a": changedA, "b": hostileB}},
		"an earlier commit, by force": {do: func(w *world) {
			push(map[string]string{"a.yaml": changedA})(w)
			w.sync("prod", v1.SourceWish{}, Applied)
			w.repo.Git("push", "--quiet", "--force", "origin", "HEAD^:main")
		}, reason: Applied, says: "First", apps: map[string]string{"a": hostileA, "b": hostileB}},
		"an app in two files":       {do: push(map[string]string{"a.yaml": changedA, "c.yaml": changedA}), reason: InvalidCommit, says: "c.yaml:1: app/a is in a.yaml:1, too: remove one"},
		"an app of another source":  {do: push(map[string]string{"a.yaml": changedA, "calm.yaml": manifest("calm", "")}), reason: NotOwned, says: "app/calm belongs to source/calm: remove it from one of the two repositories"},
		"line ends, a mark, hidden": {do: push(map[string]string{"a.yaml": "\xef\xbb\xbf" + strings.ReplaceAll(changedA, "\n", "\r\n"), ".hidden.yaml": "{", ".github/x.yaml": "{"}), reason: Applied, says: "Hostile", apps: map[string]string{"a": strings.ReplaceAll(changedA, "\n", "\r\n"), "b": hostileB}},
		"a link out of the tree":    {do: link("/etc/passwd", "c.yaml"), reason: git.NotAFile, says: "c.yaml is a symbolic link: write the manifest itself"},
		"a link within the tree":    {do: link("a.yaml", "c.yaml"), reason: git.NotAFile, says: "c.yaml is a symbolic link"},
		"a submodule": {do: func(w *world) {
			w.repo.Git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("1", 40)+",sub.yaml")
			w.repo.Git("commit", "--quiet", "-m", "Hostile")
			w.repo.Git("push", "--quiet", "origin", "HEAD:main")
		}, reason: Applied, says: "Hostile", apps: map[string]string{"a": hostileA, "b": hostileB}},
		"no signature":            {do: spec("  verify: {sshSigners: [ada@example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5]}\n"), reason: git.NotSigned, says: "commit"},
		"a token that expired":    {do: expires, reason: git.AuthFailed, says: "does not accept the token in auth.tokenFile"},
		"a host key that changed": {do: anotherHost, reason: git.HostKeyRefused, says: "the server's host key has changed: find out why"},
		"a server that hangs":     {do: serve(func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() }), reason: git.TimedOut, says: "within 3s", limits: soon},
		"a server that trickles": {do: serve(func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			for q.Context().Err() == nil {
				_, _ = fmt.Fprint(w, "0")
				w.(http.Flusher).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		}), reason: git.TimedOut, says: "within 3s", limits: soon},
		"a server that talks nonsense": {do: serve(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "<html>\x1b[31mlogin</html>") }), reason: git.ReferenceGone, says: "the repository has no refs/heads/main: nothing is deleted because of that"},
	} {
		t.Run(name, func(t *testing.T) { c.test(t) })
	}
}

func (c *hostile) test(t *testing.T) {
	w := &world{t: t, store: memstore.New(memstore.Options{}), repo: gittest.New(t), limits: c.limits}
	w.start()
	calm := gittest.New(t)
	calm.Push("Calm", map[string]string{"calm.yaml": manifest("calm", "")})
	w.sourceAt("calm", calm.File(), "branch: main", "")
	w.sync("calm", v1.SourceWish{}, Applied)
	w.repo.Push("First", map[string]string{"a.yaml": hostileA, "b.yaml": hostileB})
	w.source("prod", "  prune: true\n")
	before := w.sync("prod", v1.SourceWish{}, Applied)
	c.do(w)
	wish, err := w.keys.SourceWishes().Encode(v1.SourceWish{RequestedAt: time.Now().Format(time.RFC3339Nano)})
	require.NoError(t, err)
	w.put(w.keys.SourceWishes().Key("prod"), string(wish))
	status := before
	require.Eventually(t, func() bool {
		status = w.says("prod", c.reason)
		return strings.Contains(synced(status).Message, c.says)
	}, 20*time.Second, 50*time.Millisecond, "%+v", &status)
	message := synced(status).Message
	for _, bad := range []string{"\n", "\x1b", "geheim", "abgelaufen"} {
		require.NotContains(t, message, bad)
	}
	want := c.apps
	if c.reason != Applied {
		want = map[string]string{"a": hostileA, "b": hostileB}
		require.Equal(t, before.Applied, status.Applied)
		require.Equal(t, before.Inventory, status.Inventory, "all belongs to it still")
	}
	calmer := manifest("calm", "  replicas: 2\n")
	calm.Push("Calmer", map[string]string{"calm.yaml": calmer})
	w.sync("calm", v1.SourceWish{}, Applied)
	apps := w.apps()
	require.Equal(t, calmer, apps["calm"], "the other source goes on")
	delete(apps, "calm")
	require.Equal(t, want, apps)
	t.Logf("%s: %s", c.reason, message)
}
