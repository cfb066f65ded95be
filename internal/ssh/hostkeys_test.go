package ssh_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/fleet-starter/fleet/internal/ssh"
	"github.com/fleet-starter/fleet/internal/ssh/sshdtest"
)

// person answers questions about host keys, and hears what is told.
type person struct {
	answer    bool
	questions []string
	told      []string
}

func (p *person) hostKeys(file string) *ssh.HostKeys {
	return &ssh.HostKeys{
		File: file,
		Ask: func(_ context.Context, question string) bool {
			p.questions = append(p.questions, question)
			return p.answer
		},
		Tell: func(format string, args ...any) { p.told = append(p.told, fmt.Sprintf(format, args...)) },
	}
}

func dial(t *testing.T, c ssh.Config, address string, keys *ssh.HostKeys) error {
	t.Helper()
	c.HostKeys = keys
	client, err := c.Dial(t.Context(), address)
	if err == nil {
		client.Close()
	}
	return err
}

func TestAHostKeyIsAskedForOnceAndChangesAreRefused(t *testing.T) {
	a := sshdtest.StartAgent(t)
	s := sshdtest.Start(t, a)
	c := trusting(s, a)
	file := filepath.Join(t.TempDir(), "new", "known_hosts")

	no := &person{}
	var unknown *ssh.UnknownHostError
	require.ErrorAs(t, dial(t, c, s.Address, no.hostKeys(file)), &unknown)
	require.Len(t, no.questions, 1)
	require.Contains(t, no.questions[0], s.Address)
	require.Contains(t, no.questions[0], "ssh-ed25519 SHA256:")
	require.NoFileExists(t, file)
	require.ErrorAs(t, dial(t, c, s.Address, &ssh.HostKeys{File: file}), &unknown, "no one can be asked")

	yes := &person{answer: true}
	keys := yes.hostKeys(file)
	require.NoError(t, dial(t, c, s.Address, keys))
	require.Equal(t, []string{"the host key of " + s.Address + " was added to " + file}, yes.told)
	require.NoError(t, dial(t, c, s.Address, keys))
	require.NoError(t, dial(t, c, s.Address, no.hostKeys(file)), "it is known now")
	require.Len(t, yes.questions, 1)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, knownhosts.Normalize(s.Address)+" "+s.HostKey(t)+"\n", string(data))

	s.NewHostKey(t)
	err = dial(t, c, s.Address, yes.hostKeys(file))
	var changed *ssh.ChangedHostError
	require.ErrorAs(t, err, &changed)
	require.ErrorContains(t, err, file+":1 has ssh-ed25519 SHA256:")
	require.Len(t, yes.questions, 1, "it is not asked for")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, dial(t, c, s.Address, yes.hostKeys(file)))
	require.NoError(t, dial(t, c, s.Address, nil), "no check")
}

func TestKnownHostsFiles(t *testing.T) {
	a := sshdtest.StartAgent(t)
	s := sshdtest.Start(t, a)
	c := trusting(s, a)
	host := knownhosts.Normalize(s.Address)
	byName := strings.Replace(s.Address, "127.0.0.1", "localhost", 1)
	_, other := otherKey(t)
	for name, tt := range map[string]struct {
		text, address string
		fails, told   string
	}{
		"plain":                       {text: host + " " + s.HostKey(t) + " a comment\n"},
		"without a newline":           {text: host + " " + s.HostKey(t)},
		"one of several":              {text: host + " " + other + "\n" + host + " " + s.HostKey(t) + "\n"},
		"hashed":                      {text: knownhosts.HashHostname(host) + " " + s.HostKey(t) + "\n"},
		"pattern":                     {text: "10.0.0.*," + strings.Replace(host, "0.1]", "0.*]", 1) + " " + s.HostKey(t) + "\n"},
		"the address of a name":       {text: host + " " + s.HostKey(t) + "\n", address: byName},
		"the name, another address":   {text: knownhosts.Normalize(byName) + " " + s.HostKey(t) + "\n" + host + " " + other + "\n", address: byName},
		"bad lines":                   {text: "# comment\nnonsense\n\n" + host + " " + s.HostKey(t) + "\n", told: ":2: not a line of a known_hosts file, skipped: "},
		"another key":                 {text: "\n" + host + " " + other + "\n", fails: ":2 has ssh-ed25519 "},
		"another key after bad lines": {text: "nonsense\n" + host + " " + other + "\n", fails: ":2 has ssh-ed25519 ", told: ":1: not a line"},
		"another machine":             {text: "[127.0.0.1]:1 " + s.HostKey(t) + "\n", fails: "is not known"},
		"revoked":                     {text: host + " " + s.HostKey(t) + "\n@revoked * " + s.HostKey(t) + "\n", fails: "revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "known_hosts")
			require.NoError(t, os.WriteFile(file, []byte(tt.text), 0o600))
			p := &person{}
			address := s.Address
			if tt.address != "" {
				address = tt.address
			}
			err := dial(t, c, address, p.hostKeys(file))
			if tt.told == "" {
				require.Empty(t, p.told)
			} else {
				require.Len(t, p.told, 1, "once")
				require.Contains(t, p.told[0], tt.told)
			}
			if tt.fails != "" {
				require.ErrorContains(t, err, tt.fails)
				return
			}
			require.NoError(t, err)
			require.Empty(t, p.questions)
		})
	}
}

