// Command bench measures the project's claims about speed and size, prints a table and writes it to bench.json.
//
// docs/performance.md explains the names.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
)

// section is a part of the measurements: all names with one of its prefixes.
type section struct {
	prefixes []string
	run      func(ctx context.Context, b *bench) error
}

var sections = []section{
	{[]string{"placement/"}, placement},
	{[]string{"placement/"}, autoPorts},
	{[]string{"incremental/"}, incremental},
	{[]string{"controlplane/", "messages/", "rest/", "memory/leader/", "startup/"}, controlPlane},
	{[]string{"memory/agent/"}, agent},
	{[]string{"memory/router/"}, router},
	{[]string{"latency/"}, latency},
	{[]string{"router/"}, nginxRoutes},
}

func main() {
	if len(os.Args) == 3 && roles[os.Args[1]] != nil {
		if err := beChild(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, os.Args[1]+":", err)
			os.Exit(1)
		}
		return
	}
	size := flag.String("size", "full", "small (seconds), or full (the claimed sizes, minutes)")
	only := flag.String("only", "", "only measure names with this prefix, such as placement/5000x100000")
	cluster := flag.String("cluster", "", "machines x units of the control plane, overriding --size, such as 1000x20000")
	out := flag.String("o", "bench.json", "output file, empty for none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *size, *only, *cluster, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, size, only, cluster, out string) error {
	if size != "small" && size != "full" {
		return fmt.Errorf("--size %s: use small or full", size)
	}
	b := &bench{small: size == "small", only: only, cluster: dimensions{5000, 100000}}
	if b.small {
		b.cluster = dimensions{50, 1000}
	}
	if cluster != "" {
		if _, err := fmt.Sscanf(cluster, "%dx%d", &b.cluster.machines, &b.cluster.units); err != nil {
			return fmt.Errorf("--cluster %s: use machines x units, such as 1000x20000", cluster)
		}
	}
	var errs []error
	for _, s := range sections {
		if ctx.Err() != nil || !b.wantsAny(s.prefixes) {
			continue
		}
		if err := s.run(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.prefixes[0], err))
		}
		debug.FreeOSMemory() // so that one section does not affect the next
	}
	fmt.Printf("%s/%s, %d cores, %s\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	b.print(os.Stdout)
	if out != "" {
		errs = append(errs, b.write(out))
	}
	return errors.Join(errs...)
}

// wants reports whether to measure a name.
func (b *bench) wants(name string) bool { return strings.HasPrefix(name, b.only) }

func (b *bench) wantsAny(prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(p, b.only) || strings.HasPrefix(b.only, p) {
			return true
		}
	}
	return false
}
