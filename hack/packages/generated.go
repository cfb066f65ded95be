package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/cli"
	"github.com/fleet-starter/fleet/internal/config"
)

// fleetConf is the configuration with every key as a comment.
func fleetConf() []byte {
	var b strings.Builder
	b.WriteString(`# Configuration of fleetd, see fleet.conf(5). Each key is here with its default, as a comment.
# "systemctl reload fleetd" takes over verbosity and metadata. All other keys need "systemctl restart fleetd", which restarts no unit.
`)
	for _, k := range config.Keys() {
		value := k.Default
		if strings.Contains(value, " ") { // told in words
			fmt.Fprintf(&b, "\n# %s (default %s)\n#%s=\n", k.Usage, value, k.Name)
			continue
		}
		fmt.Fprintf(&b, "\n# %s\n#%s=%s\n", k.Usage, k.Name, value)
	}
	return []byte(b.String())
}

// completion is a shell's, of fleetctl.
type completion struct {
	path string
	text []byte
}

func completions(zsh string) []completion {
	root := cli.Command(cli.IO{Getenv: func(string) string { return "" }})
	var forBash, forZsh, forFish bytes.Buffer
	// A buffer takes everything.
	_ = root.GenBashCompletionV2(&forBash, true)
	_ = root.GenZshCompletion(&forZsh)
	_ = root.GenFishCompletion(&forFish, true)
	return []completion{
		{"/usr/share/bash-completion/completions/fleetctl", forBash.Bytes()},
		{zsh + "/_fleetctl", forZsh.Bytes()},
		{"/usr/share/fish/vendor_completions.d/fleetctl.fish", forFish.Bytes()},
	}
}

// changelog has one entry, that of this version: what changed before is in Git.
func changelog(name, version string, commit time.Time) []byte {
	return fmt.Appendf(nil, "%s (%s) unstable; urgency=medium\n\n  * Built from Git. What changed: %s/commits\n\n -- %s  %s\n",
		name, version, homepage, maintainer, commit.Format(time.RFC1123Z))
}

// copyright is Debian's file of that name. What is linked into the programs has licenses too, see licenses.go.
func copyright() []byte {
	return []byte(`Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: fleet
Source: ` + homepage + `
Comment:
 Go's own library and the modules that are linked into the programs have
 licenses, which are in third-party-licenses.gz beside this file.

Files: *
Copyright: 2026 The Fleet Starter authors
License: Apache-2.0
 On Debian systems, the full text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
`)
}

// zip is gzip without a name and a time in it.
func zip(text []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}
