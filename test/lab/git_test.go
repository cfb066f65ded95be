package lab

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/git/gittest"
	"github.com/fleet-starter/fleet/internal/ssh/sshdtest"
)

// gitFiles is where the machines have the credentials of the repository: for root alone. fleetd copies them for the user that git runs as.
const gitFiles = "etc/fleet/git/"

// gitServers are the servers of one repository, on this computer: sshd, and git's http-backend with a certificate of its own authority.
type gitServers struct {
	t     *testing.T
	l     *Lab
	repo  *gittest.Repository
	agent *sshdtest.Agent
	sshd  *sshdtest.Server
	https *httptest.Server
	token atomic.Value // the one of the moment
	// held has each fetch wait until it is closed; fetching is closed when one does. nil: none waits.
	mu             sync.Mutex
	held, fetching chan struct{}
}

func serveGit(t *testing.T, l *Lab) *gitServers {
	s := &gitServers{t: t, l: l, repo: gittest.New(t), agent: sshdtest.StartAgent(t)}
	s.sshd = sshdtest.Start(t, s.agent, "ListenAddress "+HostAddress)
	s.token.Store("lab-token-1")
	certificate, authority := certificateOf(t, HostAddress)
	listener, err := net.Listen("tcp", HostAddress+":0")
	require.NoError(t, err)
	backend := s.repo.Handler(func() string { return s.token.Load().(string) })
	s.https = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hold(r)
		backend.ServeHTTP(w, r)
	}))
	require.NoError(t, s.https.Listener.Close())
	s.https.Listener, s.https.TLS = listener, &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.https.StartTLS()
	t.Cleanup(s.https.Close)
	key, err := os.ReadFile(s.agent.KeyFile)
	require.NoError(t, err)
	s.give("key", string(key))
	s.give("ca.pem", authority)
	s.give("token", "lab-token-1\n")
	s.give("known_hosts", s.knownHosts())
	t.Cleanup(func() {
		require.NoError(t, l.Each(func(m *Machine) error { return os.RemoveAll(filepath.Join(m.Root(), gitFiles)) }))
	})
	return s
}

// hold has a fetch wait, if that is asked for.
func (s *gitServers) hold(r *http.Request) {
	if r.Method != http.MethodPost {
		return
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	held, fetching := s.held, s.fetching
	if err != nil || held == nil || !bytes.Contains(body, []byte("command=fetch")) {
		s.mu.Unlock()
		return
	}
	select {
	case <-fetching:
	default:
		close(fetching)
	}
	s.mu.Unlock()
	select {
	case <-held:
	case <-r.Context().Done():
	}
}

// holdFetches has fetches wait until release is called.
func (s *gitServers) holdFetches() (fetching <-chan struct{}, release func()) {
	held := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.fetching = held, make(chan struct{})
	return s.fetching, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held = nil
		close(held)
	}
}

// give writes a file of credentials on every machine.
func (s *gitServers) give(name, text string) {
	require.NoError(s.t, s.l.Each(func(m *Machine) error {
		if err := m.Write(gitFiles+name, text); err != nil {
			return err
		}
		return os.Chmod(filepath.Join(m.Root(), gitFiles+name), 0o600)
	}))
}

func (s *gitServers) knownHosts() string {
	_, port, err := net.SplitHostPort(s.sshd.Address)
	require.NoError(s.t, err)
	return fmt.Sprintf("[%s]:%s %s\n", HostAddress, port, s.sshd.HostKey(s.t))
}

// source applies a source that follows the repository, by ssh or https.
func (s *gitServers) source(by string) {
	_, port, _ := net.SplitHostPort(s.sshd.Address)
	spec := fmt.Sprintf("  git: {url: \"ssh://%s@%s:%s%s\"}\n  auth: {sshKeyFile: /%skey, knownHostsFile: /%sknown_hosts}\n", s.sshd.User, HostAddress, port, s.repo.Bare, gitFiles, gitFiles)
	if by == "https" {
		spec = fmt.Sprintf("  git: {url: \"%s/%s\"}\n  auth: {tokenFile: /%stoken, caFile: /%sca.pem}\n", s.https.URL, filepath.Base(s.repo.Bare), gitFiles, gitFiles)
	}
	first := s.l.Machines[0]
	require.NoError(s.t, first.Write("root/source.yaml", "apiVersion: fleet/v1\nkind: Source\nmetadata: {name: lab}\nspec:\n  interval: 5s\n  prune: true\n"+spec))
	_, err := first.Exec(s.t.Context(), "fleetctl", "apply", "-f", "/root/source.yaml")
	require.NoError(s.t, err)
}

