// Command fleet-kustomize builds one kustomization for fleetd, without anything but its files.
package main

import (
	"os"

	"github.com/fleet-starter/fleet/internal/kustomize/build"
)

func main() { os.Exit(build.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
