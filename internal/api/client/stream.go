package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

// The pauses between attempts of Follow.
const (
	firstPause = 200 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Lines streams an answer of JSON lines.
func Lines[T any](ctx context.Context, c *Client, r Request) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		resp, err := c.open(ctx, r)
		if err != nil {
			yield(zero, err)
			return
		}
		defer resp.Body.Close()
		for lines := json.NewDecoder(resp.Body); ; {
			var line T
			switch err := lines.Decode(&line); {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(zero, &UnreachableError{Endpoint: c.endpoint, Err: fmt.Errorf("connection lost while streaming: %w", err)})
				return
			}
			if !yield(line, nil) {
				return
			}
		}
	}
}

// Watch streams events until ctx ends, the connection is lost, or the server ends the stream with an error.
func Watch[T any](ctx context.Context, c *Client, path string, q url.Values) iter.Seq2[wire.Event[T], error] {
	query := url.Values{"watch": {"true"}}
	for key, values := range q {
		query[key] = values
	}
	return func(yield func(wire.Event[T], error) bool) {
		for raw, err := range Lines[wire.RawEvent](ctx, c, Request{Method: http.MethodGet, Path: path, Query: query}) {
			event := wire.Event[T]{Type: raw.Type, Revision: raw.Revision}
			switch {
			case err != nil:
			case raw.Type == wire.Error:
				var status wire.Status
				if err = json.Unmarshal(raw.Object, &status); err == nil {
					err = &status
				}
			case raw.Type != wire.Bookmark:
				err = json.Unmarshal(raw.Object, &event.Object)
			}
			if !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// Follow is Watch that reconnects after lost connections and while etcd is unreachable. With resume it continues after
// the last event, which is for objects made of one row; otherwise every connection starts with all existing objects. It
// ends with ctx or with an error, either before the first event or one that a retry cannot fix.
func Follow[T any](ctx context.Context, c *Client, path string, q url.Values, resume bool) iter.Seq2[wire.Event[T], error] {
	return func(yield func(wire.Event[T], error) bool) {
		query := url.Values{}
		for key, values := range q {
			query[key] = values
		}
		began := false
		for pause := firstPause; ; pause = min(2*pause, lastPause) {
			var failure error
			for event, err := range Watch[T](ctx, c, path, query) {
				if failure = err; err != nil {
					break
				}
				pause, began = firstPause, true
				if resume {
					query.Set("resourceVersion", strconv.FormatInt(event.Revision, 10))
				}
				if !yield(event, nil) {
					return
				}
			}
			if ctx.Err() != nil {
				return
			}
			if !began && failure != nil || !mends(failure) {
				yield(wire.Event[T]{}, failure)
				return
			}
			if expired(failure) {
				query.Del("resourceVersion")
			}
			if !sleep(ctx, pause) {
				return
			}
		}
	}
}

// mends reports whether a watch that ended with err is worth retrying.
func mends(err error) bool {
	var status *wire.Status
	return !errors.As(err, &status) || status.Reason == wire.ReasonUnavailable || expired(err)
}

func expired(err error) bool {
	var status *wire.Status
	return errors.As(err, &status) && status.Reason == wire.ReasonExpired
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
