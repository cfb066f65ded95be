package node

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

const (
	// pullsAtOnce is how many images are pulled from one registry at once: one that hangs delays no other registry's.
	pullsAtOnce = 4
	// pullWithin is the timeout of one pull, as of a unit that pulls itself; pullWithinIfPresent is that of a pull that the
	// machine can do without.
	pullWithin, pullWithinIfPresent = 30 * time.Minute, 10 * time.Minute
	// presentWithin is the timeout of asking the runtime for an image that the machine has.
	presentWithin = 10 * time.Second
	// pullAgain is when a failed pull is tried again at first, pullAgainAtMost when in the end.
	pullAgain, pullAgainAtMost = 2 * time.Second, time.Minute
	// progressEvery is the minimum time between two reports of the progress of a pull.
	progressEvery = 2 * time.Second
	// pullQueue is how many pulls may wait to be begun; later passes ask again for the rest.
	pullQueue = 256
)

// Puller pulls images. See internal/container.
type Puller interface {
	// Present reports whether the machine has an image of that name.
	Present(ctx context.Context, image unitfile.Image) bool
	// Pull pulls an image, and calls progress with what is done so far. The error is in the runtime's words.
	Pull(ctx context.Context, image unitfile.Image, progress func(string)) error
}

// pulls pulls images, each in its own goroutine, which run waits for. A pass never waits for one.
type pulls struct {
	puller  Puller // nil: no pulling
	log     logr.Logger
	changed func()
	asked   chan *pull

	mu    sync.Mutex
	known map[PullKey]*pull
	slots map[string]chan struct{} // by registry
}

// pull is a pull that was asked for; Pull and tries are guarded by pulls.mu.
type pull struct {
	Pull
	key    PullKey
	image  unitfile.Image
	cancel context.CancelFunc
	ctx    context.Context // ends when it is given up
	tries  int
	told   time.Time // when progress was last reported
}

func newPulls(o Options, changed func()) *pulls {
	return &pulls{puller: o.Puller, log: o.Log, changed: changed, asked: make(chan *pull, pullQueue),
		known: map[PullKey]*pull{}, slots: map[string]chan struct{}{}}
}

// of returns the known pulls of the wanted starts. It gives up all others.
func (p *pulls) of(wanted map[PullKey]bool) map[PullKey]Pull {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := make(map[PullKey]Pull, len(p.known))
	for key, pull := range p.known {
		if !wanted[key] {
			pull.cancel()
			delete(p.known, key)
			continue
		}
		found[key] = pull.Pull
	}
	return found
}

// begin asks for a pull, or for another try of one that failed.
func (p *pulls) begin(key PullKey, image unitfile.Image) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.known[key]
	if one == nil {
		one = &pull{Pull: Pull{Since: time.Now()}, key: key, image: image}
		one.ctx, one.cancel = context.WithCancel(context.Background())
	}
	select {
	case p.asked <- one:
		one.Running = true
		p.known[key] = one
	default: // the next pass asks again
	}
}

// run pulls until ctx ends.
func (p *pulls) run(ctx context.Context) {
	controller.Each(ctx, p.asked, 0, func(ctx context.Context, one *pull) { // a registry has a limit of its own
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(one.ctx, cancel)()
		p.work(ctx, one)
	})
}

func (p *pulls) work(ctx context.Context, one *pull) {
	asking, cancel := context.WithTimeout(ctx, presentWithin)
	present := p.puller.Present(asking, one.image)
	cancel()
	p.learn(one, func() { one.Present = present })
	within := pullWithin
	if present {
		if !one.image.Always {
			p.end(ctx, one, nil)
			return
		}
		within = pullWithinIfPresent
	}
	slot := p.slot(one.image)
	select {
	case slot <- struct{}{}:
		defer func() { <-slot }()
	case <-ctx.Done():
		return
	}
	p.log.Info("Pulling image", "unit", one.key.Unit, "image", one.image.Name, "reason", ImageWanted)
	pulling, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := p.puller.Pull(pulling, one.image, func(progress string) { p.progress(one, progress) })
	if err != nil && pulling.Err() != nil {
		err = fmt.Errorf("%s has not ended within %s", one.image.Runtime+" pull", within)
	}
	p.end(ctx, one, err)
}

// slot is the limit of an image's registry.
func (p *pulls) slot(image unitfile.Image) chan struct{} {
	registry, _, _ := strings.Cut(image.Name, "/")
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slots[registry] == nil {
		p.slots[registry] = make(chan struct{}, pullsAtOnce)
	}
	return p.slots[registry]
}

// end records how a try ended.
func (p *pulls) end(ctx context.Context, one *pull, err error) {
	if ctx.Err() != nil { // given up, or fleetd ends
		return
	}
	p.learn(one, func() {
		one.Running, one.Progress, one.Err = false, "", ""
		if err != nil {
			one.Err, one.Retry = err.Error(), time.Now().Add(min(pullAgain<<min(one.tries, 10), pullAgainAtMost))
			one.tries++
			p.log.Info("Pulling image failed", "unit", one.key.Unit, "image", one.image.Name, "reason", PullFailed, "error", one.Err)
		}
	})
}

func (p *pulls) progress(one *pull, progress string) {
	p.mu.Lock()
	due := time.Since(one.told) >= progressEvery && one.Progress != progress
	if one.Progress = progress; due {
		one.told = time.Now()
	}
	p.mu.Unlock()
	if due {
		p.changed()
	}
}

// learn changes what is known of a pull, and has it looked at.
func (p *pulls) learn(one *pull, change func()) {
	p.mu.Lock()
	change()
	p.mu.Unlock()
	p.changed()
}
