package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// account and key are Azurite's well-known ones.
const (
	account = "devstoreaccount1"
	key     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// backend is a storage that registries share in a test, and that can be taken away.
type backend interface {
	// files returns a configuration and a credentials file; the latter may be empty.
	files(t *testing.T) (config, credentials string)
	// away lists the ways in which it can be away.
	away() []string
	// set takes the storage away in one of these ways, or gives it back if way is empty.
	set(t *testing.T, way string)
}

// backends runs a test with each kind of storage.
func backends(t *testing.T, test func(t *testing.T, b backend)) {
	t.Run("filesystem", func(t *testing.T) {
		b := &directory{path: filepath.Join(t.TempDir(), "images")}
		require.NoError(t, os.Mkdir(b.path, 0o755))
		test(t, b)
	})
	t.Run("azure", func(t *testing.T) { test(t, newAzurite(t)) })
}

// directory is storage that is mounted on all machines.
type directory struct{ path string }

func (d *directory) files(t *testing.T) (config, credentials string) {
	return write(t, "config.yaml", 0o644, "version: 0.1\nstorage:\n  delete: {enabled: true}\n  filesystem: {rootdirectory: "+d.path+"}\n"), ""
}

func (d *directory) away() []string { return []string{"not mounted"} }

func (d *directory) set(t *testing.T, way string) {
	if way == "" {
		require.NoError(t, os.Rename(d.path+".away", d.path))
	} else {
		require.NoError(t, os.Rename(d.path, d.path+".away"))
	}
}

// azurite is a real Azure Blob server, behind a proxy that can cut it off.
type azurite struct {
	line *line
}

func (a *azurite) files(t *testing.T) (config, credentials string) {
	config = write(t, "config.yaml", 0o644, "version: 0.1\nstorage:\n  delete: {enabled: true}\n  redirect: {disable: true}\n")
	return config, write(t, "credentials", 0o600, fmt.Sprintf(
		"azure:\n  accountname: %s\n  accountkey: %s\n  container: images\n  serviceurl: http://%s/%s\n", account, key, a.line.address, account))
}

func (a *azurite) away() []string { return []string{"refuses", "hangs"} }

func (a *azurite) set(t *testing.T, way string) { a.line.set(t, way) }

func newAzurite(t *testing.T) *azurite {
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := probe.Addr().String()
	require.NoError(t, probe.Close())
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command("node", azuriteProgram(t), "--blobHost", "127.0.0.1", "--blobPort", port, "--inMemoryPersistence", "--silent",
		"--skipApiVersionCheck", "--disableTelemetry")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, t.TempDir()
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	require.Eventually(t, func() bool {
		answer, err := http.Get("http://" + address + "/")
		if err == nil {
			answer.Body.Close()
		}
		return err == nil
	}, 30*time.Second, 50*time.Millisecond, "azurite does not answer: %s", &out)
	return &azurite{line: newLine(t, address)}
}

// azuriteProgram returns Azurite's program, which "make azurite" installs.
func azuriteProgram(t *testing.T) string {
	const dir = "../../../../bin/azurite"
	if _, err := os.Stat(filepath.Join(dir, "installed.json")); err != nil {
		t.Skipf("bin/azurite is missing: make azurite: what needs Azurite, an Azure Blob server for tests, is left out: %v", err)
	}
	program, err := filepath.Abs(filepath.Join(dir, "node_modules/azurite/dist/src/blob/main.js"))
	require.NoError(t, err)
	return program
}

// line is a connection that can be cut.
type line struct {
	address, server string

	mu       sync.Mutex
	way      string
	listener net.Listener
	conns    map[net.Conn]bool
	running  sync.WaitGroup
}

func newLine(t *testing.T, server string) *line {
	l := &line{server: server, address: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	l.listen(t)
	t.Cleanup(func() {
		l.cut()
		l.running.Wait()
	})
	return l
}

func (l *line) listen(t *testing.T) {
	listener, err := net.Listen("tcp", l.address)
	require.NoError(t, err)
	l.listener, l.address = listener, listener.Addr().String()
	l.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.running.Go(func() { l.serve(conn) })
		}
	})
}

// cut closes the listener and all connections.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener.Close()
	for conn := range l.conns {
		conn.Close()
	}
}

func (l *line) set(t *testing.T, way string) {
	l.mu.Lock()
	l.way = way
	l.mu.Unlock()
	switch way {
	case "refuses":
		l.cut()
	case "":
		l.cut() // what hangs is lost, as it is when a network comes back
		l.listen(t)
	}
}

func (l *line) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", l.server)
	if err != nil {
		return
	}
	defer server.Close()
	l.mu.Lock()
	l.conns[client] = true
	l.mu.Unlock()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(held{l, client}, server)
		client.Close()
	})
	_, _ = io.Copy(held{l, server}, client)
	server.Close()
	back.Wait()
	l.mu.Lock()
	delete(l.conns, client)
	l.mu.Unlock()
}

// held writes while the line does not hang.
type held struct {
	line *line
	to   net.Conn
}

func (h held) Write(data []byte) (int, error) {
	h.line.mu.Lock()
	way := h.line.way
	h.line.mu.Unlock()
	if way != "" {
		return len(data), nil // lost on the way
	}
	return h.to.Write(data)
}

// write writes a file of the test.
func write(t *testing.T, name string, mode os.FileMode, text string) string {
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), mode))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

// TestLine shows that a line that hangs loses what is written, and that its address stays.
func TestLine(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	answers := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("here")) })}
	go func() { _ = answers.Serve(server) }()
	t.Cleanup(func() { answers.Close() })
	l := newLine(t, server.Addr().String())
	get := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.address, nil)
		answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
		if err == nil {
			answer.Body.Close()
		}
		return err
	}
	require.NoError(t, get())
	l.set(t, "hangs")
	require.ErrorIs(t, get(), context.DeadlineExceeded)
	l.set(t, "")
	require.NoError(t, get())
	l.set(t, "refuses")
	require.ErrorContains(t, get(), "refused")
}
