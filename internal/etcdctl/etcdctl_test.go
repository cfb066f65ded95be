package etcdctl

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/fleet-starter/fleet/internal/store/etcdtest"
)

// leases returns the number of leases and, of a key, its lease's remaining time and its revision.
func leases(t *testing.T, etcd *etcdtest.Server, key string) (n int, left, revision int64) {
	t.Helper()
	all, err := etcd.Raw().Leases(t.Context())
	require.NoError(t, err)
	got, err := etcd.Raw().Get(t.Context(), key)
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	if id := clientv3.LeaseID(got.Kvs[0].Lease); id != 0 {
		info, err := etcd.Raw().TimeToLive(t.Context(), id)
		require.NoError(t, err)
		left = info.TTL
	}
	return len(all.Leases), left, got.Kvs[0].ModRevision
}

// The seed's sidekick, every 45 seconds: its lease is renewed, and nothing else is written.
func TestARepeatedSetRenewsItsLease(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.WithoutProxy())
	const key = "/services/web/example-app/example-app@1"
	set := func(value, ttl string) {
		t.Helper()
		stdout, stderr, code := invoke(t, etcd, "", "set", key, value, "--ttl", ttl)
		require.Equal(t, []any{value + "\n", "", 0}, []any{stdout, stderr, code})
	}
	set("10.0.0.1:3000", "60")
	n, _, first := leases(t, etcd, key)
	require.Equal(t, 1, n)
	time.Sleep(2100 * time.Millisecond) // so that the lease visibly has less left
	_, left, _ := leases(t, etcd, key)
	require.LessOrEqual(t, left, int64(58))
	set("10.0.0.1:3000", "60")
	n, left, second := leases(t, etcd, key)
	require.Equal(t, 1, n)
	require.GreaterOrEqual(t, left, int64(59), "renewed")
	require.Equal(t, first, second, "nothing was written")

	set("10.0.0.2:3000", "60")
	n, _, third := leases(t, etcd, key)
	require.Equal(t, 1, n, "the same lease")
	require.Greater(t, third, second)
	set("10.0.0.2:3000", "120")
	_, left, _ = leases(t, etcd, key)
	require.Greater(t, left, int64(60))
	stdout, _, _ := invoke(t, etcd, "", "set", key, "10.0.0.2:3000")
	require.Equal(t, "10.0.0.2:3000\n", stdout)
	_, left, _ = leases(t, etcd, key)
	require.Zero(t, left, "as in etcd 2, a set without --ttl ends a former TTL")
}

// A lease with other keys is another program's.
func TestALeaseOfSeveralKeysIsNotRenewed(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.WithoutProxy())
	lease, err := etcd.Raw().Grant(t.Context(), 60)
	require.NoError(t, err)
	for _, key := range []string{"/a", "/b"} {
		_, err := etcd.Raw().Put(t.Context(), key, "1", clientv3.WithLease(lease.ID))
		require.NoError(t, err)
	}
	_, _, code := invoke(t, etcd, "", "set", "/a", "1", "--ttl", "60")
	require.Zero(t, code)
	got, err := etcd.Raw().Get(t.Context(), "/a")
	require.NoError(t, err)
	require.NotEqual(t, int64(lease.ID), got.Kvs[0].Lease)
}

func TestAKeyEndsWithItsTTL(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.WithoutProxy())
	_, _, code := invoke(t, etcd, "", "set", "/k", "1", "--ttl", "1")
	require.Zero(t, code)
	require.Eventually(t, func() bool { _, _, code := invoke(t, etcd, "", "get", "/k"); return code == exitServerError }, 10*time.Second, 100*time.Millisecond)
}

func TestAValueFromStandardInput(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.WithoutProxy())
	for _, verb := range []string{"set", "update"} {
		stdout, stderr, code := invoke(t, etcd, verb+"\n", verb, "/k")
		require.Equal(t, []any{verb + "\n\n", "", 0}, []any{stdout, stderr, code})
	}
	_, stderr, code := invoke(t, etcd, "", "set", "/k")
	require.Equal(t, []any{"Error:  value required\n", 1}, []any{stderr, code})
}

