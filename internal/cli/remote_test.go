package cli_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/ssh"
	"github.com/fleet-starter/fleet/internal/ssh/sshdtest"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// withFleetctl gives users who log in this test's fleetctl.
func withFleetctl(t testing.TB, s *sshdtest.Server) {
	t.Helper()
	program, err := exec.LookPath("fleetctl") // testscript puts it there
	require.NoError(t, err)
	require.NoError(t, os.Symlink(program, filepath.Join(s.Path, "fleetctl")))
}

// The scripts reach their cluster through a real sshd, $SSHD, and machines through another, at port $PORT.
func TestRemoteScripts(t *testing.T) {
	agent := sshdtest.StartAgent(t)
	params := scripts(t, "testdata/remote", func(server http.Handler) http.Handler { return server })
	setup := params.Setup
	params.Setup = func(env *testscript.Env) error {
		if err := setup(env); err != nil {
			return err
		}
		t := env.T().(testing.TB) // the script's: it ends the servers, and a failure here ends it alone
		bastion, machine := sshdtest.Start(t, agent), sshdtest.Start(t, agent)
		withFleetctl(t, bastion)
		env.Values[sshdtest.Server{}] = bastion
		_, port, err := net.SplitHostPort(machine.Address)
		for name, value := range map[string]string{"SSHD": bastion.Address, "PORT": port, "BASTION": bastion.Path, "MACHINE": machine.Path,
			"SSH_AUTH_SOCK": agent.Socket, "FLEETCTL_SSH_USERNAME": bastion.User, "FLEETCTL_SSH_TIMEOUT": "20"} {
			env.Setenv(name, value)
		}
		return err
	}
	params.Cmds["rekey"] = func(ts *testscript.TestScript, _ bool, _ []string) {
		s := ts.Value(sshdtest.Server{}).(*sshdtest.Server)
		s.NewHostKey(t)
	}
	// program DIR NAME TEXT puts a shell script where users who log in find it.
	params.Cmds["program"] = func(ts *testscript.TestScript, _ bool, args []string) {
		ts.Check(os.WriteFile(filepath.Join(args[0], args[1]), []byte("#!/bin/sh\n"+args[2]+"\n"), 0o755))
	}
	testscript.Run(t, params)
}

// sshd lets a connection have few sessions: a tunnel makes more connections, and uses what became free again.
func TestATunnelHasMoreConnectionsThanSessions(t *testing.T) {
	agent := sshdtest.StartAgent(t)
	s := sshdtest.Start(t, agent, "MaxSessions 3")
	withFleetctl(t, s)
	dir, err := os.MkdirTemp("", "tunnel")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	var echoing sync.WaitGroup
	echoing.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			echoing.Go(func() { _, _ = io.Copy(conn, conn); _ = conn.Close() })
		}
	})

	config := ssh.Config{User: s.User, Timeout: 20 * time.Second, AgentSocket: agent.Socket}
	tunnel, err := config.NewTunnel(t.Context(), s.Address)
	require.NoError(t, err)
	defer tunnel.Close()
	for range 2 {
		var conns []net.Conn
		for i := range 8 {
			conn, err := tunnel.Dial(t.Context(), "unix", socket)
			require.NoError(t, err)
			conns = append(conns, conn)
			_, err = fmt.Fprintf(conn, "hello %d\n", i)
			require.NoError(t, err)
		}
		for i, conn := range conns {
			line, err := bufio.NewReader(conn).ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("hello %d\n", i), line)
			require.NoError(t, conn.Close())
		}
	}
	conn, err := tunnel.Dial(t.Context(), "unix", dir+"/nowhere")
	require.NoError(t, err)
	_, err = io.ReadAll(conn)
	require.ErrorContains(t, err, "fleetctl fd-forward "+dir+"/nowhere")
	require.ErrorContains(t, err, "connect: no such file or directory")
	require.NoError(t, conn.Close())
	tunnel.Close()
	require.NoError(t, listener.Close())
	echoing.Wait() // every fd-forward has ended with its connection
}

// fd-forward sends on what the socket answers after the end of its input.
func TestFDForwardWaitsForTheAnswer(t *testing.T) {
	dir, err := os.MkdirTemp("", "forward")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	defer listener.Close()
	var serving sync.WaitGroup
	serving.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		asked, _ := io.ReadAll(conn) // until fd-forward sends no more
		_, _ = fmt.Fprintf(conn, "answer to %s", asked)
		_ = conn.Close()
	})
	cmd := exec.Command("fleetctl", "fd-forward", listener.Addr().String())
	cmd.Stdin = strings.NewReader("question")
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, "answer to question", string(out))
	serving.Wait()
}

// On a terminal the remote command gets one of the same size, and the local one is as before afterwards.
func TestACommandOnATerminal(t *testing.T) {
	agent := sshdtest.StartAgent(t)
	s := sshdtest.Start(t, agent)
	answering := api.New(api.Options{Store: oneMachine(t), Keys: keyspace.New(""), MachineID: here, Version: "1.2.3", Log: logr.Discard(), Now: time.Now})
	server := httptest.NewServer(answering)
	defer server.Close()
	_, port, err := net.SplitHostPort(s.Address)
	require.NoError(t, err)
	command := "stty rows 41 cols 97; stty -g > before; fleetctl ssh --ssh-port " + port + " " + here + " 'tty; stty size; exit 6'; echo code $?; stty -g > after; cmp before after && echo restored"
	cmd := exec.Command("script", "-qec", command, "/dev/null") // script(1) has a terminal
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "SHELL=/bin/sh", "TERM=xterm", "FLEETCTL_ENDPOINT="+server.URL, "FLEETCTL_SSH_USERNAME="+s.User,
		"FLEETCTL_STRICT_HOST_KEY_CHECKING=false", "SSH_AUTH_SOCK="+agent.Socket)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	text := strings.ReplaceAll(string(out), "\r", "")
	require.Regexp(t, `/dev/pts/\d+\n41 97\ncode 6\nrestored\n$`, text)
}

// oneMachine is a store in which one machine is present, at 127.0.0.1.
func oneMachine(t *testing.T) *memstore.Conn {
	t.Helper()
	w := &world{store: memstore.New(memstore.Options{})}
	w.conn = w.store.Connect()
	require.NoError(t, w.write(t.Context(), keyspace.New("").Machines().Prefix()+here, []byte(`{"spec": {"address": "127.0.0.1"}}`)))
	return w.conn
}
