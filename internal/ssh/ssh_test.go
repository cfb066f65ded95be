package ssh_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
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

	"github.com/fleet-starter/fleet/internal/ssh"
	"github.com/fleet-starter/fleet/internal/ssh/sshdtest"
)

// trusting is a configuration that trusts any host key.
func trusting(s *sshdtest.Server, a *sshdtest.Agent) ssh.Config {
	return ssh.Config{User: s.User, Timeout: 20 * time.Second, AgentSocket: a.Socket}
}

func connect(t *testing.T, c ssh.Config, address string) *ssh.Client {
	t.Helper()
	client, err := c.Dial(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func TestCommandsEndWithTheirExitCode(t *testing.T) {
	a := sshdtest.StartAgent(t)
	s := sshdtest.Start(t, a)
	client := connect(t, trusting(s, a), s.Address)
	for _, tt := range []struct {
		command, in, out, err string
		code                  int
	}{
		{command: "echo hello", out: "hello\n"},
		{command: "cat; exit 7", in: "from here", out: "from here", code: 7},
		{command: "echo wrong >&2; exit 1", err: "wrong\n", code: 1},
		{command: "kill -TERM $$", code: 128 + 15},
		{command: "no-such-command 2>/dev/null", code: 127},
		{command: "", in: "echo from a shell; exit 4\n", out: "from a shell\n", code: 4},
		{command: "echo " + ssh.Quote("it's", "$HOME", ""), out: "it's $HOME \n"},
	} {
		var out, errs bytes.Buffer
		code, err := client.Run(t.Context(), tt.command, ssh.Streams{In: strings.NewReader(tt.in), Out: &out, Err: &errs})
		require.NoError(t, err, tt.command)
		require.Equal(t, tt.code, code, tt.command)
		require.Equal(t, tt.out, out.String(), tt.command)
		require.Equal(t, tt.err, errs.String(), tt.command)
	}
}

func TestACommandEndsWithItsContext(t *testing.T) {
	a := sshdtest.StartAgent(t)
	s := sshdtest.Start(t, a)
	client := connect(t, trusting(s, a), s.Address)
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	go func() { // ends with the first byte, and reads no more
		_, _ = out.Read(make([]byte, 1))
		cancel()
	}()
	_, err := client.Run(ctx, "echo started; exec sleep 1000", ssh.Streams{Out: in, Err: io.Discard})
	require.ErrorIs(t, err, context.Canceled)
}

func TestTheAgentIsForwardedOnlyIfAsked(t *testing.T) {
	a := sshdtest.StartAgent(t)
	s := sshdtest.Start(t, a)
	run := func(client *ssh.Client) string {
		var out bytes.Buffer
		_, err := client.Run(t.Context(), "ssh-add -L 2>&1", ssh.Streams{Out: &out, Err: io.Discard})
		require.NoError(t, err)
		return out.String()
	}
	require.Contains(t, run(connect(t, trusting(s, a), s.Address)), "Could not open a connection to your authentication agent")
	client := connect(t, trusting(s, a), s.Address)
	require.NoError(t, client.ForwardAgent())
	public, err := os.ReadFile(a.KeyFile + ".pub")
	require.NoError(t, err)
	require.Contains(t, run(client), strings.Fields(string(public))[1])
	require.Equal(t, run(client), run(client), "every command has it")

	without := trusting(s, a)
	without.AgentSocket, without.KeyFiles = "", []string{a.KeyFile}
	require.ErrorContains(t, connect(t, without, s.Address).ForwardAgent(), "SSH_AUTH_SOCK is not set")
}

func TestKeys(t *testing.T) {
	a, other := sshdtest.StartAgent(t), sshdtest.StartAgent(t)
	s := sshdtest.Start(t, a)
	secret := filepath.Join(t.TempDir(), "secret")
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", secret).CombinedOutput()
	require.NoError(t, err, string(out))
	for name, tt := range map[string]struct {
		agent string
		files []string
		fails string
	}{
		"agent":                     {a.Socket, nil, ""},
		"file":                      {"", []string{"/nowhere", secret, a.KeyFile}, ""},
		"file, wrong agent":         {other.Socket, []string{a.KeyFile}, ""},
		"file, no agent answers":    {"/nowhere.sock", []string{a.KeyFile}, ""},
		"wrong key":                 {other.Socket, nil, "tried 1 keys of ssh-agent and 0 of ~/.ssh"},
		"no agent, no file":         {"", []string{secret}, "SSH_AUTH_SOCK is not set, and none of " + secret + " is a key without a passphrase"},
		"no agent answers, no file": {"/nowhere.sock", nil, "ssh-agent does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := ssh.Config{User: s.User, Timeout: 20 * time.Second, AgentSocket: tt.agent, KeyFiles: tt.files}.Dial(t.Context(), s.Address)
			if tt.fails != "" {
				require.ErrorContains(t, err, tt.fails)
				return
			}
			require.NoError(t, err)
			client.Close()
		})
	}
}

// A server that accepts and says nothing.
func TestConnectingHasATimeout(t *testing.T) {
	a := sshdtest.StartAgent(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	c := ssh.Config{User: "core", Timeout: 50 * time.Millisecond, AgentSocket: a.Socket}
	_, err = c.Dial(t.Context(), listener.Addr().String())
	require.ErrorContains(t, err, "not connected within 50ms")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Timeout = 0
	_, err = c.Dial(ctx, listener.Addr().String())
	require.ErrorIs(t, err, context.Canceled)
}

func TestATunnelReachesWhatTheMachineReaches(t *testing.T) {
	a := sshdtest.StartAgent(t)
	bastion, inner := sshdtest.Start(t, a), sshdtest.Start(t, a)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer web.Close()
	tunnel, err := trusting(bastion, a).NewTunnel(t.Context(), bastion.Address)
	require.NoError(t, err)
	defer tunnel.Close()

	client := &http.Client{Transport: &http.Transport{DialContext: tunnel.Dial}}
	resp, err := client.Get(web.URL)
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "hello", string(data))
	client.CloseIdleConnections()

	// A lost connection is made again.
	lose(t, bastion)
	resp, err = client.Get(web.URL)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	client.CloseIdleConnections()

	through, err := tunnel.DialSSH(t.Context(), inner.Address)
	require.NoError(t, err)
	defer through.Close()
	var out bytes.Buffer
	code, err := through.Run(t.Context(), "echo $SSH_CONNECTION; exit 3", ssh.Streams{Out: &out, Err: io.Discard})
	require.NoError(t, err)
	require.Equal(t, 3, code)
	_, port, err := net.SplitHostPort(inner.Address)
	require.NoError(t, err)
	require.Contains(t, out.String(), " "+port, "it is the inner machine")

	_, err = tunnel.Dial(t.Context(), "tcp", "127.0.0.1:1")
	require.ErrorContains(t, err, "through "+bastion.Address)
	_, err = tunnel.DialSSH(t.Context(), "127.0.0.1:1")
	require.ErrorContains(t, err, "ssh to 127.0.0.1:1 through "+bastion.Address)
}

// lose ends all connections of a server.
func lose(t *testing.T, s *sshdtest.Server) {
	t.Helper()
	out, err := exec.Command("pgrep", "-P", fmt.Sprint(s.PID)).Output()
	require.NoError(t, err, "it has no connection")
	for id := range strings.FieldsSeq(string(out)) {
		require.NoError(t, exec.Command("kill", "-KILL", id).Run())
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"host": "host:22", "host:2222": "host:2222", "10.0.0.1": "10.0.0.1:22", "fe80::1": "[fe80::1]:22", "[fe80::1]": "[fe80::1]:22", "[fe80::1]:7": "[fe80::1]:7",
	} {
		require.Equal(t, want, ssh.Address(in, 22))
	}
}
