package systemd

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/godbus/dbus/v5"
)

// SystemSocket is where the system manager listens for root, without a bus in between.
const SystemSocket = "/run/systemd/private"

// UserSocket returns the socket of the user manager with that XDG_RUNTIME_DIR.
func UserSocket(xdgRuntimeDir string) string {
	return filepath.Join(xdgRuntimeDir, "systemd", "private")
}

const (
	// callWithin bounds a call whose context has no earlier deadline. Reloading thousands of units takes seconds.
	callWithin = time.Minute
	// A manager that re-executes is back within milliseconds; one that died is back with the session or never.
	minReconnect, maxReconnect = 50 * time.Millisecond, 5 * time.Second
)

// Client is a Manager over D-Bus. It uses the private socket, which needs no bus daemon, and plain godbus: go-systemd's Conn
// makes calls without a deadline, opens a second connection and drops updates when a channel is full.
type Client struct {
	socket string
	log    logr.Logger
	events chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
	// reloads counts the manager's daemon-reloads while connected.
	reloads atomic.Int64

	mu     sync.Mutex
	link   *link // nil while disconnected
	err    error // why it is disconnected
	closed bool  // events is closed, too
}

var _ Manager = (*Client)(nil)

// Dial connects to the manager that listens on the socket. If the connection is lost later, the client reconnects until
// Close.
func Dial(ctx context.Context, socket string, log logr.Logger) (*Client, error) {
	c := &Client{socket: socket, log: log.WithValues("socket", socket), events: make(chan struct{}, 1), done: make(chan struct{})}
	first, err := c.connect(ctx)
	if err != nil {
		return nil, wrap("connect", "", err)
	}
	c.link = first
	life, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go c.run(life, first)
	return c, nil
}

// Close disconnects.
func (c *Client) Close() {
	c.cancel()
	<-c.done
}

// Reloads returns how often the manager has reread all unit files since Dial, no matter who asked for it.
func (c *Client) Reloads() int64 { return c.reloads.Load() }

// Events implements Manager.
func (c *Client) Events() <-chan struct{} { return c.events }

// hint never blocks: a pending hint is enough.
func (c *Client) hint() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	select {
	case c.events <- struct{}{}:
	default:
	}
}

// run owns the connection: it waits until it ends and reconnects.
func (c *Client) run(life context.Context, l *link) {
	defer close(c.done)
	for l != nil {
		select {
		case <-l.conn.Context().Done():
		case <-life.Done():
		}
		c.publish(nil, errors.New("the connection was lost"))
		l.close()
		if life.Err() == nil {
			c.log.Info("Lost the connection to systemd, reconnecting")
			c.hint()
		}
		if l = c.reconnect(life); l != nil {
			c.log.Info("Connected to systemd")
			c.publish(l, nil)
			c.hint()
		}
	}
	// The connection's reader may outlive its Close for a moment, and hint.
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	close(c.events)
}

// reconnect retries until it succeeds, or returns nil when life ends.
func (c *Client) reconnect(life context.Context) *link {
	for pause := minReconnect; ; pause = min(2*pause, maxReconnect) {
		select {
		case <-life.Done():
			return nil
		case <-time.After(pause):
		}
		ctx, cancel := context.WithTimeout(life, callWithin)
		l, err := c.connect(ctx)
		cancel()
		if err == nil {
			return l
		}
		c.publish(nil, err)
		c.log.V(1).Info("Cannot connect to systemd", "reason", err.Error(), "retryAfter", pause)
	}
}

func (c *Client) publish(l *link, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.err = l, err
}

// current returns the connection, or why there is none.
func (c *Client) current() (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil {
		return nil, &Error{Kind: ErrDisconnected, Err: c.err}
	}
	return c.link, nil
}

// connect dials, authenticates and subscribes.
func (c *Client) connect(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	var dialer net.Dialer
	socket, err := dialer.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, err
	}
	l := newLink(c.hint)
	l.reloads = &c.reloads
	if l.conn, err = dbus.NewConn(&transport{Conn: socket, signal: l.signal}, dbus.WithSignalHandler(l)); err != nil {
		socket.Close()
		return nil, err
	}
	// Authentication takes no context; the socket's deadline ends it if the manager hangs.
	deadline, _ := ctx.Deadline()
	err = socket.SetDeadline(deadline)
	if err == nil {
		err = l.conn.Auth([]dbus.Auth{dbus.AuthExternal(uid())})
	}
	if err == nil {
		err = socket.SetDeadline(time.Time{})
	}
	if err == nil {
		err = l.call(ctx, "Subscribe").Err
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// wrap adds the operation and the kind of the error.
func wrap(op, unit string, err error) error {
	if err == nil {
		return nil
	}
	var wrapped *Error
	if errors.As(err, &wrapped) { // returned by current
		return &Error{Op: op, Unit: unit, Kind: wrapped.Kind, Err: wrapped.Err}
	}
	return &Error{Op: op, Unit: unit, Kind: kindOf(err), Err: err}
}

func kindOf(err error) error {
	var remote dbus.Error
	if errors.As(err, &remote) {
		switch remote.Name {
		case "org.freedesktop.systemd1.NoSuchUnit":
			return ErrNoSuchUnit
		case "org.freedesktop.systemd1.LoadFailed", "org.freedesktop.systemd1.BadUnitSetting",
			"org.freedesktop.systemd1.UnitMasked", "org.freedesktop.DBus.Error.InvalidArgs":
			return ErrBadUnit
		case "org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Disconnected":
			return ErrDisconnected
		}
		return ErrRefused
	}
	for _, lost := range []error{dbus.ErrClosed, io.EOF, io.ErrClosedPipe, net.ErrClosed, fs.ErrNotExist,
		syscall.EPIPE, syscall.ECONNRESET, syscall.ECONNREFUSED} {
		if errors.Is(err, lost) {
			return ErrDisconnected
		}
	}
	return nil
}
