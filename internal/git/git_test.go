package git

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/git/gittest"
	"github.com/fleet-starter/fleet/internal/ssh/sshdtest"
)

func reader(t *testing.T, limits Limits) *Git {
	return New(Options{Dir: filepath.Join(t.TempDir(), "git"), Local: true, Limits: limits})
}

func secret(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func paths(c *Commit) (list []string) {
	for _, f := range c.Files {
		list = append(list, f.Path)
	}
	return list
}

// TestRead: over each transport, with the credentials that it needs; a commit that is there is not fetched again.
func TestRead(t *testing.T) {
	repo := gittest.New(t)
	first := repo.Push("First\n\nMore.", map[string]string{"prod/b.yaml": "b: 1\n", "prod/sub/a.yml": "a\n", "prod/c.json": "{}", "prod/.hidden.yaml": "h",
		"prod/.dir/x.yaml": "x", "prod/README.md": "#", "other/z.yaml": "z"})
	agent := sshdtest.StartAgent(t)
	sshd := sshdtest.Start(t, agent)
	url, server := repo.Serve("geheim")
	ca := secret(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	host, port, _ := net.SplitHostPort(sshd.Address)
	known := secret(t, fmt.Sprintf("[%s]:%s %s\n", host, port, sshd.HostKey(t)))
	for name, remote := range map[string]Remote{
		"file":  {URL: repo.File()},
		"ssh":   {URL: "ssh://" + sshd.User + "@" + sshd.Address + repo.Bare, SSHKeyFile: agent.KeyFile, KnownHostsFile: known},
		"https": {URL: url, TokenFile: secret(t, "geheim\n"), CAFile: ca},
	} {
		t.Run(name, func(t *testing.T) {
			g := reader(t, Limits{})
			refs, err := g.List(t.Context(), remote, "refs/heads/main")
			require.NoError(t, err)
			require.Equal(t, []Reference{{"refs/heads/main", first}}, refs)
			for range 2 {
				c, err := g.Read(t.Context(), remote, Request{Reference: "refs/heads/main", Hash: first, Path: "./prod/"})
				require.NoError(t, err)
				require.Equal(t, []string{"prod/b.yaml", "prod/c.json", "prod/sub/a.yml"}, paths(c))
				require.Equal(t, "b: 1\n", string(c.Files[0].Data))
				require.Equal(t, []string{first, "Ada", "First"}, []string{c.Hash, c.Author, c.Subject})
				require.WithinDuration(t, time.Now(), c.Time, time.Minute)
				require.Len(t, c.Files[0].Blob, 40)
			}
			c, err := g.Read(t.Context(), remote, Request{Hash: first, Path: ""}) // by its hash alone
			require.NoError(t, err)
			require.Equal(t, []string{"other/z.yaml", "prod/b.yaml", "prod/c.json", "prod/sub/a.yml"}, paths(c))
			found, err := os.ReadDir(g.Dir)
			require.NoError(t, err)
			require.Len(t, found, 1, "no copy of a secret is left")
		})
	}
}

// TestRefused: whatever a server, a repository or a credential does, the error says what is wrong, and has no credential.
func TestRefused(t *testing.T) {
	repo := gittest.New(t)
	repo.Push("First", map[string]string{"a.yaml": "a\n"})
	agent, other := sshdtest.StartAgent(t), sshdtest.StartAgent(t)
	sshd := sshdtest.Start(t, agent)
	host, port, _ := net.SplitHostPort(sshd.Address)
	address := "ssh://" + sshd.User + "@" + sshd.Address
	key := sshd.HostKey(t)
	known := secret(t, fmt.Sprintf("[%s]:%s %s\n", host, port, key))
	changed := secret(t, fmt.Sprintf("[%s]:%s %s\n", host, port, strings.Join(strings.Fields(publicOf(t, other.KeyFile))[:2], " ")))
	url, server := repo.Serve("geheim")
	ca := secret(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	redirect := httptest.NewServer(http.RedirectHandler(url, http.StatusFound))
	t.Cleanup(redirect.Close)
	ended := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ended }))
	t.Cleanup(hangs.Close)
	t.Cleanup(func() { close(ended) })
	trickles := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		for q.Context().Err() == nil {
			_, _ = fmt.Fprint(w, "0")
			w.(http.Flusher).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	}))
	t.Cleanup(trickles.Close)
	for name, c := range map[string]struct {
		remote       Remote
		reason, says string
	}{
		"no repository":      {Remote{URL: "file:///nowhere.git"}, RepositoryNotFound, "no such repository"},
		"a host unknown":     {Remote{URL: address + repo.Bare, SSHKeyFile: agent.KeyFile}, HostKeyRefused, "auth.knownHostsFile"},
		"a host changed":     {Remote{URL: address + repo.Bare, SSHKeyFile: agent.KeyFile, KnownHostsFile: changed}, HostKeyRefused, "has changed"},
		"a key refused":      {Remote{URL: address + repo.Bare, SSHKeyFile: other.KeyFile, KnownHostsFile: known}, AuthFailed, "auth.sshKeyFile"},
		"a key missing":      {Remote{URL: address + repo.Bare, SSHKeyFile: "/nowhere/key", KnownHostsFile: known}, AuthFailed, "/nowhere/key"},
		"no key":             {Remote{URL: address + repo.Bare, KnownHostsFile: known}, AuthFailed, "auth.sshKeyFile"},
		"a token expired":    {Remote{URL: url, TokenFile: secret(t, "abgelaufen"), CAFile: ca}, AuthFailed, "does not accept the token in auth.tokenFile"},
		"no token":           {Remote{URL: url, CAFile: ca}, AuthFailed, "auth.tokenFile"},
		"an authority":       {Remote{URL: url, TokenFile: secret(t, "geheim")}, Unreachable, "auth.caFile"},
		"redirected":         {Remote{URL: redirect.URL + "/x.git", TokenFile: secret(t, "geheim")}, Unreachable, ""},
		"connection refused": {Remote{URL: "http://127.0.0.1:1/x.git"}, Unreachable, "git: fatal: unable to access"},
		"hangs":              {Remote{URL: hangs.URL + "/x.git"}, TimedOut, "within 1s"},
		"trickles":           {Remote{URL: trickles.URL + "/x.git"}, TimedOut, "within 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			g := reader(t, Limits{List: time.Second})
			if c.reason != TimedOut {
				g = reader(t, Limits{})
			}
			begin := time.Now()
			_, err := g.List(t.Context(), c.remote, "refs/heads/main")
			require.Error(t, err)
			require.Equal(t, c.reason, ReasonOf(err), err.Error())
			require.Contains(t, err.Error(), c.says)
			for _, word := range []string{"geheim", "abgelaufen"} {
				require.NotContains(t, err.Error(), word)
			}
			require.NotContains(t, err.Error(), "\n")
			require.Less(t, time.Since(begin), 15*time.Second)
		})
	}
}

