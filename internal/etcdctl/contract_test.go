package etcdctl

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store/etcdtest"
)

// Every line is a command. None looks at a directory whose last key was removed: etcd 2 has it still.
const script = `
get /x
set /x a
set x b
get /x
get x
get x/y
set /x/y 1
set /x
set
get
set /a/b/c 1 --ttl 60
set --ttl 60 /a/b/c 2
set --ttl=60 /a/b/c 2
get /a
get /a/b/q
get /q/r
ls /a
ls --recursive /a
ls -r /a
ls -p /a
ls /a/b/c
ls /nope
-o extended get /a/b/c
-o json get /a/b/c
-o extended set /a/b/c 3
-o json set /a/b/c 4
-o json get /nope
-o extended ls /a
-o json ls /x
--output json mk /json 1
mk /x 1
mk /y 1
update /z 1
update /y 2
update /y 2 --ttl 100
set /y 3 --swap-with-value 2
set /y 4 --swap-with-value zz
set /nope 4 --swap-with-value zz
set /y 4 --swap-with-index 1
rm --with-value zz /y
rm --with-index 1 /y
rm --with-value 3 /y
rm /y
rm /a
rm --dir /a
rm --recursive /a
rm --recursive /a
rm
mkdir /d
mkdir /d
mkdir /d/e/f
ls --recursive -p /d
rmdir /d
rmdir /x
rmdir /nope
setdir /d
setdir /file
set /file/x 1
setdir /file
mk /k v
setdir /k
ls -p /
set /d v
mk /d v
rm /d
rm /d/e/f
rmdir /d/e/f
rm --dir /k
set / v
rm /
rm --recursive /
mk / v
mkdir /
get /
set --ttl 0 /zero 1
set /dash -- -v
get /dash
set -- /dash --w
get /dash
set --ttl -1 /x 1
update /d 1
updatedir /nope
updatedir /d
get --sort --quorum /dash
get -q /dash
rm /dash extra
ls /d extra
set //xx///y// 1
get /xx/y/
set /_hidden/a 1
ls /_hidden
rm --recursive /_hidden
ls -p --sort /
set /empty/k v
-o extended rm /empty/k
mk --in-order /queue job
mk --in-order /queue job2
ls /queue
mk --in-order /zero 1
`

// TestContract runs the same commands with etcdctl 3.4 and its API 2, and here over etcd 3, and compares outputs and exit codes.
func TestContract(t *testing.T) {
	server, err := filepath.Abs("../../bin/etcd-3.4")
	require.NoError(t, err)
	client, err := exec.LookPath("etcdctl")
	if _, missing := os.Stat(server); err != nil || missing != nil {
		t.Skip("needs etcdctl of etcd 3.4 and bin/etcd-3.4: make deps etcd")
	}
	original := startV2(t, server, client)
	ours := startOurs(t)
	for line := range strings.Lines(script) {
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		assert.Equal(t, original(args...), ours(args...), "etcdctl %s", line)
	}
}

// result is what a command printed, without what differs by time, and its exit code.
type result struct {
	stdout, stderr string
	code           int
}

var (
	varying = regexp.MustCompile(`\[\d+\]|("?(Created-|Modified-|created|modified)?[iI]ndex"?: ?)\d+|"expiration":"[^"]*"|\d{20}|\[1 != \d+\]`)
	listed  = regexp.MustCompile(`(?m)^/.*\n(?:/.*\n)+`)
)

func normal(s string) string {
	s = varying.ReplaceAllStringFunc(s, func(m string) string {
		if i := strings.IndexAny(m, ": "); i > 0 && !strings.HasPrefix(m, `"exp`) && m[0] != '[' {
			return m[:i] + " N"
		}
		return "N"
	})
	return listed.ReplaceAllStringFunc(s, func(m string) string { // etcd 2 lists in no order
		lines := strings.Split(strings.TrimSpace(m), "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n") + "\n"
	})
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// startV2 starts an etcd with the API of etcd 2.
func startV2(t *testing.T, server, client string) func(...string) result {
	address, peer := "http://"+freePort(t), "http://"+freePort(t)
	cmd := exec.Command(server, "--enable-v2", "--data-dir", t.TempDir(), "--unsafe-no-fsync", "--listen-client-urls", address,
		"--advertise-client-urls", address, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	do := func(args ...string) result {
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(client, args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = []string{"ETCDCTL_API=2", "ETCDCTL_ENDPOINTS=" + address}, &stdout, &stderr
		_ = cmd.Run() // its exit code is in the result
		return result{normal(stdout.String()), normal(stderr.String()), cmd.ProcessState.ExitCode()}
	}
	require.Eventually(t, func() bool { return do("ls").code == 0 }, 20*time.Second, 50*time.Millisecond)
	return do
}

func startOurs(t *testing.T) func(...string) result {
	etcd := etcdtest.Start(t, etcdtest.WithoutProxy())
	return func(args ...string) result {
		stdout, stderr, code := invoke(t, etcd, "", args...)
		return result{normal(stdout), normal(stderr), code}
	}
}

// invoke runs a command against a server.
func invoke(t *testing.T, etcd *etcdtest.Server, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, err bytes.Buffer
	code = Main(context.Background(), args, IO{In: strings.NewReader(stdin), Out: &out, Err: &err, Getenv: func(name string) string {
		return map[string]string{"ETCDCTL_ENDPOINTS": etcd.Endpoint()}[name]
	}, Exec: func(program string, _ []string) error { return fmt.Errorf("not to be run: %s", program) }})
	return out.String(), err.String(), code
}
