package git

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

const hash = "0123456789012345678901234567890123456789"

// toldServer is a Git server, and the last report that it got.
type toldServer struct {
	*httptest.Server
	method, path string
	header       http.Header
	body         map[string]string
	raw          []byte
}

// reportServer answers like that.
func reportServer(t *testing.T, answer http.HandlerFunc) *toldServer {
	s := &toldServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		s.method, s.path, s.header = q.Method, q.URL.EscapedPath(), q.Header
		s.raw, _ = io.ReadAll(q.Body)
		s.body = nil
		if err := json.Unmarshal(s.raw, &s.body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, q)
	}))
	t.Cleanup(s.Close)
	return s
}

func created(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }

func secretFile(t *testing.T, text string) string {
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// TestReport: exactly what each of the servers is asked.
func TestReport(t *testing.T) {
	long := strings.Repeat("ä", 5000)
	for _, c := range []struct {
		provider, below, git, state, description string
		path                                     string
		header                                   map[string]string
		body                                     map[string]string
	}{
		{v1.ProviderGitHub, "/api/v3", "https://github.example.com/team/prod.git", v1.CommitFailure, long, "/api/v3/repos/team/prod/statuses/" + hash,
			map[string]string{"Authorization": "Bearer geheim", "Accept": "application/vnd.github+json", "X-Github-Api-Version": "2022-11-28", "Content-Type": "application/json"},
			map[string]string{"state": "failure", "context": "fleet/prod", "description": strings.Repeat("ä", 137) + "..."}},
		{v1.ProviderGitLab, "/api/v4", "git@gitlab.example.com:group/sub/prod.git", v1.CommitFailure, "one\ntwo", "/api/v4/projects/group%2Fsub%2Fprod/statuses/" + hash,
			map[string]string{"Private-Token": "geheim", "Authorization": ""},
			map[string]string{"state": "failed", "name": "fleet/prod", "description": "one", "ref": "release/1"}},
		{v1.ProviderGitLab, "/api/v4", "https://gitlab.example.com/group/prod", v1.CommitPending, long, "/api/v4/projects/group%2Fprod/statuses/" + hash, nil,
			map[string]string{"state": "pending", "name": "fleet/prod", "description": strings.Repeat("ä", 252) + "...", "ref": "release/1"}},
		{v1.ProviderGitea, "/api/v1", "ssh://git@example.com:2222/team/prod.git", v1.CommitSuccess, "fine", "/api/v1/repos/team/prod/statuses/" + hash,
			map[string]string{"Authorization": "token geheim"}, map[string]string{"state": "success", "context": "fleet/prod", "description": "fine"}},
		{v1.ProviderGeneric, "/deployed", "file:///srv/prod.git", v1.CommitSuccess, "fine", "/deployed",
			map[string]string{"Authorization": "Bearer geheim"},
			map[string]string{"source": "prod", "repository": "file:///srv/prod.git", "commit": hash, "state": "success", "context": "fleet/prod", "description": "fine"}},
	} {
		s := reportServer(t, created)
		spec := &v1.SourceSpec{Git: v1.GitSource{URL: c.git, Branch: "release/1"}, Report: &v1.SourceReport{Provider: c.provider, URL: s.URL + c.below, TokenFile: secretFile(t, "geheim\n")}}
		require.NoError(t, (&Reporter{}).Report(t.Context(), "prod", spec, v1.CommitReport{Commit: hash, State: c.state, Description: c.description}))
		require.Equal(t, []string{"POST", c.path}, []string{s.method, s.path})
		require.Equal(t, c.body, s.body)
		for name, value := range c.header {
			require.Equal(t, value, s.header.Get(name), name)
		}
	}
}

// TestReportSigned: a webhook is signed as GitHub's are, so that what checks those checks it. The expected value is from openssl dgst.
func TestReportSigned(t *testing.T) {
	s := reportServer(t, created)
	spec := &v1.SourceSpec{Git: v1.GitSource{URL: "https://example.com/prod.git"}, Report: &v1.SourceReport{Provider: v1.ProviderGeneric, URL: s.URL, SecretFile: secretFile(t, "geheim")}}
	require.NoError(t, (&Reporter{}).Report(t.Context(), "prod", spec, v1.CommitReport{Commit: "1", State: "success"}))
	require.JSONEq(t, `{"commit":"1","context":"fleet/prod","description":"","repository":"https://example.com/prod.git","source":"prod","state":"success"}`, string(s.raw))
	require.Equal(t, "sha256=d04ec4fdb5a36cce5655655b4c97dc6dabb6e8c03eecae4a23154bbb301a5d45", s.header.Get("X-Hub-Signature-256"))
	require.Empty(t, s.header.Get("Authorization"))
}

// TestReportRefused: what goes wrong has a reason and no token in it.
func TestReportRefused(t *testing.T) {
	followed := reportServer(t, created)
	says := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, code) }
	}
	for name, c := range map[string]struct {
		answer         http.HandlerFunc
		reason, expect string
	}{
		"the token": {says(401, `{"message": "Bad credentials: geheim"}`), AuthFailed, "does not accept the token in report.tokenFile for this: 127.0.0.1:PORT answers 401 Unauthorized: Bad credentials: ***"},
		"no scope":  {says(403, `{"message": {"x": ["y"]}}`), AuthFailed, `403 Forbidden: {"x": ["y"]}`},
		"not there": {says(404, ""), RepositoryNotFound, "no such repository or commit"},
		"redirect": {func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, followed.URL+"/elsewhere", http.StatusTemporaryRedirect)
		}, ReportRefused, "307 Temporary Redirect, a redirect, which is not followed"},
		"invalid":              {says(422, `{"message": "No commit found for SHA"}`), ReportRefused, "No commit found for SHA"},
		"broken":               {says(502, "<html>\n"+strings.Repeat("x", 1<<20)), Unreachable, "502 Bad Gateway: <html>"},
		"too long":             {says(500, strings.Repeat("x", 1<<20)), Unreachable, strings.Repeat("x", 197) + "..."},
		"a state that it has":  {says(400, `{"message": "Cannot transition status via :enqueue from :pending"}`), "", ""},
		"hangs":                {func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() }, TimedOut, "has not answered within 200ms"},
		"hangs in the headers": {func(w http.ResponseWriter, q *http.Request) { w.(http.Flusher).Flush(); <-q.Context().Done() }, "", ""}, // its status is 200
	} {
		t.Run(name, func(t *testing.T) {
			s := reportServer(t, c.answer)
			spec := &v1.SourceSpec{Git: v1.GitSource{URL: "https://example.com/team/prod.git"}, Report: &v1.SourceReport{Provider: v1.ProviderGitLab, URL: s.URL, TokenFile: secretFile(t, "geheim")}}
			began := time.Now()
			err := (&Reporter{Time: 200 * time.Millisecond}).Report(t.Context(), "prod", spec, v1.CommitReport{Commit: hash, State: v1.CommitPending})
			require.Less(t, time.Since(began), 5*time.Second)
			if c.reason == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, strings.ReplaceAll(c.expect, "127.0.0.1:PORT", s.Listener.Addr().String()))
			require.Equal(t, c.reason, ReasonOf(err))
			require.NotContains(t, err.Error(), "geheim")
			require.Less(t, len(err.Error()), 500)
		})
	}
	require.Empty(t, followed.path, "the token is for one server")
}

