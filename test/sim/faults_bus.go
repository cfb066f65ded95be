package sim

import (
	"errors"
	"maps"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// The connection to systemd is lost, and later reestablished by the client (internal/systemd). A call at that moment may have
// been executed, without an answer.
func init() {
	maps.Copy(faults, map[string]func(w *world, s step){
		"bus lost": func(w *world, s step) {
			if h := w.pick(s.A); s.B%2 == 0 {
				h.loseBus(true)
			} else { // in the middle of one of the next calls
				h.busTrap.Store(int64(1 + s.B/2%4))
			}
		},
		"bus back": func(w *world, s step) { w.pick(s.A).loseBus(false) },
	})
}

func (h *host) loseBus(lost bool) {
	h.busTrap.Store(0)
	if h.busLost.Swap(lost) == lost {
		return
	}
	h.w.check.inTrouble(h)
	if lost {
		h.w.tell(h.name, "the connection to systemd is lost")
		h.busLosses.Add(1)
		return
	}
	h.w.tell(h.name, "is connected to systemd again")
	h.systemd.Reconnect()
	h.poke()
}

// busCall is one call over the current connection. before is how often it had been lost when the call was made.
func (h *host) busCall(before int64, op, unit string, do func() error) error {
	if h.busTrap.Load() > 0 && h.busTrap.Add(-1) == 0 {
		h.loseBus(true)
	}
	lost := h.busLost.Load() || h.busLosses.Load() != before
	if lost && h.w.chance("bus", h.name, op, unit)%2 == 0 || h.busLost.Load() && before == h.busLosses.Load() {
		return disconnected(op, unit)
	}
	if err := do(); !lost {
		return err
	}
	h.w.tell(h.name, "%s %s was done, and the answer is lost", op, unit)
	return disconnected(op, unit)
}

func disconnected(op, unit string) error {
	return &systemd.Error{Op: op, Unit: unit, Kind: systemd.ErrDisconnected, Err: errors.New("the connection was lost")}
}
