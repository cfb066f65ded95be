package source

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/git"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// gitServer takes reports in GitHub's form.
type gitServer struct {
	*httptest.Server
	mu     sync.Mutex
	got    []string // state and path of each report
	answer func(w http.ResponseWriter, q *http.Request)
}

func newGitServer(t *testing.T) *gitServer {
	s := &gitServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var body struct{ State, Context string }
		if err := json.NewDecoder(q.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		answer := s.answer
		s.got = append(s.got, body.Context+" "+body.State+" "+q.URL.Path)
		s.mu.Unlock()
		if answer != nil {
			answer(w, q)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *gitServer) answers(answer func(w http.ResponseWriter, q *http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *gitServer) reports() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got...)
}

// reported waits until the status of a source says what was reported of a commit.
func (w *world) reported(name, commit, state string) v1.SourceStatus {
	w.t.Helper()
	return w.until(name, func(s *v1.SourceStatus) bool {
		return s.Reported != nil && s.Reported.Commit == commit && s.Reported.State == state
	})
}

func (w *world) until(name string, is func(*v1.SourceStatus) bool) (status v1.SourceStatus) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		kv, ok, _, err := w.store.Get(context.Background(), w.keys.SourceStatus().Key(name))
		if err != nil || !ok {
			return false
		}
		status, err = w.keys.SourceStatus().Decode(kv.Value)
		return err == nil && is(&status)
	}, 20*time.Second, 10*time.Millisecond, "%+v", &status)
	return status
}

// TestReports: a Git server is told of each commit once, also when the leader changes, and what it does to reports delays nothing else.
func TestReports(t *testing.T) {
	w, server := newWorld(t, memstore.New(memstore.Options{})), newGitServer(t)
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("geheim\n"), 0o600))
	report := "  report: {provider: github, url: \"" + server.URL + "\", tokenFile: " + token + "}\n"
	one := w.repo.Push("One", map[string]string{"a.yaml": manifest("a", "")})
	w.source("prod", report)
	path := "/repos/" + filepath.Base(filepath.Dir(w.repo.Bare)) + "/repository/statuses/"
	w.reported("prod", one, v1.CommitPending)
	require.Equal(t, []string{"fleet/prod pending " + path + one}, server.reports())

	two := w.repo.Push("Two", map[string]string{"a.yaml": "wrong"})
	w.sync("prod", v1.SourceWish{}, InvalidCommit)
	status := w.reported("prod", two, v1.CommitFailure)
	require.Contains(t, status.Reported.Description, "InvalidCommit: a.yaml:1: ")
	require.Equal(t, "fleet/prod failure "+path+two, server.reports()[1])

	w.stop()
	w.start()
	w.sync("prod", v1.SourceWish{}, InvalidCommit)
	time.Sleep(100 * time.Millisecond)
	require.Len(t, server.reports(), 2, "a new leader repeats nothing")

	// A server that hangs delays neither this source nor another one, nor the end of the leader.
	hangs := make(chan struct{})
	server.answers(func(_ http.ResponseWriter, q *http.Request) {
		select {
		case <-hangs:
		case <-q.Context().Done():
		}
	})
	three := w.repo.Push("Three", map[string]string{"a.yaml": manifest("a", "  replicas: 3\n")})
	w.sync("prod", v1.SourceWish{}, Applied)
	require.Eventually(t, func() bool { return len(server.reports()) == 3 }, 10*time.Second, time.Millisecond)
	w.repo.Push("Four", map[string]string{"a.yaml": manifest("a", "  replicas: 4\n")})
	four := w.repo.Git("rev-parse", "HEAD")
	w.sync("prod", v1.SourceWish{}, Applied)
	require.Contains(t, w.apps()["a"], "replicas: 4")
	require.Len(t, server.reports(), 3, "one at a time")
	began := time.Now()
	w.stop()
	require.Less(t, time.Since(began), 3*time.Second)

	// The leader ended before it knew that the report was taken: the next one reports what is new.
	server.answers(nil)
	close(hangs)
	w.start()
	w.reported("prod", four, v1.CommitPending)
	require.Equal(t, []string{"fleet/prod pending " + path + three, "fleet/prod pending " + path + four}, server.reports()[2:])

	// One that refuses is a condition.
	server.answers(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no: geheim", http.StatusUnauthorized) })
	w.repo.Push("Five", map[string]string{"a.yaml": "wrong"})
	w.sync("prod", v1.SourceWish{}, InvalidCommit)
	status = w.until("prod", func(s *v1.SourceStatus) bool {
		c := v1.FindCondition(s.Conditions, v1.Reported)
		return c != nil && c.Status == v1.ConditionFalse
	})
	refused := v1.FindCondition(status.Conditions, v1.Reported)
	require.Equal(t, git.AuthFailed, refused.Reason)
	require.NotContains(t, refused.Message, "geheim")
	require.Equal(t, four, status.Reported.Commit)
}

// slow is a Reporter that waits for each report.
type slow struct{ begun, end chan string }

func (s slow) Report(ctx context.Context, source string, _ *v1.SourceSpec, _ v1.CommitReport) error {
	s.begun <- source
	select {
	case <-s.end:
		return errors.New("refused")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slow) Reason(error) string { return "Unreachable" }

// TestReportsAtOnce: sources do not wait for each other, and one has at most one report under way; the end ends all.
func TestReportsAtOnce(t *testing.T) {
	reporter := slow{make(chan string, 10), make(chan string)}
	changed := make(chan string, 10)
	r := newReports(Options{Reporter: reporter, Env: cluster.Env{}.WithDefaults()}, func(name string) { changed <- name })
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.run(ctx) })
	for _, name := range []string{"a", "a", "b", "a"} {
		r.begin(posted{source: name})
	}
	require.ElementsMatch(t, []string{"a", "b"}, []string{<-reporter.begun, <-reporter.begun})
	require.True(t, r.of("a").Running)
	reporter.end <- ""
	first := <-changed
	require.Equal(t, []any{false, "Unreachable", 1}, []any{r.of(first).Running, r.of(first).Reason, r.of(first).Failures})
	r.begin(posted{source: first})
	require.Equal(t, first, <-reporter.begun)
	cancel()
	running.Wait()
	require.Empty(t, reporter.begun)
	require.Empty(t, changed, "what was under way is not known to have failed")
	r.forget(first)
	require.Equal(t, Reporting{}, r.of(first))
}
