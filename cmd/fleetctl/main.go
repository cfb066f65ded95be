// Command fleetctl is the command-line client of a fleet: it talks to fleetd's HTTP API.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/fleet-starter/fleet/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args[1:], cli.System())
	stop()
	os.Exit(code)
}
