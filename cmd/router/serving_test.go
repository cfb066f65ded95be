package main

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/routing"
)

// TestReadyWhenItServes runs a real nginx while another server has its port: the router exits with the reason, without having
// been ready, and is ready when the port is free.
func TestReadyWhenItServes(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer null.Close()
	dir := t.TempDir()
	server, err := nginx.New(nginx.Options{Dir: dir, Stdout: null, Stderr: null, Log: logr.Discard()})
	require.NoError(t, err)
	t.Cleanup(func() { // the test's own context has ended
		require.NoError(t, server.Stop(context.Background()))
		require.NoError(t, server.Close())
	})
	settings := nginx.Settings{Dir: dir, Listen: []string{other.Addr().String()}, Domain: "localhost", Workers: 1}
	start := func() (*serving, context.Context, *[]string) {
		ctx, fail := context.WithCancelCause(t.Context())
		s := newServing(server, settings, logr.Discard(), fail)
		told := &[]string{}
		s.notify = func(state string) { *told = append(*told, state) }
		_, err := s.Start(ctx)
		require.NoError(t, err)
		return s, ctx, told
	}
	apply := func(ctx context.Context, s *serving) error {
		_, err := s.Apply(ctx, nginx.Configuration{Settings: settings, Table: routing.Table{Routes: []routing.Route{{App: "app", Hosts: []string{"app.localhost"}}}}})
		return err
	}

	s, ctx, told := start()
	require.ErrorIs(t, apply(ctx, s), nginx.ErrAddressInUse)
	require.Equal(t, []string{"STATUS=Waiting for endpoints from etcd"}, *told)
	require.IsType(t, cannotServe{}, context.Cause(ctx))
	require.EqualError(t, context.Cause(ctx), "listen "+other.Addr().String()+": another process uses this address")

	require.NoError(t, other.Close())
	s, ctx, told = start()
	require.NoError(t, apply(ctx, s))
	require.Equal(t, "READY=1\nSTATUS=Serving", (*told)[len(*told)-1])
	require.NoError(t, ctx.Err())
}

// model is an nginx that serves or does not.
type model struct {
	server
	wrong error
	asked int
}

func (m *model) Serving(context.Context, nginx.Settings) error {
	m.asked++
	return m.wrong
}

// TestWatch: one failed check may be due to a busy machine; three in a row are not.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, fail := context.WithCancelCause(t.Context())
		defer fail(nil)
		m := &model{}
		s := newServing(m, nginx.Settings{}, logr.Discard(), fail)
		s.notify = func(string) {}
		go s.watch(ctx)
		time.Sleep(time.Hour)
		require.Zero(t, m.asked, "it is watched from when it was ready")
		require.NoError(t, s.check(ctx))
		time.Sleep(checkEvery + time.Second)
		m.wrong = errors.New("connection refused")
		time.Sleep(2 * checkEvery)
		m.wrong = nil
		time.Sleep(2 * checkEvery)
		require.NoError(t, ctx.Err())
		m.wrong = errors.New("connection refused")
		time.Sleep(3 * checkEvery)
		require.Equal(t, cannotServe{m.wrong}, context.Cause(ctx))
	})
}
