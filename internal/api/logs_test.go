package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// journal emits the query as an entry, then blocks until ctx ends.
type journal struct{ fault error }

func (j journal) Read(ctx context.Context, q api.JournalQuery, emit func(wire.LogEntry) error) error {
	data, _ := json.Marshal(q)
	if err := emit(wire.LogEntry{Unit: q.Unit, Message: string(data)}); err != nil {
		return err
	}
	if q.Follow {
		<-ctx.Done()
		return ctx.Err()
	}
	return j.fault
}

func entries(t *testing.T, a answer) (out []wire.LogEntry) {
	t.Helper()
	require.Equal(t, http.StatusOK, a.code, a.body)
	for line := range strings.Lines(a.body) {
		var e wire.LogEntry
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		out = append(out, e)
	}
	return out
}

func placed(c *cluster, unit, machine string) {
	c.put("/fleet/units/"+unit, v1.Unit{Spec: v1.UnitSpec{DesiredState: v1.Launched}})
	c.put("/fleet/placements/"+machine+"/"+unit, v1.Placement{DesiredState: v1.Launched})
}

func TestLogsOfAUnitHere(t *testing.T) {
	c := newCluster(t, func(o *api.Options) { o.Journal = journal{errors.New("torn")} })
	placed(c, "a.service", here)
	got := entries(t, c.do(http.MethodGet, units+"/a.service/logs?lines=3&since=5m", ""))
	require.Len(t, got, 2)
	require.Equal(t, here, got[0].Machine)
	require.JSONEq(t, `{"Unit":"a.service","Lines":3,"Since":"2026-01-02T02:59:05Z","Follow":false}`, got[0].Message)
	require.Equal(t, "torn", got[1].Error.Message)
	for query, code := range map[string]int{"?lines=x": 400, "?lines=-1": 400, "?since=yesterday": 400, "?machine=b581": 404} {
		require.Equal(t, code, c.do(http.MethodGet, units+"/a.service/logs"+query, "").code, query)
	}
	c.put("/fleet/units/b.service", v1.Unit{})
	c.put("/fleet/unplaced/b.service", v1.Unplaced{Message: "nothing fits"})
	a := c.do(http.MethodGet, units+"/b.service/logs", "")
	require.Equal(t, http.StatusNotFound, a.code)
	require.Contains(t, a.status(t).Message, "nothing fits")
}

// TestLogsOfAnInstanceThatIsGone: they are on the machine that the request names, but for units that no app has.
func TestLogsOfAnInstanceThatIsGone(t *testing.T) {
	c := newCluster(t, func(o *api.Options) { o.Journal = journal{} })
	c.applied(named("web", 1))
	got := entries(t, c.do(http.MethodGet, units+"/web@2.service/logs?machine="+here, ""))
	require.Equal(t, here, got[0].Machine)
	entries(t, c.do(http.MethodGet, units+"/web-discovery@2.service/logs?machine="+here, ""))
	for _, path := range []string{"/web@2.service/logs", "/web@2.service/logs?machine=" + here[:4], "/web@2.service/logs?machine=" + there, "/ssh.service/logs?machine=" + here} {
		require.Equal(t, http.StatusNotFound, c.do(http.MethodGet, units+path, "").code, path)
	}
}

func TestLogsFollowUntilTheClientLeaves(t *testing.T) {
	c := newCluster(t, func(o *api.Options) { o.Journal = journal{} })
	placed(c, "a.service", here)
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+units+"/a.service/logs?follow=true", nil)
	require.NoError(t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, `"unit":"a.service"`)
	cancel() // the server's cleanup waits for the handler, which has to end by itself
}

func TestLogsOfAUnitElsewhere(t *testing.T) {
	c := newCluster(t, func(o *api.Options) { o.Journal = journal{} })
	placed(c, "a.service", there)
	a := c.do(http.MethodGet, units+"/a.service/logs", "")
	require.Equal(t, http.StatusBadGateway, a.code, "the machine is away: %s", a.body)

	c.put("/fleet/machines/"+there, machine("10.0.0.2"))
	s := c.do(http.MethodGet, units+"/a.service/logs", "").status(t)
	require.Equal(t, wire.ReasonElsewhere, s.Reason)
	require.Contains(t, s.Message, there)
	require.Contains(t, s.Message, "journalctl -u a.service")

	other := httptest.NewServer(api.New(api.Options{Store: c.conn, Keys: keys, MachineID: there, Journal: journal{}, Log: logr.Discard()}))
	defer other.Close()
	m := machine("10.0.0.2")
	m.Spec.Endpoint = other.URL
	c.put("/fleet/machines/"+there, m)
	got := entries(t, c.do(http.MethodGet, units+"/a.service/logs?lines=2", ""))
	require.Len(t, got, 1)
	require.Equal(t, there, got[0].Machine)
	require.Contains(t, got[0].Message, `"Lines":2`)

	a = c.do(http.MethodGet, units+"/a.service/logs", "", "X-Fleet-Forwarded", there)
	require.Equal(t, http.StatusConflict, a.code, "a forwarded request is not forwarded again")
	for _, endpoint := range []string{"unix:///run/fleet.sock", "http://127.0.0.1:1", "%"} {
		m.Spec.Endpoint = endpoint
		c.put("/fleet/machines/"+there, m)
		require.Equal(t, http.StatusBadGateway, c.do(http.MethodGet, units+"/a.service/logs", "").code, endpoint)
	}
}

func TestJournalctlItself(t *testing.T) {
	j := api.Journalctl{Directory: t.TempDir()}
	none := func(e wire.LogEntry) error { return errors.New("nothing was logged: " + e.Message) }
	require.NoError(t, j.Read(context.Background(), api.JournalQuery{Unit: "a.service", Lines: 3}, none))
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	require.NoError(t, j.Read(ctx, api.JournalQuery{Unit: "a.service", Follow: true}, none))
	require.Error(t, ctx.Err(), "following ends with its context, not before")
	j.Directory += "/absent"
	require.ErrorContains(t, j.Read(context.Background(), api.JournalQuery{Unit: "a.service"}, none), "absent")
}

func TestJournalctlIsStoppedWhenTheClientLeaves(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho '{\"MESSAGE\":\"one\"}'\nexec sleep 600\n"
	require.NoError(t, os.WriteFile(dir+"/journalctl", []byte(script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	stop := errors.New("stop")
	began := time.Now()
	err := api.Journalctl{}.Read(context.Background(), api.JournalQuery{Unit: "a.service", Follow: true}, func(e wire.LogEntry) error {
		require.Equal(t, "one", e.Message)
		return stop
	})
	require.ErrorIs(t, err, stop)
	require.Less(t, time.Since(began), time.Minute)
}
