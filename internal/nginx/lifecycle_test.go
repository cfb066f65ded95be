package nginx

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/routing"
)

func TestAdoptionAfterTheSupervisorDied(t *testing.T) {
	r := newRouter(t)
	up := instance(t, "app@1")
	result := r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{up}})
	pid := r.pid()
	r.crash()
	require.Equal(t, "200 app@1", r.get("app.localhost"), "nginx goes on alone")

	r.open()
	state, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Adopted, state)
	require.Equal(t, pid, r.pid())
	again := r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{up}})
	require.False(t, again.Changed, "the router is back, nothing changed, nothing is reloaded")
	require.Equal(t, result.Generation, again.Generation)
	require.True(t, r.apply(routing.Route{App: "app"}).Changed)
	require.Contains(t, r.get("app.localhost"), "503")
	require.Equal(t, pid, r.pid())
}

// The supervisor died between the rename and the signal.
func TestAdoptionMakesUpForACutOffReload(t *testing.T) {
	r := newRouter(t)
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@1")}})
	r.crash()
	c := configured(r.settings, routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@2")}})
	text, err := Render(c, nil)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(r.path("nginx.conf"), text, 0o644))
	r.open()
	state, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Adopted, state)
	require.Equal(t, "200 app@2", r.get("app.localhost"))
}

func TestStartWithTheLastGoodFile(t *testing.T) {
	r := newRouter(t)
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@1")}})
	require.NoError(t, r.Stop(t.Context()))
	require.NoError(t, r.Close())
	_, _, err := r.tryDo("GET", "app.localhost", "/")
	require.Error(t, err, "nginx is stopped")

	r.open()
	state, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Started, state)
	require.Equal(t, "200 app@1", r.get("app.localhost"))
	state, err = r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Adopted, state, "a second Start changes nothing")
}

func TestPidOfAnotherProcessIsNotAdopted(t *testing.T) {
	r := newRouter(t)
	require.NoError(t, os.WriteFile(r.path("nginx.pid"), fmt.Appendln(nil, os.Getpid()), 0o644))
	state, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Waiting, state)
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@1")}})
	require.Equal(t, "200 app@1", r.get("app.localhost"))
}

// kill -9 of the master leaves workers that hold the addresses.
func TestMasterKilled(t *testing.T) {
	r := newRouter(t)
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@1")}})
	old := r.pid()
	orphans := workers(old)
	require.NoError(t, syscall.Kill(old, syscall.SIGKILL))
	<-r.Exited()
	require.Equal(t, "200 app@1", r.get("app.localhost"), "the workers go on")
	state, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Started, state)
	require.NotEqual(t, old, r.pid())
	require.Equal(t, "200 app@1", r.get("app.localhost"))
	for _, pid := range orphans {
		require.False(t, isAccepting(pid))
	}
	select {
	case <-r.Exited():
		t.Fatal("the new nginx runs")
	default:
	}
}

func TestStopFinishesRequestsAndGivesUpAtItsDeadline(t *testing.T) {
	for name, tc := range map[string]struct {
		deadline time.Duration
		answered bool
	}{"in time": {10 * time.Second, true}, "too slow": {100 * time.Millisecond, false}} {
		t.Run(name, func(t *testing.T) {
			r := newRouter(t)
			arrived, answer := make(chan struct{}), make(chan struct{})
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				close(arrived)
				<-answer
			}))
			t.Cleanup(srv.Close)
			r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{{Instance: "app@1", Address: strings.TrimPrefix(srv.URL, "http://")}}})
			result := make(chan error)
			go func() {
				_, _, err := r.tryDo("GET", "app.localhost", "/")
				result <- err
			}()
			<-arrived
			if tc.answered {
				time.AfterFunc(50*time.Millisecond, func() { close(answer) })
			} else {
				defer close(answer)
			}
			ctx, cancel := context.WithTimeout(t.Context(), tc.deadline)
			defer cancel()
			require.NoError(t, r.Stop(ctx))
			require.Equal(t, tc.answered, <-result == nil)
			select {
			case <-r.Exited():
				t.Fatal("an exit that was asked for is no surprise")
			default:
			}
		})
	}
}

func TestOneServerADirectory(t *testing.T) {
	r := newRouter(t)
	_, err := New(Options{Dir: r.settings.Dir})
	require.ErrorIs(t, err, ErrBusy)
	_, err = New(Options{Dir: "relative"})
	require.ErrorContains(t, err, "absolute")
	_, err = New(Options{Dir: r.settings.Dir, Binary: "/no/nginx"})
	require.Error(t, err)
}

// The same as an ordinary user, if root runs the tests.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then all tests here do this
	}
	const nobody = 65534
	dir := openDir(t)
	require.NoError(t, os.Chown(dir, nobody, nobody))
	self, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	binary := filepath.Join(dir, "nginx.test")
	require.NoError(t, os.WriteFile(binary, self, 0o755))
	tests := []string{"TestApplyServesAndReloadsOnlyOnChange", "TestAdoptionAfterTheSupervisorDied", "TestAdoptionMakesUpForACutOffReload", "TestLargeBodies",
		"TestBadCandidateIsRefusedAndTheOldOneServes"}
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.run", "^("+strings.Join(tests, "|")+")$")
	cmd.Dir, cmd.Env = dir, []string{"TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	for _, test := range tests { // a misspelled name would not be run
		require.Contains(t, string(out), "--- PASS: "+test+" (")
	}
}
