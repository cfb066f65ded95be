package etcdctl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The values of Command.Output.
const (
	outputSimple   = "simple"
	outputExtended = "extended"
	outputJSON     = "json"
)

// Command is a command line of etcd 2's etcdctl.
type Command struct {
	Verb string
	Args []string

	// TTL is --ttl, in seconds; 0 or less is none.
	TTL int64
	// SwapValue and SwapIndex are conditions on the current key: --swap-with-* of set, --with-* of rm.
	SwapValue string
	SwapIndex int64

	Recursive, Dir, InOrder, Slashes bool
	NoSync, Help                     bool
	Output                           string

	// Endpoints is as on the command line; empty: the environment's.
	Endpoints                 string
	CertFile, KeyFile, CAFile string
	Username                  string
	// Timeout bounds the command; 0: the default.
	Timeout time.Duration
}

// option is a flag. A flag without a value has set called with "".
type option struct {
	names []string
	value bool
	set   func(c *Command, value string) error
}

func text(field func(*Command) *string, names ...string) option {
	return option{names, true, func(c *Command, v string) error { *field(c) = v; return nil }}
}

func number(field func(*Command) *int64, names ...string) option {
	return option{names, true, func(c *Command, v string) (err error) {
		if *field(c), err = strconv.ParseInt(v, 0, 64); err != nil {
			return fmt.Errorf("invalid value %q for flag -%s: parse error", v, names[0])
		}
		return nil
	}}
}

func toggle(field func(*Command) *bool, names ...string) option {
	return option{names, false, func(c *Command, v string) (err error) {
		if *field(c) = true; v != "" {
			if *field(c), err = strconv.ParseBool(v); err != nil {
				return fmt.Errorf("invalid boolean value %q for flag -%s: parse error", v, names[0])
			}
		}
		return nil
	}}
}

func ignored(value bool, names ...string) option {
	return option{names, value, func(*Command, string) error { return nil }}
}

func duration(c *Command, v string) (err error) {
	if c.Timeout, err = time.ParseDuration(v); err != nil || c.Timeout <= 0 {
		return fmt.Errorf("invalid value %q for flag -total-timeout: parse error", v)
	}
	return nil
}

var endpoints = text(func(c *Command) *string { return &c.Endpoints }, "endpoints", "endpoint", "peers", "C")

// globals may be before the command, and here also after it.
var globals = []option{
	endpoints,
	toggle(func(c *Command) *bool { return &c.NoSync }, "no-sync"),
	text(func(c *Command) *string { return &c.Output }, "output", "o"),
	text(func(c *Command) *string { return &c.CertFile }, "cert-file"),
	text(func(c *Command) *string { return &c.KeyFile }, "key-file"),
	text(func(c *Command) *string { return &c.CAFile }, "ca-file"),
	text(func(c *Command) *string { return &c.Username }, "username", "u"),
	{[]string{"total-timeout"}, true, duration},
	ignored(true, "timeout"), // of a single dial: the total one bounds the command
	ignored(false, "debug"),
}

var (
	ttl       = number(func(c *Command) *int64 { return &c.TTL }, "ttl")
	recursive = toggle(func(c *Command) *bool { return &c.Recursive }, "recursive", "r")
	help      = toggle(func(c *Command) *bool { return &c.Help }, "help", "h")
)

// verbs are the commands that are implemented here, each with its own flags.
var verbs = map[string][]option{
	"set": {ttl, text(func(c *Command) *string { return &c.SwapValue }, "swap-with-value"), number(func(c *Command) *int64 { return &c.SwapIndex }, "swap-with-index")},
	"mk":  {ttl, toggle(func(c *Command) *bool { return &c.InOrder }, "in-order")},
	"rm": {recursive, toggle(func(c *Command) *bool { return &c.Dir }, "dir"),
		text(func(c *Command) *string { return &c.SwapValue }, "with-value"), number(func(c *Command) *int64 { return &c.SwapIndex }, "with-index")},
	"get":       {ignored(false, "sort"), ignored(false, "quorum", "q")},
	"ls":        {recursive, ignored(false, "sort", "s"), ignored(false, "quorum", "q"), toggle(func(c *Command) *bool { return &c.Slashes }, "p")},
	"update":    {ttl},
	"mkdir":     {ttl},
	"setdir":    {ttl},
	"updatedir": {ttl},
	"rmdir":     {},
}

// shared are the commands that etcd 3 has, too: with flags or arguments of etcd 3 they are its.
var shared = []string{"get"}

// Parse reads a command line. It returns nil if the command is not one of etcd 2's that this package implements: then it is for
// the etcdctl of etcd 3, as is everything with ETCDCTL_API=3, which the caller looks at.
func Parse(args []string) (*Command, error) {
	c := &Command{Output: outputSimple}
	rest, err := c.flags(args, globals, false)
	if err != nil || len(rest) == 0 {
		return nil, nil
	}
	flags, implemented := verbs[rest[0]]
	if !implemented {
		return nil, nil
	}
	c.Verb = rest[0]
	own := slices.Concat(flags, globals, []option{help})
	c.Args, err = c.flags(rest[1:], own, true)
	if slices.Contains(shared, c.Verb) && (err != nil || len(c.Args) > 1 || c.Help) {
		return nil, nil
	}
	if err != nil {
		return nil, usageError{"Incorrect Usage: " + err.Error()}
	}
	if !slices.Contains([]string{outputSimple, outputExtended, outputJSON}, c.Output) {
		return nil, usageError{"Unsupported output format: " + c.Output}
	}
	return c, nil
}

// flags reads flags and returns the other arguments: those after the first one, or, if mixed, all between and after flags.
func (c *Command) flags(args []string, options []option, mixed bool) (rest []string, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return append(rest, args[i+1:]...), nil
		case len(arg) < 2 || arg[0] != '-':
			if !mixed {
				return args[i:], nil
			}
			rest = append(rest, arg)
			continue
		}
		name, value, given := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
		known := slices.IndexFunc(options, func(o option) bool { return slices.Contains(o.names, name) })
		if known < 0 {
			return nil, fmt.Errorf("flag provided but not defined: -%s", name)
		}
		if o := options[known]; o.value && !given {
			if i++; i == len(args) {
				return nil, fmt.Errorf("flag needs an argument: -%s", name)
			}
			value = args[i]
		}
		if err := options[known].set(c, value); err != nil {
			return nil, err
		}
	}
	return rest, nil
}
