package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/atomicfile"
)

// portFiles returns the texts in v1.PortsDir, by unit. An unreadable one counts as empty, and is written anew.
func (n *Node) portFiles() (map[string]string, error) {
	entries, err := os.ReadDir(n.Layout.Ports())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for the ports of units: %w", err)
	}
	texts := make(map[string]string, len(entries))
	for _, entry := range entries {
		text, _ := os.ReadFile(filepath.Join(n.Layout.Ports(), entry.Name()))
		texts[entry.Name()] = string(text)
	}
	return texts, nil
}

// writePorts writes what the unit and its announcer read when they start.
func (n *Node) writePorts(unit string, ports v1.Assignment) error {
	if err := os.MkdirAll(n.Layout.Ports(), 0o755); err != nil {
		return err
	}
	return atomicfile.Replace(filepath.Join(n.Layout.Ports(), unit), []byte(ports.Environment()), 0o644, atomicfile.Process)
}