func publicOf(t *testing.T, key string) string {
	data, err := os.ReadFile(key + ".pub")
	require.NoError(t, err)
	return string(data)
}

// TestHostileTrees: what a commit has in it.
func TestHostileTrees(t *testing.T) {
	limits := Limits{Entries: 200, Files: 50, File: 1000, Total: 3000}
	many := map[string]string{}
	for i := range 60 {
		many[fmt.Sprintf("prod/%d.yaml", i)] = fmt.Sprint("a: ", i)
	}
	lots := map[string]string{}
	for i := range 210 {
		lots[fmt.Sprintf("prod/%d.txt", i)] = fmt.Sprint(i)
	}
	big := map[string]string{}
	for i := range 4 {
		big[fmt.Sprintf("prod/%d.yaml", i)] = strings.Repeat(fmt.Sprint(i), 900)
	}
	for name, c := range map[string]struct {
		files        map[string]string
		link         [2]string
		reason, says string
	}{
		"a path that is gone":     {map[string]string{"a.yaml": "a"}, [2]string{}, PathGone, "prod is not in commit"},
		"a path that is a file":   {map[string]string{"prod": "a"}, [2]string{}, PathGone, "prod is not in commit"},
		"a large manifest":        {map[string]string{"prod/a.yaml": strings.Repeat("x", 1001)}, [2]string{}, TooLarge, "prod/a.yaml has 1001 bytes"},
		"many manifests":          {many, [2]string{}, TooLarge, "more than 50 manifests"},
		"many files":              {lots, [2]string{}, TooLarge, "more than 200 files"},
		"large in all":            {big, [2]string{}, TooLarge, "MiB of them"},
		"a link out of the tree":  {map[string]string{"prod/a.yaml": "a"}, [2]string{"/etc/passwd", "prod/b.yaml"}, NotAFile, "prod/b.yaml is a symbolic link"},
		"a directory that is one": {map[string]string{"a.yaml": "a"}, [2]string{"/etc", "prod"}, PathGone, "prod is not in commit"},
	} {
		t.Run(name, func(t *testing.T) {
			repo := gittest.New(t)
			repo.Write(c.files)
			if c.link[0] != "" {
				require.NoError(t, os.Symlink(c.link[0], filepath.Join(repo.Tree, c.link[1])))
			}
			hash := repo.Push("It", nil)
			_, err := reader(t, limits).Read(t.Context(), Remote{URL: repo.File()}, Request{Reference: "refs/heads/main", Hash: hash, Path: "prod"})
			require.Error(t, err)
			require.Equal(t, c.reason, ReasonOf(err), err.Error())
			require.Contains(t, err.Error(), c.says)
		})
	}
}

