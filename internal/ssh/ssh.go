// Package ssh runs commands on machines through their ssh servers, and forwards connections through them.
package ssh

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// Config says how to connect to machines.
type Config struct {
	User string
	// Timeout bounds setting up a connection, without the time in which a person is asked; 0 for no limit.
	Timeout time.Duration
	// HostKeys checks host keys. Nil trusts any key.
	HostKeys *HostKeys
	// AgentSocket is the socket of an ssh-agent; may be empty.
	AgentSocket string
	// KeyFiles are private keys to use after those of the agent; those that do not exist or need a passphrase are skipped.
	KeyFiles []string
	// Debug, if set, is told of connections.
	Debug func(format string, args ...any)
}

// Client is a connection to the ssh server of one machine.
type Client struct {
	*gossh.Client
	address     string
	agentSocket string
	forwarding  bool
}

// Close closes the connection.
func (c *Client) Close() { _ = c.Client.Close() } // it may have ended already

// Address adds the default port of ssh to a host that has none.
func Address(host string, port int) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), fmt.Sprint(port))
}

// Dial connects to host:port.
func (c Config) Dial(ctx context.Context, address string) (*Client, error) {
	dialing, cancel := c.within(ctx)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(dialing, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("ssh to %s: %w", address, err)
	}
	return c.open(ctx, conn, address)
}

// within bounds ctx by the timeout.
func (c Config) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.Timeout)
}

// open is the handshake.
func (c Config) open(ctx context.Context, conn net.Conn, address string) (*Client, error) {
	failed := func(err error) (*Client, error) {
		_ = conn.Close() // err says more
		return nil, fmt.Errorf("ssh to %s@%s: %w", c.User, address, err)
	}
	keys, err := c.keys()
	if err != nil {
		return failed(err)
	}
	defer keys.close()
	limit := newLimit(c.Timeout, conn)
	defer limit.stop()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	config := &gossh.ClientConfig{User: c.User, Auth: []gossh.AuthMethod{gossh.PublicKeys(keys.signers...)}, HostKeyCallback: gossh.InsecureIgnoreHostKey()}
	if c.HostKeys != nil {
		config.HostKeyCallback = func(_ string, remote net.Addr, key gossh.PublicKey) error {
			limit.stop() // people take their time
			defer limit.start()
			return c.HostKeys.check(ctx, address, remote, key)
		}
		if config.HostKeyAlgorithms, err = c.HostKeys.algorithms(address, conn.RemoteAddr()); err != nil {
			return failed(err)
		}
	}
	sshConn, channels, requests, err := gossh.NewClientConn(conn, address, config)
	switch {
	case ctx.Err() != nil:
		return failed(ctx.Err())
	case limit.over.Load():
		return failed(fmt.Errorf("not connected within %s: see --ssh-timeout", c.Timeout))
	case err != nil && strings.Contains(err.Error(), "unable to authenticate"):
		return failed(fmt.Errorf("%w: tried %s", err, keys.describe()))
	case err != nil:
		return failed(err)
	}
	if c.Debug != nil {
		c.Debug("ssh to %s@%s: connected to %s", c.User, address, sshConn.ServerVersion())
	}
	return &Client{Client: gossh.NewClient(sshConn, channels, requests), address: address, agentSocket: c.AgentSocket}, nil
}

// limit closes a connection that takes too long to set up. Connections through ssh have no deadlines.
type limit struct {
	timer   *time.Timer
	timeout time.Duration
	over    atomic.Bool
}

func newLimit(timeout time.Duration, conn net.Conn) *limit {
	l := &limit{timeout: timeout}
	if timeout > 0 {
		l.timer = time.AfterFunc(timeout, func() {
			l.over.Store(true)
			_ = conn.Close() // the handshake fails then
		})
	}
	return l
}

func (l *limit) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
}

func (l *limit) start() {
	if l.timer != nil {
		l.timer.Reset(l.timeout)
	}
}
