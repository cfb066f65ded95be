package api_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// open starts a stream and returns its status code and a function that ends it.
func (c *cluster) open(path string) (code int, leave func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	require.NoError(c.t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(c.t, err)
	return resp.StatusCode, func() { cancel(); resp.Body.Close() }
}

// TestJournalsAreBounded: of 20 clients that follow a log, 16 are served; the others are refused at once with advice,
// and admitted when one leaves.
func TestJournalsAreBounded(t *testing.T) {
	c := newCluster(t, func(o *api.Options) { o.Journal = journal{} })
	placed(c, "a.service", here)
	follow := units + "/a.service/logs?follow=true"
	var leaves []func()
	for range 16 {
		code, leave := c.open(follow)
		require.Equal(t, http.StatusOK, code)
		leaves = append(leaves, leave)
	}
	for _, path := range []string{follow, units + "/a.service/logs"} {
		a := c.do(http.MethodGet, path, "")
		require.Equal(t, http.StatusTooManyRequests, a.code)
		require.Equal(t, wire.ReasonTooManyRequests, a.status(t).Reason)
		require.Contains(t, a.status(t).Message, "journalctl -u a.service")
	}
	leaves[0]()
	require.Eventually(t, func() bool {
		code, leave := c.open(follow)
		leaves = append(leaves, leave)
		return code == http.StatusOK
	}, 10*time.Second, 10*time.Millisecond)
	for _, leave := range leaves {
		leave()
	}
}

// TestWatchesAreBounded: one client may have 128 watches; its other requests are still answered.
func TestWatchesAreBounded(t *testing.T) {
	c := newCluster(t)
	var leaves []func()
	defer func() {
		for _, leave := range leaves {
			leave()
		}
	}()
	for range 128 {
		code, leave := c.open(units + "?watch=true")
		require.Equal(t, http.StatusOK, code)
		leaves = append(leaves, leave)
	}
	a := c.do(http.MethodGet, units+"?watch=true", "")
	require.Equal(t, http.StatusTooManyRequests, a.code)
	require.Contains(t, a.status(t).Message, "client 127.0.0.1 has 128 watches")
	require.Equal(t, http.StatusOK, c.do(http.MethodGet, units, "").code)
}

// TestManyFaults: 20,000 faults are answered in a few kB, with their number.
func TestManyFaults(t *testing.T) {
	c := newCluster(t)
	var text strings.Builder
	text.WriteString("apiVersion: fleet/v1\nkind: App\nmetadata: {name: a}\nspec:\n")
	for i := range 20_000 {
		fmt.Fprintf(&text, "  unknown%d: x\n", i)
	}
	a := c.do(http.MethodPut, wire.Prefix+"/apps/a", text.String())
	require.Equal(t, http.StatusUnprocessableEntity, a.code)
	require.Less(t, len(a.body), 60_000)
	s := a.status(t)
	require.Equal(t, "app/a is not valid: 20000 faults", s.Message)
	require.Len(t, s.Causes, 101)
	require.Equal(t, wire.Cause{Message: "and 19900 more", More: 19900}, s.Causes[100])
}

// TestJournalctl: the child process has the default OOM score and ends with its client.
func TestJournalctl(t *testing.T) {
	const own = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(own)
	require.NoError(t, err)
	if os.WriteFile(own, []byte("-500"), 0) != nil { // protected like fleetd: needs CAP_SYS_RESOURCE
		require.NoError(t, os.WriteFile(own, []byte("500"), 0))
	}
	defer func() { require.NoError(t, os.WriteFile(own, before, 0)) }()
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho $$ > %s/pid\necho '{\"MESSAGE\":\"hello\"}'\nexec sleep 1000\n", dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "journalctl"), []byte(script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	told := make(chan struct{})
	go func() {
		done <- api.Journalctl{}.Read(ctx, api.JournalQuery{Unit: "a.service", Follow: true}, func(wire.LogEntry) error {
			close(told)
			return nil
		})
	}()
	<-told
	pid, err := os.ReadFile(filepath.Join(dir, "pid"))
	require.NoError(t, err)
	process := "/proc/" + strings.TrimSpace(string(pid))
	require.Eventually(t, func() bool {
		adjust, err := os.ReadFile(process + "/oom_score_adj")
		return err == nil && strings.TrimSpace(string(adjust)) == "0"
	}, 5*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	_, err = os.Stat(process)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestWatchWithABody: a watch request with an unread body must notice that its client has left, or it would count as
// open for ever.
func TestWatchWithABody(t *testing.T) {
	c := newCluster(t)
	begin := func() int {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+units+"?watch=true", strings.NewReader("{}"))
		require.NoError(t, err)
		resp, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for range 200 { // more than one client's limit
		require.Eventually(t, func() bool { return begin() == http.StatusOK }, 10*time.Second, 10*time.Millisecond)
	}
}
