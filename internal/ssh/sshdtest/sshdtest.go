// Package sshdtest runs a real sshd and a real ssh-agent for tests: with their own keys, on a free port, as the user who runs
// the test.
package sshdtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Program is where Debian puts sshd, which has to be started with its whole path.
const Program = "/usr/sbin/sshd"

// Server is a running sshd.
type Server struct {
	// Address is its host:port, User who may log in, Dir its directory.
	Address, User, Dir string
	// Path has the commands that a user who logs in finds before all others.
	Path string
	// PID is its process, the parent of those of its connections.
	PID int
}

// Start starts an sshd on 127.0.0.1 that lets in the key of the agent; options are further lines of its configuration.
func Start(t testing.TB, a *Agent, options ...string) *Server {
	t.Helper()
	me, err := user.Current()
	require.NoError(t, err)
	if me.Uid == "0" { // sshd's directory of privilege separation, which the service would make
		require.NoError(t, os.MkdirAll("/run/sshd", 0o755))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())

	dir := t.TempDir()
	s := &Server{Address: fmt.Sprintf("127.0.0.1:%d", port), User: me.Username, Dir: dir, Path: filepath.Join(dir, "bin")}
	require.NoError(t, os.Mkdir(s.Path, 0o755))
	s.NewHostKey(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "authorized_keys"), a.public, 0o600))
	// The home has none of the user's own start files for shells, which may print what they like.
	config := fmt.Sprintf(`Port %d
ListenAddress 127.0.0.1
HostKey %[2]s/host_key
AuthorizedKeysFile %[2]s/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
SetEnv PATH=%[3]s:/usr/local/bin:/usr/bin:/bin HOME=%[3]s
`, port, dir, s.Path) + strings.Join(options, "\n") + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sshd_config"), []byte(config), 0o600))

	// sshd writes to a file that is open: one that it opens by name comes back with the process of a late connection, in a
	// directory that the test is removing.
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close() //nolint:errcheck // sshd's own copy is what matters
	cmd := exec.Command(Program, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	require.NoError(t, cmd.Start())
	s.PID = cmd.Process.Pid
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }() // killed below
	t.Cleanup(func() {
		_ = syscall.Kill(-s.PID, syscall.SIGKILL) // its connections have processes of their own
		<-ended
		if t.Failed() {
			t.Logf("sshd:\n%s", s.log())
		}
	})
	answers(t, "tcp", s.Address)
	return s
}

// answers waits until something listens.
func answers(t testing.TB, network, address string) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn, err := net.Dial(network, address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "nothing listens on %s", address)
}

func (s *Server) log() []byte {
	data, _ := os.ReadFile(filepath.Join(s.Dir, "log")) // there is none if it did not start
	return data
}

// NewHostKey gives the server another host key, as a machine that is installed again has: connections from now on see it.
func (s *Server) NewHostKey(t testing.TB) {
	t.Helper()
	path := filepath.Join(s.Dir, "host_key")
	_ = os.Remove(path) // there may be none
	keygen(t, path)
}

// HostKey is the public host key: type and base64.
func (s *Server) HostKey(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Dir, "host_key.pub"))
	require.NoError(t, err)
	return strings.Join(strings.Fields(string(data))[:2], " ")
}

// Agent is a running ssh-agent with one key.
type Agent struct {
	// Socket is what SSH_AUTH_SOCK has to be, KeyFile the private key.
	Socket, KeyFile string
	public          []byte
}

// StartAgent starts an ssh-agent. It skips the test where there is no sshd, which the agent is for.
func StartAgent(t testing.TB) *Agent {
	t.Helper()
	for _, program := range []string{Program, "ssh-agent"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s: hack/install-debian.sh tests installs it", program)
		}
	}
	dir, err := os.MkdirTemp("", "agent") // the test's own directory may be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	a := &Agent{Socket: filepath.Join(dir, "s"), KeyFile: filepath.Join(dir, "key")}
	keygen(t, a.KeyFile)
	a.public, err = os.ReadFile(a.KeyFile + ".pub")
	require.NoError(t, err)
	cmd := exec.Command("ssh-agent", "-D", "-a", a.Socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	answers(t, "unix", a.Socket) // the socket is there before ssh-agent listens on it
	add := exec.Command("ssh-add", a.KeyFile)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+a.Socket)
	out, err := add.CombinedOutput()
	require.NoError(t, err, string(out))
	return a
}

func keygen(t testing.TB, path string) {
	t.Helper()
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path).CombinedOutput()
	require.NoError(t, err, string(out))
}