// Each of many that make a key at once is told whether it was the one.
func TestOneOfManyMakesAKey(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.WithoutProxy())
	var all sync.WaitGroup
	codes := make([]int, 8)
	for i := range codes {
		all.Go(func() { _, _, codes[i] = invoke(t, etcd, "", "mk", "/lock", "me", "--ttl", "60") })
	}
	all.Wait()
	made := 0
	for _, code := range codes {
		if code == exitOK {
			made++
		} else {
			require.Equal(t, exitServerError, code)
		}
	}
	require.Equal(t, 1, made)
	n, _, _ := leases(t, etcd, "/lock")
	require.Equal(t, 1, n, "those that lost the race leave no lease")
}

func TestUnreachable(t *testing.T) {
	for _, noSync := range []bool{false, true} {
		args, want := []string{"--total-timeout", "300ms", "--peers", "127.0.0.1:1", "set", "/x", "1"}, exitBadConnection
		if noSync {
			args, want = append(args, "--no-sync"), exitServerError
		}
		var stderr bytes.Buffer
		code := Main(context.Background(), args, IO{Err: &stderr, Getenv: func(string) string { return "" }})
		require.Equal(t, want, code)
		require.Contains(t, stderr.String(), "Error:  client: etcd cluster is unavailable or misconfigured; error #0: ")
	}
}

func TestWhatIsHandedOver(t *testing.T) {
	for _, tc := range []struct {
		line string
		ours bool
	}{
		{"set /k v --ttl 60", true}, {"--no-sync -C http://h:1 set /k v", true}, {"--peers=h:1 rm /k", true}, {"set /k v --endpoints h:1", true},
		{"get /k", true}, {"get --quorum /k", true}, {"ls --recursive --sort /", true}, {"mk /k v", true}, {"rmdir /d", true},
		{"", false}, {"--help", false}, {"help set", false}, {"put /k v", false}, {"del /k", false}, {"get", true}, {"get a b", false},
		{"get --prefix /services/web", false}, {"get /k -w json", false}, {"--endpoints=h:1 get /k --print-value-only", false},
		{"--cacert ca.pem --endpoints h:1 get /k", false}, {"endpoint status", false}, {"lease grant 60", false}, {"member list", false},
		{"watch /k", false}, {"--version", false}, {"snapshot save x", false},
	} {
		c, err := Parse(strings.Fields(tc.line))
		require.NoError(t, err, tc.line)
		require.Equal(t, tc.ours, c != nil, tc.line)
	}
	_, err := Parse([]string{"set", "/k", "v", "--foo"})
	require.EqualError(t, err, "Incorrect Usage: flag provided but not defined: -foo")
	_, err = Parse([]string{"set", "/k", "v", "--ttl"})
	require.EqualError(t, err, "Incorrect Usage: flag needs an argument: -ttl")
	_, err = Parse([]string{"set", "/k", "v", "--ttl", "soon"})
	require.EqualError(t, err, `Incorrect Usage: invalid value "soon" for flag -ttl: parse error`)
}

func TestParseNeverPanics(t *testing.T) {
	words := []string{"set", "get", "rm", "ls", "--ttl", "-r", "--", "-", "", "=", "--=", "-C", "--ttl=60", "/k", "-o", "json", "--endpoints=", "x y"}
	rapid.Check(t, func(t *rapid.T) {
		c, err := Parse(rapid.SliceOf(rapid.SampledFrom(words)).Draw(t, "args"))
		require.False(t, c != nil && err != nil)
	})
}

// program writes an executable file.
func program(t *testing.T, file string) string {
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755))
	return file
}