// TestNothingRuns: hooks, filters, file system monitors and submodules of a repository have no effect, nor does the configuration
// of the user or the machine.
func TestNothingRuns(t *testing.T) {
	repo := gittest.New(t)
	mark := filepath.Join(t.TempDir(), "ran")
	config := fmt.Sprintf("[filter \"evil\"]\n\tsmudge = touch %[1]s\n\tclean = touch %[1]s\n[core]\n\thooksPath = /tmp\n\tsshCommand = touch %[1]s\n\tfsmonitor = touch %[1]s\n", mark)
	hash := repo.Push("It", map[string]string{"a.yaml": "a: $Id$\r\n", ".gitattributes": "*.yaml filter=evil ident export-subst\n",
		".gitmodules": "[submodule \"x\"]\n\tpath = x\n\turl = ext::touch " + mark + "\n", "hooks/post-checkout": "#!/bin/sh\ntouch " + mark})
	home := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o600))
	t.Setenv("HOME", home)
	t.Setenv("GIT_CONFIG_PARAMETERS", "'core.hooksPath=/tmp'")
	t.Setenv("GIT_SSH_COMMAND", "touch "+mark)
	c, err := reader(t, Limits{}).Read(t.Context(), Remote{URL: repo.File()}, Request{Reference: "refs/heads/main", Hash: hash})
	require.NoError(t, err)
	require.Equal(t, []string{"a.yaml"}, paths(c))
	require.Equal(t, "a: $Id$\r\n", string(c.Files[0].Data), "the very bytes")
	require.NoFileExists(t, mark)
}

// TestLargeRepository: a fetch is ended at the limit, and its disk space is given back.
func TestLargeRepository(t *testing.T) {
	repo := gittest.New(t)
	data := make([]byte, 8<<20)
	state := uint64(1)
	for i := range data { // does not compress
		state = state*6364136223846793005 + 1442695040888963407
		data[i] = byte(state >> 56)
	}
	require.NoError(t, os.WriteFile(filepath.Join(repo.Tree, "large"), data, 0o644))
	hash := repo.Push("Large", map[string]string{"a.yaml": "a"})
	g := reader(t, Limits{Fetch: 1 << 20})
	_, err := g.Read(t.Context(), Remote{URL: repo.File()}, Request{Reference: "refs/heads/main", Hash: hash})
	require.Error(t, err)
	require.Equal(t, TooLarge, ReasonOf(err), err.Error())
	require.Less(t, size(g.Dir), int64(100<<10))
}

