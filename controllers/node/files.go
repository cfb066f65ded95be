package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/atomicfile"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// files caches the hashes of systemd's unit files. A file is read again if its stamp changed, or was so recent that the
// next change may have the same one. Stamps are checked when the directory's stamp changed, by the same rule, and
// periodically: writing to an existing file does not change the directory.
type files struct {
	dir      string
	every    time.Duration
	known    map[string]stamped
	modified time.Time // the directory's stamp when the files' were last checked
	looked   time.Time // when that was
}

func newFiles(dir string, every time.Duration) *files {
	return &files{dir: dir, every: every, known: map[string]stamped{}}
}

// coarse exceeds the granularity of file timestamps.
const coarse = 15 * time.Millisecond

// settled reports whether any change after now gets a different stamp.
func settled(stamp, now time.Time) bool { return now.Sub(stamp) > coarse }

type stamped struct {
	modified time.Time
	size     int64
	settled  bool
	hash     string
}

func (f *files) hashes(now time.Time) (map[string]string, error) {
	if err := f.look(now); err != nil {
		return nil, fmt.Errorf("unit files: %w", err)
	}
	hashes := make(map[string]string, len(f.known))
	for name, s := range f.known {
		hashes[name] = s.hash
	}
	return hashes, nil
}

func (f *files) look(now time.Time) error {
	dir, err := os.Stat(f.dir)
	if err != nil {
		return err
	}
	modified := dir.ModTime()
	if since := now.Sub(f.looked); modified.Equal(f.modified) && since >= 0 && since < f.every && settled(modified, f.looked) {
		return nil
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	known := make(map[string]stamped, len(entries))
	for _, entry := range entries {
		name := entry.Name()
		if _, err := unitfile.ParseName(name); err != nil && !unitfile.OnceValid(name) {
			continue // not written by fleet
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		s, ok := f.known[name]
		if err != nil {
			s = stamped{} // like an unreadable file
		} else if !ok || !s.settled || !s.modified.Equal(info.ModTime()) || s.size != info.Size() {
			s = stamped{modified: info.ModTime(), size: info.Size(), settled: settled(info.ModTime(), now)}
			// An unreadable file, such as a directory, counts as empty: it affects only the unit of that name.
			if text, err := os.ReadFile(filepath.Join(f.dir, name)); err == nil {
				s.hash = unitfile.Hash(string(text))
			}
		}
		known[name] = s
	}
	f.known, f.modified, f.looked = known, modified, now
	return nil
}

// write replaces a file and caches its hash.
func (f *files) write(name string, t *text) error {
	file := filepath.Join(f.dir, name)
	info, err := atomicfile.ReplaceInfo(file, []byte(t.lifted), 0o644, atomicfile.Process)
	if err != nil {
		return err
	}
	f.known[name] = stamped{modified: info.ModTime(), size: info.Size(), settled: true, hash: t.fileHash}
	return nil
}

// records is what was done since boot, in launched.json in the runtime directory, which a reboot empties.
type records struct {
	file  string
	units map[string]Record
	saved map[string]Record
}

func loadRecords(file string, log logr.Logger) (*records, error) {
	r := &records{file: file, units: map[string]Record{}}
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		err := json.Unmarshal(data, &r.units)
		if err != nil {
			log.Error(err, "Record of launched units is unreadable, adopting what runs", "file", file)
		}
		if err != nil || r.units == nil { // "null" parses without an error
			r.units = map[string]Record{}
		}
	}
	r.saved = maps.Clone(r.units)
	return r, nil
}

func (r *records) view() map[string]Record { return maps.Clone(r.units) }

// save writes the records if they changed.
func (r *records) save() error {
	if maps.Equal(r.units, r.saved) {
		return nil
	}
	data, err := json.Marshal(r.units)
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(r.file, data, 0o644, atomicfile.Process); err != nil {
		return fmt.Errorf("record of launched units: %w", err)
	}
	r.saved = maps.Clone(r.units)
	return nil
}

// diskCopy is the on-disk copy of the placements, which a machine starts from while etcd is unavailable.
type diskCopy struct {
	file       string
	placements map[string]v1.Placement
}

func loadCopy(l layout.Layout, log logr.Logger) *diskCopy {
	c := &diskCopy{file: l.Placements(), placements: map[string]v1.Placement{}}
	data, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return c
	}
	if err == nil {
		err = json.Unmarshal(data, &c.placements)
	}
	if err != nil {
		log.Error(err, "Copy of the placements is unreadable, waiting for etcd", "file", c.file)
		c.placements = map[string]v1.Placement{}
	}
	return c
}

func (c *diskCopy) save(placements map[string]v1.Placement) error {
	if reflect.DeepEqual(c.placements, placements) {
		return nil
	}
	data, err := json.MarshalIndent(placements, "", "\t")
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(c.file, append(data, '\n'), 0o644, atomicfile.Power); err != nil {
		return fmt.Errorf("copy of the placements: %w", err)
	}
	c.placements = maps.Clone(placements)
	return nil
}

// validHash checks a hash from the store, which becomes a file name.
func validHash(hash string) bool {
	return len(hash) == 64 && strings.Trim(hash, "0123456789abcdef") == ""
}
