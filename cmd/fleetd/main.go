// Command fleetd runs on every machine: it starts what is placed there and serves the API. On the elected leader it also
// decides for the whole cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleet-starter/fleet/internal/logging"
	"github.com/fleet-starter/fleet/internal/version"
)

func main() { os.Exit(logged()) }

// logged runs fleetd with its log and returns the exit code. SIGUSR1 has the state written to standard output, which must not make fleetd
// wait either.
func logged() int {
	stdout, stderr := logging.NewQueue(os.Stdout), logging.Stderr()
	defer stdout.Close()
	defer stderr.Close()
	root := newRoot()
	root.SetArgs(normalize(os.Args[1:]))
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(context.Background()); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintln(stderr, "fleetd:", line)
		}
		return exitCode(err)
	}
	return 0
}

// errDev answers "fleetd dev", which used to run the local cluster.
var errDev = errors.New(`"fleetd dev" is a separate program now: run "fleet-dev" with the same arguments`)

func exitCode(err error) int {
	if errors.Is(err, errDev) {
		return 2
	}
	return 1
}

// normalize accepts long flags with one dash, as the original does: -config FILE, -version.
func normalize(args []string) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		if arg == "--" {
			copy(out[i:], args[i:])
			break
		}
		if len(arg) > 2 && arg[0] == '-' && arg[1] != '-' && isLetter(arg[1]) && isLetter(arg[2]) {
			arg = "-" + arg
		}
		out[i] = arg
	}
	return out
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' }

func newRoot() *cobra.Command {
	root := newRun()
	root.AddCommand(&cobra.Command{Use: "version", Short: "Show the version", Args: cobra.NoArgs, Run: func(cmd *cobra.Command, _ []string) {
		fmt.Fprintf(cmd.OutOrStdout(), "fleetd version %s\n", version.String())
	}})
	root.AddCommand(&cobra.Command{Use: "dev", Hidden: true, DisableFlagParsing: true, RunE: func(*cobra.Command, []string) error { return errDev }})
	return root
}
