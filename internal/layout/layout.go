// Package layout says where fleetd keeps its files.
package layout

import (
	"os"
	"path/filepath"
)

// Layout is the set of directories of one fleetd.
type Layout struct {
	// State is on disk: what a machine needs to start its units while etcd is unreachable.
	State string
	// Runtime does not survive a reboot: what was done since boot.
	Runtime string
	// Units holds the unit files that are linked into systemd.
	Units string
	// Shared is %t/fleet, where unit files find the environment and fleet's programs (apis/v1).
	Shared string
}

// Placements is the copy of the machine's placements.
func (l Layout) Placements() string { return filepath.Join(l.State, "placements.json") }

// UnitFile is the copy of one unit file, by its hash.
func (l Layout) UnitFile(hash string) string { return filepath.Join(l.UnitFiles(), hash) }

// UnitFiles is the directory of all copies.
func (l Layout) UnitFiles() string { return filepath.Join(l.State, "unitfiles") }

// Git holds what was fetched of the repositories of sources.
func (l Layout) Git() string { return filepath.Join(l.State, "git") }

// Unit is the file that systemd reads.
func (l Layout) Unit(name string) string { return filepath.Join(l.Units, name) }

// Launched records what was loaded and launched since boot.
func (l Layout) Launched() string { return filepath.Join(l.Runtime, "launched.json") }

// Lease holds the ID of the machine's lease, for the next fleetd to adopt.
func (l Layout) Lease() string { return filepath.Join(l.Runtime, "lease") }

// Environment is the EnvironmentFile= of generated units.
func (l Layout) Environment() string { return filepath.Join(l.Shared, "environment") }

// Credentials is the file that LoadCredential= of announcers and routers reads.
func (l Layout) Credentials() string { return filepath.Join(l.Shared, "etcd-credentials") }

// Held holds one empty file for each announcer that must not be started: see v1.HeldDir.
func (l Layout) Held() string { return filepath.Join(l.Shared, "held") }

// Ports holds the variables of each unit with automatic ports: see v1.PortsDir.
func (l Layout) Ports() string { return filepath.Join(l.Shared, "ports") }

// Bin is a link to the directory of fleet's programs.
func (l Layout) Bin() string { return filepath.Join(l.Shared, "bin") }

// Make creates all directories.
func (l Layout) Make() error {
	for _, dir := range []string{l.State, l.UnitFiles(), l.Runtime, l.Units, l.Shared, l.Held(), l.Ports()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}
