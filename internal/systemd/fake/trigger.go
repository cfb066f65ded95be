package fake

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// trigger makes a unit start another one: a timer or a socket.
type trigger struct {
	starts string // the other unit's name; "" if there is none
	// onActive and onUnitActive are a timer's delays: from its own start, and from the other unit's.
	onActive, onUnitActive []time.Duration
	listens                []string // the addresses of a socket
}

// parseTrigger parses the section of a timer or a socket. Calendar and boot times never elapse.
func parseTrigger(n unitfile.Name, file *unitfile.File) (trigger, error) {
	if n.Type != "timer" && n.Type != "socket" {
		return trigger{}, nil
	}
	t := trigger{starts: file.Triggers(n)}
	if n.Type == "socket" {
		for _, address := range file.Values("Socket", "ListenStream") {
			t.listens = append(t.listens, n.Expand(address))
		}
		if len(t.listens) == 0 {
			return t, fmt.Errorf("%s has no ListenStream=", n.Full)
		}
		return t, nil
	}
	for option, spans := range map[string]*[]time.Duration{"OnActiveSec": &t.onActive, "OnUnitActiveSec": &t.onUnitActive} {
		for _, text := range file.Values("Timer", option) {
			span, err := parseSpan(text)
			if err != nil {
				return t, err
			}
			*spans = append(*spans, span)
		}
	}
	return t, nil
}

// startTrigger starts waiting to start the other unit. It fails if that does not exist, or, for a socket, already runs.
func (m *Manager) startTrigger(u *unit) bool {
	other := m.load(u.trigger.starts)
	if other == nil || other.loadState != "loaded" {
		return false
	}
	if len(u.trigger.listens) == 0 {
		m.wait(u, true)
		return true
	}
	if other.running() && other.sub != "auto-restart" || other.stopping() {
		return false
	}
	m.set(u, "active", "listening")
	return true
}

// wait makes a timer wait for its next time, or elapse if there is none.
func (m *Manager) wait(u *unit, first bool) {
	var next time.Time
	sooner := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for _, span := range u.trigger.onActive {
		if at := u.started.Add(span); first || !at.Before(m.now) && at.After(u.triggered) {
			sooner(at)
		}
	}
	base := u.triggered
	if other := m.units[u.trigger.starts]; other != nil && other.leftInactive.After(base) {
		base = other.leftInactive
	}
	for _, span := range u.trigger.onUnitActive {
		if !base.IsZero() {
			sooner(base.Add(span))
		}
	}
	u.waits++
	sub := "waiting"
	if next.IsZero() {
		sub = "elapsed"
	}
	if first || u.sub != sub {
		m.set(u, "active", sub)
	}
	if next.IsZero() {
		return
	}
	waits := u.waits
	m.after(u, max(next.Sub(m.now), 0), func() {
		if u.waits == waits {
			m.pull(u)
		}
	})
}

// pull starts the unit that the timer or socket is for.
func (m *Manager) pull(u *unit) {
	if j := m.jobs[u.name]; j != nil && j.stops() {
		return
	}
	u.triggered = m.now
	m.set(u, "active", "running")
	other := m.units[u.trigger.starts]
	if len(u.trigger.listens) > 0 && other != nil && (other.running() || m.jobs[other.name] != nil && !m.jobs[other.name].stops()) {
		return
	}
	if m.enqueueFor(u.trigger.starts, jobStart, u.name) != nil {
		u.result = "resources"
		m.set(u, "failed", "failed")
	}
}

// Connect connects to the address of a socket unit. The service is assumed to accept it once it runs.
func (m *Manager) Connect(address string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.sorted() {
		if u.active == "active" && slices.Contains(u.trigger.listens, address) {
			if u.sub == "listening" {
				m.pull(u)
			}
			return nil
		}
	}
	return fmt.Errorf("nothing listens at %s", address)
}

// notify tells a unit's timers and sockets that its state or its job changed.
func (m *Manager) notify(u *unit) {
	if u.trigger.starts != "" {
		return
	}
	var all []*unit
	for _, t := range m.units {
		if t.trigger.starts == u.name && t.active == "active" {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b *unit) int { return strings.Compare(a.name, b.name) })
	for _, t := range all {
		down := u.active == "inactive" || u.active == "failed"
		switch {
		case len(t.trigger.listens) == 0:
			if t.sub != "running" || down {
				m.wait(t, false)
			}
		case u.result == startLimitHit && u.active == "failed":
			t.result = "service-start-limit-hit"
			m.set(t, "failed", "failed")
		case m.jobs[u.name] != nil:
		case down || u.sub == "auto-restart":
			if t.sub != "listening" {
				m.set(t, "active", "listening")
			}
		case u.sub == "running" && t.sub != "running":
			m.set(t, "active", "running")
		}
	}
}
