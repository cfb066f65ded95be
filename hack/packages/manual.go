package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra/doc"

	"github.com/fleet-starter/fleet/internal/cli"
	"github.com/fleet-starter/fleet/internal/config"
)

// page is a page of the manual, named as its file: fleetd.8.
type page struct {
	name string
	text []byte
}

// fleetctlManual is a page of fleetctl and one of each of its commands, of their own help.
func (b *build) fleetctlManual() ([]page, error) {
	dir, err := os.MkdirTemp(b.stage, "fleetctl-")
	if err != nil {
		return nil, err
	}
	root := cli.Command(cli.IO{Getenv: func(string) string { return "" }})
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: "1", Source: "Fleet", Manual: "Fleet", Date: &b.commit}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil {
		return nil, err
	}
	var pages []page
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		pages = append(pages, page{filepath.Base(file), text})
	}
	return pages, nil
}

// hole is where a page has its program's options.
var hole = []byte("{{options}}")

// manual is a page written by hand, hack/packages/man/NAME.md, with the options that its program has.
func (b *build) manual(name string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(b.top, "hack/packages/man", name+".md"))
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(text, hole) {
		return md2man.Render(text), nil
	}
	var options string
	switch program, _, _ := strings.Cut(name, "."); {
	case name == "fleet.conf.5":
		options = keys(func(k config.Key) string { return k.Name + "=" })
	case program == "fleetd":
		options = keys(func(k config.Key) string { return "--" + k.Flag() + "=" })
	default:
		help, err := b.help(program)
		if err != nil {
			return nil, err
		}
		if options, err = optionsOf(help); err != nil {
			return nil, fmt.Errorf("%s -h: %w", program, err)
		}
	}
	return md2man.Render(bytes.Replace(text, hole, []byte(options), 1)), nil
}

// keys are fleetd's, as a list of definitions.
func keys(name func(config.Key) string) string {
	var b strings.Builder
	for _, k := range config.Keys() {
		usage := k.Usage
		if k.Default != "" {
			usage += " (default " + k.Default + ")"
		}
		define(&b, name(k), "", "value", usage)
	}
	return b.String()
}

// define writes an option, what stands between it and its value, and what it does.
func define(b *strings.Builder, option, between, value, usage string) {
	if value != "" {
		value = between + "*" + escape(value) + "*"
	}
	fmt.Fprintf(b, "**%s**%s\n: %s\n\n", escape(option), value, escape(usage))
}

// escape takes from a text what Markdown would make of it.
func escape(s string) string { return special.ReplaceAllString(s, `\$0`) }

var special = regexp.MustCompile("[\\\\*_`<>\\[\\]-]")

// help is what a program says of itself. Where the packages are for another architecture than this computer's, it is built for this one.
func (b *build) help(program string) (string, error) {
	cmd := exec.Command(filepath.Join(b.programs, program), "-h")
	if b.arch != runtime.GOARCH {
		cmd = exec.Command("go", "run", "./cmd/"+program, "-h")
		cmd.Dir = b.top
	}
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "GOARCH" || name == "GOOS" || strings.HasPrefix(name, "FLEET_") || strings.HasPrefix(name, "EXAMPLE_") || name == "HOST" || name == "PORT"
	})
	cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	var told bytes.Buffer
	cmd.Stderr = &told
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s -h: %w: %s", program, err, told.String())
	}
	return told.String(), nil
}

// flagLine is how package flag prints a flag: its name, and the kind of its value. What it does follows on the next line.
var flagLine = regexp.MustCompile(`^  -([a-z-]+)(?: (\S+))?$`)

// optionsOf is the list of the flags in a program's help.
func optionsOf(help string) (string, error) {
	var b strings.Builder
	lines := strings.Split(help, "\n")
	for i, line := range lines {
		m := flagLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if i+1 == len(lines) || !strings.HasPrefix(lines[i+1], "    \t") {
			return "", fmt.Errorf("nothing is said of -%s", m[1])
		}
		define(&b, "-"+m[1], " ", m[2], strings.TrimSpace(lines[i+1]))
	}
	if b.Len() == 0 {
		return "", fmt.Errorf("no options in %q", help)
	}
	return b.String(), nil
}
