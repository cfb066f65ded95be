package sim

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/daemon"
	"github.com/fleet-starter/fleet/internal/store"
)

// The kinds of processes.
const (
	kindFleetd    = "fleetd"
	kindAnnouncer = "announcer"
	kindRouter    = "router"
	kindPerson    = "person"
)

// process is one process with its connection to etcd.
type process struct {
	w    *world
	host *host // nil: a person's
	kind string
	name string
	conn *conn
	// alone is the connection of this process, whatever its machine's is.
	alone atomic.Int32
	older bool                         // of an older version
	agent atomic.Pointer[daemon.Agent] // of a fleetd

	cancel context.CancelFunc
	done   chan struct{}
	killed chan struct{}
	once   sync.Once
}

func (w *world) newProcess(h *host, kind, name string) *process {
	p := &process{w: w, host: h, kind: kind, name: name, cancel: func() {}, done: make(chan struct{}), killed: make(chan struct{})}
	p.conn = newConn(w, p)
	return p
}

// start runs a process until it returns, after the process after has ended, if given.
func (p *process) start(after *process, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(p.w.ctx)
	p.cancel = cancel
	p.w.running.Go(func() {
		defer close(p.done)
		defer cancel()
		if after != nil {
			<-after.done
		}
		if err := run(ctx); err != nil && ctx.Err() == nil {
			p.w.tell(p.name, "ended: %v", err)
		}
	})
}

// term is SIGTERM.
func (p *process) term() { p.cancel() }

// kill is SIGKILL: nothing that the process does has any effect any more.
func (p *process) kill() {
	p.once.Do(func() {
		close(p.killed)
		p.cancel()
		p.conn.follow()
	})
}

func (p *process) dead() bool {
	select {
	case <-p.killed:
		return true
	default:
		return false
	}
}

// pause lets a moment pass for the process. It returns an error if the process is killed meanwhile, or ctx ends.
func (p *process) pause(ctx context.Context, m moment) error {
	d := p.w.turns.after(m)
	select {
	case <-d.turn:
	case <-ctx.Done():
	case <-p.killed:
	case <-p.w.ctx.Done():
	}
	p.w.turns.giveUp(d)
	if p.dead() || p.w.ctx.Err() != nil {
		return fmt.Errorf("%w: the process was killed", store.ErrUnavailable)
	}
	switch err := ctx.Err(); err {
	case nil:
		return nil
	case context.DeadlineExceeded:
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	default:
		return err
	}
}

// log is the process's logger. It writes what a person would see to the transcript.
func (p *process) log() logr.Logger { return logr.New(&sink{p: p}) }

// sink writes the log to the transcript. It is also where a controller's pass waits for its moment: the loop creates a logger
// with the key before each pass. So no two passes begin at once, and none before everything that happened at the same time is
// in the caches.
type sink struct {
	p    *process
	name string
}

func (s *sink) Init(logr.RuntimeInfo)  {}
func (s *sink) Enabled(level int) bool { return level <= 0 }

func (s *sink) Info(_ int, message string, values ...any) { s.write(message, nil, values) }

func (s *sink) Error(err error, message string, values ...any) { s.write(message, err, values) }

func (s *sink) write(message string, err error, values []any) {
	text := message
	if s.name != "" {
		text = s.name + ": " + text
	}
	for i := 0; i+1 < len(values); i += 2 {
		if value := s.p.w.plain(fmt.Sprint(values[i+1])); value != "" {
			text += fmt.Sprintf(" %v=%s", values[i], brief(value))
		}
	}
	if err != nil {
		text += " err=" + err.Error()
	}
	if !s.p.dead() {
		s.p.w.note(s.p.name, s.name, text)
	}
}

// brief shortens hashes and long values.
func brief(value string) string {
	switch {
	case len(value) == 64:
		return value[:8]
	case len(value) > 160:
		return value[:160] + "..."
	}
	return value
}

func (s *sink) WithValues(values ...any) logr.LogSink {
	if len(values) == 2 && values[0] == "key" {
		s.p.w.sleep(s.p.w.delay("pass", s.p.name, s.name, fmt.Sprint(values[1])))
	}
	return s
}

func (s *sink) WithName(name string) logr.LogSink { return &sink{p: s.p, name: name} }