// TestReportFiles: files with secrets that cannot be read are an error, and delay nothing.
func TestReportFiles(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for file, says := range map[string]string{"/nowhere": "report.tokenFile: open /nowhere: no such file", pipe: "report.tokenFile: ", secretFile(t, ""): "is empty",
		secretFile(t, "a\nb"): "has several lines"} {
		spec := &v1.SourceSpec{Git: v1.GitSource{URL: "https://example.com/team/prod.git"}, Report: &v1.SourceReport{Provider: v1.ProviderGitLab, TokenFile: file}}
		err := (&Reporter{}).Report(t.Context(), "prod", spec, v1.CommitReport{Commit: hash, State: v1.CommitPending})
		require.ErrorContains(t, err, says)
		require.Equal(t, AuthFailed, ReasonOf(err))
	}
}

// TestReportTLS: a server whose authority is the user's own.
func TestReportTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(created))
	t.Cleanup(s.Close)
	s.Config.ErrorLog = nil
	report := func(caFile string) error {
		spec := &v1.SourceSpec{Git: v1.GitSource{URL: "https://example.com/team/prod.git"}, Report: &v1.SourceReport{Provider: v1.ProviderGitea, URL: s.URL, TokenFile: secretFile(t, "geheim"), CAFile: caFile}}
		return (&Reporter{}).Report(context.Background(), "prod", spec, v1.CommitReport{Commit: hash, State: v1.CommitPending})
	}
	require.ErrorContains(t, report(""), "set report.caFile if its authority is your own")
	require.ErrorContains(t, report(secretFile(t, "x")), "has no certificate in PEM form")
	require.NoError(t, report(secretFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))))
}
