package schedule

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// deaf makes the first write of a placement and loses its answer; events are held back from then on until it is released.
type deaf struct {
	store.Interface
	released chan struct{}

	mu     sync.Mutex
	writes int // of placements
}

func (d *deaf) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	places := false
	for _, op := range txn.Ops {
		places = places || strings.Contains(op.Key, "/placements/")
	}
	if !places {
		return d.Interface.Commit(ctx, txn)
	}
	d.mu.Lock()
	d.writes++
	first := d.writes == 1
	d.mu.Unlock()
	revision, err := d.Interface.Commit(ctx, txn)
	if first {
		return 0, errors.New("no answer")
	}
	return revision, err
}

func (d *deaf) written() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

func (d *deaf) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	heard := make(chan store.Batch)
	batches := d.Interface.Watch(ctx, prefix, after)
	go func() {
		defer close(heard)
		for batch := range batches {
			if d.written() > 0 {
				<-d.released
			}
			select {
			case heard <- batch:
			case <-ctx.Done():
			}
		}
	}()
	return heard
}

// TestLostAnswer: a write whose answer was lost may have been made, so nothing is planned before that is known. A plan that
// ignores it would place conflicting units.
func TestLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deaf{Interface: memstore.New(memstore.Options{}), released: make(chan struct{})}
		b := start(t, d)
		b.machine("m1", "a")
		b.unit("a.service", "[Service]\nExecStart=/bin/true\n")
		time.Sleep(5 * time.Second)
		require.Equal(t, 1, d.written(), "it waits")
		close(d.released)
		time.Sleep(time.Second)
		require.Equal(t, 1, d.written(), "it was made")
		lines, _ := b.decided()
		require.Equal(t, []string{"m1/a.service launched"}, lines)
	})
}