// TestRewritten: a forced push is read like any other; a branch that moved since it was listed is read as it is now.
func TestRewritten(t *testing.T) {
	repo := gittest.New(t)
	first := repo.Push("First", map[string]string{"a.yaml": "1"})
	g, remote := reader(t, Limits{}), Remote{URL: repo.File()}
	_, err := g.Read(t.Context(), remote, Request{Reference: "refs/heads/main", Hash: first})
	require.NoError(t, err)
	repo.Git("checkout", "--quiet", "--orphan", "new")
	second := repo.Push("Another history", map[string]string{"a.yaml": "2"})
	c, err := g.Read(t.Context(), remote, Request{Reference: "refs/heads/main", Hash: second})
	require.NoError(t, err)
	require.Equal(t, []string{second, "2"}, []string{c.Hash, string(c.Files[0].Data)})
	third := repo.Push("Third", map[string]string{"a.yaml": "3"})
	c, err = g.Read(t.Context(), remote, Request{Reference: "refs/heads/main", Hash: strings.Repeat("0", 40)})
	require.NoError(t, err)
	require.Equal(t, third, c.Hash)
	_, err = g.Read(t.Context(), remote, Request{Reference: "refs/heads/gone", Hash: strings.Repeat("0", 40)})
	require.Equal(t, ReferenceGone, ReasonOf(err), "%v", err)
	_, err = g.Read(t.Context(), remote, Request{Hash: strings.Repeat("0", 40)})
	require.Equal(t, ReferenceGone, ReasonOf(err), "%v", err)
	for range 20 { // what fetches leave does not pile up
		hash := repo.Push("Again", map[string]string{"a.yaml": time.Now().String()})
		_, err := g.Read(t.Context(), remote, Request{Reference: "refs/heads/main", Hash: hash})
		require.NoError(t, err)
	}
}

// TestSigned: only a commit that an allowed signer has signed is read.
func TestSigned(t *testing.T) {
	repo := gittest.New(t)
	ada, eve := sshdtest.StartAgent(t), sshdtest.StartAgent(t)
	g, remote := reader(t, Limits{}), Remote{URL: repo.File()}
	signers := []string{"ada@example.com " + strings.Join(strings.Fields(publicOf(t, ada.KeyFile))[:2], " ")}
	read := func() (*Commit, error) {
		return g.Read(t.Context(), remote, Request{Reference: "refs/heads/main", Hash: repo.Git("rev-parse", "HEAD"), Signers: signers})
	}
	repo.Push("Not signed", map[string]string{"a.yaml": "1"})
	_, err := read()
	require.Equal(t, NotSigned, ReasonOf(err), "%v", err)
	sign := func(key string) {
		repo.Git("config", "gpg.format", "ssh")
		repo.Git("config", "user.signingKey", key+".pub")
		cmd := exec.Command("cp", key, key+".pub", repo.Bare) // ssh-keygen looks for the private key beside
		require.NoError(t, cmd.Run())
		repo.Git("config", "user.signingKey", filepath.Join(repo.Bare, filepath.Base(key)))
		repo.Git("config", "commit.gpgSign", "true")
	}
	sign(eve.KeyFile)
	repo.Push("By Eve", map[string]string{"a.yaml": "2"})
	_, err = read()
	require.Equal(t, NotSigned, ReasonOf(err), "%v", err)
	sign(ada.KeyFile)
	repo.Push("By Ada", map[string]string{"a.yaml": "3"})
	c, err := read()
	require.NoError(t, err)
	require.Equal(t, "ada@example.com", c.Signer)
}

// TestCancelled: a caller that gives up waits for no server.
func TestCancelled(t *testing.T) {
	ended := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ended }))
	t.Cleanup(hangs.Close)
	t.Cleanup(func() { close(ended) })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := reader(t, Limits{}).List(ctx, Remote{URL: hangs.URL + "/x.git"}, "refs/heads/main")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(begin), 5*time.Second)
}
