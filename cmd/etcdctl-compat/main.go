// Command etcdctl-compat is etcdctl for unit files and scripts of etcd 2: its key commands work over etcd 3, and everything else is
// handed to the machine's own etcdctl. The package fleet-compat installs it as etcdctl.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/fleet-starter/fleet/internal/etcdctl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := etcdctl.Main(ctx, os.Args[1:], etcdctl.System())
	stop()
	os.Exit(code)
}
