// Command fleetd runs on every machine: it starts what is placed there, serves the API and, where it is elected, decides
// for the whole cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func main() {
	root := newRoot()
	root.SetArgs(normalize(os.Args[1:]))
	if err := root.ExecuteContext(context.Background()); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintln(os.Stderr, "fleetd:", line)
		}
		os.Exit(exitCode(err))
	}
}

// errDev answers "fleetd dev", the name that the local cluster's command had.
var errDev = errors.New(`"fleetd dev" is a program of its own: run "fleet-dev" with the same arguments`)

func exitCode(err error) int {
	if errors.Is(err, errDev) {
		return 2
	}
	return 1
}

// normalize accepts the original's way of writing long flags, with one dash: -config FILE, -version.
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
	root.AddCommand(&cobra.Command{Use: "dev", Hidden: true, DisableFlagParsing: true, RunE: func(*cobra.Command, []string) error { return errDev }})
	return root
}
