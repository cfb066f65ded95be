package api

import (
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

// Limits of one fleetd. Each watch keeps its objects in memory, and each reader of the journal is a process.
const (
	// maxJournals is the number of concurrent journalctl processes.
	maxJournals = 16
	// maxStreams is the number of concurrent streams, maxClientStreams that of one client. All users of the unix socket
	// count as one client.
	maxStreams       = 512
	maxClientStreams = 128
)

// limits counts open streams and journal readers.
type limits struct {
	journals chan struct{}

	mu      sync.Mutex
	streams int
	clients map[string]int
}

func newLimits() *limits {
	return &limits{journals: make(chan struct{}, maxJournals), clients: map[string]int{}}
}

// stream admits one more stream until done is called, or returns the reason for refusing it.
func (l *limits) stream(r *http.Request) (done func(), err error) {
	client := clientOf(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	const advice = "end some of them, or ask the fleetd of another machine"
	switch {
	case l.streams == maxStreams:
		return nil, wire.Fail(wire.ReasonTooManyRequests, "fleetd serves at most %d watches and logs at once: %s", maxStreams, advice)
	case l.clients[client] == maxClientStreams:
		return nil, wire.Fail(wire.ReasonTooManyRequests, "%s has %d watches and logs open, the maximum: %s", clientName(client), maxClientStreams, advice)
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

// journal admits one more journalctl until done is called, or returns an error that says what to do instead.
func (l *limits) journal(unit, machine string) (done func(), err error) {
	select {
	case l.journals <- struct{}{}:
		return func() { <-l.journals }, nil
	default:
		return nil, wire.Fail(wire.ReasonTooManyRequests, "machine %s already serves %d readers of its journal, the maximum: "+
			"end a `fleetctl logs -f`, or run journalctl -u %s there", machine, maxJournals, unit)
	}
}

// clientOf returns the address that a request comes from, without its port; empty for the unix socket.
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
