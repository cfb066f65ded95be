package node

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

const (
	// outputEvery is the minimum time between two readings of one unit's log.
	outputEvery = 30 * time.Second
	// outputSettle is how long journald may need to store what a process wrote before it exited.
	outputSettle = 150 * time.Millisecond
	// outputAgain is when a log is read again that is empty, or has no word of the failure yet: journald is slow on a busy machine.
	// outputTries is how often it is read at most.
	outputAgain = 2 * time.Second
	outputTries = 4
	// outputWithin is the timeout of one reading.
	outputWithin = 3 * time.Second
	// outputQueue is how many units may wait for a reading; later passes ask again for the rest.
	outputQueue = 256
)

// outputs reads what units logged before they failed: once per failure, again if that is not all or nothing was found, one unit at a time,
// in its own goroutine. A pass never waits for it.
type outputs struct {
	read    func(ctx context.Context, unit string, since time.Time) (text string, ended bool, err error) // nil: no reading
	log     logr.Logger
	changed func()
	asked   chan reading

	mu    sync.Mutex
	known map[string]known
}

// reading is a log to read, not before at.
type reading struct {
	unit, failure string
	at, since     time.Time
	tries         int
}

type known struct {
	failure string // the failure it belongs to
	text    string
	pending bool
	next    time.Time // earliest next reading
}

// failure is one failure of a unit. id distinguishes failures, since is when the failed run began. The zero value means
// that the unit's last failure is still of interest.
type failure struct {
	id    string
	since time.Time
}

func newOutputs(o Options, changed func()) *outputs {
	return &outputs{read: o.Output, log: o.Log, changed: changed, asked: make(chan reading, outputQueue), known: map[string]known{}}
}

// of returns the known output of the failing units and requests the missing ones. It drops everything about other units.
func (o *outputs) of(now time.Time, failures map[string]failure) map[string]Output {
	if o.read == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for unit := range o.known {
		if _, fails := failures[unit]; !fails {
			delete(o.known, unit)
		}
	}
	found := make(map[string]Output, len(failures))
	for unit, f := range failures {
		k := o.known[unit]
		if f.id != "" && f.id != k.failure && !now.Before(k.next) {
			select {
			case o.asked <- reading{unit: unit, failure: f.id, at: now.Add(outputSettle), since: f.since}:
				k.failure, k.pending, k.next = f.id, true, now.Add(outputEvery)
				o.known[unit] = k
			default:
			}
		}
		found[unit] = Output{Text: k.text, Pending: k.pending}
	}
	return found
}

// run reads requested logs until ctx ends.
func (o *outputs) run(ctx context.Context) {
	var later []reading // those again, the next one first
	for {
		var next reading
		var due <-chan time.Time
		if len(later) > 0 {
			due = time.After(time.Until(later[0].at))
		}
		select {
		case <-ctx.Done():
			return
		case next = <-o.asked:
			if !store.Sleep(ctx, time.Until(next.at)) {
				return
			}
		case <-due:
			next, later = later[0], later[1:]
		}
		text, ended := o.readOne(ctx, next)
		o.learn(next, text)
		next.tries++
		if again := !ended && next.tries < outputTries || text == "" && next.tries == 1; again && len(later) < outputQueue {
			next.at = time.Now().Add(outputAgain)
			later = append(later, next)
		}
	}
}

func (o *outputs) readOne(ctx context.Context, r reading) (text string, ended bool) {
	ctx, cancel := context.WithTimeout(ctx, outputWithin)
	defer cancel()
	text, ended, err := o.read(ctx, r.unit, r.since)
	if err != nil {
		o.log.V(1).Info("Cannot read what a unit logged", "unit", r.unit, "error", err.Error())
	}
	return text, ended
}

func (o *outputs) learn(r reading, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := o.known[r.unit]; k.failure == r.failure {
		if text == "" && !k.pending {
			return // read again, in vain
		}
		news := k.pending || k.text != text
		k.text, k.pending = text, false
		o.known[r.unit] = k
		if news {
			o.changed()
		}
	}
}

// failures returns the units whose log explains a failure.
func failures(in Input) map[string]failure {
	found := map[string]failure{}
	for name, unit := range in.Units {
		rec, launched := in.Records[name], in.Placements[name].DesiredState == v1.Launched
		since := in.Now.Add(-time.Minute)
		if begun := unit.Exit.Started; !begun.IsZero() {
			since = begun.Add(-time.Second) // systemd records the time after the process has started
		}
		switch {
		case !launched:
		case failing(unit) && rec.Launched != "": // else it failed when it was stopped, and is about to be started again
			found[name] = failure{id: unit.InvocationID + unit.Exit.Code + unit.Since.String(), since: since}
		case rec.JobResult != "" && rec.JobResult != jobSkipped && rec.JobResult != "dependency":
			found[name] = failure{id: rec.JobResult + rec.RequestedAt, since: since}
		case rec.Failing:
			found[name] = failure{}
		}
	}
	return found
}