// push commits an app of that version.
func (s *gitServers) push(version string) time.Time {
	s.repo.Push("Version "+version, map[string]string{"pushed.yaml": strings.Replace(shop("pushed", 3211, ""), `--instance,`, `--version-label, "`+version+`", --instance,`, 1)})
	return time.Now()
}

// serves waits until the routers of the machines send requests to that version alone.
func (s *gitServers) serves(version string, machines []*Machine, limit time.Duration) time.Duration {
	s.t.Helper()
	return within(s.t, limit, "version "+version+" is served", func() error {
		for _, m := range machines {
			if got, err := getPath(s.t.Context(), m, "pushed.lab.example", "/version"); err != nil || got != version {
				return fmt.Errorf("%s answers %q, %v", m.Name, got, err)
			}
		}
		return nil
	})
}

// certificateOf is a certificate for an address that is its own authority.
func certificateOf(t *testing.T, address string) (certificate tls.Certificate, authority string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.ParseIP(address)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestGit: the leader runs git as the package's user, over ssh and https, with credentials that only root can read. What a server or a
// credential does wrong is one condition, and what runs goes on. A leader that loses its power in a fetch is succeeded by one that
// clones anew.
func TestGit(t *testing.T) {
	l := withLab(t)
	s := serveGit(t, l)
	t.Cleanup(func() {
		_, err := l.Machines[0].Exec(context.Background(), "fleetctl", "delete", "source", "lab", "--prune")
		require.NoError(t, err)
	})
	s.push("1")
	s.source("ssh")
	first := s.serves("1", l.Machines, time.Minute)
	again := s.push("2")
	s.serves("2", l.Machines, time.Minute)
	t.Logf("over ssh: served %.1f s after the source was applied, a push %.1f s after it, with an interval of 5 s", first.Seconds(), time.Since(again).Seconds())

	leader := leaderOf(t, l)
	owners, err := leader.Exec(t.Context(), "sh", "-c", "find /var/lib/fleet/git -mindepth 1 -printf '%u %M\\n' | sort | uniq -c; ls /var/lib/fleet/git; stat -c '%U %a' /"+gitFiles+"key")
	require.NoError(t, err)
	t.Logf("files of git:\n%s", owners)
	require.NotContains(t, owners, "auth-", "no copy of a credential is left")
	require.Contains(t, owners, "root 600\n")
	for line := range strings.Lines(owners) {
		if fields := strings.Fields(line); len(fields) == 3 {
			require.Equal(t, "fleet-git", fields[1], owners)
		}
	}

	s.sshd.NewHostKey(t)
	s.push("3")
	told, _ := said(t, 30*time.Second, "describe source lab", "HostKeyRefused", "the server's host key has changed: find out why, then replace it in auth.knownHostsFile")
	s.serves("2", l.Machines, time.Second)
	s.give("known_hosts", s.knownHosts())
	mended := s.serves("3", l.Machines, time.Minute)
	t.Logf("another host key: told after %.1f s, the commit served %.1f s after the key was accepted", told.Seconds(), mended.Seconds())

	s.source("https")
	said(t, 30*time.Second, "describe source lab", "https://", "Applied")
	again = s.push("4")
	s.serves("4", l.Machines, time.Minute)
	t.Logf("over https: a push is served %.1f s after it", time.Since(again).Seconds())
	s.token.Store("lab-token-2")
	s.push("5")
	told, text := said(t, 30*time.Second, "describe source lab", "AuthenticationFailed")
	s.serves("4", l.Machines, time.Second)
	require.NotContains(t, text, "lab-token-1", "the token is shown nowhere")
	s.give("token", "lab-token-2\n")
	mended = s.serves("5", l.Machines, time.Minute)
	t.Logf("an expired token: told after %.1f s, the commit served %.1f s after another token was there", told.Seconds(), mended.Seconds())

	leader = leaderOf(t, l)
	fetching, release := s.holdFetches()
	s.push("6")
	select {
	case <-fetching:
	case <-time.After(20 * time.Second):
		release()
		require.Fail(t, "the leader does not fetch")
	}
	require.NoError(t, leader.Kill(t.Context()))
	killed := time.Now()
	release()
	rest := others(l, leader)
	s.serves("6", rest, 2*time.Minute)
	t.Logf("its leader loses power in a fetch: served by the others %.1f s after that", time.Since(killed).Seconds())
	require.NoError(t, leader.Boot(t.Context()))
	require.NoError(t, l.Joined(t.Context(), len(l.Machines)))
	s.serves("6", l.Machines, time.Minute)
	served(t, l.Machines, 2)
	for _, m := range l.Machines {
		journal, err := m.Exec(t.Context(), "journalctl", "-u", "fleetd", "-o", "cat", "--no-pager")
		require.NoError(t, err)
		require.NotContains(t, journal, "lab-token-2", "the token is logged nowhere")
	}
}
