package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// offline is a client of an etcd that is never contacted.
func offline(t *testing.T, timeout time.Duration) *Client {
	c, err := Dial(Config{Endpoints: []string{"http://127.0.0.1:1"}, RequestTimeout: timeout})
	require.NoError(t, err)
	return c
}

// TestRequestTimeout: calls have a timeout, whatever the configuration says.
func TestRequestTimeout(t *testing.T) {
	for configured, want := range map[time.Duration]time.Duration{0: DefaultRequestTimeout, -1: DefaultRequestTimeout, time.Minute: time.Minute} {
		c := offline(t, configured)
		require.Equal(t, []time.Duration{want, want}, []time.Duration{c.timeout, c.config.DialTimeout})
		require.NoError(t, c.Close())
	}
}

// TestCommitNamesItsKeys: the error has the first key, and the number of others.
func TestCommitNamesItsKeys(t *testing.T) {
	c := offline(t, time.Minute)
	require.NoError(t, c.Close())
	ops := []Op{{Key: "/a"}, {Key: "/b"}, {Key: "/c"}}
	for n, want := range []string{"write ", "write /a", "write /a and 1 more", "write /a and 2 more"} {
		_, err := c.Commit(t.Context(), Txn{Ops: ops[:n]})
		require.EqualError(t, err, want+": "+errClosed.Error())
	}
}

// TestEveryCallOfAClosedClient: the error says that it is closed, and what the call was.
func TestEveryCallOfAClosedClient(t *testing.T) {
	c := offline(t, time.Minute)
	require.NoError(t, c.Close())
	for want, call := range map[string]func() error{
		"get /a":                      func() error { _, _, _, err := c.Get(t.Context(), "/a"); return err },
		"list /a":                     func() error { _, err := c.List(t.Context(), "/a", ListOptions{}); return err },
		"grant lease of 1s":           func() error { _, err := c.Grant(t.Context(), time.Second); return err },
		"keep alive lease 1f":         func() error { _, err := c.KeepAlive(t.Context(), 31); return err },
		"revoke lease 1f":             func() error { return c.Revoke(t.Context(), 31) },
		"request progress of watches": func() error { return c.RequestProgress(t.Context()) },
		"ask for the version of http://127.0.0.1:1": func() error { _, err := c.VersionWarnings(t.Context()); return err },
	} {
		require.EqualError(t, call(), want+": "+errClosed.Error())
	}
}

// TestWatchThatIsCancelled: it ends without an error, as its caller wanted.
func TestWatchThatIsCancelled(t *testing.T) {
	c := offline(t, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		for batch := range c.Watch(ctx, "/a", 1) {
			require.Empty(t, batch)
		}
	}
	require.NoError(t, c.Close())
}

// TestWhyACallRanIntoItsDeadline: the error includes gRPC's last error if it says more, until a call succeeds.
func TestWhyACallRanIntoItsDeadline(t *testing.T) {
	late := fmt.Errorf("x: %w", context.DeadlineExceeded)
	for name, tt := range map[string]struct {
		notes []error
		err   error
		want  string
	}{
		"nothing is known":       {nil, late, "x: context deadline exceeded"},
		"refused":                {[]error{status.Error(codes.Unavailable, "connection refused")}, late, "x: context deadline exceeded: connection refused"},
		"the last one counts":    {[]error{errors.New("first"), errors.New("second")}, late, "x: context deadline exceeded: second"},
		"one went well since":    {[]error{errors.New("first"), nil}, late, "x: context deadline exceeded"},
		"it is the same":         {[]error{late}, late, "x: context deadline exceeded"},
		"another kind of error":  {[]error{errors.New("first")}, errors.New("denied"), "denied"},
		"what was asked is done": {[]error{errors.New("first")}, nil, ""},
	} {
		c := &Client{}
		for _, note := range tt.notes {
			c.note(note)
		}
		err := c.explain(tt.err)
		require.ErrorIs(t, err, tt.err, name)
		if tt.err != nil {
			require.EqualError(t, err, tt.want, name)
		}
	}
}
