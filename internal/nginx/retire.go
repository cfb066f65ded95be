package nginx

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// mostRetired is how many workers may retire at a time. Each has a configuration of its own in memory, for as long as it has a
// websocket.
const mostRetired = 32

// retired is a worker that takes no new connections.
type retired struct {
	pid, started int
	streams      int // that are under way in it; 0 without the module
}

// limitRetired ends workers that retire, if there are too many: those that have the fewest websockets and other streams, and of these
// the oldest. Their requests have the time to end that those of a withdrawn instance have: only what is left then is cut. Until then
// there are more workers, but never more than twice as many.
func (s *Server) limitRetired() {
	var all []retired
	workers := s.workers()
	for _, pid := range workers {
		if strings.HasPrefix(title(pid), titleLeaving) {
			all = append(all, retired{pid, startOf(pid), s.streamsOf(pid)})
		}
	}
	most := max(s.mostRetired, 2*(len(workers)-len(all)))
	now, later := surplus(all, most, s.ending)
	for _, w := range now {
		s.log.Info("Ending a worker that has retired, with its requests", "reason", "TooManyRetired", "pid", w.pid, "streams", w.streams)
		w.end()
	}
	s.ending = append(slices.DeleteFunc(s.ending, func(w retired) bool { return slices.Contains(now, w) || startOf(w.pid) != w.started }), later...)
	for _, w := range later {
		wait := s.drainTimeout()
		s.log.Info("Ending a worker that has retired, when its requests have had time to end", "reason", "TooManyRetired", "pid", w.pid, "streams", w.streams, "after", wait)
		s.watch.Go(func() {
			if sleep(s.life, wait); s.life.Err() == nil {
				w.end()
			}
		})
	}
}

// surplus returns the workers that have to end now, and those that have to end after a while. ending are those of which that was said
// before, in that order.
func surplus(all []retired, most int, ending []retired) (now, later []retired) {
	same := func(w retired) func(retired) bool {
		return func(o retired) bool { return o.pid == w.pid && o.started == w.started }
	}
	waiting := slices.DeleteFunc(slices.Clone(ending), func(w retired) bool { return !slices.ContainsFunc(all, same(w)) })
	rest := slices.DeleteFunc(slices.Clone(all), func(w retired) bool { return slices.ContainsFunc(waiting, same(w)) })
	slices.SortFunc(rest, func(a, b retired) int {
		return cmp.Or(cmp.Compare(a.streams, b.streams), cmp.Compare(a.started, b.started))
	})
	if n := len(rest) - most; n > 0 {
		later = rest[:n]
	}
	if n := len(all) - 2*most; n > 0 {
		now = waiting[:min(n, len(waiting))]
	}
	return now, later
}

// end ends a worker, unless another process has its pid.
func (w retired) end() {
	if startOf(w.pid) == w.started && strings.HasPrefix(title(w.pid), titleLeaving) {
		_ = unix.Kill(w.pid, unix.SIGTERM)
	}
}

// streamsOf returns how many websockets and other streams a worker has.
func (s *Server) streamsOf(pid int) (n int) {
	if s.dictionary == nil {
		return 0
	}
	if slot := s.dictionary.board.slot(pid); slot != nil {
		n = slot.streams()
	}
	return n
}

// drainTimeout is the longest time that the apps give requests to end.
func (s *Server) drainTimeout() time.Duration {
	longest := time.Duration(0)
	if s.dictionary != nil {
		for _, e := range s.dictionary.served {
			longest = max(longest, e.timeout)
		}
	}
	return cmp.Or(longest, v1.DefaultDrainTimeout)
}