func TestTheMachinesEtcdctlIsFound(t *testing.T) {
	dir := t.TempDir()
	self, other := program(t, dir+"/compat/etcdctl"), program(t, dir+"/bin/etcdctl")
	require.NoError(t, os.Mkdir(dir+"/link", 0o755))
	require.NoError(t, os.Symlink(self, dir+"/link/etcdctl"))
	moved := program(t, dir+"/etcdctl.distrib")
	before := realPaths
	t.Cleanup(func() { realPaths = before })
	var ran []string
	var stderr bytes.Buffer
	world := IO{Self: self, Err: &stderr, Exec: func(program string, args []string) error { ran = append([]string{program}, args...); return nil }}
	call := func(env map[string]string, args ...string) (code int, program []string) {
		ran, world.Getenv = nil, func(name string) string { return env[name] }
		return Main(context.Background(), args, world), ran
	}
	path := strings.Join([]string{dir + "/none", dir + "/link", filepath.Dir(self), dir + "/bin"}, ":")

	realPaths = []string{dir + "/missing"}
	code, got := call(map[string]string{"PATH": path}, "put", "a", "b")
	require.Equal(t, []any{0, []string{other, "put", "a", "b"}}, []any{code, got}, "itself, also by a link, is left out")
	code, got = call(map[string]string{"PATH": path, "ETCDCTL_API": "3"}, "set", "a", "b")
	require.Equal(t, []any{0, []string{other, "set", "a", "b"}}, []any{code, got})
	code, got = call(map[string]string{"PATH": dir + "/link"}, "put", "a", "b")
	require.Equal(t, []any{1, []string(nil)}, []any{code, got})
	require.Equal(t, "etcdctl: put a b: not a key command of etcd 2, and this machine has no other etcdctl: install it, on Debian as etcd-client\n", stderr.String())
	realPaths = []string{moved}
	_, got = call(map[string]string{"PATH": path}, "put")
	require.Equal(t, []string{moved, "put"}, got)
}

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(dir+"/fleet", 0o755))
	require.NoError(t, os.WriteFile(dir+"/fleet/environment", []byte("FLEET_ETCD_SERVERS=https://10.0.0.1:2379,https://10.0.0.2:2379\nFLEET_ETCD_CAFILE=\"/a b.pem\"\n"), 0o644))
	for _, tc := range []struct {
		name, line string
		env        map[string]string
		endpoints  string
		ca         string
	}{
		{"fleetd's", "get /k", nil, "https://10.0.0.1:2379 https://10.0.0.2:2379", "/a b.pem"},
		{"the unit's environment", "get /k", map[string]string{"FLEET_ETCD_SERVERS": "http://10.0.0.9:2379"}, "http://10.0.0.9:2379", ""},
		{"etcdctl's variable", "get /k", map[string]string{"ETCDCTL_PEERS": "10.0.0.3:4001,10.0.0.4:4001"}, "http://10.0.0.3:4001 http://10.0.0.4:4001", ""},
		{"the flag", "-C http://10.0.0.5:4001/ --ca-file /ca get /k", map[string]string{"ETCDCTL_ENDPOINT": "10.0.0.3:4001"}, "http://10.0.0.5:4001", "/ca"},
		{"etcd 2's default", "get /k", map[string]string{"XDG_RUNTIME_DIR": dir + "/none"}, "http://127.0.0.1:2379 http://127.0.0.1:4001", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := Parse(strings.Fields(tc.line))
			require.NoError(t, err)
			cfg, err := config(c, func(name string) string {
				if value, ok := tc.env[name]; ok {
					return value
				}
				return map[string]string{"XDG_RUNTIME_DIR": dir}[name]
			})
			require.NoError(t, err)
			if tc.name == "etcd 2's default" && exists("/run/fleet/environment") {
				t.Skip("this machine has a fleetd")
			}
			require.Equal(t, tc.endpoints, strings.Join(cfg.Endpoints, " "))
			require.Equal(t, tc.ca, cfg.TLS.CAFile)
		})
	}
}
