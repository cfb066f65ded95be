package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fleet-starter/fleet/internal/atomicfile"
)

// hostsByDir are the hosts of all worlds in this process, by their directory.
var hostsByDir sync.Map

func init() {
	atomicfile.Fault = func(file string) error {
		for dir := filepath.Dir(file); len(dir) > 1; dir = filepath.Dir(dir) {
			if h, ok := hostsByDir.Load(dir); ok {
				return h.(*host).disk.write(strings.TrimPrefix(file, dir))
			}
		}
		return nil
	}
	maps.Copy(faults, map[string]func(w *world, s step){
		"disk full": func(w *world, s step) {
			h := w.pick(s.A)
			h.disk.fill(h, s.B%2 == 0, s.B%4 != 0)
		},
		"disk room": func(w *world, s step) { w.pick(s.A).disk.fill(w.pick(s.A), false, false) },
		"corrupt":   func(w *world, s step) { w.pick(s.A).corrupt(rand.New(rand.NewPCG(s.B, s.C))) },
	})
}

// disk is which of a machine's file systems are full: the persistent one, or the one that a boot clears.
type disk struct {
	state, runtime atomic.Bool
	lost           time.Time // when the record of launched units was last damaged
}

// write fails if there is no room for a new file.
func (d *disk) write(file string) error {
	_, file, _ = strings.Cut(strings.TrimPrefix(file, "/"), "/") // the life's directory
	if part, _, _ := strings.Cut(file, "/"); part == "state" && d.state.Load() || part == "run" && d.runtime.Load() {
		return syscall.ENOSPC
	}
	return nil
}

func (d *disk) fill(h *host, state, runtime bool) {
	if state == d.state.Load() && runtime == d.runtime.Load() {
		return
	}
	h.w.tell(h.name, "its disk is full: %t, /run is full: %t", state, runtime)
	h.w.check.inTrouble(h)
	d.state.Store(state)
	d.runtime.Store(runtime)
}

// corrupt damages some of fleetd's files, like a power cut or a bad disk, and restarts fleetd.
func (h *host) corrupt(r *rand.Rand) {
	h.w.check.inTrouble(h)
	h.killFleetd()
	l := h.layout()
	files := []string{l.Placements(), l.Launched(), l.Lease()}
	for _, dir := range []string{l.UnitFiles(), l.Units} {
		entries, _ := os.ReadDir(dir) // it may not exist yet
		for _, e := range entries {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	damaged := map[string]bool{}
	files = slices.DeleteFunc(files, func(file string) bool { _, err := os.Stat(file); return err != nil })
	for range min(1+r.IntN(4), len(files)) {
		file := files[r.IntN(len(files))]
		h.damage(file, r)
		damaged[file] = true
	}
	for _, file := range files {
		if damaged[file] && filepath.Dir(file) == l.Units && (damaged[l.Launched()] || h.disk.recordLost()) {
			h.w.check.reasonFor(h, filepath.Base(file)) // neither its file nor the record says what it runs
		}
	}
	if damaged[l.Launched()] {
		h.disk.lost = time.Now()
	}
}

// recordLost reports whether it was damaged a moment ago, and fleetd has not rewritten it.
func (d *disk) recordLost() bool { return !d.lost.IsZero() && time.Since(d.lost) < 3*restartPause }

// damage empties, truncates, overwrites or removes a file.
func (h *host) damage(file string, r *rand.Rand) {
	data, _ := os.ReadFile(file) // it may have been removed
	how, damaged := "empty", []byte{}
	switch r.IntN(4) {
	case 0:
		how, damaged = "cut", data[:len(data)/2]
	case 1:
		how, damaged = "garbage", []byte(strings.Repeat("\x00\xff[", 1+len(data)/3))
	case 2:
		how = "gone"
	}
	err := os.Remove(file)
	if how != "gone" {
		err = os.WriteFile(file, damaged, 0o644)
	}
	if err != nil && !os.IsNotExist(err) {
		panic(fmt.Sprint("damage: ", err))
	}
	h.w.tell(h.name, "%s is %s", strings.TrimPrefix(file, *h.dir.Load()+"/"), how)
}
