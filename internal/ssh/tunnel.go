package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// Tunnel connects to sockets and ports as a machine sees them.
type Tunnel struct {
	config  Config
	address string

	mu    sync.Mutex
	lines []*line
}

// line is one ssh connection of a tunnel.
type line struct {
	*Client
	// sessions are open now. max is the number at which the machine refused another (MaxSessions of sshd_config(5), 10 by
	// default), or 0: every watched unit takes one, so more connections are made.
	sessions, max int
	// used means that it had a session: a refusal is not for good.
	used bool
}

// NewTunnel connects to host:port.
func (c Config) NewTunnel(ctx context.Context, address string) (*Tunnel, error) {
	client, err := c.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	return &Tunnel{config: c, address: address, lines: []*line{{Client: client}}}, nil
}

// Close closes the tunnel and all connections through it.
func (t *Tunnel) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.lines {
		l.Close()
	}
}

// Dial connects to an address from the machine at the far end: of the network "tcp", or "unix", for which it runs
// fleetctl fd-forward there.
func (t *Tunnel) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if network == "unix" {
		return t.forward(ctx, "fleetctl fd-forward "+Quote(address))
	}
	var conn net.Conn
	_, err := t.open(ctx, func(l *line) (err error) {
		conn, err = l.DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s through %s: %w", address, t.address, err)
	}
	return conn, nil
}

// DialSSH connects to the ssh server of another machine, host:port as the machine at the far end sees it. The host key is
// checked here: the machine in between only passes on what is encrypted.
func (t *Tunnel) DialSSH(ctx context.Context, address string) (*Client, error) {
	dialing, cancel := t.config.within(ctx)
	defer cancel()
	conn, err := t.Dial(dialing, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("ssh to %w", err)
	}
	client, err := t.config.open(ctx, conn, address)
	if err != nil {
		return nil, fmt.Errorf("through %s: %w", t.address, err)
	}
	return client, nil
}

// forward runs a command that copies between its streams and a socket.
func (t *Tunnel) forward(ctx context.Context, command string) (net.Conn, error) {
	l, session, err := t.session(ctx)
	if err != nil {
		return nil, fmt.Errorf("%q on %s: %w", command, t.address, err)
	}
	conn := &sessionConn{session: session, address: t.address, command: command, ended: make(chan struct{})}
	conn.done = sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		l.sessions--
	})
	if err := conn.start(); err != nil {
		conn.done()
		_ = session.Close() // err says more
		return nil, fmt.Errorf("%q on %s: %w", command, t.address, err)
	}
	if t.config.Debug != nil {
		t.config.Debug("ssh to %s: %s", t.address, command)
	}
	return conn, nil
}

// session opens a session on a connection that has room for one, or on a new connection.
func (t *Tunnel) session(ctx context.Context) (l *line, session *gossh.Session, err error) {
	l, err = t.open(ctx, func(l *line) error {
		if l.max > 0 && l.sessions >= l.max {
			return errFull
		}
		var err error
		session, err = l.NewSession()
		var refused *gossh.OpenChannelError
		switch {
		case err == nil:
			l.sessions++
			l.used = true
		case errors.As(err, &refused) && l.used: // with no session open here, the machine has not seen the last one end yet
			l.max = l.sessions
			return errFull
		}
		return err
	})
	return l, session, err
}

// errFull means that a connection has no room for another session now.
var errFull = errors.New("no room for another session")

// open opens something on the first connection that has room and is not lost, or on a new one.
func (t *Tunnel) open(ctx context.Context, on func(*line) error) (*line, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range slices.Clone(t.lines) {
		err := on(l)
		var refused *gossh.OpenChannelError
		switch {
		case err == nil || errors.As(err, &refused) || ctx.Err() != nil:
			return l, err
		case !errors.Is(err, errFull): // the connection is lost
			l.Close()
			t.lines = slices.DeleteFunc(t.lines, func(other *line) bool { return other == l })
		}
	}
	client, err := t.config.Dial(ctx, t.address)
	if err != nil {
		return nil, err
	}
	l := &line{Client: client}
	if err := on(l); err != nil {
		client.Close()
		return nil, err
	}
	t.lines = append(t.lines, l)
	return l, nil
}

// sessionConn is a connection over the standard streams of a remote command.
type sessionConn struct {
	session          *gossh.Session
	address, command string
	in               io.WriteCloser
	out              io.Reader
	complaints       head
	// ended is closed when the command has ended, with failure.
	ended   chan struct{}
	failure error
	done    func()
}

func (s *sessionConn) start() (err error) {
	s.session.Stderr = &s.complaints
	if s.in, err = s.session.StdinPipe(); err != nil {
		return err
	}
	if s.out, err = s.session.StdoutPipe(); err != nil {
		return err
	}
	if err := s.session.Start(s.command); err != nil {
		return err
	}
	go func() { // ends with the session, which Close closes
		defer close(s.ended)
		s.failure = s.session.Wait()
	}()
	return nil
}

// Read implements net.Conn. The end of the stream is an error if the command failed, with what it complained of.
func (s *sessionConn) Read(b []byte) (int, error) {
	n, err := s.out.Read(b)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	<-s.ended
	if s.failure == nil {
		return n, err
	}
	if text := s.complaints.String(); text != "" {
		return n, fmt.Errorf("%q on %s: %w: %s", s.command, s.address, s.failure, text)
	}
	return n, fmt.Errorf("%q on %s: %w", s.command, s.address, s.failure)
}

// Write implements net.Conn.
func (s *sessionConn) Write(b []byte) (int, error) {
	n, err := s.in.Write(b)
	if errors.Is(err, io.EOF) { // the command has ended: Read says why
		select {
		case <-s.ended:
			if s.failure != nil {
				return n, fmt.Errorf("%q on %s: %w: %s", s.command, s.address, s.failure, s.complaints.String())
			}
		case <-time.After(time.Second):
		}
	}
	return n, err
}

// Close implements net.Conn.
func (s *sessionConn) Close() error {
	s.done()
	_ = s.in.Close() // fd-forward ends with its standard input
	err := s.session.Close()
	if errors.Is(err, io.EOF) { // it has ended already
		err = nil
	}
	return err
}

// LocalAddr implements net.Conn.
func (s *sessionConn) LocalAddr() net.Addr { return commandAddr("fleetctl") }

// RemoteAddr implements net.Conn.
func (s *sessionConn) RemoteAddr() net.Addr { return commandAddr(s.address + ": " + s.command) }

var errNoDeadline = errors.New("a connection over a command has no deadlines")

// SetDeadline implements net.Conn.
func (s *sessionConn) SetDeadline(time.Time) error { return errNoDeadline }

// SetReadDeadline implements net.Conn.
func (s *sessionConn) SetReadDeadline(time.Time) error { return errNoDeadline }

// SetWriteDeadline implements net.Conn.
func (s *sessionConn) SetWriteDeadline(time.Time) error { return errNoDeadline }

type commandAddr string

func (commandAddr) Network() string  { return "ssh" }
func (a commandAddr) String() string { return string(a) }

// head keeps the first kilobyte that is written to it.
type head struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *head) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(b[:min(len(b), max(0, 1024-t.text.Len()))])
	return len(b), nil
}

func (t *head) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text.Bytes()))
}
