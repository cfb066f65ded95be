package dev

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap/zapcore"
)

// DefaultEtcdPort is etcdctl's default.
const DefaultEtcdPort = 2379

// etcdServer is an etcd that can be stopped and restarted with the same data and address.
type etcdServer struct {
	dir    string
	client url.URL
	peer   url.URL
	server *embed.Etcd
}

func newEtcd(dir, host string, port int) (*etcdServer, error) {
	client, err := freePort(port)
	if err != nil {
		return nil, err
	}
	// The peer port matters to no other process.
	peer, err := freePort(-1)
	if err != nil {
		return nil, err
	}
	return &etcdServer{dir: dir, client: plain(host, client), peer: plain(localhost, peer)}, nil
}

// freePort returns port if it is free; 0 tries the default port first; -1 takes any.
func freePort(port int) (int, error) {
	try := []int{port}
	switch port {
	case 0:
		try = []int{DefaultEtcdPort, 0}
	case -1:
		try = []int{0}
	}
	var last error
	for _, p := range try {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			last = err
			continue
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).Port, nil
	}
	return 0, fmt.Errorf("etcd's port: %w: stop what listens there or use --etcd-port", last)
}

const localhost = "127.0.0.1"

func plain(host string, port int) url.URL {
	return url.URL{Scheme: "http", Host: fmt.Sprintf("%s:%d", host, port)}
}

func (e *etcdServer) running() bool { return e.server != nil }

func (e *etcdServer) start() error {
	if e.running() {
		return fmt.Errorf("etcd is running already")
	}
	cfg := embed.NewConfig()
	cfg.Name = "dev"
	cfg.Dir = filepath.Join(e.dir, "data")
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{e.client}, []url.URL{e.client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{e.peer}, []url.URL{e.peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration // if this is 0, every request is formatted as a slow one
	cfg.UnsafeNoFsync = true                                                   // a cluster to try things with: a power cut of the host may lose the last writes
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = "periodic", "1h"
	cfg.LogLevel = zapcore.ErrorLevel.String()
	cfg.LogOutputs = []string{filepath.Join(e.dir, "etcd.log")}
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("starting etcd: %w", err)
	}
	select {
	case <-server.Server.ReadyNotify():
		e.server = server
		return nil
	case err = <-server.Err():
	case <-time.After(20 * time.Second):
		err = fmt.Errorf("not ready after 20 s: see %s", cfg.LogOutputs[0])
	}
	server.Close()
	return fmt.Errorf("starting etcd: %w", err)
}

func (e *etcdServer) stop() error {
	if !e.running() {
		return fmt.Errorf("etcd is stopped already")
	}
	e.server.Close()
	e.server = nil
	return nil
}