// Of several host keys a machine shows the one that is known, whatever it would rather show.
func TestTheKnownOneOfSeveralKeysIsAskedFor(t *testing.T) {
	a := sshdtest.StartAgent(t)
	for _, kind := range []string{"rsa", "ecdsa"} {
		path := filepath.Join(t.TempDir(), kind)
		out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-b", map[string]string{"rsa": "2048", "ecdsa": "256"}[kind], "-N", "", "-f", path).CombinedOutput()
		require.NoError(t, err, string(out))
		s := sshdtest.Start(t, a, "HostKey "+path)
		public, err := os.ReadFile(path + ".pub")
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "known_hosts")
		require.NoError(t, os.WriteFile(file, []byte(knownhosts.Normalize(s.Address)+" "+string(public)), 0o600))
		require.NoError(t, dial(t, trusting(s, a), s.Address, (&person{}).hostKeys(file)), kind)
	}
}

func TestHostCertificates(t *testing.T) {
	a := sshdtest.StartAgent(t)
	authority, public := otherKey(t)
	s := sshdtest.Start(t, a)
	out, err := exec.Command("ssh-keygen", "-q", "-s", authority, "-I", "test", "-h", "-n", "127.0.0.1", filepath.Join(s.Dir, "host_key.pub")).CombinedOutput()
	require.NoError(t, err, string(out))
	certified := sshdtest.Start(t, a, "HostKey "+filepath.Join(s.Dir, "host_key"), "HostCertificate "+filepath.Join(s.Dir, "host_key-cert.pub"))
	file := filepath.Join(t.TempDir(), "known_hosts")

	require.NoError(t, os.WriteFile(file, []byte("@cert-authority "+knownhosts.Normalize(certified.Address)+" "+public+"\n"), 0o600))
	p := &person{}
	require.NoError(t, dial(t, trusting(s, a), certified.Address, p.hostKeys(file)))
	require.Empty(t, p.questions)

	// Without an authority the plain key counts, not the certificate.
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	p = &person{answer: true}
	require.NoError(t, dial(t, trusting(s, a), certified.Address, p.hostKeys(file)))
	require.Len(t, p.questions, 1)
}

// A file that cannot be written is no reason to refuse a connection: the key is remembered for this run.
func TestAKeyThatCannotBeKept(t *testing.T) {
	a := sshdtest.StartAgent(t)
	s := sshdtest.Start(t, a)
	file := filepath.Join(t.TempDir(), "nowhere") // a link to a file in a directory that does not exist
	require.NoError(t, os.Symlink("/nowhere/known_hosts", file))
	p := &person{answer: true}
	keys := p.hostKeys(file)
	require.NoError(t, dial(t, trusting(s, a), s.Address, keys))
	require.Len(t, p.told, 1)
	require.Contains(t, p.told[0], "warning: the host key of "+s.Address+" is not kept: ")
	require.NoError(t, dial(t, trusting(s, a), s.Address, keys))
	require.Len(t, p.questions, 1)
}

func otherKey(t *testing.T) (file, public string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "other")
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file).CombinedOutput()
	require.NoError(t, err, string(out))
	data, err := os.ReadFile(file + ".pub")
	require.NoError(t, err)
	return file, strings.Join(strings.Fields(string(data))[:2], " ")
}
