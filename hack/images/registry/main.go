// Command registry serves container images to the machine that it runs on, from storage that all machines share.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/fleet-starter/fleet/hack/images/internal/registry"
)

const usage = `registry serves container images from storage that all machines share: Azure Blob, S3 or a directory.

Usage:
  registry serve [--credentials FILE] [CONFIG]
  registry garbage-collect [--credentials FILE] [--dry-run] [--delete-untagged] [CONFIG]
  registry version

CONFIG is a file in the format of the CNCF Distribution registry; REGISTRY_* variables override it, such as
REGISTRY_STORAGE_AZURE_CONTAINER. Without it the registry listens on 127.0.0.1:5000.

Account names and keys are in a file of their own, which only root can read:

  azure:
    accountname: ...
    accountkey: ...
    container: images

It is --credentials, or the systemd credential "registry" (LoadCredential=registry:/etc/fleet/registry-credentials).

garbage-collect deletes what no manifest refers to. While it runs all registries of that storage refuse pushes.

Exit codes:
  0  done
  1  an error
  2  the command line is wrong
`

// version is set at link time.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

var errUsage = errors.New(`see "registry help"`)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := command(ctx, args, stdout, stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintln(stderr, "registry:", err)
		return 2
	}
	fmt.Fprintln(stderr, "registry:", err)
	return 1
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("the command is missing: %w", errUsage)
	}
	name := args[0]
	flags := flag.NewFlagSet("registry "+name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var collect registry.CollectOptions
	credentials := flags.String("credentials", "", "")
	switch name {
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return nil
	case "version", "--version":
		fmt.Fprintln(stdout, "registry version", versionString())
		return nil
	case "serve":
	case "garbage-collect":
		flags.BoolVar(&collect.DryRun, "dry-run", false, "")
		flags.BoolVar(&collect.DeleteUntagged, "delete-untagged", false, "")
		flags.DurationVar(&collect.Settle, "settle", 30*time.Second, "")
	default:
		return fmt.Errorf("unknown command %q: %w", name, errUsage)
	}
	if err := flags.Parse(args[1:]); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return err
	} else if err != nil {
		return fmt.Errorf("%w: %w", err, errUsage)
	}
	if flags.NArg() > 1 {
		return fmt.Errorf("unexpected argument %q: %w", flags.Arg(1), errUsage)
	}
	config, err := registry.Load(flags.Arg(0), *credentials)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	if name == "serve" {
		return registry.Serve(ctx, config, log)
	}
	return registry.Collect(ctx, config, collect, log)
}

func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
