package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/go-logr/logr"
	"golang.org/x/net/netutil"
)

// socketGroup may use the API's socket, if the group exists.
const socketGroup = "fleet"

// shutdownTimeout is how long running requests may take when fleetd stops.
const shutdownTimeout = 3 * time.Second

// Limits of one socket. Further connections wait until one ends; other sockets are not affected.
const (
	maxConnections = 1024
	maxHeader      = 64 << 10
)

// listeners opens the configured sockets and adopts those that systemd opened (systemd.socket(5)).
func listeners(listen []string, log logr.Logger) (all []net.Listener, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
		}
	}()
	passed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("sockets passed by systemd: %w", err)
	}
	taken := map[string]bool{}
	for _, l := range passed {
		if l != nil {
			all = append(all, l)
			taken[l.Addr().String()] = true
			log.Info("Listening", "address", l.Addr().String(), "reason", "PassedBySystemd")
		}
	}
	for _, s := range listen {
		u, err := url.Parse(s)
		if err != nil {
			return all, err
		}
		address := u.Host
		if u.Scheme == "unix" {
			address = u.Path
		}
		if taken[address] {
			continue
		}
		l, err := open(u.Scheme, address)
		if err != nil {
			return all, fmt.Errorf("listen %s: %w", s, err)
		}
		all = append(all, l)
		log.Info("Listening", "address", address, "reason", "Configured")
	}
	return all, nil
}

func closeAll(all []net.Listener) {
	for _, l := range all {
		l.Close()
	}
}

func open(scheme, address string) (net.Listener, error) {
	if scheme != "unix" {
		return net.Listen("tcp", address)
	}
	if conn, err := net.DialTimeout("unix", address, time.Second); err == nil {
		conn.Close()
		return nil, errors.New("another process serves this socket")
	}
	if err := os.Remove(address); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := net.Listen("unix", address)
	if err != nil {
		return nil, err
	}
	return l, errors.Join(os.Chmod(address, 0o660), chgrp(address))
}

func chgrp(path string) error {
	group, err := user.LookupGroup(socketGroup)
	if err != nil || os.Geteuid() != 0 {
		return nil // there is no such group, or we may not use it
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	return os.Chown(path, -1, gid)
}

// serve answers requests until ctx ends, which also ends watches.
func serve(ctx context.Context, all []net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    maxHeader,
		IdleTimeout:       2 * time.Minute,
	}
	ended := make(chan error, len(all))
	for _, l := range all {
		go func() { ended <- server.Serve(netutil.LimitListener(named{l}, maxConnections)) }()
	}
	var err error
	running := len(all)
	select {
	case <-ctx.Done():
	case err = <-ended:
		running--
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if server.Shutdown(stopping) != nil {
		server.Close() // cut off requests that do not end
	}
	for range running {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
