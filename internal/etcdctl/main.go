package etcdctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-starter/fleet/internal/store"
)

// IO is what the program runs in.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	// Exec becomes another program; it returns only an error. Self is the path of this one.
	Exec func(program string, args []string) error
	Self string
}

// System is the process's own.
func System() IO {
	self, _ := os.Executable() // unknown: then it is not recognized in PATH
	return IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Self: self,
		Exec: func(program string, args []string) error {
			return syscall.Exec(program, append([]string{"etcdctl"}, args...), os.Environ())
		}}
}

// Main runs a command line and returns the exit code. What is not a command of etcd 2, or is one while ETCDCTL_API=3 is set, is
// handed to the machine's etcdctl.
func Main(ctx context.Context, args []string, world IO) int {
	if world.Getenv("ETCDCTL_API") == "3" {
		return hand(args, world)
	}
	c, err := Parse(args)
	var wrong usageError
	switch {
	case errors.As(err, &wrong):
		fmt.Fprintln(world.Err, err)
		return exitBadArgs
	case c == nil:
		return hand(args, world)
	case c.Help:
		fmt.Fprintln(world.Out, usage(c.Verb))
		return exitOK
	}
	return report(execute(ctx, c, world), c, world.Err)
}

func execute(ctx context.Context, c *Command, world IO) error {
	cfg, err := config(c, world.Getenv)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.RequestTimeout)
	defer cancel()
	client, err := store.Dial(cfg)
	if err != nil {
		return err
	}
	defer client.Close() // what was done is done, however the connection ends
	return (&run{ctx: ctx, cmd: c, store: client, in: world.In, out: world.Out, now: time.Now}).do()
}

// usage lists a command's flags.
func usage(verb string) string {
	var flags []string
	for _, o := range slices.Concat(verbs[verb], globals) {
		flag := "--" + o.names[0]
		if o.value {
			flag += " VALUE"
		}
		flags = append(flags, "["+flag+"]")
	}
	arguments := map[string]string{"set": " KEY [VALUE]", "mk": " KEY [VALUE]", "update": " KEY [VALUE]", "ls": " [KEY]"}[verb]
	if arguments == "" {
		arguments = " KEY"
	}
	return "usage: etcdctl " + verb + arguments + " " + strings.Join(flags, " ")
}

// realPaths are where the machine's etcdctl is when this program has its place: where the packages, and the local cluster, move it.
var realPaths = []string{"/usr/bin/etcdctl.distrib", "/run/fleet-compat/etcdctl"}

// hand becomes the machine's etcdctl.
func hand(args []string, world IO) int {
	program := realProgram(world)
	if program == "" {
		what := "this command"
		if len(args) > 0 {
			what = strings.Join(args, " ")
		}
		fmt.Fprintf(world.Err, "etcdctl: %s: not a key command of etcd 2, and this machine has no other etcdctl: install it, on Debian as etcd-client\n", what)
		return exitBadArgs
	}
	if err := world.Exec(program, args); err != nil {
		fmt.Fprintf(world.Err, "etcdctl: %s: %v\n", program, err)
		return exitBadArgs
	}
	return exitOK
}

// realProgram finds the machine's etcdctl, "" if there is none: at its new place, else the first in PATH that is not this program.
func realProgram(world IO) string {
	self, _ := os.Stat(world.Self)
	candidates := slices.Clone(realPaths)
	for _, dir := range filepath.SplitList(world.Getenv("PATH")) {
		candidates = append(candidates, filepath.Join(dir, "etcdctl"))
	}
	for _, file := range candidates {
		info, err := os.Stat(file)
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && !(self != nil && os.SameFile(info, self)) {
			return file
		}
	}
	return ""
}
