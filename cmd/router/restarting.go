package main

import (
	"context"
	"errors"
	"os"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// restarting reports whether systemd stops this process to start its unit again. nginx is left alone then: a request that is under
// way, an upload, a websocket, a connection that is kept open does not notice.
func restarting(ctx context.Context) (bool, error) {
	if os.Getenv("INVOCATION_ID") == "" {
		return false, nil // not started by systemd
	}
	var failed error
	for _, socket := range managers() {
		client, err := systemd.Dial(ctx, socket, logr.Discard())
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		defer client.Close()
		again, err := client.Restarting(ctx, os.Getpid())
		if err == nil {
			return again, nil
		}
		failed = errors.Join(failed, err)
	}
	return false, failed
}

// managers are the sockets of the systemd that may have started this process: its user's, or the machine's.
func managers() []string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return []string{systemd.UserSocket(dir), systemd.SystemSocket}
	}
	return []string{systemd.SystemSocket}
}
