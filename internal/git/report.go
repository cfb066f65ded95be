package git

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

const (
	// reportTime is how long a server may take for one report.
	reportTime = 10 * time.Second
	// answerKept is how much of its answer is read, in bytes.
	answerKept = 16 << 10
)

// descriptions is how many characters the servers take: GitHub refuses more than 140, GitLab more than 255.
var descriptions = map[string]int{v1.ProviderGitHub: 140, v1.ProviderGitLab: 255, v1.ProviderGitea: 255, v1.ProviderGeneric: 4000}

// Reporter tells Git servers what became of commits. The zero value is ready.
type Reporter struct {
	// Time is how long a server may take. Default 10 s.
	Time time.Duration
}

// post is one request: its address, its headers and its body, which is sent as JSON.
type post struct {
	url     string
	headers map[string]string
	body    map[string]string
	token   string
	secret  string // signs the body
}

// Report tells the server of a source's repository what became of a commit. Redirects are not followed: the token is for this server.
func (r *Reporter) Report(ctx context.Context, source string, spec *v1.SourceSpec, report v1.CommitReport) error {
	if r.Time == 0 {
		r = &Reporter{Time: reportTime}
	}
	p, err := prepare(source, spec, report)
	if err != nil {
		return err
	}
	client, err := reportClient(spec)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	limited, cancel := context.WithTimeout(ctx, r.Time)
	defer cancel()
	q, err := p.request(limited)
	if err != nil {
		return fail(InvalidURL, "report.url: no request can be made to it")
	}
	answer, err := client.Do(q)
	if err != nil {
		return r.unanswered(limited, q.URL.Host, err)
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(answer.Body, answerKept)) // the status counts
	return p.judge(answer, said, spec.Report.Provider == v1.ProviderGitLab && report.State == v1.CommitPending)
}

// Reason is the reason of an error of Report.
func (r *Reporter) Reason(err error) string { return ReasonOf(err) }

// prepare makes the request that a server's API wants.
func prepare(source string, spec *v1.SourceSpec, report v1.CommitReport) (p post, err error) {
	to := spec.Report
	if to.TokenFile != "" {
		if p.token, err = readLine(to.TokenFile, "report.tokenFile"); err != nil {
			return p, err
		}
	}
	if to.SecretFile != "" {
		if p.secret, err = readLine(to.SecretFile, "report.secretFile"); err != nil {
			return p, err
		}
	}
	base, project, err := spec.ReportTarget()
	if err != nil {
		return p, fail(InvalidURL, "report.url: %v", err)
	}
	name, description := "fleet/"+source, limited(report.Description, descriptions[to.Provider])
	switch to.Provider {
	case v1.ProviderGitHub:
		p.url = base + "/repos/" + escaped(project) + "/statuses/" + report.Commit
		p.headers = map[string]string{"Authorization": "Bearer " + p.token, "Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
		p.body = map[string]string{"state": report.State, "context": name, "description": description}
	case v1.ProviderGitea:
		p.url = base + "/repos/" + escaped(project) + "/statuses/" + report.Commit
		p.headers = map[string]string{"Authorization": "token " + p.token}
		p.body = map[string]string{"state": report.State, "context": name, "description": description}
	case v1.ProviderGitLab:
		p.url = base + "/projects/" + url.PathEscape(project) + "/statuses/" + report.Commit
		p.headers = map[string]string{"PRIVATE-TOKEN": p.token}
		p.body = gitLabBody(spec, report, name, description)
	default:
		p.url, p.body = base, map[string]string{"source": source, "repository": spec.Git.URL, "commit": report.Commit, "state": report.State, "context": name,
			"description": description}
		if p.token != "" {
			p.headers = map[string]string{"Authorization": "Bearer " + p.token}
		}
	}
	return p, nil
}

func gitLabBody(spec *v1.SourceSpec, report v1.CommitReport, name, description string) map[string]string {
	body := map[string]string{"state": report.State, "name": name, "description": description}
	if report.State == v1.CommitFailure {
		body["state"] = "failed"
	}
	if _, ref, ok := strings.Cut(strings.TrimPrefix(spec.Git.Reference(), "refs/"), "/"); ok {
		body["ref"] = ref
	}
	return body
}

// escaped escapes each part of a path.
func escaped(path string) string {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// limited returns the first line of a text, with at most so many characters.
func limited(text string, most int) string {
	text, _, _ = strings.Cut(text, "\n")
	runes := []rune(text)
	if len(runes) > most {
		return string(runes[:most-3]) + "..."
	}
	return text
}

// readLine is the one line of a file with a secret.
func readLine(path, field string) (string, error) {
	data, err := readSecret(path, field)
	if err != nil {
		return "", err
	}
	line := strings.TrimSpace(string(data))
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fail(AuthFailed, "%s: %s has several lines: write the secret in one", field, path)
	}
	return line, nil
}

func reportClient(spec *v1.SourceSpec) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if file := spec.Report.CAFile; file != "" {
		data, err := readSecret(file, "report.caFile")
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(data) {
			return nil, fail(AuthFailed, "report.caFile: %s has no certificate in PEM form", file)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

func (p *post) request(ctx context.Context) (*http.Request, error) {
	body, err := json.Marshal(p.body)
	if err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Accept", "application/json")
	q.Header.Set("User-Agent", "fleetd")
	for name, value := range p.headers {
		q.Header.Set(name, value)
	}
	if p.secret != "" {
		mac := hmac.New(sha256.New, []byte(p.secret))
		mac.Write(body)
		q.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	return q, nil
}

// unanswered explains why there is no answer. The error of the client has the URL, which may have a secret in it.
func (r *Reporter) unanswered(ctx context.Context, host string, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fail(TimedOut, "%s has not answered within %s", host, r.Time)
	}
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fail(Unreachable, "%s: its certificate is not accepted: set report.caFile if its authority is your own: %s", host, Printable(err.Error(), 200))
	}
	return fail(Unreachable, "%s: %s", host, Printable(err.Error(), 200))
}

// judge says whether a server took a report. Where again is set, it refuses one that it has already: its answer to the first was lost.
func (p *post) judge(answer *http.Response, said []byte, again bool) error {
	text := p.words(said)
	what := fmt.Sprintf("%s answers %s", answer.Request.URL.Host, Printable(answer.Status, 60))
	if text != "" {
		what += ": " + text
	}
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case again && code == http.StatusBadRequest && strings.Contains(text, "Cannot transition status"):
		return nil
	case code >= 300 && code < 400:
		return fail(ReportRefused, "%s, a redirect, which is not followed: the token is for this server: set report.url to where the API is", what)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return fail(AuthFailed, "the server does not accept the token in report.tokenFile for this: %s", what)
	case code == http.StatusNotFound:
		return fail(RepositoryNotFound, "the server has no such repository or commit, or does not show it with this token: %s", what)
	case code >= 500:
		return fail(Unreachable, "%s", what)
	}
	return fail(ReportRefused, "%s", what)
}

// words are what a server says, in its own words and without the token.
func (p *post) words(said []byte) string {
	text := string(said)
	var object struct {
		Message json.RawMessage `json:"message"`
	}
	if json.Unmarshal(said, &object) == nil && len(object.Message) > 0 {
		text = strings.Trim(string(object.Message), `"`)
	}
	for _, secret := range []string{p.token, p.secret} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return Printable(text, 200)
}
