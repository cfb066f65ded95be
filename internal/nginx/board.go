package nginx

import (
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The board is a file that nginx's workers and the router map into memory: which table is in effect, and what is under way in
// each worker. Counting there costs a worker no lock and no message, what a killed worker had under way ends with it, and a
// worker that is busy, stopped or retiring is counted like any other. fleet.lua describes the same structures.
const (
	boardSlots   = 128
	boardEntries = 16382
)

type boardEntry struct {
	id                float64
	requests, streams int32
}

type boardSlot struct {
	pid, epoch, failed, used float64
	entries                  [boardEntries]boardEntry
}

type boardData struct {
	epoch float64
	// closing: the worker with this slot asks clients to close their connections.
	closing  [boardSlots]float64
	reserved [383]float64
	slots    [boardSlots]boardSlot
}

// overflow is the ID of the entry for all endpoints that a worker had no room for.
const overflow = -1

type board struct {
	mapped []byte
	data   *boardData
}

// openBoard maps the board, and makes one if there is none. fresh: it was made, so no running worker has it.
func openBoard(path string) (b *board, fresh bool, err error) {
	const size = int64(unsafe.Sizeof(boardData{}))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if fresh = info.Size() != size; fresh {
		// Never truncated: a worker that has mapped it would be killed.
		if info.Size() != 0 {
			return nil, false, fmt.Errorf("%s has %d bytes instead of %d: remove it while nginx does not run", path, info.Size(), size)
		}
		if err := f.Truncate(size); err != nil {
			return nil, false, err
		}
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, false, fmt.Errorf("map %s: %w", path, err)
	}
	return &board{mapped, (*boardData)(unsafe.Pointer(&mapped[0]))}, fresh, nil
}

func (b *board) close() error { return unix.Munmap(b.mapped) }

// epoch is the number of the table in effect.
func (b *board) epoch() uint64 { return uint64(load(&b.data.epoch)) }

// begin sets the epoch of an nginx that does not run yet.
func (b *board) begin(epoch uint64) { store(&b.data.epoch, float64(epoch)) }

// closeKept sets whether the workers with these pids ask clients to close their connections.
func (b *board) closeKept(pids []int, is bool) {
	for i := range b.data.slots {
		if slices.Contains(pids, int(load(&b.data.slots[i].pid))) {
			v := 0.0
			if is {
				v = 1
			}
			store(&b.data.closing[i], v)
		}
	}
}

func store(p *float64, v float64) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(p)), *(*uint64)(unsafe.Pointer(&v)))
}

func load(p *float64) float64 {
	v := atomic.LoadUint64((*uint64)(unsafe.Pointer(p)))
	return *(*float64)(unsafe.Pointer(&v))
}

// slot returns a worker's slot; nil if it has none.
func (b *board) slot(pid int) *boardSlot {
	for i := range b.data.slots {
		if s := &b.data.slots[i]; load(&s.pid) == float64(pid) {
			return s
		}
	}
	return nil
}

// underway is what is under way to an endpoint.
type underway struct{ requests, streams int }

// add adds what a worker has under way to the given endpoints. What it has no room for may be for each of them.
func (s *boardSlot) add(counts map[uint64]underway) {
	var all underway
	for i := range min(int(load(&s.used)), boardEntries) {
		e := &s.entries[i]
		n := underway{int(atomic.LoadInt32(&e.requests)), int(atomic.LoadInt32(&e.streams))}
		id := load(&e.id)
		if id == overflow {
			all = n
			continue
		}
		if c, asked := counts[uint64(max(id, 0))]; asked {
			counts[uint64(id)] = underway{c.requests + n.requests, c.streams + n.streams}
		}
	}
	if all == (underway{}) {
		return
	}
	for id, c := range counts {
		counts[id] = underway{c.requests + all.requests, c.streams + all.streams}
	}
}

// streams are the websockets and other streams of a worker.
func (s *boardSlot) streams() (n int) {
	for i := range min(int(load(&s.used)), boardEntries) {
		n += int(atomic.LoadInt32(&s.entries[i].streams))
	}
	return n
}

// fence makes all workers see what was written to the board, and shows what they wrote before: membarrier(2). A kernel without
// it is one on which the writes have long been seen when the next system call ends.
func fence() { _, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, 1 /* MEMBARRIER_CMD_GLOBAL */, 0, 0) }
