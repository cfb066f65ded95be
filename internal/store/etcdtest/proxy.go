package etcdtest

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy sits between clients and etcd, so that a test can interrupt the network. It also speeds up Stop: etcd would
// wait seconds for open watches to end by themselves.
type proxy struct {
	t                testing.TB
	address, backend string // unix sockets

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]struct{}
	frozen   chan struct{} // nil if not frozen; closed by thawing
	running  sync.WaitGroup
}

// open starts accepting connections.
func (p *proxy) open() {
	p.t.Helper()
	l, err := net.Listen("unix", p.address)
	require.NoError(p.t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.address = l.Addr().String()
	p.listener, p.conns = l, make(map[net.Conn]struct{})
	p.running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.join(client)
		}
	})
}

// join copies both ways until one side ends.
func (p *proxy) join(client net.Conn) {
	server, err := net.Dial("unix", p.backend)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		client.Close()
		server.Close()
		return
	}
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	p.running.Go(func() { p.copy(server, client) })
	p.running.Go(func() { p.copy(client, server) })
}

func (p *proxy) copy(to, from net.Conn) {
	defer func() {
		to.Close()
		from.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, to)
		delete(p.conns, from)
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		frozen := p.frozen
		p.mu.Unlock()
		if frozen != nil {
			<-frozen
		}
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			return
		}
	}
}

// close refuses new connections and closes the open ones.
func (p *proxy) close() {
	p.freeze(false)
	p.mu.Lock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	for conn := range p.conns {
		conn.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// freeze holds back all traffic silently.
func (p *proxy) freeze(frozen bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case frozen && p.frozen == nil:
		p.frozen = make(chan struct{})
	case !frozen && p.frozen != nil:
		close(p.frozen)
		p.frozen = nil
	}
}
