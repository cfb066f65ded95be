package logging

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"time"
)

const (
	// queueSize is how many bytes a Queue holds: more than a program logs in a minute.
	queueSize = 256 << 10
	// flushTimeout is how long Close waits for lines to be written.
	flushTimeout = time.Second
)

// Queue is a writer of lines that never makes its callers wait. A goroutine passes them on, in order. While their reader stands
// still, such as a journal whose disk is busy, the queue fills; what does not fit is lost, and a line tells how much that was.
type Queue struct {
	w    io.Writer
	size int
	wake chan struct{} // has room for one: there is something to do
	done chan struct{} // the goroutine has ended

	mu      sync.Mutex
	pending []byte
	lost    int // lines that were not taken after those in pending
	failed  int // lines that could not be written; they are told with the next line, not by trying again and again
	closed  bool
	tell    func(lost int) []byte
}

// NewQueue returns a queue before w. Close it.
func NewQueue(w io.Writer) *Queue { return newQueue(w, queueSize) }

func newQueue(w io.Writer, size int) *Queue {
	q := &Queue{w: w, size: size, wake: make(chan struct{}, 1), done: make(chan struct{}), tell: func(lost int) []byte {
		return fmt.Appendf(nil, "%d lines lost\n", lost)
	}}
	go q.run()
	return q
}

// Stderr returns a queue before standard error, through which the log package writes as well. Programs that run for long use it for all
// that they write there. What the runtime says of a panic does not go through it.
func Stderr() *Queue {
	q := NewQueue(os.Stderr)
	log.SetOutput(q)
	return q
}

// Write takes whole lines. It reports no errors: there is nowhere to tell them.
func (q *Queue) Write(lines []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failed > 0 {
		q.pending = append(q.pending, q.tell(q.failed)...)
		q.failed = 0
	}
	// Nothing is taken after a line that was lost until that has been told.
	if q.closed || q.lost > 0 || len(q.pending) > 0 && len(q.pending)+len(lines) > q.size {
		q.lost += count(lines)
	} else {
		q.pending = append(q.pending, lines...)
	}
	q.signal()
	return len(lines), nil
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Close writes what is queued, but waits no longer than a second for it.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.signal()
	q.mu.Unlock()
	timeout := time.NewTimer(flushTimeout)
	defer timeout.Stop()
	select {
	case <-q.done:
	case <-timeout.C:
	}
}

// run writes until the queue is closed and empty.
func (q *Queue) run() {
	defer close(q.done)
	var batch []byte
	for range q.wake {
		for closed := false; ; {
			if batch, closed = q.take(batch); len(batch) == 0 {
				if closed {
					return
				}
				break
			}
			if n, err := q.w.Write(batch); err != nil {
				q.mu.Lock()
				q.failed += count(batch[n:])
				q.mu.Unlock()
			}
		}
	}
}

// take returns what is queued, and how much was lost after it. The queue goes on with the memory of the former batch, if that is little.
func (q *Queue) take(former []byte) (batch []byte, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if cap(former) > q.size/8 {
		former = nil
	}
	batch, q.pending = q.pending, former[:0]
	if q.lost > 0 {
		batch = append(batch, q.tell(q.lost)...)
		q.lost = 0
	}
	return batch, q.closed
}

// telling sets how it is told that lines were lost.
func (q *Queue) telling(tell func(lost int) []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tell = tell
}

func count(lines []byte) int { return bytes.Count(lines, []byte{'\n'}) }
