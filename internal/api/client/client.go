// Package client is a client of fleetd's HTTP API, over a unix socket, TCP or TLS, also through a tunnel.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

// DefaultEndpoint is fleetd's default address.
const DefaultEndpoint = "unix:///run/fleet.sock"

// maxAnswer bounds an answer that is not a stream, in bytes: 100,000 units take about 100 MB.
const maxAnswer = 1 << 30

// Client talks to one fleetd. It is safe for concurrent use.
type Client struct {
	endpoint string
	base     string
	http     *http.Client
	timeout  time.Duration
	agent    string
	// Warn is called with what fleetd says is doubtful with an answer. nil: it is not. Set it before the first request.
	Warn func(text string)
}

// UnreachableError means that no fleetd answered.
type UnreachableError struct {
	Endpoint string
	Err      error
}

// Error returns the cause and what to check.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("cannot reach fleetd at %s: %v: check that it is running, or set --endpoint or FLEETCTL_ENDPOINT", e.Endpoint, e.Err)
}

// Unwrap returns the network error.
func (e *UnreachableError) Unwrap() error { return e.Err }

// New returns a client of the fleetd at endpoint: unix:///path, http://host:port or https://host:port, or several of them
// separated by commas, of which the first that accepts a connection is used. timeout bounds requests that are not streams;
// agent is sent as the User-Agent.
func New(endpoint string, timeout time.Duration, agent string) (*Client, error) {
	return NewVia(Transport{}, endpoint, timeout, agent)
}

// NewVia is New with another way to the endpoint.
func NewVia(via Transport, endpoint string, timeout time.Duration, agent string) (*Client, error) {
	if endpoint == "" {
		endpoint = DefaultEndpoint
	}
	c := &Client{endpoint: endpoint, timeout: timeout, agent: agent}
	var places []place
	for _, one := range strings.Split(endpoint, ",") {
		base, p, err := parse(strings.TrimSpace(one))
		if err != nil {
			return nil, err
		}
		if c.base == "" {
			c.base = base
		}
		places = append(places, p)
	}
	c.http = &http.Client{Transport: via.roundTripper(places), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Path returns the path of an object in the resource API: Path("units", "a@1.service", "logs").
func Path(parts ...string) string {
	var b strings.Builder
	b.WriteString(wire.Prefix)
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}

// Request is one HTTP request.
type Request struct {
	Method, Path string
	Query        url.Values
	Body         []byte
	ContentType  string
	Accept       string
	// NoTimeout disables the client's timeout: the caller's context bounds the request.
	NoTimeout bool
}

// Do sends a request and returns the whole answer. Status codes of 300 and above are returned as *wire.Status errors.
func (c *Client) Do(ctx context.Context, r Request) ([]byte, error) {
	if !r.NoTimeout && c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	resp, err := c.open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, &UnreachableError{Endpoint: c.endpoint, Err: fmt.Errorf("connection lost while reading the answer: %w", err)}
	}
	return data, nil
}

// open sends a request and returns the response with an unread body.
func (c *Client) open(ctx context.Context, r Request) (*http.Response, error) {
	at := c.base + r.Path
	if len(r.Query) > 0 {
		at += "?" + r.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, at, bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.agent)
	if r.ContentType != "" {
		req.Header.Set("Content-Type", r.ContentType)
	}
	if r.Accept != "" {
		req.Header.Set("Accept", r.Accept)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var urlError *url.Error
		if errors.As(err, &urlError) {
			err = urlError.Err
		}
		return nil, &UnreachableError{Endpoint: c.endpoint, Err: err}
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		defer resp.Body.Close()
		return nil, readFailure(resp)
	}
	if text := wire.WarningText(resp.Header.Get(wire.WarningHeader)); text != "" && c.Warn != nil {
		c.Warn(text)
	}
	return resp, nil
}

// readFailure makes an error of a failed response, including one that fleetd did not send.
func readFailure(resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // report what could be read
	var status wire.Status
	if json.Unmarshal(data, &status) == nil && status.Kind == "Status" {
		return &status
	}
	text := strings.TrimSpace(string(data))
	if len(text) > 200 {
		text = text[:200] + "..."
	}
	return fmt.Errorf("%s %s: %s: %s", resp.Request.Method, resp.Request.URL.Path, resp.Status, text)
}

// Write sends a change and returns its result.
func (c *Client) Write(ctx context.Context, r Request) (*wire.Status, error) {
	data, err := c.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	var status wire.Status
	if err := json.Unmarshal(data, &status); err != nil {
		return nil, fmt.Errorf("%s %s: cannot decode the answer: %w", r.Method, r.Path, err)
	}
	return &status, nil
}

// Get reads one object.
func Get[T any](ctx context.Context, c *Client, path string, q url.Values) (object T, err error) {
	data, err := c.Do(ctx, Request{Method: http.MethodGet, Path: path, Query: q})
	if err != nil {
		return object, err
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return object, fmt.Errorf("GET %s: cannot decode the answer: %w", path, err)
	}
	return object, nil
}

// List reads all objects, page by page if q sets a limit.
func List[T any](ctx context.Context, c *Client, path string, q url.Values) ([]T, error) {
	query := url.Values{}
	for key, values := range q {
		query[key] = values
	}
	var all []T
	for {
		list, err := Get[wire.List[T]](ctx, c, path, query)
		if err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
		if list.Metadata.Continue == "" {
			return all, nil
		}
		query.Set("continue", list.Metadata.Continue)
	}
}

// NotFound reports whether err means that an object does not exist.
func NotFound(err error) bool {
	var status *wire.Status
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}
