// Command build writes the images of the registry, the router and the example app as archives for "docker load". It needs no
// container engine. "make images" runs it.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/fleet-starter/fleet/hack/images/internal/image"
)

func main() {
	var o image.Options
	flag.StringVar(&o.Programs, "programs", "", "directory of the static programs")
	flag.StringVar(&o.Packages, "packages", "../../bin/images/debian", "directory that keeps Debian packages")
	flag.StringVar(&o.Version, "version", "dev", "version that the images' labels say")
	created := flag.Int64("created", 0, "time of the commit, in seconds since the epoch")
	registry := flag.String("registry", "localhost:5000", "registry that the images' tags name")
	out := flag.String("out", "../../bin/images", "directory for the archives")
	flag.Parse()
	o.Created = time.Unix(*created, 0)
	if err := run(o, *registry, *out); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(o image.Options, registry, out string) error {
	images, err := image.Build(o)
	if err != nil {
		return err
	}
	for _, i := range images {
		file, err := i.Write(out, registry+"/"+i.Name+":latest")
		if err != nil {
			return err
		}
		digest, err := i.Digest()
		if err != nil {
			return err
		}
		fmt.Printf("%s  %s\n", file, digest)
	}
	return nil
}
