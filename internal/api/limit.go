package api

import (
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

// What one fleetd does at once. Each watch keeps what it shows in memory, and each reader of the journal is a process.
const (
	// maxJournals is how many journalctl run.
	maxJournals = 16
	// maxStreams is how many answers go on until their client leaves, maxClientStreams how many of one client. All that use
	// the unix socket are one.
	maxStreams       = 512
	maxClientStreams = 128
)

// limits counts what goes on.
type limits struct {
	journals chan struct{}

	mu      sync.Mutex
	streams int
	clients map[string]int
}

func newLimits() *limits {
	return &limits{journals: make(chan struct{}, maxJournals), clients: map[string]int{}}
}

// stream lets one more answer go on for as long as its client wants, until done is called, or says why not.
func (l *limits) stream(r *http.Request) (done func(), err error) {
	client := clientOf(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	const advice = "end some of them, or ask the fleetd of another machine"
	switch {
	case l.streams == maxStreams:
		return nil, wire.Fail(wire.ReasonTooManyRequests, "this fleetd serves %d watches and logs, and no more: %s", maxStreams, advice)
	case l.clients[client] == maxClientStreams:
		return nil, wire.Fail(wire.ReasonTooManyRequests, "%s has %d watches and logs open, and gets no more: %s", clientName(client), maxClientStreams, advice)
	}
	l.streams++
	l.clients[client]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.streams--
		if l.clients[client]--; l.clients[client] == 0 {
			delete(l.clients, client)
		}
	}, nil
}

// journal lets one more journalctl run until done is called, or says what to do instead.
func (l *limits) journal(unit, machine string) (done func(), err error) {
	select {
	case l.journals <- struct{}{}:
		return func() { <-l.journals }, nil
	default:
		return nil, wire.Fail(wire.ReasonTooManyRequests, "machine %s reads its journal for %d others already, and for no more at once: "+
			"end a `fleetctl logs -f`, or run there: journalctl -u %s", machine, maxJournals, unit)
	}
}

// clientOf is the address that a request comes from, without its port; empty for the unix socket.
func clientOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

func clientName(client string) string {
	if client == "" {
		return "the unix socket"
	}
	return fmt.Sprintf("client %s", client)
}
